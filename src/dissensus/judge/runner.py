"""Ask a judge for the judgments that the store does not have yet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm

from dissensus.errors import InputError
from dissensus.judge.store.store import JudgmentStore, judgment_key
from dissensus.records import Judgment, Order, Pair

_BATCH_ROWS = 1000
_BATCH_SECONDS = 2.0


@dataclass(frozen=True)
class Question:
    """One judgment to be made: of which pair, the how-manyth, and which response is shown first."""

    pair: Pair
    sample: int
    order: Order = "ab"


class Judge(Protocol):
    """Whoever answers questions about pairs: a committee, people's votes, a language model."""

    @property
    def name(self) -> str:
        """``NAME-`` and 8 hex digits over everything that decides the answers, apart from the question itself."""

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List the judgments to be made of a pair."""

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Answer, in any order, in the pair's own terms (the order shown is undone here).

        A question that fails is left out, and so is asked again in the next run; a reply that names no winner is a
        judgment without a choice.
        """


@dataclass(frozen=True)
class JudgeSummary:
    """What a run of a judge did."""

    judge: str
    pairs: int
    made: int
    """New judgments."""
    reused: int
    """Judgments that the store had."""
    invalid: int
    """Judgments among the new ones that name no winner."""
    failed: int
    """Questions without an answer; the next run asks them again."""
    seconds: float


def judge_pairs(pairs: Iterable[Pair], judge: Judge, store: JudgmentStore, *, progress: bool = True) -> JudgeSummary:
    """Have ``judge`` answer every question about ``pairs`` that ``store`` holds no answer to.

    Judgments are committed in small batches, so a run that is killed loses a second's work and goes on from there.

    Raises:
        InputError: two pairs have one id.
        JudgeError: the judge cannot judge these pairs.
    """
    start = time.monotonic()
    pairs = list(pairs)
    by_id = _by_id(pairs)
    keys = {judgment_key(judge.name, q.pair, q.sample, q.order): q for pair in pairs for q in judge.questions(pair)}
    missing = store.missing(keys)
    questions = [question for key, question in keys.items() if key in missing]
    made = invalid = 0
    answers = judge.answer(questions) if questions else iter(())
    with tqdm(total=len(questions), desc=f"judging with {judge.name}", unit="judgment", disable=not progress) as bar:
        for batch in _batches(answers):
            store.add(batch, by_id)
            made += len(batch)
            invalid += sum(judgment.choice is None for judgment in batch)
            bar.update(len(batch))
    return JudgeSummary(
        judge=judge.name,
        pairs=len(pairs),
        made=made,
        reused=len(keys) - len(questions),
        invalid=invalid,
        failed=len(questions) - made,
        seconds=time.monotonic() - start,
    )


def _by_id(pairs: Sequence[Pair]) -> dict[str, Pair]:
    by_id: dict[str, Pair] = {}
    for pair in pairs:
        if by_id.setdefault(pair.id, pair) is not pair:
            raise InputError(f"pair {pair.id!r} comes twice; judgments are joined by id, so give each pair its own")
    return by_id


def _batches(judgments: Iterator[Judgment]) -> Iterator[list[Judgment]]:
    """Group judgments by count and by time: a slow judge's answers are precious, a fast one's are many."""
    batch: list[Judgment] = []
    last = time.monotonic()
    for judgment in judgments:
        batch.append(judgment)
        if len(batch) >= _BATCH_ROWS or time.monotonic() - last >= _BATCH_SECONDS:
            yield batch
            batch, last = [], time.monotonic()
    if batch:
        yield batch
