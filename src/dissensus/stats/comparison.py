"""Differences between two models on the same pairs."""

from __future__ import annotations

import numpy as np

from dissensus.stats.intervals import Estimate, percentile_interval
from dissensus.stats.metrics import FloatArray


def paired_difference(
    model: float, baseline: float, model_resampled: FloatArray, baseline_resampled: FloatArray, level: float = 0.95
) -> Estimate:
    """Compare a model with a baseline: model - baseline, with the interval of the paired differences.

    Both were computed on the same resamples, row by row, shape (n_resamples,): what makes a resample hard for both
    cancels, so the interval is narrower than two separate intervals suggest.

    >>> same = np.array([0.1, 0.4, 0.2])
    >>> paired_difference(0.2, 0.2, same, same)
    Estimate(value=0.0, low=0.0, high=0.0)
    """
    if model_resampled.shape != baseline_resampled.shape:
        raise ValueError(
            f"the resamples differ in shape, {model_resampled.shape} and {baseline_resampled.shape}: not paired"
        )
    return percentile_interval(model - baseline, model_resampled - baseline_resampled, level)


def mean_over_seeds(values: FloatArray) -> FloatArray:
    """Average a metric over the seeds of one model: (seeds, ...) to (...).

    NaN where it is undefined for any seed: a mean over the others would compare unlike things.
    """
    mean: FloatArray = np.asarray(values, dtype=np.float64).mean(axis=0)
    return mean
