"""The paired swap test: is a difference between two models more than their names?

Were the two models alike, it would not matter whose prediction bears which name. So the predictions of each cluster
are swapped, or not, at random, and the difference is computed anew. For correlations each model's predictions are
standardised first (about 1/2 for the symmetrised one; ranks for Spearman), or swapping would mix scales; once over all
pairs, also for the mean over strata: within small strata it would make the order observed a special one, and reject 9
in 100 equal models. All metrics are then functions of sums over clusters, and one matrix product gives them for a block
of swaps.

Calibration is not tested: models that err in opposite directions may be equally well calibrated and are not alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy.stats import rankdata

from dissensus.stats.bootstrap import Key, block_sizes, in_threads, one_blas_thread
from dissensus.stats.intervals import IntArray
from dissensus.stats.metrics import correlation_of_sums, fisher_mean, large_strata, vote_loss, winner_credit
from dissensus.stats.weighted import FloatArray, divide

TESTED = ("pearson_within", "pearson", "pearson_symmetric", "spearman", "l1", "brier", "nll", "accuracy")
"""The metrics whose differences are tested."""

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
        self._stats = _Statistics(human, strata)
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


def swap_test(
    pairs: Mapping[Key, Sequence[Swap]],
    n_clusters: int,
    n_swaps: int,
    rng: np.random.Generator,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> dict[Key, dict[str, float]]:
    """Test every difference by the same random swaps of whole clusters; two-sided.

    p = (1 + swaps with a difference at least as large) / (1 + swaps), so it is never zero. A difference is averaged
    over the pairs of seeds that a key holds, which are swapped together.

    Args:
        pairs: by any key, what to test.
        n_clusters: how many clusters the swaps are drawn for.
        n_swaps: how many.
        rng: the source of randomness.
        report: is told how many resamples each finished block had.

    Returns:
        For each key and metric of ``TESTED`` the p-value; NaN where the difference is undefined.
    """
    with one_blas_thread():
        observed = {key: _mean(seeds, np.zeros((n_clusters, 1))) for key, seeds in pairs.items()}
    limits = {key: np.abs(value) - TOLERANCE for key, value in observed.items()}

    def work(n: int, generator: np.random.Generator) -> dict[Key, FloatArray]:
        swapped = generator.integers(2, size=(n_clusters, n), dtype=np.uint8).astype(np.float64)
        # An undefined difference counts as a large one.
        return {key: (~(np.abs(_mean(seeds, swapped)) < limits[key])).sum(axis=1) for key, seeds in pairs.items()}

    blocks = block_sizes(n_swaps, n_clusters)
    parts = in_threads([partial(work, *job) for job in zip(blocks, rng.spawn(len(blocks)), strict=True)], report)
    found: dict[Key, dict[str, float]] = {}
    for key, value in observed.items():
        p = (1 + sum(part[key] for part in parts)) / (1 + n_swaps)
        found[key] = dict(zip(TESTED, np.where(np.isfinite(value[:, 0]), p, np.nan).tolist(), strict=True))
    return found


def _mean(seeds: Sequence[Swap], swapped: FloatArray) -> FloatArray:
    mean: FloatArray = np.mean([seed(swapped) for seed in seeds], axis=0)
    return mean


class _Statistics:
    """Sums over pairs of one model's predictions, and the metrics that they give; people stay as they are."""

    def __init__(self, human: FloatArray, strata: IntArray | None) -> None:
        self._human = human
        self._strata = [np.ones(human.size, dtype=np.bool_)]
        if strata is not None and np.ptp(strata) > 0:
            self._strata += large_strata(strata)
        self._targets = [*(_standard(human, m) for m in self._strata), _about_half(human), _standard(rankdata(human))]
        self._decided = float((human != 0.5).sum())

    def features(self, predicted: FloatArray) -> FloatArray:
        """What is summed over pairs, of shape (features, n)."""
        human, standard = self._human, _standard(predicted)
        scaled = [*(np.where(m, standard, 0.0) for m in self._strata), _about_half(predicted)]
        scaled.append(_standard(rankdata(predicted)))
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


def _standard(x: FloatArray, inside: np.ndarray | None = None) -> FloatArray:
    """Centre and scale x within a part of the pairs; zero outside, and throughout where it is constant there."""
    z = np.zeros(x.size)
    inside = np.ones(x.size, dtype=np.bool_) if inside is None else inside
    if inside.any() and np.ptp(x[inside]) > 0:
        z[inside] = (x[inside] - x[inside].mean()) / x[inside].std()
    return z


def _about_half(x: FloatArray) -> FloatArray:
    spread = np.sqrt(np.mean((x - 0.5) ** 2)) if x.size else 0.0
    return (x - 0.5) / spread if spread > 0 else np.zeros(x.size)
