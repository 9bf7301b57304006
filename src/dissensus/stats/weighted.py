"""What all weighted metrics share: their arguments checked, and division that answers NaN without a warning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def prepare(
    predicted: FloatArray, human: FloatArray, weights: NDArray[np.generic] | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Check a metric's arguments: predicted and human of shape (n,), weights of shape (..., n) or all ones."""
    p, h = np.asarray(predicted, dtype=np.float64), np.asarray(human, dtype=np.float64)
    if p.ndim != 1 or p.shape != h.shape:
        raise ValueError(f"predicted and human must have one shape (n,), not {p.shape} and {h.shape}")
    w = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != p.shape:
        raise ValueError(f"weights must have shape (..., {p.size}), not {w.shape}")
    return p, h, w


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; NaN, without a warning, where the denominator is not above zero.

    >>> divide(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    denominator = np.asarray(denominator)
    quotient: FloatArray = np.full(np.broadcast_shapes(np.shape(numerator), denominator.shape), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
