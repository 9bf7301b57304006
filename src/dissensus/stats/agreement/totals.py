"""Weighted totals over items, the arithmetic that the coefficients of agreement share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dissensus.stats.agreement.ratings import RatingTable, tabulate
from dissensus.stats.metrics import FloatArray

# A difference below this share of its terms is rounding.
_ROUNDING = 1e-12


def prepare(ratings: FloatArray | RatingTable, weights: NDArray[np.generic] | None) -> tuple[RatingTable, FloatArray]:
    """Tabulate ratings of n items and check weights, which are 1 by default, shape (..., n)."""
    table = tabulate(ratings)
    w = np.ones(table.size.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != table.size.shape:
        raise ValueError(f"weights must have shape (..., {table.size.size}), not {w.shape}")
    return table, w


def total(w: FloatArray, statistic: FloatArray | sparse.csr_array) -> FloatArray:
    """Sum a statistic of the items with weights (..., n): (n,) gives (...), a sparse (n, k) gives (..., k)."""
    if isinstance(statistic, np.ndarray):
        summed: FloatArray = np.asarray(w @ statistic)
        return summed
    flat = w.reshape(math.prod(w.shape[:-1]), w.shape[-1])
    return np.asarray((statistic.T @ flat.T).T).reshape(*w.shape[:-1], statistic.shape[1])


def positive(difference: FloatArray, terms: FloatArray | float) -> FloatArray:
    """The difference, or 0 where it is but the rounding of its terms."""
    return np.where(difference > _ROUNDING * np.asarray(terms), difference, 0.0)
