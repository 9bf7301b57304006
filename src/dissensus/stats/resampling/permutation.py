"""The paired swap test: is a difference between two models more than their names?

Were the two models alike, it would not matter whose prediction bears which name. So the predictions of each cluster
are swapped, or not, at random, and the difference is computed anew. For correlations each model's predictions are
standardised first (about 1/2 for the symmetrised one; ranks for Spearman), or swapping would mix scales: once over all
pairs, and for the mean over strata once more, centred within each stratum and with one scale for all of them. Centred
over all pairs, models that place the strata differently would hide how they order the pairs within; with a scale for
each small stratum the order observed is a special one, and 7 in 100 equal models are rejected. A pair counts by one
over the root of its cluster's size there: a few giant clusters would be standardised to themselves, and 10 in 100
equal models rejected. All metrics are then functions of sums over clusters, and one matrix product gives them for a
block of swaps.

Swaps hold the training seeds fixed. With several seeds their noise (`dissensus.stats.resampling.training_seeds`) is
added to the variance
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

from dissensus.stats.metrics import correlation_of_sums, fisher_mean, large_strata, vote_loss, winner_credit
from dissensus.stats.resampling.bootstrap import Key, block_sizes, in_threads, one_blas_thread
from dissensus.stats.resampling.clusters import IntArray
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise, two_sided_p
from dissensus.stats.weighted import FloatArray, divide

TESTED = ("pearson_within", "pearson", "pearson_symmetric", "spearman", "l1", "brier", "nll", "accuracy")
"""The metrics whose differences are tested."""

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
    ) -> None:
        """Sum by cluster what does not depend on the swaps.

        Args:
            first: predictions of one model, shape (n,).
            second: of the other.
            human: shape (n,).
            clusters: the number of each pair's cluster, which is its row in the swaps; shape (n,).
            strata: the stratum of each pair; where there are two or more, ``pearson_within`` is tested.
        """
        self._clusters, of_pair = np.unique(clusters, return_inverse=True)
        sizes = np.bincount(of_pair.reshape(-1))
        self._stats = _Statistics(human, 1 / np.sqrt(sizes[of_pair.reshape(-1)]), strata)
        features = [self._stats.features(p) for p in (first, second)]
        self._sums = [f.sum(axis=1, keepdims=True) for f in features]
        gaps = features[0] - features[1]
        self._gaps = np.stack([np.bincount(of_pair.reshape(-1), gap, self._clusters.size) for gap in gaps])

    def __call__(self, swapped: FloatArray) -> FloatArray:
        """Compute the differences of ``TESTED``, shape (metrics, swaps), for 0 or 1 of shape (clusters, swaps)."""
        moved = self._gaps @ swapped[self._clusters]
        first, second = (self._stats.metrics(s) for s in (self._sums[0] - moved, self._sums[1] + moved))
        undefined = np.full(swapped.shape[1], np.nan)
        return np.stack([first[m] - second[m] if m in first else undefined for m in TESTED])


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
    over the pairs of seeds that a key holds, which are swapped together. Accuracy's differences are few distinct
    numbers: a swap that has the same one counts half (McNemar's mid-p; Fagerland, Lydersen and Laake, 2013).

    Args:
        pairs: by any key, what to test.
        n_clusters: how many clusters the swaps are drawn for.
        n_swaps: how many.
        rng: the source of randomness.
        noise: of the seeds of each difference; none where it is not named.
        report: is told how many resamples each finished block had.

    Returns:
        For each key and metric of ``TESTED`` the p-value; NaN where the difference is undefined.
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
            metric: _p_value(value[row], swapped[row], of_key.get(metric, NO_NOISE), half=metric == "accuracy")
            for row, metric in enumerate(TESTED)
        }
    return found


def _p_value(observed: float, swapped: FloatArray, noise: SeedNoise, *, half: bool) -> float:
    """The share of swapped differences, shape (swaps,), that are as large as the one observed."""
    if not np.isfinite(observed):
        return float("nan")
    distance = abs(float(observed))
    # An undefined difference counts as a large one.
    away = np.where(np.isfinite(swapped), np.abs(swapped), np.inf)
    if noise.excess > 0:
        variance = float(np.mean(swapped[np.isfinite(swapped)] ** 2)) if np.isfinite(swapped).any() else 0.0
        distance = -float(ndtri(two_sided_p(distance, variance, noise) / 2)) * float(np.sqrt(variance))
    as_large = float((away > distance - TOLERANCE).sum())
    if half and distance > TOLERANCE:
        as_large -= float((np.abs(away - distance) <= TOLERANCE).sum()) / 2
    return (1 + as_large) / (1 + swapped.size)


def _mean(seeds: Sequence[Swap], swapped: FloatArray) -> FloatArray:
    mean: FloatArray = np.mean([seed(swapped) for seed in seeds], axis=0)
    return mean


class _Statistics:
    """Sums over pairs of one model's predictions, and the metrics that they give; people stay as they are."""

    def __init__(self, human: FloatArray, weight: FloatArray, strata: IntArray | None) -> None:
        self._human, self._weight = human, weight
        everything = np.ones(human.size, dtype=np.bool_)
        self._strata = [everything]
        if strata is not None and np.ptp(strata) > 0:
            self._strata += large_strata(strata)
        even = np.ones(human.size)
        self._targets = [_standard(human, even, [m]) for m in self._strata]
        self._targets += [_about_half(human, even), _standard(rankdata(human), even, [everything])]
        self._decided = float((human != 0.5).sum())

    def features(self, predicted: FloatArray) -> FloatArray:
        """What is summed over pairs, of shape (features, n)."""
        human, (everything, *strata) = self._human, self._strata
        within = _standard(predicted, self._weight, strata)
        scaled = [_standard(predicted, self._weight, [everything]), *(np.where(m, within, 0.0) for m in strata)]
        scaled.append(_about_half(predicted, self._weight))
        scaled.append(_standard(rankdata(predicted), self._weight, [everything]))
        moments = [part for z, y in zip(scaled, self._targets, strict=True) for part in (z, z * z, z * y)]
        costs = [np.abs(predicted - human), (predicted - human) ** 2, vote_loss(predicted, human)]
        return np.vstack([*moments, *costs, winner_credit(predicted, human)])

    def metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """The metrics of sums of shape (features, swaps)."""
        n = float(self._human.size)
        r = [self._correlation(k, sums[3 * k : 3 * k + 3]) for k in range(len(self._targets))]
        l1, brier, loss, credit = sums[3 * len(self._targets) :]
        found = {
            "pearson": r[0],
            "pearson_symmetric": r[-2],
            "spearman": r[-1],
            "l1": l1 / n,
            "brier": brier / n,
            "nll": loss / n,
        }
        if self._decided:
            found["accuracy"] = credit / self._decided
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


def _standard(x: FloatArray, weight: FloatArray, parts: Sequence[NDArray[np.bool_]]) -> FloatArray:
    """Centre x within each part of the pairs, and scale it over all of them; zero outside, and where it is constant."""
    z = np.zeros(x.size)
    for inside in parts:
        if inside.any() and np.ptp(x[inside]) > 0:
            z[inside] = x[inside] - np.average(x[inside], weights=weight[inside])
    spread = np.sqrt(
        sum(float(weight[m] @ z[m] ** 2) for m in parts) / max(sum(float(weight[m].sum()) for m in parts), 1e-300)
    )
    return z / spread if spread > 0 else z


def _about_half(x: FloatArray, weight: FloatArray) -> FloatArray:
    spread = np.sqrt(np.average((x - 0.5) ** 2, weights=weight)) if x.size else 0.0
    return (x - 0.5) / spread if spread > 0 else np.zeros(x.size)
