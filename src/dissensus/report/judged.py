"""What the judge of a run said: its position bias and invalid share, and its verdicts on single pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dissensus.evaluate.judges import JudgeScore, score_judges, verdict_of
from dissensus.evaluate.measure import Resampling
from dissensus.judge import JudgmentStore
from dissensus.judge.position import position_bias
from dissensus.judge.reading import verdict_probabilities
from dissensus.judge.store import StoredReading
from dissensus.records import Judgment, Pair
from dissensus.stats.intervals import Estimate

_RESAMPLING = Resampling(n=500)


@dataclass(frozen=True)
class JudgeSummary:
    """One judge of the run, over all pairs that it judged."""

    judge: str
    pairs: int
    judgments: int
    """Sampled judgments, or readings of a model's probabilities."""
    invalid: float
    """The share that names no winner, or the mean probability of naming none."""
    first: Estimate | None
    """Mean preference for the response shown first; None unless both orders were shown."""
    compared: int
    """Pairs with a winner in both orders."""
    flips: Estimate | None
    """The share of these with another winner when the order is swapped."""


@dataclass
class Verdicts:
    """What one judge said of one pair."""

    judge: str
    orders: dict[str, list[int]] = field(default_factory=dict)
    """For each order shown the counts of a, b, tie and no winner."""
    probability_a: float | None = None
    """Where the judge's probabilities were read: of a among a and b, the orders weighed alike."""
    reply: str = ""
    """One reply, where there are any."""


@dataclass(frozen=True)
class Judged:
    """All that a report shows of a store."""

    judges: Sequence[JudgeSummary] = ()
    verdicts: dict[str, list[Verdicts]] = field(default_factory=dict)
    """Pair ids to verdicts, for the pairs of the test set."""


def load_judged(path: Path, pairs: Sequence[Pair], shown: Sequence[Pair]) -> Judged:
    """Read a store: the judges over ``pairs``, and what they said of the pairs ``shown``.

    Raises:
        InputError: the store is damaged or is none.
        OutputError: it cannot be opened.
    """
    with JudgmentStore(path, create=False) as store:
        judgments = list(store.judgments(pairs=pairs))
        summaries = [_of_judgments(score) for score in score_judges(pairs, judgments, _RESAMPLING)] if judgments else []
        summaries += [found for name in store.judges() if (found := _of_readings(store, name, pairs)) is not None]
        return Judged(summaries, _verdicts(store, judgments, shown))


def _of_judgments(score: JudgeScore) -> JudgeSummary:
    return JudgeSummary(
        judge=score.judge,
        pairs=score.pairs,
        judgments=score.judgments,
        invalid=score.invalid,
        first=_defined(score.first),
        compared=score.compared,
        flips=_defined(score.flips),
    )


def _of_readings(store: JudgmentStore, judge: str, pairs: Sequence[Pair]) -> JudgeSummary | None:
    found = [(row.pair_id, _shares(row)[2]) for row in store.readings(judge=judge, pairs=pairs)]
    if not found:
        return None
    bias = position_bias(store, judge)
    return JudgeSummary(
        judge=judge,
        pairs=len({pair_id for pair_id, _ in found}),
        judgments=len(found),
        invalid=sum(none for _, none in found) / len(found),
        first=None if bias.first is None else Estimate(bias.first),
        compared=bias.compared,
        flips=None if bias.flip_share is None else Estimate(bias.flip_share),
    )


def _shares(row: StoredReading) -> tuple[float, float, float]:
    """The probabilities of a, b and no winner at temperature 1, in the pair's own terms."""
    shares = verdict_probabilities(row.reading, temperature=1.0, top_p=1.0)
    return (shares.a, shares.b, shares.none) if row.order == "ab" else (shares.b, shares.a, shares.none)


def _defined(estimate: Estimate) -> Estimate | None:
    return estimate if estimate.value == estimate.value else None


def _verdicts(store: JudgmentStore, judgments: Iterable[Judgment], shown: Sequence[Pair]) -> dict[str, list[Verdicts]]:
    wanted = {pair.id for pair in shown}
    found: dict[tuple[str, str], Verdicts] = {}
    for judgment in judgments:
        if judgment.pair_id in wanted:
            _count(found.setdefault((judgment.pair_id, judgment.judge), Verdicts(judgment.judge)), judgment)
    shares: dict[tuple[str, str], list[float]] = {}
    for row in store.readings(pairs=shown):
        a, b, _ = _shares(row)
        if a + b > 0:
            shares.setdefault((row.pair_id, row.judge), []).append(a / (a + b))
    for key, values in shares.items():
        found.setdefault(key, Verdicts(key[1])).probability_a = sum(values) / len(values)
    by_pair: dict[str, list[Verdicts]] = {}
    for (pair_id, _), verdicts in found.items():
        by_pair.setdefault(pair_id, []).append(verdicts)
    return by_pair


def _count(verdicts: Verdicts, judgment: Judgment) -> None:
    counts = verdicts.orders.setdefault(judgment.order, [0, 0, 0, 0])
    verdict = verdict_of(judgment)
    counts[3 if verdict is None else (1, 2, 0)[round(2 * verdict)]] += 1
    verdicts.reply = verdicts.reply or judgment.reply
