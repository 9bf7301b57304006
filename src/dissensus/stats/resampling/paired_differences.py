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
    cancels, so the interval is narrower than two separate intervals suggest. ``spare`` widens it
    for few or unequal clusters, as by :func:`dissensus.stats.resampling.clusters.find_freedom`.

    A scorecard's own differences have t intervals (`dissensus.stats.resampling.intervals.t_interval`), which also know
    of training
    seeds. On simulated populations of prompts of equal size the widened percentile interval held the true difference of
    r or L1 in 92.7 to 95.3 % of samples of 25 to 150 prompts, a BCa interval as wide in 89.5 to 95.2 %, and Zou's
    construction from the limits of the two r in 93.6 to 99.1 %: most, and up to twice as wide, where the two models are
    nearly alike.

    >>> same = np.array([0.1, 0.4, 0.2])
    >>> paired_difference(0.2, 0.2, same, same)
    Estimate(value=0.0, low=0.0, high=0.0)
    """
    if model_resampled.shape != baseline_resampled.shape:
        raise ValueError(
            f"the resamples differ in shape, {model_resampled.shape} and {baseline_resampled.shape}: not paired"
        )
    return percentile_interval(model - baseline, model_resampled - baseline_resampled, level, spare)


def mover_difference(first: Estimate, second: Estimate, correlation: float) -> Estimate:
    """Combine two intervals into one for first - second, by the method of variance estimates recovery (Zou, 2007).

    Each limit recovers the variance of its own side, so asymmetric intervals stay so.

    Args:
        first: an estimate with its interval.
        second: another, with an interval of the same level.
        correlation: between the two estimates, from -1 to 1.
    """
    difference = first.value - second.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Estimate(difference)

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0)))

    down = reach(first.value - first.low, second.high - second.value)
    up = reach(first.high - first.value, second.value - second.low)
    return Estimate(difference, difference - down, difference + up, "zou")


def fisher_interval(r: float, n: int, level: float = 0.95) -> Estimate:
    """Give Fisher's interval of Pearson's r from n independent, normal pairs: tanh(atanh r -+ z / sqrt(n - 3)).

    >>> found = fisher_interval(0.5, 25)
    >>> round(found.low, 4), round(found.high, 4)
    (0.1307, 0.7475)
    """
    if n <= 3 or not abs(r) < 1:
        return Estimate(r)
    reach = float(ndtri((1 + level) / 2)) / np.sqrt(n - 3)
    low, high = np.tanh(np.arctanh(r) + np.array([-reach, reach]))
    return Estimate(r, float(low), float(high))


def zou_interval(r_model: float, r_baseline: float, r_between: float, n: int, level: float = 0.95) -> Estimate:
    """Give Zou's interval for r_model - r_baseline, two correlations with one and the same variable.

    Fisher's limits of each, combined with the large-sample correlation between the two (Zou, 2007, "Toward using
    confidence intervals to compare correlations", Psychological Methods 12: the overlapping case). It takes the n
    pairs to be independent and roughly normal; where pairs share prompts it is too narrow.

    Args:
        r_model: the model with people.
        r_baseline: the baseline with people.
        r_between: the model with the baseline.
        n: pairs.
        level: coverage.
    """
    first, second = fisher_interval(r_model, n, level), fisher_interval(r_baseline, n, level)
    return mover_difference(first, second, correlation_of_correlations(r_model, r_baseline, r_between))


def correlation_of_correlations(r_12: float, r_13: float, r_23: float) -> float:
    """The large-sample correlation between r_12 and r_13, both with variable 1 (Pearson and Filon, 1898)."""
    free = (1 - r_12**2) * (1 - r_13**2)
    if free <= 0:
        return 0.0
    top = (r_23 - r_12 * r_13 / 2) * (1 - r_12**2 - r_13**2 - r_23**2) + r_23**3
    return float(np.clip(top / free, -1, 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of one family so that, with any dependence, the chance of one false find is kept (Holm, 1979).

    >>> tuple(round(p, 3) for p in holm([0.01, 0.04, 0.03]))
    (0.03, 0.06, 0.06)
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(value) for value in adjusted]
