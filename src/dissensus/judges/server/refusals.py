"""Refusals whose reason is not known yet: this prompt, or every prompt. Others that pass, or a plain question, tell."""

from __future__ import annotations

import os
import re
import time

from dissensus.hashing import framed_digest
from dissensus.judges.job import AskedJudge
from dissensus.judges.language.messages import Ask
from dissensus.judges.store.attempts import Attempt
from dissensus.records import Pair

IN_A_ROW = 20
"""Questions that fail for good, one after the other, before a plain one is asked to see whether any is answered."""
_AT_MOST = re.compile(
    r"(?:<=|less than or equal to|at most|no more than|up to|maximum(?: value)?(?: of| is|:)?|between 1 and|\[1,)"
    r"\s*(\d{1,3})\b",
    re.I,
)
"""How servers name the highest n."""
_PLAIN = Pair(
    id="a plain question",
    prompt="What colour is the sky on a clear day?",
    response_a="It is blue.",
    response_b="It is green.",
)


def allowed_replies(said: str, asked: int) -> int | None:
    """Find in a refusal of so many replies at once how many there may be; None where it names no such number.

    >>> allowed_replies("Field 'n': Value must be between 1 <= value <= 4, but got 10", 10)
    4
    >>> allowed_replies("this prompt cannot be answered", 10)
    """
    numbers = (int(found) for found in _AT_MOST.findall(said))
    return next((number for number in numbers if 1 <= number < asked), None)


class Suspects:
    """What was refused since the last answer, and how many questions failed for good since."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self._attempts: list[tuple[float, Attempt]] = []
        self._last = 0.0

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def add(self, attempt: Attempt | None) -> None:
        """Count a question that failed for good; with its attempt, as it is to be kept, where it was refused."""
        self.in_a_row += 1
        self._last = time.monotonic()
        if attempt is not None:
            self._attempts.append((self._last, attempt))

    def cleared(self, sent: float) -> list[Attempt]:
        """Return the refusals that are about their prompts, since another one was answered that was sent after them.

        Args:
            sent: when that one was sent, by `time.monotonic`: it says nothing of what the server does since.
        """
        cleared = [attempt for at, attempt in self._attempts if at < sent]
        self._attempts = [(at, attempt) for at, attempt in self._attempts if at >= sent]
        if self._last < sent:
            self.in_a_row = 0
        return cleared


def plain_question(judge: AskedJudge, like: Ask) -> Ask:
    """Make an ask that nobody has a reason to refuse, and that wants as much as another one does; it is kept nowhere.

    Its key is its own: each run has to see for itself whether it is answered, whatever another one has in flight.
    """
    key = framed_digest(judge.name, "plain", os.urandom(8).hex())
    prompt = judge.prompt(_PLAIN, like.order, like.persona)
    return Ask(key, _PLAIN, like.order, prompt, like.persona, like.samples)
