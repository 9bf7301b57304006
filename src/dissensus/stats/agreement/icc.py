"""Intraclass correlations: how reliable is the mean of an item's ratings (Shrout & Fleiss 1979).

Components of variance are estimated by restricted maximum likelihood (`reml`), so ratings may be missing; for a
complete matrix the results are Shrout & Fleiss's. k is the harmonic mean of the number of ratings of an item. Items
with one rating are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import sparse

from dissensus.stats.agreement.ratings import RatingTable, positive, scale_rows, total, weigh
from dissensus.stats.agreement.reml import Crossed, one_way_ratio
from dissensus.stats.metrics import FloatArray
from dissensus.stats.weighted import Weights, divide

# A determinant below this share of the product of its rows: the components cannot be told apart.
_SINGULAR = 1e-9

# An error below this share of the ratings' mean square is rounding: items are unanimous.
_UNANIMOUS = 1e-12

# A variance of the items' means below this share of what their error alone gives them is none.
_EDGE = 1e-8

MOST_COMPARED = 1500
"""Annotators and items, whichever are fewer, up to which `icc_2k` goes beyond the analysis of variance: a larger matrix
would take seconds to invert, and gain little."""


def icc_1k(ratings: FloatArray | RatingTable, weights: Weights = None) -> FloatArray:
    """ICC(1,k): reliability of the mean of k ratings, where each item has annotators of its own.

    The right one for votes of a crowd. Ratings and weights as for :mod:`dissensus.stats.agreement.coefficients`. Can be
    negative; NaN where all ratings are equal, or no item has two.
    """
    table, w = weigh(ratings, weights)
    sums = _Sums(table, w)
    within = positive(sums.all - sums.items, sums.all)
    ratio = one_way_ratio(*_by_size(table, w), within)
    unanimous = (within <= 0) & (sums.items - sums.mean > _UNANIMOUS * sums.all)
    return np.where(unanimous, 1.0, np.where(within > 0, sums.share(ratio), np.nan))


def icc_2k(ratings: FloatArray | RatingTable, weights: Weights = None) -> FloatArray:
    """ICC(2,k): reliability of the mean of k ratings by annotators drawn at random, absolute agreement (two-way).

    A column is one annotator; of votes of a crowd take `icc_1k`. Can be negative; NaN where all ratings are equal, or
    annotators cannot be told from chance (one annotator, or none who rated two items). Beyond `MOST_COMPARED` it is
    that of the analysis of variance. With weights every row is fitted by itself; for thousands of them there is
    `near_icc_2k`.
    """
    table, w = weigh(ratings, weights)
    sums = _Sums(table, w)
    start = _anova(table, w, sums)
    flat, fitted = w.reshape(math.prod(w.shape[:-1]), w.shape[-1]), start.reshape(-1, 3).copy()
    for row, weight in enumerate(flat):
        if np.isfinite(fitted[row]).all():
            fitted[row] = _refine(table, weight, fitted[row])
    return _two_way(sums, fitted.reshape(start.shape))


def near_icc_2k(ratings: FloatArray | RatingTable) -> Callable[[Weights], FloatArray]:
    """Make a function of weights that is `icc_2k` without them, and near it with them, for resamples.

    1 - ICC is there that of the analysis of variance times what the two differ by on all items.
    """
    table, ones = weigh(ratings, None)
    first, exact = _two_way(sums := _Sums(table, ones), _anova(table, ones, sums)), icc_2k(table)
    factor = divide(1 - exact, 1 - first) if abs(1 - first) > _UNANIMOUS else np.float64(1.0)

    def near(weights: Weights) -> FloatArray:
        if weights is None:
            return exact
        _, w = weigh(table, weights)
        sums = _Sums(table, w)
        return 1 - factor * (1 - _two_way(sums, _anova(table, w, sums)))

    return near


def _two_way(sums: _Sums, components: FloatArray) -> FloatArray:
    """ICC(2,k) from components of shape (..., 3): item, annotator, error."""
    item, annotator, error = np.moveaxis(components, -1, 0)
    return sums.reliability(item, annotator + error)


def _refine(table: RatingTable, weight: FloatArray, start: FloatArray) -> FloatArray:
    """Components by restricted maximum likelihood; the start where there is nothing to gain, or no likelihood."""
    rows = np.flatnonzero((weight > 0) & (table.paired > 0))
    people = np.unique(table.ratings_by_annotator[rows].indices)
    turned = people.size > rows.size and bool((weight == np.round(weight)).all())
    if turned:  # the smaller side is the matrix; annotators have no weights, so items are repeated
        rows = np.repeat(rows, weight[rows].astype(np.int64))
    rated, given = table.ratings_by_annotator[rows], table.sums_by_annotator[rows]
    complete = rated.nnz == rows.size * people.size
    no_error = not start[2] > _UNANIMOUS * float((given.data**2).mean())
    if complete or no_error or min(rows.size, people.size) > MOST_COMPARED:
        return start
    item, annotator = np.repeat(np.arange(rows.size), np.diff(rated.indptr)), np.searchsorted(people, rated.indices)
    if turned:
        fitted = Crossed(annotator, item, given.data, np.ones(people.size)).fit(start[[1, 0, 2]])[[1, 0, 2]]
    else:
        fitted = Crossed(item, annotator, given.data, weight[rows]).fit(start)
    return fitted if np.isfinite(fitted).all() else start


def _by_size(table: RatingTable, w: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Sizes, and for each the number of items and the sums of their means and squares."""
    sizes, number = np.unique(table.size, return_inverse=True)
    mean = table.total / np.maximum(table.size, 1)
    shape = (table.size.size, sizes.size)
    sums = [
        total(w, sparse.csr_array((values * table.paired, (np.arange(shape[0]), number)), shape=shape))
        for values in (np.ones(shape[0]), mean, mean**2)
    ]
    kept = sizes >= 2
    number_of, means, squares = (part[..., kept] for part in sums)
    return sizes[kept], number_of, means, squares


def _anova(table: RatingTable, w: FloatArray, sums: _Sums) -> FloatArray:
    """Components (item, annotator, error) by the analysis of variance for unbalanced data, shape (..., 3): Henderson's
    method 1 (Searle, Casella & McCulloch, *Variance Components*, 1992, chapter 5).
    """
    rated = total(w, scale_rows(table.ratings_by_annotator, table.paired))
    by_annotator = total(w, scale_rows(table.sums_by_annotator, table.paired))
    annotators = divide(by_annotator**2, rated)
    n_annotators = (rated > 0).sum(axis=-1).astype(np.float64)
    mean_load = divide((rated**2).sum(axis=-1), sums.n)
    # Expected sums of squares less that of the mean; unknown: item, annotator, error.
    left = [
        [sums.n - sums.mean_size, sums.n_items - mean_load, sums.n_items - 1],
        [n_annotators - sums.mean_size, sums.n - mean_load, n_annotators - 1],
        [sums.n - sums.mean_size, sums.n - mean_load, sums.n - 1],
    ]
    right = np.stack([sums.items, np.nansum(annotators, axis=-1), sums.all], axis=-1) - sums.mean[..., None]
    return _solve(np.moveaxis(np.array(left), (0, 1), (-2, -1)), right)


class _Sums:
    """Raw sums of squares and sizes of the items with two ratings, each of the shape of the weights less (n,)."""

    def __init__(self, table: RatingTable, w: FloatArray) -> None:
        size = np.maximum(table.size, 1)
        self.n = total(w, table.size * table.paired)
        self.n_items = total(w, table.paired)
        self.all = total(w, table.squares * table.paired)
        self.items = total(w, table.total**2 / size * table.paired)
        self.mean = divide(total(w, table.total * table.paired) ** 2, self.n)
        self.mean_size = divide(total(w, table.size**2 * table.paired), self.n)
        self._inverse_k = divide(total(w, table.paired / size), self.n_items)

    def share(self, ratio: FloatArray) -> FloatArray:
        """The same from the ratio of the variances between and within items; NaN where the means do not vary."""
        with np.errstate(invalid="ignore"):
            whole = ratio + self._inverse_k
            return np.where(np.isinf(ratio), 1.0, divide(ratio, np.where(whole > _EDGE * self._inverse_k, whole, 0.0)))

    def reliability(self, item: FloatArray, error: FloatArray) -> FloatArray:
        """Variance between items as a share of that of their means."""
        scale = divide(self.all, self.n)
        return divide(item, positive(item + error * self._inverse_k, scale))


def _solve(left: FloatArray, right: FloatArray) -> FloatArray:
    """Solve systems of shape (..., 3, 3) for (..., 3); NaN where one has no single answer."""
    with np.errstate(invalid="ignore"):
        good = np.abs(np.linalg.det(left)) > _SINGULAR * np.linalg.norm(left, axis=-1).prod(axis=-1)
    safe = np.where(good[..., None, None], left, np.eye(3))
    found = np.linalg.solve(safe, np.where(good[..., None], right, np.nan)[..., None])[..., 0]
    return np.asarray(found, dtype=np.float64)
