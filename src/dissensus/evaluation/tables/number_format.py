"""Numbers, intervals and names as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from dissensus.evaluation.groups import Group
from dissensus.evaluation.metrics import digits_of
from dissensus.records import Metric

UNDEFINED = "—"
LEVELS = ((0.01, "**"), (0.05, "*"))
"""Adjusted p-values below these earn these marks."""


def number(value: float, *, signed: bool = False, digits: int = 3) -> str:
    """Write a number between -1 and 1 with so many digits and no leading zero, as journals do.

    >>> number(0.7284), number(-0.5), number(0.0141, signed=True), number(1.0)
    ('.728', '−.500', '+.014', '1.000')
    """
    text = f"{abs(value):.{digits}f}"
    sign = "" if not float(text) else "−" if value < 0 else "+" if signed else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def cell(row: Metric | None) -> str:
    """Write a value, its interval and its mark: ``+.028 [.001, .052]*``; a dash where it is undefined."""
    if row is None or row.value is None:
        return UNDEFINED
    digits = digits_of(row.metric)
    return number(row.value, signed=row.baseline is not None, digits=digits) + interval(row) + stars(row)


def interval(row: Metric) -> str:
    """Write an interval in brackets, after a blank; nothing where there is none."""
    if row.low is None or row.high is None:
        return ""
    low, high = (number(end, digits=digits_of(row.metric)) for end in (row.low, row.high))
    return f" [{low}, {high}]"


def stars(row: Metric) -> str:
    """Mark a difference whose adjusted p-value is small: ``*`` below .05, ``**`` below .01.

    There is no mark without an adjustment, so none on what is exploratory, nor in a group that was chosen by the votes
    it is scored on.
    """
    if row.p_holm is None or row.role == "exploratory" or Group.parse(row.group).is_exploratory:
        return ""
    return next((mark for level, mark in LEVELS if row.p_holm < level), "")


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    >>> listed(["r within data sets"]), listed(["r", "L1", "accuracy"])
    ('r within data sets', 'r, L1 and accuracy')
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def shorten(name: str, width: int) -> str:
    """Cut a long name in the middle, where slugs differ least.

    >>> shorten("is-the-school-uniform-a-good-or-bad-idea", 20)
    'is-the-sch…-bad-idea'
    """
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return name[: width - 1 - tail] + "…" + name[len(name) - tail :]


def short_names(names: Iterable[str], width: int) -> dict[str, str]:
    """Shorten names and number those that would look alike.

    >>> list(short_names(["margin-seed-1-of-the-large-model", "margin-seed-2-of-the-large-model"], 14).values())
    ['margin-…-model', 'margin…model#2']
    """
    short: dict[str, str] = {}
    for name in dict.fromkeys(names):
        candidate, k = shorten(plain(name), width), 1
        while candidate in short.values():
            k += 1
            candidate = shorten(plain(name), width - len(f"#{k}")) + f"#{k}"
        short[name] = candidate
    return short


def plain(text: str) -> str:
    """Write a text on one line and without control and formatting characters, which could upset a terminal.

    >>> plain("a\\x1b[2Jb\\n c\\u202e")
    'a[2Jb c'
    """
    visible = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())
