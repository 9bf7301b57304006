"""Bootstrap intervals for pairs that come in clusters.

Pairs of one prompt resemble each other, so whole prompts are drawn, not pairs; and each data set keeps its number of
prompts, so it is drawn by itself (a stratum). Drawing pairs one by one makes intervals that are far too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

from dissensus.stats.metrics import FloatArray
from dissensus.stats.seeds import NO_NOISE, SeedNoise, reach_with_seeds

IntArray = NDArray[np.int64]

FEWEST_CLUSTERS = 5
"""Below this many prompts there is no interval and no test: resamples of two take three values, and would pass for
certainty."""

_LEAST_FREEDOM = 1.0
"""Of one stratum: one cluster that outweighs all others leaves next to none."""

_CELLS = 400_000
"""Weights held at once: 3 MB as float64."""

_DEFINED = 0.9
"""An interval needs this share of resamples in which the metric is defined."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; NaN or None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None
    method: Literal["t", "bca", "zou", "percentile"] | None = field(default=None, repr=False, compare=False)
    """How the interval was made, where there is one."""


@dataclass(frozen=True)
class Clusters:
    """Which cluster each of n pairs belongs to, and which stratum each cluster belongs to."""

    of_pair: IntArray
    """Shape (n,): the cluster's number, from 0."""
    strata: tuple[IntArray, ...]
    """For each stratum the numbers of its clusters."""

    @property
    def count(self) -> int:
        """How many clusters there are in the strata."""
        return sum(s.size for s in self.strata)

    @property
    def numbered(self) -> int:
        """How many clusters have a number, whether their stratum is here or not."""
        return int(self.of_pair.max(initial=-1)) + 1

    @property
    def vary(self) -> bool:
        """Whether resampling changes anything: some stratum has two clusters."""
        return any(s.size > 1 for s in self.strata)


@dataclass(frozen=True)
class Freedom:
    """What few or unequal clusters cost: a bootstrap is too narrow by the one, and the normal quantile by the other."""

    widen: float
    """The root of what the variance of the resamples is to be multiplied by."""
    degrees: float
    """Degrees of freedom of that variance."""

    def reach(self, level: float) -> float:
        """How many standard deviations of the resamples an interval of this level reaches out, each side."""
        return float(stdtrit(self.degrees, (1 + level) / 2)) * self.widen


def find_freedom(clusters: Clusters, inside: NDArray[np.bool_] | None = None) -> Freedom:
    """Find how far the resamples of these clusters, or of those of the pairs that are inside, can be trusted.

    Clusters of sizes n count as n_eff = (sum n)^2 / sum n^2 equal ones (Kish, 1965; Carter, Schnepel and Steigerwald,
    2017, for the t of unequal clusters): the resampled variance of their stratum is too small by (n_eff - 1) / n_eff,
    with n_eff - 1 degrees of freedom. A stratum has the share sum n^2 of the variance; degrees of freedom add up as by
    Satterthwaite (1946). Of G equal clusters in S equal strata these are G / (G - S) and G - S.

    Args:
        clusters: of n pairs.
        inside: shape (n,); all pairs unless given.
    """
    of_pair = clusters.of_pair if inside is None else clusters.of_pair[inside]
    sizes = np.bincount(of_pair, minlength=clusters.count).astype(np.float64)
    total = spread = 0.0
    shares = [sizes[members] for members in clusters.strata]
    for size in (share[share > 0] for share in shares):
        if size.size:
            squares = float((size**2).sum())
            spare = max(size.sum() ** 2 / squares - 1, _LEAST_FREEDOM)
            total += squares * (spare + 1) / spare
            spread += (squares * (spare + 1) / spare) ** 2 / spare
    held = sum(float((size**2).sum()) for size in shares)
    return Freedom(float(np.sqrt(total / held)), max(1.0, total**2 / spread)) if held else Freedom(1.0, 1.0)


def number_labels(labels: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """Number labels from 0 in sorted order; returns the distinct ones and the number of each, shape (len(labels),).

    What ``np.unique`` gives, without its array of strings, in which every label takes the room of the longest: a label
    may be a prompt of any length.

    >>> number_labels(["q", "p", "q"])
    (['p', 'q'], array([1, 0, 1]))
    """
    names = sorted(set(labels))
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number[label] for label in labels], dtype=np.intp)


def find_clusters(clusters: NDArray[np.generic], strata: NDArray[np.generic]) -> Clusters:
    """Number the clusters of n pairs, given a cluster and a stratum label per pair, both of shape (n,).

    A cluster label that occurs in two strata names two clusters. Strata of fewer than `FEWEST_CLUSTERS` clusters are
    drawn together, as one: alone they would hardly vary. Where even together they are too few, the smallest other
    stratum joins them. Labels that are text are numbered first (`number_labels`).
    """
    if clusters.shape != strata.shape or clusters.ndim != 1:
        raise ValueError(f"clusters and strata must have one shape (n,), not {clusters.shape} and {strata.shape}")
    stratum_names, stratum = np.unique(strata, return_inverse=True)
    cluster = np.unique(clusters, return_inverse=True)[1]
    keys, of_pair = np.unique(np.stack([stratum, cluster]), axis=1, return_inverse=True)
    members = [np.flatnonzero(keys[0] == s) for s in range(stratum_names.size)]
    return Clusters(of_pair=of_pair.reshape(-1), strata=tuple(_pool(members)))


def _pool(strata: list[IntArray]) -> list[IntArray]:
    """Put strata of few clusters together, and with the smallest other where that is not enough."""
    few = [members for members in strata if members.size < FEWEST_CLUSTERS]
    enough = sorted((members for members in strata if members.size >= FEWEST_CLUSTERS), key=len)
    if not few or len(strata) == 1:
        return strata
    if enough and sum(members.size for members in few) < FEWEST_CLUSTERS:
        few.append(enough.pop(0))
    return [*enough, np.sort(np.concatenate(few))]


def cluster_counts(
    clusters: NDArray[np.generic], strata: NDArray[np.generic], n_resamples: int, rng: np.random.Generator
) -> Iterator[IntArray]:
    """Draw whole clusters with replacement within each stratum; yield how often each pair is in each resample.

    Args:
        clusters: the cluster of each pair, shape (n,).
        strata: the stratum of each pair, shape (n,).
        n_resamples: how many resamples to draw.
        rng: the source of randomness; one generator state gives one set of resamples.

    Yields:
        Counts of shape (chunk, n). Chunks keep memory bounded; together they have ``n_resamples`` rows.
    """
    found = find_clusters(clusters, strata)
    chunk = max(1, _CELLS // max(1, found.of_pair.size))
    for start in range(0, n_resamples, chunk):
        rows = min(chunk, n_resamples - start)
        counts = np.empty((rows, found.count), dtype=np.int64)
        for members in found.strata:
            counts[:, members] = _draw(members.size, rows, rng)
        yield counts[:, found.of_pair]


def _draw(size: int, rows: int, rng: np.random.Generator) -> IntArray:
    """Draw ``size`` of ``size`` things with replacement, ``rows`` times; counts of shape (rows, size)."""
    drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def percentile_interval(
    value: float, resampled: FloatArray, level: float = 0.95, spare: Freedom | None = None
) -> Estimate:
    """Give the percentile interval of a statistic from its resampled values, shape (n_resamples,).

    Resamples in which the statistic is undefined (NaN) are left out; where they are more than a tenth, or the value
    itself is NaN, there is no interval. With ``spare`` it is widened for few or unequal clusters: see
    :func:`find_freedom`.

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
    clusters (``spare``). The degrees of freedom are those that the clusters' influences show: b clusters that weigh
    alike have b, and a few that weigh more than all others hardly more than these few (the variance of a variance
    follows the fourth moment). The noise of training seeds is added, as `dissensus.stats.seeds` says. Where the scale
    ends at the value (r = 1, no error at all) the interval is the percentile one.

    Args:
        value: of the statistic on the sample.
        resampled: shape (n_resamples,), without order; NaN where undefined.
        jackknife: the statistic without each block of clusters, shape (blocks,).
        strata: the stratum of each block, shape (blocks,).
        spare: as by :func:`find_freedom`.
        level: coverage.
        scale: where the statistic is nearly normal.
        seeds: of the value, on its own scale.
    """
    defined = _defined(value, resampled, level)
    if defined is None:
        return Estimate(value)
    there, back, slope = _SCALES[scale]
    with np.errstate(divide="ignore"):
        middle = float(there(np.float64(value)))
        ends = there(np.quantile(defined, ndtr([-_NORMAL, _NORMAL])))
    if not np.isfinite(middle):
        return percentile_interval(value, resampled, level, spare)
    ends = np.where(np.isfinite(ends), ends, middle + np.sign(ends) * _FAR)
    variance = float(((ends[1] - ends[0]) / (2 * _NORMAL) * spare.widen) ** 2)
    if variance == 0 and seeds.excess == 0:
        return Estimate(value, value, value, "t")
    reach = reach_with_seeds(level, variance, find_degrees(jackknife, strata), seeds.scaled(float(slope(value))))
    low, high = back(middle + np.clip([-reach, reach], -_FAR, _FAR))
    return Estimate(value, float(low), float(high), "t")


_NORMAL = 1.959963984540054
"""Standard deviations in the middle 95 % of a normal distribution, each side."""

_FAR = 20.0
"""How far from the value a resample lies that has no place on a scale; no interval reaches out further."""

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

    The bias correction counts resamples that equal the value as one half each. Where the correction breaks down (all
    resamples on one side of the value, or no acceleration), the interval is the percentile one, and its ``method``
    says so.

    With ``spare`` it is widened for few or unequal clusters, whose bootstrap is too narrow: the normal quantile becomes
    that of t, times the root of what the resampled variance lacks (Hesterberg, 2015, calls it the expanded interval).

    Args:
        value: of the statistic on the sample.
        resampled: shape (n_resamples,), without order; NaN where undefined.
        acceleration: as by :func:`find_acceleration`.
        level: coverage.
        spare: as by :func:`find_freedom`; None for the interval of Efron.
    """
    defined = _defined(value, resampled, level)
    if defined is None:
        return Estimate(value)
    z = _quantile(level, spare)
    below = ((defined < value).sum() + (defined == value).sum() / 2) / defined.size
    bias = float(ndtri(below))
    shares = [_corrected(bias, acceleration, tail) for tail in (-z, z)]
    if not np.isfinite(bias) or not all(np.isfinite(shares)):
        return _between(value, defined, float(ndtr(-z)), float(ndtr(z)))
    return _between(value, defined, shares[0], shares[1], "bca")


def recentred_interval(
    value: float,
    resampled: FloatArray,
    level: float = 0.95,
    spare: Freedom | None = None,
    *,
    floor: float | None = None,
    seeds: SeedNoise = NO_NOISE,
) -> Estimate:
    """Give the percentile interval of a statistic that resampling inflates, with the resamples moved to the value.

    ECE and reliability add up absolute or squared noise, and a resample has the noise of the sample and its own on
    top: all of its values may lie above that of the sample. What the interval is about is the mean of the statistic
    over samples of this size, noise included; of the perfect value 0 it says nothing (see
    :func:`dissensus.stats.calibration.ece_null` for that). It errs on the wide side, and holds that mean in 95 to 100 %
    of simulated samples of 50 to 1,000 pairs; BCa held it in 62 to 95 %.

    Args:
        value: of the statistic on the sample.
        resampled: shape (n_resamples,), without order; NaN where undefined.
        level: coverage.
        spare: as by :func:`find_freedom`, to widen for few or unequal clusters.
        floor: the least value that the statistic can take.
        seeds: the noise of training seeds, by which the interval is stretched.
    """
    defined = _defined(value, resampled, level)
    if defined is None:
        return Estimate(value)
    moved = percentile_interval(value, defined - defined.mean() + value, level, spare)
    if moved.low is None or moved.high is None:
        return moved
    variance = float(defined.var()) * (1.0 if spare is None else spare.widen**2)
    stretch = 1.0
    if seeds.excess > 0 and variance > 0:
        degrees = np.inf if spare is None else spare.degrees
        without = reach_with_seeds(level, variance, degrees, NO_NOISE)
        stretch = reach_with_seeds(level, variance, degrees, seeds) / without
    low, high = value - (value - moved.low) * stretch, value + (moved.high - value) * stretch
    return replace(moved, low=low if floor is None else max(floor, low), high=high)


def find_acceleration(jackknife: FloatArray, strata: NDArray[np.integer]) -> float:
    """Estimate the acceleration of BCa from a jackknife over blocks of clusters, within strata.

    With l = (b - 1)(mean - value without the block) and b blocks in the stratum, it is
    sum l^3 / b^3 / 6 (sum l^2 / b^2)^(3/2) (Davison and Hinkley, 1997, chapters 5.3 and 3.2).

    Args:
        jackknife: the statistic without each block, shape (blocks,); blocks where it is undefined are left out.
        strata: the stratum of each block, shape (blocks,).

    Returns:
        The acceleration; NaN where the statistic does not vary.
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


def _corrected(bias: float, acceleration: float, z: float) -> float:
    """The share of resamples below an end of the interval; NaN where the correction has none."""
    stretch = 1 - acceleration * (bias + z)
    return float(ndtr(bias + (bias + z) / stretch)) if stretch > 0 else float("nan")
