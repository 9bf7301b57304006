"""Judges against people, against themselves with the order swapped, and against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dissensus.errors import EvaluationError
from dissensus.evaluation.groups import count_prompts, number_prompts
from dissensus.evaluation.pair_columns import PairColumns
from dissensus.evaluation.resample import Resampling
from dissensus.records import Judgment, Order, Pair
from dissensus.stats.agreement.judge_agreement import (
    LEVELS,
    NestedVerdicts,
    agreement_with_others,
    as_all_orders,
    change_share,
    compared,
    first_preference,
    flip_share,
    nest,
    person_agreement,
)
from dissensus.stats.metrics import FloatArray, accuracy, mean_absolute_error, pearson, pearson_symmetric
from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.statistics import Statistic, estimate_all

_ORDERS: tuple[Order, Order] = ("ab", "ba")


@dataclass(frozen=True)
class AgainstPeople:
    """A judge against the votes on the pairs that it judged and people voted on."""

    pairs: int
    human_ties: int
    """Pairs that split people evenly: they have no majority and no part in ``agreement``."""
    agreement: Estimate
    """With the majority of people among a and b; a judge's tie counts one half."""
    against_others: Estimate
    """With the majority of all people but one, averaged over who is left out: to be held against ``person``."""
    person: Estimate
    """The agreement of that one person with the same majorities: what a random single person reaches."""
    pearson: Estimate
    """With the share of people, in the data's orientation."""
    pearson_symmetric: Estimate
    l1: Estimate


@dataclass(frozen=True)
class JudgeScore:
    """What is known of a judge. A share or mean that is undefined is NaN, without an interval."""

    judge: str
    pairs: int
    """Pairs with a valid judgment."""
    prompts: int
    """Distinct groups among them: what the intervals were resampled over."""
    judgments: int
    invalid: float
    """Share of judgments that name no winner and no tie."""
    ties: float
    """Share of judgments that are a tie."""
    compared: int
    """Pairs with a winner in both orders."""
    flips: Estimate
    """The share of these that have another winner when the order is swapped."""
    changes: Estimate
    """The share of pairs judged in both orders whose verdict changes, to or from a tie included."""
    first: Estimate
    """Mean preference for the response shown first; 1/2 without a position bias."""
    people: AgainstPeople | None
    """None where nobody voted on a pair that the judge judged."""


@dataclass(frozen=True)
class Component:
    """A component of the variance of verdicts."""

    level: str
    units: int
    """How many pairs, cells or verdicts there are at this level."""
    raw: Estimate | None
    """The unbiased estimate for two orders that are all there are; it can be negative. None where the level has no
    replication."""
    random: float | None
    """The same with orders as random effects."""
    value: float
    """The estimate, 0 where it is negative or missing."""
    share: float
    """Of the sum of all values; NaN where that is 0."""
    merged: str | None
    """The level whose component holds this one too, where it has no replication."""


def score_judges(
    pairs: Iterable[Pair], judgments: Iterable[Judgment], resampling: Resampling | None = None
) -> list[JudgeScore]:
    """Score each judge, in the order in which they come, on the pairs that it judged.

    A judge's preference on a pair is the mean of its verdicts, each order shown counting one half where both are there,
    so that a position bias cancels.

    Args:
        pairs: with votes or without.
        judgments: of one or several judges, as the store gives them.
        resampling: how intervals are made; below five prompts there are none.

    Raises:
        EvaluationError: there are no judgments, one is there twice, or one is of an unknown pair.
    """
    by_id, by_judge = _collect(pairs, judgments)
    resampling = resampling or Resampling()
    return [_score(judge, found, by_id, resampling) for judge, found in by_judge.items()]


def judge_preferences(pairs: Sequence[Pair] | PairColumns, judgments: Iterable[Judgment]) -> dict[str, FloatArray]:
    """Average each judge's verdicts on n pairs, each order counting one half: shape (n,), NaN where it has none.

    Judgments of other pairs are passed over.

    Raises:
        EvaluationError: a judgment is there twice.
    """
    ids = pairs.ids if isinstance(pairs, PairColumns) else [pair.id for pair in pairs]
    known = frozenset(ids)
    by_judge: dict[str, list[Judgment]] = {}
    for judgment in _once(judgments):
        if judgment.pair_id in known:
            by_judge.setdefault(judgment.judge, []).append(judgment)
    return {judge: _balanced(*_preferences(found, ids)) for judge, found in by_judge.items()}


def decompose(
    pairs: Iterable[Pair], judgments: Iterable[Judgment], resampling: Resampling | None = None
) -> list[Component]:
    """Split the variance of all valid verdicts into pair (signal), judge, order (position) and repetition.

    Judges that judged few of the pairs weigh little. See `dissensus.stats.agreement.judge_agreement.NestedVerdicts`
    for the model; the arguments and errors are those of `score_judges`.
    """
    by_id, by_judge = _collect(pairs, judgments)
    valid = [(j, y) for found in by_judge.values() for j in found if (y := j.value) is not None]
    if not valid:
        raise EvaluationError("no judgment names a winner or a tie, so there is nothing to decompose")
    names = [np.array(column) for column in zip(*((j.pair_id, j.judge, j.order) for j, _ in valid), strict=True)]
    nested = nest(np.array([y for _, y in valid]), *names)
    judged = [by_id[pair_id] for pair_id in nested.pairs]
    statistics = {level: _component(nested, i) for i, level in enumerate(LEVELS)}
    raw = _estimates(statistics, judged, resampling or Resampling())
    values = {level: max(found.value, 0.0) if np.isfinite(found.value) else 0.0 for level, found in raw.items()}
    total = sum(values.values())
    return [
        Component(
            level=level,
            units=nested.units[i],
            raw=None if level in nested.merged else raw[level],
            random=None if level in nested.merged else float(nested.components()[i]),
            value=values[level],
            share=values[level] / total if total else float("nan"),
            merged=nested.merged.get(level),
        )
        for i, level in enumerate(LEVELS)
    ]


def _component(nested: NestedVerdicts, i: int) -> Statistic:
    return lambda weights: as_all_orders(nested.components(weights), nested.merged)[..., i]


def _collect(pairs: Iterable[Pair], judgments: Iterable[Judgment]) -> tuple[dict[str, Pair], dict[str, list[Judgment]]]:
    by_id = {pair.id: pair for pair in pairs}
    by_judge: dict[str, list[Judgment]] = {}
    for judgment in _once(judgments):
        if judgment.pair_id not in by_id:
            raise EvaluationError(
                f"{_name(judgment)}: the pair is not among the {len(by_id)} pairs; give the pairs judged"
            )
        by_judge.setdefault(judgment.judge, []).append(judgment)
    if not by_judge:
        raise EvaluationError("there are no judgments; judge the pairs first: dissensus judge PAIRS")
    return by_id, by_judge


def _once(judgments: Iterable[Judgment]) -> Iterator[Judgment]:
    """Pass judgments on; one that comes twice is an error."""
    seen: set[tuple[str, str, str, int, str]] = set()
    for judgment in judgments:
        key = (judgment.judge, judgment.pair_id, judgment.order, judgment.sample, judgment.persona)
        if key in seen:
            raise EvaluationError(f"{_name(judgment)} is given twice; was a store or file given twice?")
        seen.add(key)
        yield judgment


def _name(judgment: Judgment) -> str:
    return f"sample {judgment.sample} of judge {judgment.judge!r} on pair {judgment.pair_id!r}"


def _score(judge: str, judgments: Sequence[Judgment], by_id: Mapping[str, Pair], resampling: Resampling) -> JudgeScore:
    verdicts = [judgment.value for judgment in judgments]
    ab, ba = _preferences(judgments, by_id)
    judged = np.isfinite(ab) | np.isfinite(ba)
    pairs = [pair for pair, there in zip(by_id.values(), judged, strict=True) if there]
    ab, ba = ab[judged], ba[judged]
    balanced = _balanced(ab, ba)
    statistics: dict[str, Statistic] = {
        "flips": lambda w: flip_share(ab, ba, w),
        "changes": lambda w: change_share(ab, ba, w),
        "first": lambda w: first_preference(ab, ba, w),
    }
    return JudgeScore(
        judge=judge,
        pairs=len(pairs),
        prompts=count_prompts(pairs),
        judgments=len(judgments),
        invalid=sum(y is None for y in verdicts) / len(verdicts),
        ties=sum(y == 0.5 for y in verdicts) / len(verdicts),
        compared=int(compared(ab, ba).sum()),
        **_estimates(statistics, pairs, resampling),
        people=_against_people(pairs, balanced, resampling),
    )


def _preferences(judgments: Iterable[Judgment], pair_ids: Iterable[str]) -> tuple[FloatArray, FloatArray]:
    """The mean verdict on each pair in each order shown, NaN where there is none; two of shape (pairs,).

    Of a judge that gives one judgment a pair, in an order, and says how probable it is, the verdict is that: it states
    a share instead of casting votes (combined judges, a label graph).
    """
    judgments = list(judgments)
    row = {pair_id: i for i, pair_id in enumerate(pair_ids)}
    total, count = np.zeros((2, len(row))), np.zeros((2, len(row)))
    stated = _states_shares(judgments)
    for judgment in judgments:
        if (verdict := judgment.value) is not None:
            if stated and judgment.probability_a is not None:
                verdict = judgment.probability_a
            cell = _ORDERS.index(judgment.order), row[judgment.pair_id]
            total[cell] += verdict
            count[cell] += 1
    ab, ba = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return ab, ba


def _states_shares(judgments: Sequence[Judgment]) -> bool:
    valid = [judgment for judgment in judgments if judgment.choice is not None]
    places = {(judgment.pair_id, judgment.order) for judgment in valid}
    stated = [judgment.probability_a for judgment in valid]
    return len(places) == len(valid) and None not in stated and any(one not in (0, 0.5, 1) for one in stated)


def _balanced(ab: FloatArray, ba: FloatArray) -> FloatArray:
    """The mean of both orders, or the one that is there."""
    return np.where(np.isnan(ab), ba, np.where(np.isnan(ba), ab, (ab + ba) / 2))


def _against_people(pairs: Sequence[Pair], preference: FloatArray, resampling: Resampling) -> AgainstPeople | None:
    voted = [(pair, pair.votes, p) for pair, p in zip(pairs, preference, strict=True) if pair.votes is not None]
    if not voted:
        return None
    human = np.array([votes.preference for _, votes, _ in voted])
    votes = np.array([(v.a, v.b, v.tie) for _, v, _ in voted])
    judge = np.array([p for _, _, p in voted])
    statistics: dict[str, Statistic] = {
        "agreement": lambda w: accuracy(judge, human, w),
        "against_others": lambda w: agreement_with_others(judge, votes, w),
        "person": lambda w: person_agreement(votes, w),
        "pearson": lambda w: pearson(judge, human, w),
        "pearson_symmetric": lambda w: pearson_symmetric(judge, human, w),
        "l1": lambda w: mean_absolute_error(judge, human, w),
    }
    found = _estimates(statistics, [pair for pair, _, _ in voted], resampling)
    return AgainstPeople(pairs=len(voted), human_ties=int((human == 0.5).sum()), **found)


def _estimates(
    statistics: Mapping[str, Statistic], pairs: Sequence[Pair], resampling: Resampling
) -> dict[str, Estimate]:
    """Compute statistics of n pairs with BCa intervals, widened for few prompts, all on the same resamples."""
    clusters, strata = number_prompts(pairs)
    rng = np.random.default_rng(resampling.seed)
    return estimate_all(statistics, clusters, strata, resampling.n, rng, resampling.level)
