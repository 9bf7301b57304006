"""Arguments of weighted metrics, checked, and division that answers NaN without a warning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Weights = NDArray[np.generic] | None
"""How often each pair counts, shape (..., n); None for once."""

_ROUNDING = 1e-9
"""What a mean of preferences may lie outside of 0 to 1 by."""


def prepare(predicted: FloatArray, human: FloatArray, weights: Weights) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Check a metric's arguments: predicted and human of shape (n,), weights of shape (..., n) or all ones.

    Raises:
        ValueError: the shapes do not fit, or a preference is not from 0 to 1 (NaN included).
    """
    p, h = np.asarray(predicted, dtype=np.float64), np.asarray(human, dtype=np.float64)
    if p.ndim != 1 or p.shape != h.shape:
        raise ValueError(f"predicted and human must have one shape (n,), not {p.shape} and {h.shape}")
    check_preferences("predicted", p)
    check_preferences("human", h)
    w = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != p.shape:
        raise ValueError(f"weights must have shape (..., {p.size}), not {w.shape}")
    return p, h, w


def check_preferences(name: str, values: FloatArray) -> None:
    """Raise a ValueError that names the first of some preferences, shape (n,), that is not from 0 to 1."""
    outside = ~((values >= -_ROUNDING) & (values <= 1 + _ROUNDING))
    if outside.any():
        at = int(outside.argmax())
        found = f"{name}[{at}] is {values[at]:.6g}"
        raise ValueError(f"{name} must be preferences from 0 to 1, but {found}; leave out pairs that have none")


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; NaN, without a warning, where the denominator is not above zero.

    >>> divide(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    denominator = np.asarray(denominator)
    quotient: FloatArray = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
