"""Coefficients of agreement of people, from their ratings of the same items.

Every coefficient is ``f(ratings, weights=None)``: ratings of shape (n items, annotators), NaN for "not rated", or a
table of them (`tabulate`); weights of shape (..., n), counts as a bootstrap draws them. The result has shape (...), NaN
where it is undefined (no item with two ratings, one value throughout).

Kappa, alpha and AC1 correct for agreement by chance, which they take from how often each value occurs. Where nearly
everything is one value, kappa and alpha are near 0 although people nearly always agree; AC1 is not (Feinstein &
Cicchetti 1990; Gwet 2008). So show raw agreement, kappa and AC1 together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.agreement.icc import icc_1k, icc_2k, near_icc_2k
from dissensus.stats.agreement.ratings import RatingTable, positive, tabulate, total, weigh
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.statistics import estimate_all
from dissensus.stats.weighted import Weights, divide

Ratings = FloatArray | RatingTable


def agreement_raw(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Mean over items with two ratings or more of the share of pairs of annotators who gave the same rating."""
    table, w = weigh(ratings, weights)
    return _observed(table, w, table.matches)


def fleiss_kappa(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Fleiss' kappa (1971), for numbers of ratings that may differ between items.

    Observed agreement is `agreement_raw`; how often a value occurs is the mean over rated items of its share among an
    item's ratings (Gwet, *Handbook of Inter-Rater Reliability*, 4th ed. 2014, chapter 2).
    """
    table, w = weigh(ratings, weights)
    return _corrected(_observed(table, w, table.matches), (_prevalence(table, w) ** 2).sum(axis=-1))


def cohen_kappa(first: NDArray[np.generic], second: NDArray[np.generic], weights: Weights = None) -> FloatArray:
    """Cohen's kappa (1960) of two raters who both put each of n items into a category; both of shape (n,).

    NaN where both use one and the same category throughout.
    """
    w = np.ones(first.shape) if weights is None else np.asarray(weights, np.float64)
    n = w.sum(axis=-1)
    observed = divide((w * (first == second)).sum(axis=-1), n)
    expected = np.zeros_like(n)
    for value in np.union1d(first, second):
        expected += divide((w * (first == value)).sum(axis=-1), n) * divide((w * (second == value)).sum(axis=-1), n)
    return divide(observed - expected, 1 - expected)


def krippendorff_nominal(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Krippendorff's alpha for unordered values: 1 - observed / expected disagreement, over pairable ratings.

    Items with one rating are left out; undefined where one value is used throughout (Krippendorff, *Content Analysis*,
    2nd ed. 2004, chapter 11).
    """
    table, w = weigh(ratings, weights)
    used = total(w, table.paired_counts)
    n = used.sum(axis=-1)
    observed = total(w, table.size * table.paired * (1 - table.matches))
    return _alpha(observed, n**2 - (used**2).sum(axis=-1), n)


def krippendorff_ordinal(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Krippendorff's alpha for ordered values, whose distance is that of their mid-ranks among all pairable ratings."""
    table, w = weigh(ratings, weights)
    used = total(w, table.paired_counts)
    n = used.sum(axis=-1)
    rank = np.cumsum(used, axis=-1) - used / 2 - n[..., None] / 2
    low, high, coincidences = table.coincidences
    observed = 2 * (total(w, coincidences) * (rank[..., high] - rank[..., low]) ** 2).sum(axis=-1)
    return _alpha(observed, 2 * n * (used * rank**2).sum(axis=-1), n)


def krippendorff_interval(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Krippendorff's alpha for numbers, by squared differences."""
    table, w = weigh(ratings, weights)
    n = total(w, table.size * table.paired)
    sums, squares = total(w, table.total * table.paired), total(w, table.squares * table.paired)
    observed = total(w, table.distance * table.size)
    return _alpha(observed, 2 * positive(n * squares - sums**2, n * squares), n)


def gwet_ac1(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Gwet's AC1 (2008): kappa's form, with a chance agreement that does not rise where one value prevails.

    Observed agreement and prevalence as in `fleiss_kappa`. The scale is the values in ``ratings``; `tabulate` takes
    another one. NaN for a scale of one value.
    """
    table, w = weigh(ratings, weights)
    return _gwet(table, w, _observed(table, w, table.matches), table.values.size)


def gwet_ac2(ratings: Ratings, weights: Weights = None) -> FloatArray:
    """Gwet's AC2 (2014) for ordered values: AC1 with a credit of 1 - (x - y)^2 / (range of the scale)^2 for ratings
    x and y, as in quadratically weighted kappa.
    """
    table, w = weigh(ratings, weights)
    values, q = table.values - table.origin, table.values.size
    span = np.ptp(values) ** 2 if q > 1 else 1.0
    credit = table.paired * (1 - table.distance / span)
    all_credits = q**2 - 2 * (q * (values**2).sum() - values.sum() ** 2) / span
    return _gwet(table, w, _observed(table, w, credit), all_credits)


COEFFICIENTS: dict[str, Callable[..., FloatArray]] = {
    "agreement_raw": agreement_raw,
    "fleiss_kappa": fleiss_kappa,
    "krippendorff_nominal": krippendorff_nominal,
    "krippendorff_ordinal": krippendorff_ordinal,
    "krippendorff_interval": krippendorff_interval,
    "gwet_ac1": gwet_ac1,
    "gwet_ac2": gwet_ac2,
    "icc_2k": icc_2k,
}
"""The coefficients by the names that files and tables use."""


def agreement_intervals(
    ratings: Ratings,
    clusters: NDArray[np.generic],
    strata: NDArray[np.generic],
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
    *,
    crossed: bool = True,
) -> dict[str, Estimate]:
    """Estimate every coefficient with its interval, by a bootstrap of whole clusters of items.

    Intervals are as by `estimate_all`: annotators, where they are known, are taken as they are.
    ``bench/agreement_coverage.py`` has how often they hold the truth.

    Args:
        ratings: shape (n, annotators), NaN for "not rated"; or a table of them.
        clusters: the cluster (prompt) of each item, shape (n,).
        strata: the stratum (data set) of each item, shape (n,).
        n_resamples: how many resamples; the same for all coefficients.
        rng: the source of randomness.
        level: of the intervals.
        crossed: whether a column is an annotator. Where it is not (votes of a crowd), ``icc_1k`` takes the place of
            ``icc_2k``.
    """
    table = tabulate(ratings)
    functions = {name: f for name, f in COEFFICIENTS.items() if crossed or f is not icc_2k}
    if not crossed:
        functions["icc_1k"] = icc_1k
    kinds = None if crossed else table.kinds()
    inside = table.paired > 0
    if kinds is not None:
        table = table.rows(np.unique(kinds, return_index=True)[1])
    statistics = {name: near_icc_2k(table) if f is icc_2k else partial(f, table) for name, f in functions.items()}
    return estimate_all(statistics, clusters, strata, n_resamples, rng, level, inside=inside, kinds=kinds)


def _observed(table: RatingTable, w: FloatArray, agreement: FloatArray) -> FloatArray:
    return divide(total(w, agreement), total(w, table.paired))


def _prevalence(table: RatingTable, w: FloatArray) -> FloatArray:
    """How often each value occurs, each item counting once; shape (..., categories)."""
    return divide(total(w, table.shares), total(w, table.rated)[..., None])


def _corrected(observed: FloatArray, expected: FloatArray) -> FloatArray:
    return divide(observed - expected, positive(1 - expected, 1.0))


def _alpha(observed: FloatArray, expected: FloatArray, n: FloatArray) -> FloatArray:
    """1 - disagreement within items / disagreement over all n ratings; both as sums over ordered pairs."""
    return 1 - divide(observed * (n - 1), expected)


def _gwet(table: RatingTable, w: FloatArray, observed: FloatArray, all_credits: float) -> FloatArray:
    share, q = _prevalence(table, w), table.values.size
    chance = (share * (1 - share)).sum(axis=-1) * all_credits / (q * (q - 1)) if q > 1 else np.nan
    return _corrected(observed, np.broadcast_to(chance, observed.shape))
