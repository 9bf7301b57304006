"""Agreement of people, and preferences by models of annotators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dissensus.evaluation.groups import Group, find_groups, number_prompts
from dissensus.evaluation.pair_columns import PairColumns, as_columns
from dissensus.evaluation.resample import Resampling
from dissensus.records import Metric, Pair
from dissensus.stats.agreement.coefficients import COEFFICIENTS, agreement_intervals
from dissensus.stats.agreement.dawid_skene import DawidSkene, Mace, dawid_skene, mace
from dissensus.stats.agreement.ratings import VOTES, RatingTable, tabulate, tabulate_counts
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import find_clusters
from dissensus.stats.resampling.intervals import Estimate

PEOPLE = "people"
_SIDES = np.array([1.0, 0.0, 0.5])
"""The rating of a vote for a, for b and for a tie."""
_MOST_CELLS = 2_000_000
"""Of a matrix of pairs by annotators; beyond, annotators are a crowd, of whom most saw few pairs."""


@dataclass(frozen=True)
class Ratings:
    """The votes on n pairs as ratings: 1 for a, 0 for b, 1/2 for a tie, or estimates."""

    table: RatingTable
    crossed: bool
    """Whether it is known who rated what; otherwise every pair has annotators of its own."""


def ratings_of(pairs: Sequence[Pair] | PairColumns) -> Ratings:
    """Lay the votes on pairs, all of which have some, out as ratings.

    There is a column for each annotator where all votes name one, none voted twice on a pair, and they are few enough
    for most to have met on some pairs; otherwise ratings are counted, whoever gave them.
    """
    columns = as_columns(pairs)
    crossed = _by_annotator(columns)
    if crossed is not None:
        return Ratings(tabulate(crossed, _scale(crossed[np.isfinite(crossed)])), crossed=True)
    return Ratings(rating_counts(columns), crossed=False)


def rating_counts(pairs: Sequence[Pair] | PairColumns) -> RatingTable:
    """Count what people said of n pairs, all of which have votes; memory does not grow with how many voted."""
    columns = as_columns(pairs)
    counted = np.where(columns.are_listed[:, None], 0, columns.counts)
    row, side = np.nonzero(counted)
    item = np.concatenate([row, columns.votes.pair])
    rating = np.concatenate([_SIDES[side], columns.votes.rating])
    count = np.concatenate([counted[row, side], np.ones(columns.votes.pair.size)])
    return tabulate_counts(item, rating, count, len(columns), _scale(rating))


def score_people(pairs: Sequence[Pair] | PairColumns, resampling: Resampling) -> list[Metric]:
    """Tell how well people agree: every coefficient for all pairs, each data set and each domain.

    Intervals are BCa bootstrap intervals over prompts within data sets, widened for few prompts. ICC(2,k)
    needs annotators who met on several pairs; for a crowd it is ICC(1,k), and a note says so.
    """
    columns = as_columns(pairs)
    rows: list[Metric] = []
    for group, mask in find_groups(columns).items():
        if group.kind in ("all", "dataset", "domain"):
            rows += _score_group(group, columns.take(mask), resampling)
    return rows


def aggregated_preferences(pairs: Sequence[Pair] | PairColumns) -> dict[str, tuple[FloatArray, bool]]:
    """Estimate preferences by models of annotators, ``dawid-skene`` and ``mace``; each data set is fitted by itself.

    Returns:
        By model, preferences of shape (n,) and whether the fit of every data set ended because nothing moved any more.
        NaN for pairs of a data set in which some vote does not name its annotator, or nobody voted on two pairs: there
        is nothing to learn about an annotator then.
    """
    columns = as_columns(pairs)
    estimates = {target: np.full(len(columns), np.nan) for target in ("dawid-skene", "mace")}
    converged = dict.fromkeys(estimates, True)
    for number in np.unique(columns.dataset.number):
        rows = np.flatnonzero(columns.dataset.number == number)
        for target, fit in _aggregate(columns.take(rows)).items():
            estimates[target][rows] = fit.posterior[:, 2] + fit.posterior[:, 1] / 2
            converged[target] &= fit.converged
    return {target: (estimates[target], converged[target]) for target in estimates}


def _aggregate(pairs: PairColumns) -> dict[str, DawidSkene | Mace]:
    votes, people = pairs.votes, len(pairs.votes.annotator.names)
    named = votes.annotator.number >= 0
    if named.sum() < pairs.counts.sum() or people == named.sum():
        return {}
    item, annotator, category = votes.pair[named], votes.annotator.number[named], votes.vote[named]
    shape = (len(pairs), people, 3)
    return {
        "dawid-skene": dawid_skene(item, annotator, category, shape=shape, symmetric=True),
        "mace": mace(item, annotator, category, shape=shape),
    }


def _by_annotator(pairs: PairColumns) -> FloatArray | None:
    """Ratings with a column for each annotator of a data set; None where they are a crowd, or not all named."""
    votes, n = pairs.votes, len(pairs)
    if not pairs.are_listed.all() or (votes.annotator.number < 0).any():
        return None
    people = max(1, len(votes.annotator.names))
    who = pairs.sets.number[votes.pair] * people + votes.annotator.number
    _, first, column = np.unique(who, return_index=True, return_inverse=True)
    place = np.empty(first.size, dtype=np.intp)
    place[np.argsort(first)] = np.arange(first.size)  # in the order in which they come
    column = place[column.reshape(-1)]
    if np.unique(votes.pair * max(1, first.size) + column).size < column.size:
        return None
    if n * first.size > _MOST_CELLS or np.median(np.bincount(column, minlength=first.size)) < 2:
        return None
    values = np.full((n, first.size), np.nan)
    values[votes.pair, column] = votes.rating
    return values


def _score_group(group: Group, pairs: PairColumns, resampling: Resampling) -> list[Metric]:
    ratings, (clusters, strata) = ratings_of(pairs), number_prompts(pairs)
    rng = np.random.default_rng(resampling.seed)
    found = agreement_intervals(
        ratings.table, clusters, strata, resampling.n, rng, resampling.level, crossed=ratings.crossed
    )
    found = {("icc_2k" if name == "icc_1k" else name): estimate for name, estimate in found.items()}
    rated = int(ratings.table.paired.sum())
    count = find_clusters(clusters, strata).count
    return [_row(group, name, found[name], rated, count, crossed=ratings.crossed) for name in COEFFICIENTS]


def _scale(ratings: FloatArray) -> FloatArray | None:
    """The values that people could choose from, as far as is known: those of votes, or eleven steps."""
    used = np.unique(ratings)
    for scale in ((0.0, 1.0), VOTES, tuple(step / 10 for step in range(11))):
        if np.isin(used, scale).all():
            return np.array(scale)
    return None


def _row(group: Group, metric: str, estimate: Estimate, n: int, clusters: int, *, crossed: bool) -> Metric:
    defined = bool(np.isfinite(estimate.value))
    notes = []
    if not defined:
        alone = metric == "icc_2k" and crossed
        reason = "annotators cannot be told from chance, or the votes do not vary" if alone else "the votes do not vary"
        notes.append("undefined: no pair has two votes" if n == 0 else f"undefined: {reason}")
    elif metric == "icc_2k" and not crossed:
        notes.append("ICC(1,k): every pair has annotators of its own")
    return Metric(
        model=PEOPLE,
        kind="people",
        group=str(group),
        metric=metric,
        value=estimate.value if defined else None,
        low=estimate.low,
        high=estimate.high,
        method=estimate.method,
        n=n,
        clusters=clusters,
        notes=tuple(notes),
    )
