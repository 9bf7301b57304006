"""What the judges of a run said: position bias and invalid share, and verdicts and margins of single pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from dissensus.evaluation.judges import JudgeScore, score_judges
from dissensus.evaluation.resample import Resampling
from dissensus.files.database_url import StorePlace
from dissensus.judges import JudgmentStore
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.store.store import StoredDistribution
from dissensus.judgment_margins import margins_from_judgments
from dissensus.records import Judgment, Margin, Pair
from dissensus.reports.folder.readonly_store import ReadOnlyStore
from dissensus.stats.agreement.position_bias import position_bias
from dissensus.stats.resampling.intervals import Estimate

RESAMPLES = 500
"""Of the judges' own intervals: of the many pairs that they judge, that is enough."""


@dataclass(frozen=True)
class JudgeSummary:
    """One judge of the run, over all pairs of a kind that it judged."""

    judge: str
    pairs: int
    judgments: int
    """Sampled judgments, or choice distributions of a model's probabilities."""
    invalid: float
    """The share that is neither a winner nor a tie, or the mean probability of no winner."""
    first: Estimate | None
    """Mean preference for the response shown first; None unless both orders were shown."""
    compared: int
    """Pairs with a winner in both orders."""
    flips: Estimate | None
    """The share of these with another winner when the order is swapped."""
    ties: float | None = None
    """The share that is a tie; None where probabilities were read, which know no ties."""
    of: str = "test pairs"


@dataclass
class Verdicts:
    """What one judge said of one pair."""

    judge: str
    orders: dict[str, list[int]] = field(default_factory=dict)
    """For each order shown the counts of a, b, tie and invalid."""
    probability_a: float | None = None
    """Where the judge's probabilities were read: of a among a and b, the orders weighed alike."""
    reply: str = ""
    """One reply, where there are any."""
    margin: Margin | None = None
    """By the judgments that are votes, ties among them; None where there are none."""


@dataclass(frozen=True)
class Judged:
    """All that a report shows of judgments."""

    judges: Sequence[JudgeSummary] = ()
    verdicts: dict[str, list[Verdicts]] = field(default_factory=dict)
    """Pair ids to verdicts, for the pairs of the test set."""


def load_judged(
    path: StorePlace | None,
    of_test: Sequence[Judgment],
    training: Sequence[Pair],
    test: Sequence[Pair],
    *,
    judge: str | None = None,
    level: float = 0.95,
) -> Judged:
    """Summarise the judges over the training and the test pairs, and gather what they said of the test pairs.

    Args:
        path: a store of what judges said of the training pairs, and of the test pairs where there is nothing else.
        of_test: what judges said of the test pairs.
        training: pairs.
        test: pairs.
        judge: the full name of the judge that the margins are by, where it is known: a store may hold others' too.
        level: of the intervals.

    Raises:
        InputError: the store is damaged or is none.
    """
    ids = {pair.id for pair in test}
    judgments = [row for row in of_test if row.pair_id in ids]
    with ReadOnlyStore(path) if path is not None else nullcontext() as store:
        own = [] if store is None else list(store.judgments(judge=judge, pairs=training))
        found = [_of_judgments(score, "training pairs") for score in _score(training, own, level)]
        found += _of_distributions(store, training, "training pairs", judge)
        distributions = store if not judgments else None
        if distributions is not None:
            judgments = list(distributions.judgments(pairs=test))
        found += [_of_judgments(score, "test pairs") for score in _score(test, judgments, level)]
        found += _of_distributions(distributions, test, "test pairs")
        return Judged(found, _verdicts(distributions, judgments, test))


def _score(pairs: Sequence[Pair], judgments: Sequence[Judgment], level: float) -> list[JudgeScore]:
    return score_judges(pairs, judgments, Resampling(n=RESAMPLES, level=level)) if judgments else []


def _of_judgments(score: JudgeScore, of: str) -> JudgeSummary:
    return JudgeSummary(
        judge=score.judge,
        pairs=score.pairs,
        judgments=score.judgments,
        invalid=score.invalid,
        first=_defined(score.first),
        compared=score.compared,
        flips=_defined(score.flips),
        ties=score.ties,
        of=of,
    )


def _of_distributions(
    store: JudgmentStore | None, pairs: Sequence[Pair], of: str, judge: str | None = None
) -> Iterator[JudgeSummary]:
    """Summarise each judge, or the one that is named, whose probabilities of the pairs were read."""
    for name in ([judge] if judge else store.judges()) if store is not None and pairs else []:
        assert store is not None
        rows = list(store.distributions(judge=name, pairs=pairs))
        if not rows:
            continue
        shares = [_shares(row) for row in rows]
        views = sorted(((r.pair_id, r.persona), r.order, a, b) for r, (a, b, _) in zip(rows, shares, strict=True))
        bias = position_bias(views)
        yield JudgeSummary(
            judge=name,
            pairs=len({row.pair_id for row in rows}),
            judgments=len(rows),
            invalid=sum(none for _, _, none in shares) / len(rows),
            first=None if bias.first is None else Estimate(bias.first),
            compared=bias.compared,
            flips=None if bias.flip_share is None else Estimate(bias.flip_share),
            of=of,
        )


def _shares(row: StoredDistribution) -> tuple[float, float, float]:
    """The probabilities of a, b and no winner at temperature 1, in the pair's own terms."""
    shares = verdict_probabilities(row.distribution, temperature=1.0, top_p=1.0)
    return (shares.a, shares.b, shares.none) if row.order == "ab" else (shares.b, shares.a, shares.none)


def _defined(estimate: Estimate) -> Estimate | None:
    return estimate if estimate.value == estimate.value else None


def _verdicts(
    store: JudgmentStore | None, judgments: Iterable[Judgment], shown: Sequence[Pair]
) -> dict[str, list[Verdicts]]:
    wanted = {pair.id for pair in shown}
    by_judge: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        if judgment.pair_id in wanted:
            by_judge.setdefault(judgment.judge, []).append(judgment)
    found: dict[tuple[str, str], Verdicts] = {}
    for judge, own in by_judge.items():
        for judgment in own:
            _count(found.setdefault((judgment.pair_id, judge), Verdicts(judge)), judgment)
        for margin in margins_from_judgments(own, {judgment.pair_id for judgment in own}, allow_missing=True):
            found[margin.pair_id, judge].margin = margin
    read: dict[tuple[str, str], list[float]] = {}
    for row in store.distributions(pairs=shown) if store is not None else ():
        a, b, _ = _shares(row)
        if a + b > 0:
            read.setdefault((row.pair_id, row.judge), []).append(a / (a + b))
    for key, values in read.items():
        found.setdefault(key, Verdicts(key[1])).probability_a = sum(values) / len(values)
    by_pair: dict[str, list[Verdicts]] = {}
    for (pair_id, _), verdicts in found.items():
        by_pair.setdefault(pair_id, []).append(verdicts)
    return by_pair


def _count(verdicts: Verdicts, judgment: Judgment) -> None:
    counts = verdicts.orders.setdefault(judgment.order, [0, 0, 0, 0])
    verdict = judgment.value
    counts[3 if verdict is None else (1, 2, 0)[round(2 * verdict)]] += 1
    verdicts.reply = verdicts.reply or judgment.reply
