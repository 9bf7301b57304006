"""Agreement of people, and preferences by models of annotators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dissensus.evaluation.groups import Group, find_groups, number_prompts
from dissensus.evaluation.resample import Resampling
from dissensus.records import Metric, Pair
from dissensus.stats.agreement.coefficients import COEFFICIENTS, agreement_intervals
from dissensus.stats.agreement.dawid_skene import DawidSkene, Mace, dawid_skene, mace
from dissensus.stats.agreement.ratings import VOTES, RatingTable, tabulate, tabulate_counts
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import find_clusters, number_labels
from dissensus.stats.resampling.intervals import Estimate

PEOPLE = "people"
_VALUES = {"b": 0, "tie": 1, "a": 2}  # the order that symmetric Dawid-Skene expects
_MOST_CELLS = 2_000_000
"""Of a matrix of pairs by annotators; beyond, annotators are a crowd, of whom most saw few pairs."""


@dataclass(frozen=True)
class Ratings:
    """The votes on n pairs as ratings: 1 for a, 0 for b, 1/2 for a tie, or estimates."""

    table: RatingTable
    crossed: bool
    """Whether it is known who rated what; otherwise every pair has annotators of its own."""


def ratings_of(pairs: Sequence[Pair]) -> Ratings:
    """Lay the votes on pairs, all of which have some, out as ratings.

    There is a column for each annotator where all votes name one, none voted twice on a pair, and they are few enough
    for most to have met on some pairs; otherwise ratings are counted, whoever gave them.
    """
    crossed = _by_annotator(pairs)
    if crossed is not None:
        return Ratings(tabulate(crossed, _scale(crossed[np.isfinite(crossed)])), crossed=True)
    return Ratings(rating_counts(pairs), crossed=False)


def rating_counts(pairs: Sequence[Pair]) -> RatingTable:
    """Count what people said of n pairs, all of which have votes; memory does not grow with how many voted."""
    said = [pair.votes.rating_counts for pair in pairs if pair.votes is not None]
    item = np.array([row for row, counts in enumerate(said) for _ in counts], dtype=np.intp)
    rating = np.array([value for counts in said for value in counts], dtype=np.float64)
    count = np.array([number for counts in said for number in counts.values()], dtype=np.float64)
    return tabulate_counts(item, rating, count, len(said), _scale(rating))


def score_people(pairs: Sequence[Pair], resampling: Resampling) -> list[Metric]:
    """Tell how well people agree: every coefficient for all pairs, each data set and each domain.

    Intervals are BCa bootstrap intervals over prompts within data sets, widened for few prompts. ICC(2,k)
    needs annotators who met on several pairs; for a crowd it is ICC(1,k), and a note says so.
    """
    rows: list[Metric] = []
    for group, mask in find_groups(pairs).items():
        if group.kind in ("all", "dataset", "domain"):
            members = [pair for pair, inside in zip(pairs, mask, strict=True) if inside]
            rows += _score_group(group, members, resampling)
    return rows


def aggregated_preferences(pairs: Sequence[Pair]) -> dict[str, tuple[FloatArray, bool]]:
    """Estimate preferences by models of annotators, ``dawid-skene`` and ``mace``; each data set is fitted by itself.

    Returns:
        By model, preferences of shape (n,) and whether the fit of every data set ended because nothing moved any more.
        NaN for pairs of a data set in which some vote does not name its annotator, or nobody voted on two pairs: there
        is nothing to learn about an annotator then.
    """
    estimates = {target: np.full(len(pairs), np.nan) for target in ("dawid-skene", "mace")}
    converged = dict.fromkeys(estimates, True)
    for dataset in dict.fromkeys(pair.dataset for pair in pairs):
        rows = [row for row, pair in enumerate(pairs) if pair.dataset == dataset]
        for target, fit in _aggregate([pairs[row] for row in rows]).items():
            estimates[target][rows] = fit.posterior[:, 2] + fit.posterior[:, 1] / 2
            converged[target] &= fit.converged
    return {target: (estimates[target], converged[target]) for target in estimates}


def _aggregate(pairs: Sequence[Pair]) -> dict[str, DawidSkene | Mace]:
    named = [
        (row, vote.annotator, _VALUES[vote.vote])
        for row, pair in enumerate(pairs)
        if pair.votes is not None
        for vote in pair.votes.annotations or ()
        if vote.annotator is not None
    ]
    annotators, annotator = number_labels([name for _, name, _ in named])
    total = sum(pair.votes.n for pair in pairs if pair.votes is not None)
    if len(named) < total or len(annotators) == len(named):
        return {}
    item, category = [row for row, _, _ in named], [value for _, _, value in named]
    shape = (len(pairs), len(annotators), len(_VALUES))
    return {
        "dawid-skene": dawid_skene(item, annotator, category, shape=shape, symmetric=True),
        "mace": mace(item, annotator, category, shape=shape),
    }


def _by_annotator(pairs: Sequence[Pair]) -> FloatArray | None:
    """Ratings with a column for each annotator of a data set; None where they are a crowd, or not all named."""
    columns: dict[tuple[str | None, str], int] = {}
    cells: dict[tuple[int, int], float] = {}
    for row, pair in enumerate(pairs):
        votes = pair.votes
        if votes is None or votes.annotations is None:
            return None
        for vote in votes.annotations:
            if vote.annotator is None:
                return None
            cell = row, columns.setdefault((pair.dataset, vote.annotator), len(columns))
            if cell in cells:
                return None
            cells[cell] = vote.rating
    pairs_of = np.bincount([column for _, column in cells], minlength=len(columns))
    if len(pairs) * len(columns) > _MOST_CELLS or np.median(pairs_of) < 2:
        return None
    values = np.full((len(pairs), len(columns)), np.nan)
    for cell, value in cells.items():
        values[cell] = value
    return values


def _score_group(group: Group, pairs: Sequence[Pair], resampling: Resampling) -> list[Metric]:
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
