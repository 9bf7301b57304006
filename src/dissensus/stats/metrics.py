"""How closely predicted preferences follow those of people.

Every metric is ``f(predicted, human, weights=None)``. ``predicted`` and ``human`` are preferences of shape (n,),
fractions from 0 to 1. ``weights`` of shape (..., n) are non-negative counts, as a bootstrap draws them: weight k
means that the pair is there k times. The result has shape (...). Where a metric has no answer (a constant input,
no pair left) the result is NaN; it is up to the caller to say so in words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Function = Callable[..., FloatArray]

# A variance below this share of the second moment is rounding: the input is constant.
_CONSTANT = 1e-12


def pearson(predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None = None) -> FloatArray:
    """Pearson's r, in the orientation of the data; NaN where either side is constant.

    Which response is called a matters here: see :func:`pearson_symmetric`.

    >>> round(float(pearson(np.array([0.1, 0.4, 0.9]), np.array([0.0, 0.5, 1.0]))), 3)
    0.99
    """
    p, h, w = _prepare(predicted, human, weights)
    return _correlation(p - _mean(p), h - _mean(h), w)


def pearson_symmetric(
    predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None = None
) -> FloatArray:
    """Pearson's r with each pair entered both ways, as (p, h) and as (1 - p, 1 - h).

    Both means are then exactly 1/2, so this is the correlation about 1/2. It does not depend on which response is
    called a. NaN where either side is 1/2 throughout.

    >>> p, h = np.array([0.1, 0.4, 0.9]), np.array([0.0, 0.5, 1.0])
    >>> flipped = np.array([True, False, False])
    >>> bool(np.isclose(pearson_symmetric(p, h), pearson_symmetric(np.where(flipped, 1 - p, p), abs(flipped - h))))
    True
    """
    p, h, w = _prepare(predicted, human, weights)
    p, h = p - 0.5, h - 0.5
    return _divide(w @ (p * h), np.sqrt(w @ (p * p)) * np.sqrt(w @ (h * h)))


def spearman(predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None = None) -> FloatArray:
    """Spearman's rank correlation with mid-ranks for ties; NaN where either side is constant."""
    p, h, w = _prepare(predicted, human, weights)
    ranks_p, ranks_h = _mid_ranks(p, w), _mid_ranks(h, w)
    # The mean rank is (W + 1) / 2 whatever the ties.
    centre = (w.sum(axis=-1, keepdims=True) + 1) / 2
    ranks_p -= centre
    ranks_h -= centre
    weighted = w * ranks_h
    covariance = np.einsum("...n,...n->...", weighted, ranks_p)
    variance_h = np.einsum("...n,...n->...", weighted, ranks_h)
    variance_p = np.einsum("...n,...n,...n->...", w, ranks_p, ranks_p)
    return _divide(covariance, np.sqrt(variance_p) * np.sqrt(variance_h))


def mean_absolute_error(
    predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None = None
) -> FloatArray:
    """L1 between preferences: mean |p - h|; NaN where no pair is left. Orientation does not matter.

    >>> round(float(mean_absolute_error(np.array([0.2, 0.9]), np.array([0.0, 1.0]))), 3)
    0.15
    """
    p, h, w = _prepare(predicted, human, weights)
    return _divide(w @ np.abs(p - h), w.sum(axis=-1))


def brier(predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None = None) -> FloatArray:
    """Brier score against the fraction of people: mean (p - h)^2; NaN where no pair is left."""
    p, h, w = _prepare(predicted, human, weights)
    return _divide(w @ (p - h) ** 2, w.sum(axis=-1))


def accuracy(predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None = None) -> FloatArray:
    """Share of pairs on which the model names the majority's winner.

    Pairs that split people evenly have no winner and are left out; a prediction of exactly 1/2 counts one half.
    NaN where no pair with a winner is left.

    >>> float(accuracy(np.array([0.7, 0.5, 0.1]), np.array([1.0, 0.0, 0.5])))
    0.75
    """
    p, h, w = _prepare(predicted, human, weights)
    decided = h != 0.5
    credit = np.where(p == 0.5, 0.5, (p > 0.5) == (h > 0.5))
    w = w[..., decided]
    return _divide(w @ credit[decided], w.sum(axis=-1))


METRICS: dict[str, Function] = {
    "pearson": pearson,
    "pearson_symmetric": pearson_symmetric,
    "spearman": spearman,
    "l1": mean_absolute_error,
    "brier": brier,
    "accuracy": accuracy,
}
"""The metrics by the names that files and tables use."""

LOWER_IS_BETTER = frozenset({"l1", "brier"})


def _prepare(
    predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    p, h = np.asarray(predicted, dtype=np.float64), np.asarray(human, dtype=np.float64)
    if p.ndim != 1 or p.shape != h.shape:
        raise ValueError(f"predicted and human must have one shape (n,), not {p.shape} and {h.shape}")
    w = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != p.shape:
        raise ValueError(f"weights must have shape (..., {p.size}), not {w.shape}")
    return p, h, w


def _mean(x: FloatArray) -> float:
    return float(x.mean()) if x.size else 0.0


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; NaN, without a warning, where the denominator is zero."""
    denominator = np.asarray(denominator)
    quotient: FloatArray = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _correlation(x: FloatArray, y: FloatArray, w: FloatArray) -> FloatArray:
    """Weighted correlation of x and y, which the caller has centred roughly (for precision)."""
    total = w.sum(axis=-1)
    mean_x, mean_y = _divide(w @ x, total), _divide(w @ y, total)
    second_x, second_y = _divide(w @ (x * x), total), _divide(w @ (y * y), total)
    variance_x = np.where(second_x - mean_x**2 > _CONSTANT * second_x, second_x - mean_x**2, 0)
    variance_y = np.where(second_y - mean_y**2 > _CONSTANT * second_y, second_y - mean_y**2, 0)
    covariance = _divide(w @ (x * y), total) - mean_x * mean_y
    return np.clip(_divide(covariance, np.sqrt(variance_x) * np.sqrt(variance_y)), -1, 1)


def _mid_ranks(x: FloatArray, w: FloatArray) -> FloatArray:
    """Rank x, of shape (n,), in each resample w, of shape (..., n): the mean rank of the copies of a tied value."""
    if x.size == 0:
        return np.zeros(w.shape)
    values, inverse = np.unique(x, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(values.size))
    tied = np.add.reduceat(w[..., order], starts, axis=-1)
    ranks: FloatArray = np.cumsum(tied, axis=-1) - (tied - 1) / 2
    return np.take(ranks, inverse, axis=-1)
