"""The paired swap test: is a difference between two models more than their names?

The predictions of each cluster are swapped, or not, at random, and the difference is computed anew. For correlations
each model's predictions are standardised first (about 1/2 for the symmetrised one; ranks for Spearman), or swapping
would mix scales: once over all pairs, and for the mean over strata once more, centred within each stratum and with one
scale for all of them, or models that place the strata differently would hide how they order the pairs within: power
falls by a fifth (`bench/ways_tried.py`). A pair counts by one over the root of its cluster's size there: a few giant
clusters would be standardised to themselves, and 10 in 100 equal models rejected. All metrics are then functions of
sums over clusters, and one matrix product gives them for a block of swaps.

Swaps hold the training seeds fixed. Their noise (`dissensus.stats.resampling.training_seeds`) is added to the variance
of the swapped differences, and the difference is held against these as one that is as improbable by t.

Calibration is not tested: models that err in opposite directions may be equally well calibrated and are not alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from dissensus.stats.metrics import FEWEST_IN_STRATUM, Function, PairMean, correlation_of_sums, fisher_mean
from dissensus.stats.resampling.bootstrap import Key, block_sizes, in_threads, one_blas_thread, others
from dissensus.stats.resampling.clusters import IntArray, Units, find_units
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise, two_sided_p
from dissensus.stats.weighted import FloatArray, divide

_CELLS = 300_000
"""Swaps of clusters drawn at once by one generator: changing it changes all swaps."""

_TOGETHER, _HELD = 128, 4_000_000
"""Swaps that are evaluated together, and how many of clusters at most."""

_FROM_SUMS = frozenset({"pearson", "pearson_symmetric", "pearson_within", "spearman"})

TOLERANCE = 1e-9
"""A swapped difference that is this close to the observed one equals it; the sums differ in their rounding."""


class Swap:
    """Two models (one seed of each) on one group, ready for their predictions to be swapped."""

    def __init__(
        self,
        first: FloatArray,
        second: FloatArray,
        human: FloatArray,
        clusters: IntArray | Units,
        strata: IntArray | None = None,
        *,
        metrics: Mapping[str, Function],
    ) -> None:
        """Sum by cluster what does not depend on the swaps; all but the metrics are of shape (n,).

        ``clusters`` is the number of each pair's cluster, its row in the swaps, or what `find_units` makes of these and
        the strata. With two strata or more, ``pearson_within`` is tested. Metrics that are correlations or means over
        pairs come from sums over clusters, others swap by swap.
        """
        self._units = clusters if isinstance(clusters, Units) else find_units(clusters, strata)
        self.metrics = metrics
        # Of those that sums do not give; of others nothing by pair is held.
        self._predictions = (first, second, human) if others(metrics, _FROM_SUMS) else None
        self._stats = _Statistics(human, self._units, metrics)
        sums: tuple[list[list[float]], list[list[float]]] = ([], [])
        gaps = []
        # Feature by feature: those of all pairs at once are hundreds of bytes a pair.
        for features in zip(*(self._stats.features(p) for p in (first, second)), strict=True):
            by_unit = [self._units.sum(feature) for feature in features]
            for own, values in zip(sums, by_unit, strict=True):
                own.append([float(values[rows].sum()) for rows in self._units.slices])
            gaps.append(by_unit[0] - by_unit[1])
        # Of shape (strata, features, 1).
        self._sums = [np.array(own).T[..., None] for own in sums]
        self._gaps = np.stack(gaps)
        self._stats.forget()

    @property
    def held(self) -> int:
        """How many sums are held."""
        return self._gaps.size

    def __call__(self, swapped: NDArray[np.generic]) -> FloatArray:
        """Compute the differences, shape (metrics, swaps), for 0 or 1 of shape (clusters, swaps)."""
        mine = np.take(swapped, self._units.cluster, axis=0).astype(np.float64)
        moved = np.stack([self._gaps[:, rows] @ mine[rows] for rows in self._units.slices])
        first, second = (self._stats.metrics(s) for s in (self._sums[0] - moved, self._sums[1] + moved))
        found = {key: first[key] - second[key] for key in first}
        return np.stack([found[k] if k in found else self._one_by_one(k, mine) for k in self.metrics])

    def _one_by_one(self, key: str, swapped: FloatArray) -> FloatArray:
        if key == "pearson_within":  # there is but one stratum
            return np.full(swapped.shape[1], np.nan)
        assert self._predictions is not None
        function, (first, second, human) = self.metrics[key], self._predictions
        turned = [swap[self._units.of_pair] == 1 for swap in swapped.T]
        found = [
            function(np.where(t, second, first), human) - function(np.where(t, first, second), human) for t in turned
        ]
        return np.array(found)


Noise = Mapping[str, SeedNoise]
"""By metric, of a difference."""


@dataclass(frozen=True)
class Swapped:
    """A difference, and what it is where clusters are swapped at random."""

    metrics: Mapping[str, Function]
    observed: FloatArray
    """Shape (metrics,)."""
    swapped: FloatArray
    """Shape (metrics, swaps)."""

    def p_values(self, noise: Noise) -> dict[str, float]:
        """Find the p-value of each metric; NaN where the difference is undefined. ``noise`` is as for `swap_test`."""
        return {
            metric: p_value(
                self.observed[row],
                self.swapped[row],
                noise.get(metric, NO_NOISE),
                discrete=isinstance(function, PairMean) and function.discrete,
            )
            for row, (metric, function) in enumerate(self.metrics.items())
        }


def swap_test(
    pairs: Mapping[Key, Sequence[Swap]],
    n_clusters: int,
    n_swaps: int,
    rng: np.random.Generator,
    *,
    noise: Mapping[Key, Noise] | None = None,
    report: Callable[[int], object] = lambda done: None,
) -> dict[Key, dict[str, float]]:
    """Test every difference by the same random swaps of whole clusters; two-sided.

    p = (1 + swaps with a difference at least as large) / (1 + swaps), so it is never zero. A difference is averaged
    over the pairs of seeds that a key holds, which are swapped together. Of a discrete metric (accuracy) a swap
    that has the same difference counts half (McNemar's mid-p; Fagerland, Lydersen and Laake, 2013).

    ``noise`` is that of the seeds of each difference, none where it is not named; ``report`` is told of each finished
    block. Returns for each key and metric the p-value; NaN where the difference is undefined.
    """
    found = swap_all(pairs, n_clusters, n_swaps, rng, report=report)
    return {key: swapped.p_values({} if noise is None else noise.get(key, {})) for key, swapped in found.items()}


def swap_all(
    pairs: Mapping[Key, Sequence[Swap]],
    n_clusters: int,
    n_swaps: int,
    rng: np.random.Generator,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> dict[Key, Swapped]:
    """Compute every difference on the same random swaps; arguments as for `swap_test`."""
    with one_blas_thread():
        observed = {key: _mean(seeds, np.zeros((n_clusters, 1)))[:, 0] for key, seeds in pairs.items()}

    def work(blocks: Sequence[tuple[int, np.random.Generator]]) -> dict[Key, FloatArray]:
        drawn = [generator.integers(2, size=(n_clusters, n), dtype=np.uint8) for n, generator in blocks]
        swapped = np.concatenate(drawn, axis=1)
        return {key: _mean(seeds, swapped) for key, seeds in pairs.items()}

    sizes = block_sizes(n_swaps, n_clusters, _CELLS, most=5000)
    blocks = list(zip(sizes, rng.spawn(len(sizes)), strict=True))
    together = max(1, min(_TOGETHER, _HELD // max(1, n_clusters)) // max(sizes, default=1))
    jobs = [partial(work, blocks[i : i + together]) for i in range(0, len(blocks), together)]
    parts = in_threads(jobs, report)
    return {
        key: Swapped(pairs[key][0].metrics, value, np.concatenate([part[key] for part in parts], axis=1))
        for key, value in observed.items()
    }


def p_value(observed: float, swapped: FloatArray, noise: SeedNoise = NO_NOISE, *, discrete: bool = False) -> float:
    """The share of swapped differences, shape (swaps,), that are as large as the one observed; NaN where that is."""
    if not np.isfinite(observed):
        return float("nan")
    distance = abs(float(observed))
    # An undefined difference counts as a large one.
    away = np.where(np.isfinite(swapped), np.abs(swapped), np.inf)
    if noise.excess > 0:
        variance = float(np.mean(swapped[np.isfinite(swapped)] ** 2)) if np.isfinite(swapped).any() else 0.0
        distance = -float(ndtri(two_sided_p(distance, variance, noise) / 2)) * float(np.sqrt(variance))
    as_large = float((away > distance - TOLERANCE).sum())
    if discrete and distance > TOLERANCE:
        as_large -= float((np.abs(away - distance) <= TOLERANCE).sum()) / 2
    return (1 + as_large) / (1 + swapped.size)


def _mean(seeds: Sequence[Swap], swapped: NDArray[np.generic]) -> FloatArray:
    mean: FloatArray = np.mean([seed(swapped) for seed in seeds], axis=0)
    return mean


class _Statistics:
    """Sums over pairs of one model's predictions, and the metrics that they give; people stay as they are."""

    def __init__(self, human: FloatArray, units: Units, metrics: Mapping[str, Function]) -> None:
        self._human, self._n = human, human.size
        of_cluster = np.unique(units.cluster, return_inverse=True)[1].reshape(-1)[units.of_pair]
        self._weight = 1 / np.sqrt(np.bincount(of_cluster)[of_cluster])
        self._means = {key: f for key, f in metrics.items() if isinstance(f, PairMean)}
        self._everything = [np.ones(human.size, dtype=np.bool_)]
        self._sizes = units.sizes
        # The strata that count in the mean over strata; none where there is but one.
        self._large = np.flatnonzero(units.sizes >= FEWEST_IN_STRATUM) if units.sizes.size > 1 else np.zeros(0, np.intp)
        self._strata = [units.strata == number for number in self._large]
        even = np.ones(human.size)
        within = np.zeros(human.size)
        for inside in self._strata:
            within += standardise(human, even, [inside])
        targets = [standardise(human, even, self._everything), _about_half(human, even)]
        self._targets = [*targets, standardise(rankdata(human), even, self._everything), within]
        self._squares = [float((target**2).sum()) for target in self._targets[:3]]
        self._within = [float((within[inside] ** 2).sum()) for inside in self._strata]
        self._counted = [
            float(human.size if mean.counted is None else mean.counted(human).sum()) for mean in self._means.values()
        ]

    def forget(self) -> None:
        """Give up what is by pair, and only features need."""
        self._human = self._weight = np.zeros(0)
        self._everything, self._strata, self._targets = [], [], []

    def features(self, predicted: FloatArray) -> Iterator[FloatArray]:
        """What is summed of pairs, each of shape (n,)."""
        weight, everything = self._weight, self._everything
        scaled: list[Callable[[], FloatArray]] = [
            lambda: standardise(predicted, weight, everything),
            lambda: _about_half(predicted, weight),
            lambda: standardise(rankdata(predicted), weight, everything),
            lambda: standardise(predicted, weight, self._strata),
        ]
        for scale, target in zip(scaled, self._targets, strict=True):
            z = scale()
            yield from (z, z * z, z * target)
        yield from (mean.of_pair(predicted, self._human) for mean in self._means.values())

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """The metrics of sums of shape (strata, features, swaps)."""
        total = sums.sum(axis=0)
        first, half, ranks = (total[3 * k : 3 * k + 3] for k in range(3))
        found = {
            "pearson": _correlation(self._n, first, self._squares[0]),
            "pearson_symmetric": divide(half[2], np.sqrt(np.maximum(half[1], 0)) * np.sqrt(self._squares[1])),
            "spearman": _correlation(self._n, ranks, self._squares[2]),
        }
        means = zip(self._means, total[12:], self._counted, strict=True)
        found |= {key: divide(whole, np.array(counted)) for key, whole, counted in means}
        if self._large.size:
            parts = zip(self._large.tolist(), self._within, strict=True)
            r = [_correlation(int(self._sizes[s]), sums[s, 9:12], squares) for s, squares in parts]
            sizes = np.repeat(self._sizes[self._large, None].astype(np.float64), sums.shape[2], axis=1)
            found["pearson_within"] = fisher_mean(np.array(r), sizes)
        return found


def _correlation(pairs: int, sums: FloatArray, squares: float) -> FloatArray:
    """Correlate with a target of mean zero, from the sums of z, z^2 and z times the target, and its squares' sum."""
    n = np.full(sums.shape[1], float(pairs))
    return correlation_of_sums(n, sums[0], np.zeros_like(n), sums[1], np.full_like(n, squares), sums[2])


def standardise(x: FloatArray, weight: FloatArray, parts: Sequence[NDArray[np.bool_]]) -> FloatArray:
    """Centre x, shape (..., n), within each part of the pairs and scale it over all of them; zero where constant.

    Args:
        x: predictions or ranks.
        weight: of each pair, shape (n,).
        parts: masks of shape (n,); outside of all x becomes zero.
    """
    z, squares, total = np.zeros(x.shape), np.zeros(x.shape[:-1]), 1e-300
    for inside in (part for part in parts if part.any()):
        mine, w = x[..., inside], weight[inside]
        centred = mine - (mine @ w / w.sum())[..., None]
        centred[np.ptp(mine, axis=-1) == 0] = 0
        z[..., inside] = centred
        squares += centred**2 @ w
        total += w.sum()
    scaled: FloatArray = z / np.sqrt(np.where(squares > 0, squares / total, 1))[..., None]
    return scaled


def _about_half(x: FloatArray, weight: FloatArray) -> FloatArray:
    spread = np.sqrt(np.average((x - 0.5) ** 2, weights=weight)) if x.size else 0.0
    return (x - 0.5) / spread if spread > 0 else np.zeros(x.size)
