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

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from dissensus.stats.metrics import Function, PairMean, correlation_of_sums, fisher_mean, large_strata
from dissensus.stats.resampling.bootstrap import Key, block_sizes, in_threads, one_blas_thread
from dissensus.stats.resampling.clusters import IntArray
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise, two_sided_p
from dissensus.stats.weighted import FloatArray, divide

_CELLS = 300_000
"""Swaps of clusters drawn at once: 2.4 MB."""

TOLERANCE = 1e-9
"""A swapped difference that is this close to the observed one equals it; the sums differ in their rounding."""


class Swap:
    """Two models (one seed of each) on one group, ready for their predictions to be swapped."""

    def __init__(
        self,
        first: FloatArray,
        second: FloatArray,
        human: FloatArray,
        clusters: IntArray,
        strata: IntArray | None = None,
        *,
        metrics: Mapping[str, Function],
    ) -> None:
        """Sum by cluster what does not depend on the swaps; all but the metrics are of shape (n,).

        ``clusters`` is the number of each pair's cluster, its row in the swaps. With two strata or more,
        ``pearson_within`` is tested. Metrics that are correlations or means over pairs come from sums over clusters,
        others swap by swap.
        """
        self.metrics, self._predictions = metrics, (first, second, human)
        self._clusters, of_pair = np.unique(clusters, return_inverse=True)
        self._of_pair = of_pair.reshape(-1)
        sizes = np.bincount(self._of_pair)
        self._stats = _Statistics(human, 1 / np.sqrt(sizes[self._of_pair]), strata, metrics)
        features = [self._stats.features(p) for p in (first, second)]
        self._sums = [f.sum(axis=1, keepdims=True) for f in features]
        gaps = features[0] - features[1]
        self._gaps = np.stack([np.bincount(self._of_pair, gap, self._clusters.size) for gap in gaps])

    def __call__(self, swapped: FloatArray) -> FloatArray:
        """Compute the differences, shape (metrics, swaps), for 0 or 1 of shape (clusters, swaps)."""
        mine = swapped[self._clusters]
        moved = self._gaps @ mine
        first, second = (self._stats.metrics(s) for s in (self._sums[0] - moved, self._sums[1] + moved))
        found = {key: first[key] - second[key] for key in first}
        return np.stack([found[k] if k in found else self._one_by_one(k, mine) for k in self.metrics])

    def _one_by_one(self, key: str, swapped: FloatArray) -> FloatArray:
        if key == "pearson_within":  # there is but one stratum
            return np.full(swapped.shape[1], np.nan)
        function, (first, second, human) = self.metrics[key], self._predictions
        turned = [swap[self._of_pair] == 1 for swap in swapped.T]
        found = [
            function(np.where(t, second, first), human) - function(np.where(t, first, second), human) for t in turned
        ]
        return np.array(found)


Noise = Mapping[str, SeedNoise]
"""By metric, of a difference."""


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
    with one_blas_thread():
        observed = {key: _mean(seeds, np.zeros((n_clusters, 1)))[:, 0] for key, seeds in pairs.items()}

    def work(n: int, generator: np.random.Generator) -> dict[Key, FloatArray]:
        swapped = generator.integers(2, size=(n_clusters, n), dtype=np.uint8).astype(np.float64)
        return {key: _mean(seeds, swapped) for key, seeds in pairs.items()}

    blocks = block_sizes(n_swaps, n_clusters, _CELLS, most=5000)
    parts = in_threads([partial(work, *job) for job in zip(blocks, rng.spawn(len(blocks)), strict=True)], report)
    found: dict[Key, dict[str, float]] = {}
    for key, value in observed.items():
        swapped = np.concatenate([part[key] for part in parts], axis=1)
        of_key = {} if noise is None else noise.get(key, {})
        found[key] = {
            metric: p_value(
                value[row],
                swapped[row],
                of_key.get(metric, NO_NOISE),
                discrete=isinstance(function, PairMean) and function.discrete,
            )
            for row, (metric, function) in enumerate(pairs[key][0].metrics.items())
        }
    return found


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


def _mean(seeds: Sequence[Swap], swapped: FloatArray) -> FloatArray:
    mean: FloatArray = np.mean([seed(swapped) for seed in seeds], axis=0)
    return mean


class _Statistics:
    """Sums over pairs of one model's predictions, and the metrics that they give; people stay as they are."""

    def __init__(
        self, human: FloatArray, weight: FloatArray, strata: IntArray | None, metrics: Mapping[str, Function]
    ) -> None:
        self._human, self._weight = human, weight
        self._means = {key: f for key, f in metrics.items() if isinstance(f, PairMean)}
        everything = np.ones(human.size, dtype=np.bool_)
        self._strata = [everything]
        if strata is not None and np.ptp(strata) > 0:
            self._strata += large_strata(strata)
        even = np.ones(human.size)
        self._targets = [standardise(human, even, [m]) for m in self._strata]
        self._targets += [_about_half(human, even), standardise(rankdata(human), even, [everything])]
        self._counted = [
            float(human.size if mean.counted is None else mean.counted(human).sum()) for mean in self._means.values()
        ]

    def features(self, predicted: FloatArray) -> FloatArray:
        """What is summed of pairs, of shape (features, n)."""
        human, (everything, *strata) = self._human, self._strata
        within = standardise(predicted, self._weight, strata)
        scaled = [standardise(predicted, self._weight, [everything]), *(np.where(m, within, 0.0) for m in strata)]
        scaled.append(_about_half(predicted, self._weight))
        scaled.append(standardise(rankdata(predicted), self._weight, [everything]))
        moments = [part for z, y in zip(scaled, self._targets, strict=True) for part in (z, z * z, z * y)]
        return np.vstack([*moments, *(mean.of_pair(predicted, human) for mean in self._means.values())])

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """The metrics of sums of shape (features, swaps)."""
        r = [self._correlation(k, sums[3 * k : 3 * k + 3]) for k in range(len(self._targets))]
        means = zip(self._means, sums[3 * len(self._targets) :], self._counted, strict=True)
        found = {"pearson": r[0], "pearson_symmetric": r[-2], "spearman": r[-1]}
        found |= {key: divide(total, np.array(counted)) for key, total, counted in means}
        if len(r) > 3:
            sizes = np.array([np.full(sums.shape[1], m.sum()) for m in self._strata[1:]])
            found["pearson_within"] = fisher_mean(np.array(r[1:-2]), sizes)
        return found

    def _correlation(self, k: int, sums: FloatArray) -> FloatArray:
        """Correlate with target k, from the sums of z, z^2 and z times the target."""
        target = self._targets[k]
        n = np.full(sums.shape[1], float(self._strata[k].sum() if k < len(self._strata) else target.size))
        about_half = k == len(self._strata)
        yy = np.full_like(n, (target**2).sum())
        if about_half:
            return divide(sums[2], np.sqrt(np.maximum(sums[1], 0)) * np.sqrt(yy))
        return correlation_of_sums(n, sums[0], np.zeros_like(n), sums[1], yy, sums[2])


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
