"""Intraclass correlations: how reliable is the mean of an item's ratings (Shrout & Fleiss 1979).

Components of variance come from the analysis of variance for unbalanced data: sums of squares are set equal to their
expectations (Henderson's method 1; Searle, Casella & McCulloch, *Variance Components*, 1992, chapter 5). So ratings
may be missing; for a complete matrix the results are Shrout & Fleiss's. k is then the harmonic mean of the number of
ratings of an item, which gives the mean error variance of the items' means. Items with one rating are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.metrics import FloatArray
from dissensus.stats.ratings import RatingTable, scale_rows
from dissensus.stats.totals import positive, prepare, total
from dissensus.stats.weighted import divide

# A determinant below this share of the product of its rows: the components cannot be told apart.
_SINGULAR = 1e-9


def icc_1k(ratings: FloatArray | RatingTable, weights: NDArray[np.generic] | None = None) -> FloatArray:
    """ICC(1,k): reliability of the mean of k ratings, where each item has annotators of its own.

    The right one for votes of a crowd: that some annotators are lenient counts as error like all else. Ratings and
    weights as for :mod:`dissensus.stats.coefficients`. Can be negative; NaN where all ratings are equal, or no item
    has two.
    """
    table, w = prepare(ratings, weights)
    sums = _Sums(table, w)
    error = divide(sums.all - sums.items, sums.n - sums.n_items)
    item = divide(sums.items - sums.mean - (sums.n_items - 1) * error, sums.n - sums.mean_size)
    return sums.reliability(item, error)


def icc_2k(ratings: FloatArray | RatingTable, weights: NDArray[np.generic] | None = None) -> FloatArray:
    """ICC(2,k): reliability of the mean of k ratings by annotators drawn at random, absolute agreement (two-way).

    A column is one annotator. Where it is not (votes of a crowd, `ratings_from_votes`) the result means nothing: take
    `icc_1k`. Can be negative; NaN where all ratings are equal, or annotators cannot be told from chance (one annotator,
    or none who rated two items).
    """
    table, w = prepare(ratings, weights)
    sums = _Sums(table, w)
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
    item, annotator, error = np.moveaxis(_solve(np.moveaxis(np.array(left), (0, 1), (-2, -1)), right), -1, 0)
    return sums.reliability(item, annotator + error)


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

    def reliability(self, item: FloatArray, error: FloatArray) -> FloatArray:
        """Variance between items as a share of that of their means."""
        scale = divide(self.all, self.n)
        return divide(item, positive(item + error * self._inverse_k, scale))


def _solve(left: FloatArray, right: FloatArray) -> FloatArray:
    """Solve systems of shape (..., 3, 3) for (..., 3); NaN where one has no single answer."""
    rows = np.linalg.norm(left, axis=-1)
    with np.errstate(invalid="ignore"):
        good = np.abs(np.linalg.det(left)) > _SINGULAR * rows.prod(axis=-1)
    safe = np.where(good[..., None, None], left, np.eye(3))
    found = np.linalg.solve(safe, np.where(good[..., None], right, np.nan)[..., None])[..., 0]
    return np.asarray(found, dtype=np.float64)
