"""Differences between two models on the same pairs, and many of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import Freedom
from dissensus.stats.resampling.intervals import Estimate, percentile_interval


def paired_difference(
    model: float,
    baseline: float,
    model_resampled: FloatArray,
    baseline_resampled: FloatArray,
    level: float = 0.95,
    spare: Freedom | None = None,
) -> Estimate:
    """Compare a model with a baseline: model - baseline, with the percentile interval of the paired differences.

    Both were computed on the same resamples, row by row, shape (n_resamples,): what makes a resample hard for both
    cancels. ``spare`` (`find_freedom`) widens it for few or unequal clusters. On simulated prompts of equal size it
    held the true difference of r or L1 in 92.7 to 95.3 % of samples of 25 to 150 prompts, BCa in 89.5 to 95.2 %.
    """
    if model_resampled.shape != baseline_resampled.shape:
        raise ValueError(
            f"the resamples differ in shape, {model_resampled.shape} and {baseline_resampled.shape}: not paired"
        )
    return percentile_interval(model - baseline, model_resampled - baseline_resampled, level, spare)


def fisher_interval(r: float, n: int, level: float = 0.95) -> Estimate:
    """Give Fisher's interval of Pearson's r from n independent, normal pairs: tanh(atanh r -+ z / sqrt(n - 3))."""
    if n <= 3 or not abs(r) < 1:
        return Estimate(r)
    reach = float(ndtri((1 + level) / 2)) / np.sqrt(n - 3)
    low, high = np.tanh(np.arctanh(r) + np.array([-reach, reach]))
    return Estimate(r, float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of one family so that, with any dependence, the chance of one false find is kept (Holm, 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(value) for value in adjusted]
