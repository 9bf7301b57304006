"""Refusals whose reason is not known yet: this prompt, or every prompt. Others that pass, or a plain question, tell."""

from __future__ import annotations

from dissensus.judge.ask import Ask, AskError
from dissensus.judge.language import LanguageJudge
from dissensus.judge.ledger import Attempt
from dissensus.judge.store import framed_digest
from dissensus.records import Pair

IN_A_ROW = 20
"""Questions that fail for good, one after the other, before a plain one is asked to see whether any is answered."""
_PLAIN = Pair(
    id="a plain question",
    prompt="What colour is the sky on a clear day?",
    response_a="It is blue.",
    response_b="It is green.",
)


class Suspects:
    """What was refused since the last answer, and how many questions failed for good since."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self._attempts: list[Attempt] = []

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def add(self, attempt: Attempt | None) -> None:
        """Count a question that failed for good; with its attempt, as it is to be kept, where it was refused."""
        self.in_a_row += 1
        if attempt is not None:
            self._attempts.append(attempt)

    def cleared(self) -> list[Attempt]:
        """Return the refusals, which are about their prompts: another one was answered."""
        attempts, self._attempts = self._attempts, []
        self.in_a_row = 0
        return attempts


def plain_question(judge: LanguageJudge, like: Ask) -> Ask:
    """Make an ask that nobody has a reason to refuse, and that wants what another one does; it is kept nowhere."""
    samples = like.samples[:1]
    key = framed_digest(judge.name, "plain", *map(str, samples))
    return Ask(key, _PLAIN, like.order, judge.template.render(_PLAIN, like.order, like.persona), like.persona, samples)


def given_up(error: AskError, in_a_row: int) -> str:
    """Say that nothing is answered any more."""
    return (
        f"{in_a_row} questions in a row failed for good, the last one because: {error}. A plain question fails too. "
        "What was answered is kept; fix the server and run the same command again"
    )
