"""The winner that a reply names, if it names one."""

from __future__ import annotations

import re
from typing import Literal

from dissensus.records import Choice, Order

Verdict = Literal["A", "B"]
"""The winner as shown to the judge: A came first."""

_MARKS = r"[\s*_`~'\"‘’“”«»<>()\[\]{}#-]*"
_ANCHOR = re.compile(rf"(?im)^{_MARKS}choice{_MARKS}[:：]{_MARKS}")
_ANYWHERE = re.compile(rf"(?i)\bchoice{_MARKS}[:：]{_MARKS}([AB])(?!\w)")
_LETTER = re.compile(r"([ABab])(?!\w)")
_BOTH = re.compile(
    rf"(?i){_MARKS}(?:,|/|\||&|\+|or\b|and\b|nor\b|vs\b\.?|=){_MARKS}(?:(?:choice{_MARKS}:|answer\b){_MARKS})?[AB](?!\w)"
)
_ARTICLE = re.compile(r"[ \t]+\w")
_THOUGHT = re.compile(r"(?is)<think>.*?(?:</think>|\Z)")


def parse_verdict(reply: str) -> Verdict | None:
    """Read the winner from a reply: a line that begins ``Choice: A`` or ``Choice: B``; None where none is named.

    Bold, quotes, brackets, case and trailing text are let pass. A letter alone, both letters, two choices that
    contradict each other, a refusal and an unfinished ``<think>`` name no winner.

    >>> parse_verdict("**Choice: B**, since it is shorter")
    'B'
    >>> parse_verdict("Choice: A or B") is None
    True
    """
    text = _THOUGHT.sub("", reply)
    named = {_letter_at(text, anchor.end()) for anchor in _ANCHOR.finditer(text)}
    if len(named) != 1:
        return None
    (verdict,) = named
    # A choice quoted inside a line does not name a winner, but it can contradict one.
    others = {match.group(1).upper() for match in _ANYWHERE.finditer(text)}
    return verdict if others <= {verdict} else None


def parse_choice(reply: str, *, order: Order) -> Choice | None:
    """Read the winner from a reply and undo the presentation order.

    >>> parse_choice("Choice: B", order="ba")
    'a'
    """
    verdict = parse_verdict(reply)
    return None if verdict is None else shown_as(verdict, order)


def shown_as(verdict: Verdict, order: Order) -> Choice:
    """Name the response of the pair that was shown as ``verdict`` in ``order``.

    >>> shown_as("A", "ab"), shown_as("A", "ba")
    ('a', 'b')
    """
    return "a" if (verdict == "A") == (order == "ab") else "b"


def _letter_at(text: str, start: int) -> Verdict | None:
    match = _LETTER.match(text, start)
    if match is None or _BOTH.match(text, match.end()):
        return None
    if match.group(1) == "a" and _ARTICLE.match(text, match.end()):
        return None  # "Choice: a tie"
    return "A" if match.group(1) in "Aa" else "B"
