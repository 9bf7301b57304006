"""Ratings of the same items by several people, reduced once to what the coefficients of agreement need.

Ratings have shape (n items, annotators): any numbers, NaN for "not rated". A vote is 1 for response a, 0 for b, 1/2 for
a tie. Where every item has annotators of its own (crowd votes), a column is just somewhere to put a rating.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dissensus.stats.weighted import FloatArray, Weights

_DECIMALS = 12
"""Ratings equal to so many decimals are one category: 0.1 * 3 is not 0.3."""

_MOST_VALUES = 16
"""Values of a scale up to which items are looked at for being alike."""

_ROUNDING = 1e-12
"""A difference below this share of its terms is none."""

VOTES = (0.0, 0.5, 1.0)
"""The scale of votes: b, a tie, a."""


@dataclass(frozen=True)
class RatingTable:
    """Ratings as sufficient statistics of each item; from `tabulate`. Sums are of ratings less ``origin``."""

    values: FloatArray
    """The scale, shape (categories,), ascending."""
    counts: sparse.csr_array
    """How many annotators gave an item each value, shape (n, categories)."""
    sums_by_annotator: sparse.csr_array
    """The ratings themselves less ``origin``, shape (n, annotators); no columns where it is not known who rated."""
    ratings_by_annotator: sparse.csr_array
    """1 where there is a rating, shape (n, annotators)."""
    size: FloatArray
    """Ratings of each item, shape (n,)."""
    total: FloatArray
    """Sum of each item's ratings, shape (n,)."""
    squares: FloatArray
    """Sum of the squares of each item's ratings, shape (n,)."""
    origin: float
    """A value of the scale near the middle: keeps sums of squares precise."""

    def kinds(self) -> NDArray[np.intp] | None:
        """Number the items by what was said of them, whoever said it, shape (n,); None where few are alike."""
        if self.counts.shape[1] > _MOST_VALUES:
            return None
        kinds, number = np.unique(self.counts.toarray(), axis=0, return_inverse=True)
        return number.reshape(-1) if 4 * len(kinds) <= self.size.size else None

    def rows(self, inside: NDArray[np.bool_] | NDArray[np.intp]) -> RatingTable:
        """Return the table of some of the items, by a mask of shape (n,) or by number."""
        return replace(
            self,
            counts=self.counts[inside],
            sums_by_annotator=self.sums_by_annotator[inside],
            ratings_by_annotator=self.ratings_by_annotator[inside],
            size=self.size[inside],
            total=self.total[inside],
            squares=self.squares[inside],
        )

    @cached_property
    def rated(self) -> FloatArray:
        """1 for items with a rating, shape (n,)."""
        return np.asarray(self.size >= 1, dtype=np.float64)

    @cached_property
    def paired(self) -> FloatArray:
        """1 for items with two ratings or more, which alone tell of agreement, shape (n,)."""
        return np.asarray(self.size >= 2, dtype=np.float64)

    @cached_property
    def matches(self) -> FloatArray:
        """Share of an item's pairs of ratings that are equal, shape (n,); 0 where there is no pair."""
        same: FloatArray = self.counts.power(2).sum(axis=1) - self.size
        return self.paired * same / self._pairs

    @cached_property
    def distance(self) -> FloatArray:
        """Mean squared difference of an item's pairs of ratings, shape (n,); 0 where there is no pair."""
        return self.paired * 2 * (self.size * self.squares - self.total**2) / self._pairs

    @cached_property
    def shares(self) -> sparse.csr_array:
        """Share of an item's ratings in each category, shape (n, categories)."""
        return scale_rows(self.counts, 1 / np.maximum(self.size, 1))

    @cached_property
    def paired_counts(self) -> sparse.csr_array:
        """``counts``, without items of one rating."""
        return scale_rows(self.counts, self.paired)

    @cached_property
    def coincidences(self) -> tuple[NDArray[np.intp], NDArray[np.intp], sparse.csr_array]:
        """Krippendorff's coincidences of unequal values: the lower and the higher category of each cell that occurs,
        shape (cells,), and what each item adds to it, r_c r_k / (r - 1), shape (n, cells).
        """
        rows, columns, counts = self.counts.tocoo().row, self.counts.indices, self.counts.data
        used = np.diff(self.counts.indptr)
        # Each category that an item has, with each that it has: the entries of a row lie side by side.
        partners = used[rows]
        first = np.repeat(np.arange(columns.size), partners)
        start = np.repeat(self.counts.indptr[rows] - (np.cumsum(partners) - partners), partners)
        second = np.arange(first.size) + start
        unequal = columns[first] < columns[second]
        first, second = first[unequal], second[unequal]
        codes = columns[first].astype(np.int64) * self.values.size + columns[second]
        cells, cell = np.unique(codes, return_inverse=True)
        added = counts[first] * counts[second] / (self.size[rows[first]] - 1)
        by_item = sparse.csr_array((added, (rows[first], cell)), shape=(self.size.size, cells.size))
        return cells // self.values.size, cells % self.values.size, by_item

    @cached_property
    def _pairs(self) -> FloatArray:
        return np.maximum(self.size * (self.size - 1), 1)


def tabulate(ratings: FloatArray | RatingTable, categories: FloatArray | None = None) -> RatingTable:
    """Reduce ratings of shape (n, annotators), NaN for "not rated", to what the coefficients need; a table stays.

    The coefficients do this themselves; do it once where they are asked many times. ``categories`` is the scale where
    it has values that nobody used, which matters to Gwet's coefficients alone.
    """
    if isinstance(ratings, RatingTable):
        return ratings
    r = np.asarray(ratings, dtype=np.float64)
    if r.ndim != 2:
        raise ValueError(f"ratings must have shape (items, annotators), not {r.shape}")
    if np.isinf(r).any():
        raise ValueError("ratings must be finite, or NaN where there is none")
    item, annotator = np.nonzero(~np.isnan(r))
    return _tabulate(item, r[item, annotator], np.ones(item.size), r.shape[0], categories, annotator, r.shape[1])


def tabulate_counts(
    item: NDArray[np.intp], rating: FloatArray, count: FloatArray, n: int, categories: FloatArray | None = None
) -> RatingTable:
    """Reduce ratings of ``n`` items by people who are not known: of each item, how many gave which rating.

    ``item`` (from 0), ``rating`` and ``count`` have shape (entries,); ``categories`` is as for `tabulate`.
    """
    return _tabulate(item, rating, count, n, categories, np.zeros(0, np.intp), 0)


def _tabulate(
    item: NDArray[np.intp],
    rating: FloatArray,
    count: FloatArray,
    n: int,
    categories: FloatArray | None,
    annotator: NDArray[np.intp],
    annotators: int,
) -> RatingTable:
    given = np.round(rating, _DECIMALS) + 0.0  # no -0
    values, code = _scale(given, categories)
    origin = float(values[values.size // 2]) if values.size else 0.0
    given -= origin
    known = item if annotators else annotator
    return RatingTable(
        values=values,
        counts=_sparse(item, code, count, (n, values.size)),
        sums_by_annotator=_sparse(known, annotator, given[: known.size], (n, annotators)),
        ratings_by_annotator=_sparse(known, annotator, np.ones(known.size), (n, annotators)),
        size=np.bincount(item, count, minlength=n).astype(np.float64),
        total=np.bincount(item, given * count, minlength=n).astype(np.float64),
        squares=np.bincount(item, given**2 * count, minlength=n).astype(np.float64),
        origin=origin,
    )


def scale_rows(matrix: sparse.csr_array, factors: FloatArray) -> sparse.csr_array:
    """Multiply each row by its factor."""
    scaled = matrix.copy()
    scaled.data *= np.repeat(factors, np.diff(matrix.indptr))
    return scaled


def _scale(given: FloatArray, categories: FloatArray | None) -> tuple[FloatArray, NDArray[np.intp]]:
    """The scale, and the place on it of each rating."""
    if categories is None:
        values, code = np.unique(given, return_inverse=True)
        return values, code
    values = np.unique(np.round(np.asarray(categories, dtype=np.float64), _DECIMALS))
    if not np.isfinite(values).all():
        raise ValueError("categories must be finite")
    outside = np.setdiff1d(given, values)
    if outside.size:
        raise ValueError(f"rating {outside[0]:g} is none of the categories {values.tolist()}")
    return values, np.searchsorted(values, given)


def _sparse(
    row: NDArray[np.intp], column: NDArray[np.intp], data: FloatArray, shape: tuple[int, ...]
) -> sparse.csr_array:
    """Sum entries into a matrix in canonical form: columns ascending within a row, none twice."""
    matrix = sparse.coo_array((data, (row, column)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def weigh(ratings: FloatArray | RatingTable, weights: Weights) -> tuple[RatingTable, FloatArray]:
    """Tabulate ratings of n items and check weights, which are 1 by default, shape (..., n)."""
    table = tabulate(ratings)
    w = np.ones(table.size.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != table.size.shape:
        raise ValueError(f"weights must have shape (..., {table.size.size}), not {w.shape}")
    return table, w


def total(w: FloatArray, statistic: FloatArray | sparse.csr_array) -> FloatArray:
    """Sum a statistic of the items with weights (..., n): (n,) gives (...), a sparse (n, k) gives (..., k)."""
    if isinstance(statistic, np.ndarray):
        return np.asarray(w @ statistic, dtype=np.float64)
    flat = w.reshape(math.prod(w.shape[:-1]), w.shape[-1])
    return np.asarray((statistic.T @ flat.T).T).reshape(*w.shape[:-1], statistic.shape[1])


def positive(difference: FloatArray, terms: FloatArray | float) -> FloatArray:
    """The difference, or 0 where it is but the rounding of its terms."""
    return np.where(difference > _ROUNDING * np.asarray(terms), difference, 0.0)
