"""Bootstrap intervals for pairs that come in clusters: of a statistic, from its values on resamples of whole ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import Freedom
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise, reach_with_seeds

_DEFINED = 0.9
"""An interval needs this share of resamples in which the metric is defined."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; NaN or None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None
    method: Literal["t", "bca", "percentile"] | None = field(default=None, repr=False, compare=False)
    """How the interval was made, where there is one."""


def percentile_interval(
    value: float, resampled: FloatArray, level: float = 0.95, spare: Freedom | None = None
) -> Estimate:
    """Give the percentile interval of a statistic from its resampled values, shape (n_resamples,).

    Resamples in which the statistic is undefined (NaN) are left out; where they are more than a tenth, or the value
    itself is NaN, there is no interval. ``spare`` (`find_freedom`) widens it for few or unequal clusters.

    >>> percentile_interval(0.5, np.arange(5) / 4, level=0.5)
    Estimate(value=0.5, low=0.25, high=0.75)
    """
    defined = _defined(value, resampled, level)
    z = _quantile(level, spare)
    return Estimate(value) if defined is None else _between(value, defined, float(ndtr(-z)), float(ndtr(z)))


Scale = Literal["plain", "fisher", "log", "logit"]
"""On which a statistic is nearly normal: Fisher's z for correlations, logits for shares and mean errors of preferences,
logarithms for losses."""


def t_interval(
    value: float,
    resampled: FloatArray,
    jackknife: FloatArray,
    strata: NDArray[np.integer],
    spare: Freedom,
    level: float = 0.95,
    *,
    scale: Scale = "plain",
    seeds: SeedNoise = NO_NOISE,
) -> Estimate:
    """Give the t interval of a statistic with the bootstrap's standard error, on a scale where it is nearly normal.

    The standard error is a quarter or so of the width of the middle 95 % of the resamples, widened for few or unequal
    clusters; the degrees of freedom are those that the clusters' influences show (`find_degrees`). The noise of
    training seeds is added, as `dissensus.stats.resampling.training_seeds` says. Where the scale ends at the value
    (r = 1, no error at all) the interval is the percentile one.

    ``resampled`` has shape (n_resamples,), NaN where undefined; ``jackknife`` is the statistic without each block of
    clusters and ``strata`` the stratum of each, both of shape (blocks,); ``spare`` is as by `find_freedom`, ``seeds``
    of the value on its own scale.
    """
    defined = _defined(value, resampled, level)
    if defined is None:
        return Estimate(value)
    there, back, slope = _SCALES[scale]
    with np.errstate(divide="ignore"):
        middle = float(there(np.float64(value)))
        ends = there(np.quantile(defined, ndtr([-_NORMAL, _NORMAL])))
    finite = ends[np.isfinite(ends)]
    if not np.isfinite(middle) or not finite.size:
        return percentile_interval(value, resampled, level, spare)
    if finite.size == 1:  # resamples reach the bound of the scale, as an accuracy of 1: the other side says how far
        ends = middle + np.array([-1.0, 1.0]) * abs(middle - finite[0])
    variance = float(((ends[1] - ends[0]) / (2 * _NORMAL) * spare.widen) ** 2)
    if variance == 0 and seeds.excess == 0:
        return Estimate(value, value, value, "t")
    reach = reach_with_seeds(level, variance, find_degrees(jackknife, strata), seeds.scaled(float(slope(value))))
    low, high = back(middle + np.clip([-reach, reach], -_FAR, _FAR))
    return Estimate(value, float(low), float(high), "t")


_NORMAL = 1.959963984540054
"""Standard deviations in the middle 95 % of a normal distribution, each side."""

_FAR = 20.0
"""No interval reaches out further on its scale."""

_SCALES: dict[Scale, tuple[Callable[..., Any], Callable[..., Any], Callable[[float], float]]] = {
    "plain": (lambda x: x, lambda x: x, lambda x: 1.0),
    "fisher": (lambda x: np.arctanh(np.clip(x, -1, 1)), np.tanh, lambda x: 1 / (1 - x * x)),
    "log": (np.log, np.exp, lambda x: 1 / x),
    "logit": (logit, expit, lambda x: 1 / (x * (1 - x))),
}
"""There, back, and how much steeper the scale is than the statistic."""


def find_degrees(jackknife: FloatArray, strata: NDArray[np.integer]) -> float:
    """Find the degrees of freedom of a clustered variance from the influences of the clusters (or blocks of them).

    Influences l of b blocks: of normal ones sum l^4 is 3 (sum l^2)^2 / b, so 3 (sum l^2)^2 / sum l^4, at most b, is how
    many the variance rests on; less the same share of the strata, each of which costs one.
    """
    second = fourth = 0.0
    blocks = used = 0
    for influence in _influences(jackknife, strata):
        second += float((influence**2).sum())
        fourth += float((influence**4).sum())
        blocks, used = blocks + influence.size, used + 1
    if not fourth > 0:
        return 1.0
    return max(1.0, min(3 * second**2 / fourth, blocks) * (blocks - used) / blocks)


def bca_interval(
    value: float, resampled: FloatArray, acceleration: float, level: float = 0.95, spare: Freedom | None = None
) -> Estimate:
    """Give the bias-corrected and accelerated interval (Efron, 1987) of a statistic from its resampled values.

    Resamples that equal the value count half each for the bias. Where the correction breaks down (all resamples on one
    side of the value, or no acceleration), the interval is the percentile one, and its ``method`` says so. ``spare``
    (`find_freedom`) widens it for few or unequal clusters (the expanded interval of Hesterberg, 2015).
    ``acceleration`` is as by `find_acceleration`; ``resampled`` has shape (n_resamples,), NaN where undefined.
    """
    defined = _defined(value, resampled, level)
    if defined is None:
        return Estimate(value)
    z = _quantile(level, spare)
    below = ((defined < value).sum() + (defined == value).sum() / 2) / defined.size
    bias = float(ndtri(below))
    tails = bias + np.array([-z, z])
    stretch = 1 - acceleration * tails if np.isfinite(bias) else np.zeros(2)
    if not (stretch > 0).all():
        return _between(value, defined, float(ndtr(-z)), float(ndtr(z)))
    low, high = ndtr(bias + tails / stretch)
    return _between(value, defined, float(low), float(high), "bca")


def recentred_interval(
    value: float,
    resampled: FloatArray,
    level: float = 0.95,
    spare: Freedom | None = None,
    *,
    seeds: SeedNoise = NO_NOISE,
) -> Estimate:
    """Give the percentile interval of a statistic that resampling inflates, with the resamples moved to the value.

    ECE and reliability add up absolute or squared noise, and a resample has the noise of the sample and its own on
    top. What the interval is about is the mean of the statistic over samples of this size, noise included; of the
    perfect value 0 it says nothing (see :func:`dissensus.stats.calibration.ece_null`). It holds that mean in 95 to
    100 % of simulated samples of 50 to 1,000 pairs; BCa held it in 62 to 95 %. Arguments as for `t_interval`.
    """
    defined = _defined(value, resampled, level)
    if defined is None:
        return Estimate(value)
    moved = percentile_interval(value, defined - defined.mean() + value, level, spare)
    return stretch_for_seeds(moved, defined, seeds, level, spare)


def stretch_for_seeds(
    found: Estimate, resampled: FloatArray, seeds: SeedNoise, level: float = 0.95, spare: Freedom | None = None
) -> Estimate:
    """Stretch an interval that knows of the choice of clusters alone by what the noise of training seeds adds to it.

    ``resampled``, ``level`` and ``spare`` are what the interval was made of.
    """
    if found.low is None or found.high is None or seeds.excess <= 0:
        return found
    variance = float(np.nanvar(resampled)) * (1.0 if spare is None else spare.widen**2)
    if variance <= 0:
        return found
    degrees = np.inf if spare is None else spare.degrees
    without = reach_with_seeds(level, variance, degrees, NO_NOISE)
    stretch = reach_with_seeds(level, variance, degrees, seeds) / without
    low, high = (found.value + (end - found.value) * stretch for end in (found.low, found.high))
    return replace(found, low=low, high=high)


def find_acceleration(jackknife: FloatArray, strata: NDArray[np.integer]) -> float:
    """Estimate the acceleration of BCa from a jackknife over blocks of clusters, within strata.

    With l = (b - 1)(mean - value without the block) and b blocks in the stratum, it is
    sum l^3 / b^3 / 6 (sum l^2 / b^2)^(3/2) (Davison and Hinkley, 1997, chapters 5.3 and 3.2). ``jackknife`` is the
    statistic without each block, ``strata`` the stratum of each, both of shape (blocks,); blocks where it is undefined
    are left out. NaN where the statistic does not vary.
    """
    second = third = 0.0
    for influence in _influences(jackknife, strata):
        second += float((influence**2).sum())
        third += float((influence**3).sum())
    return third / (6 * second**1.5) if second > 0 else float("nan")


def _influences(jackknife: FloatArray, strata: NDArray[np.integer]) -> Iterator[FloatArray]:
    """Of the blocks of each stratum that has two or more in which the statistic is defined."""
    for stratum in np.unique(strata):
        values = jackknife[(strata == stratum) & np.isfinite(jackknife)]
        if values.size > 1:
            yield (values.size - 1) * (values.mean() - values) / values.size


def _defined(value: float, resampled: FloatArray, level: float) -> FloatArray | None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or defined.size == 0 or defined.size < _DEFINED * resampled.size:
        return None
    return defined


def _between(
    value: float, defined: FloatArray, low: float, high: float, method: Literal["bca", "percentile"] = "percentile"
) -> Estimate:
    ends = np.quantile(defined, [low, high])
    return Estimate(value, float(ends[0]), float(ends[1]), method)


def _quantile(level: float, spare: Freedom | None) -> float:
    """How many standard errors the interval reaches out, each side, before BCa bends it."""
    return float(ndtri((1 + level) / 2)) if spare is None else spare.reach(level)
