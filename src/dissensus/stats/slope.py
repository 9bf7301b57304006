"""Logistic regression of preferences on one number without an intercept, so that it turns with the pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

STEEPEST = 20.0
"""Bound on a slope in the log ratio of lengths: a tenth longer then wins with .87."""

FloatArray = NDArray[np.float64]


def fit_slope(ratio: FloatArray, preference: FloatArray, weight: FloatArray) -> float:
    """Return the slope under which sigma(slope * ratio) makes preferences most likely; all of shape (pairs,).

    The likelihood is concave in the slope, which is bounded where preferences are unanimous; without ratios it is 0.
    """
    if not ratio.any():
        return 0.0

    def loss(slope: float) -> float:
        reach = slope * ratio
        return float(weight @ (np.logaddexp(0, reach) - preference * reach))

    found = minimize_scalar(loss, bounds=(-STEEPEST, STEEPEST), method="bounded", options={"xatol": 1e-8})
    return float(found.x)
