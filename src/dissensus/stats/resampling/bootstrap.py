"""Every metric of many models in many groups, from the same resamples of whole clusters.

A resample is a count per cluster, so a metric of a resample is a metric of weighted pairs. Nearly all are functions of
a few weighted sums, and one matrix product gives those of a whole block of resamples; with the pairs in the order of
their predictions, the rank of a pair is the running sum of the weights down to it. The functions of
`dissensus.stats.metrics` with their ``weights`` are the plain version; tests hold the two together. Weights lie as
(clusters, resamples) here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from dissensus.stats.calibration import bin_of, equal_mass_edges
from dissensus.stats.metrics import Function, PairMean, correlation_of_sums, fisher_mean, large_strata
from dissensus.stats.resampling.clusters import Clusters, IntArray, draw_block
from dissensus.stats.weighted import FloatArray, divide

Key = TypeVar("Key", bound=Hashable)

_CELLS = 300_000
"""Weights drawn at once: 2.4 MB."""

_AT_ONCE = 500
"""At most so many resamples are drawn at once."""

_IN_CACHE = 200_000
"""Weights of one cell handled at once: 1.6 MB, so that one copy stays in the second-level cache."""

_RUN = 16
"""Running sums are taken within runs of this length by one small matrix product, then across runs."""

_BINNED = frozenset({"ece", "brier_reliability", "brier_resolution"})
_FROM_SUMS = _BINNED | {"pearson", "pearson_symmetric", "pearson_within", "spearman", "brier_uncertainty"}
"""The keys of the metrics that share sums and are no means over pairs. (The resolution needs that of ``brier``.)"""

_FEW_LEVELS = 64
"""Human preferences with no more distinct values than this are ranked by value, not by pair."""


class Cell:
    """All metrics of one model (one seed) on one group, for any weights of the clusters."""

    def __init__(
        self,
        predicted: FloatArray,
        human: FloatArray,
        clusters: IntArray,
        strata: IntArray | None = None,
        *,
        metrics: Mapping[str, Function],
    ) -> None:
        """Prepare what does not depend on the weights.

        Args:
            predicted: shape (n,).
            human: shape (n,).
            clusters: the number of each pair's cluster, which is its row in the weights; shape (n,).
            strata: the stratum of each pair; where there are two or more, ``pearson_within`` is computed.
            metrics: by key, what to compute: from shared sums where the key or its being a mean over pairs allows it.
        """
        order = np.argsort(predicted, kind="stable")
        p, h = predicted[order], human[order]
        self._n, self.metrics = p.size, metrics
        self._means = {key: f for key, f in metrics.items() if isinstance(f, PairMean)}
        self._clusters = np.zeros(-(-p.size // _RUN) * _RUN, dtype=np.intp)
        self._clusters[: p.size] = clusters[order]
        self._centre = (float(p.mean()), float(h.mean())) if p.size else (0.0, 0.0)
        x, y = p - self._centre[0], h - self._centre[1]
        # Beside what depends on h alone; p and h centred, for precision.
        self._features = np.stack([x, x * x, x * y, *(mean.of_pair(p, h) for mean in self._means.values())])
        self._ranks = _Ranks(p, h)
        self._counted = list(dict.fromkeys(mean.counted for mean in self._means.values() if mean.counted))
        y = self._ranks.levels - self._centre[1]
        counted = [f(self._ranks.levels) for f in self._counted]
        self._of_level = np.stack([np.ones(y.size), y, y * y, *counted])
        self._bins: list[slice] = []
        if _BINNED & metrics.keys():
            starts = np.flatnonzero(np.diff(bin_of(p, equal_mass_edges(p)), prepend=-1))
            self._bins = [slice(a, b) for a, b in zip(starts, [*starts[1:], p.size], strict=True)]
        self._gaps = np.stack([np.ones(p.size), p - h])
        spans = strata is not None and np.ptp(strata) > 0
        self._within = _Within(predicted, human, clusters, strata) if spans and strata is not None else None
        self._other = [partial(f, p, h) for key, f in metrics.items() if key not in {*self._means, *_FROM_SUMS}]

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Compute all metrics for weights of shape (clusters, resamples); returns shape (metrics, resamples)."""
        step = max(8, _IN_CACHE // max(1, self._clusters.size))
        # Taking rows of a contiguous block is four times as fast as of a slice.
        blocks = (np.ascontiguousarray(weights[:, i : i + step]) for i in range(0, weights.shape[1], step))
        sums = [np.concatenate(parts, axis=-1) for parts in zip(*map(self._sums, blocks), strict=True)]
        moments, bins, ranks, within, other = sums
        found = self._moment_metrics(moments)
        found |= _binned(bins, found) if self._bins else dict.fromkeys(_BINNED, np.full(weights.shape[1], np.nan))
        if "spearman" in self.metrics:
            found["spearman"] = divide(ranks[0], np.sqrt(ranks[1]) * np.sqrt(ranks[2]))
        found["pearson_within"] = _within(within)
        found |= zip((key for key in self.metrics if key not in found), other, strict=True)
        return np.stack([found[key] for key in self.metrics])

    def _sums(self, weights: FloatArray) -> tuple[FloatArray, ...]:
        """Moments, bins, ranks, strata and other metrics of a block of weights; resamples are the last axis of each."""
        padded = np.take(weights, self._clusters, axis=0)
        padded[self._n :] = 0
        w = padded[: self._n]
        bins = [self._gaps[:, s] @ w[s] for s in self._bins]
        levels = self._ranks.sum_levels(w)
        moments = np.concatenate([self._of_level @ levels, self._features @ w])
        within = np.zeros((0, 6, w.shape[1])) if self._within is None else self._within.sums(weights)
        other = np.reshape([f(w.T) for f in self._other], (-1, w.shape[1]))
        ranks = self._ranks.sums(padded, levels) if "spearman" in self.metrics else np.zeros((3, w.shape[1]))
        return moments, np.reshape(bins, (-1, 2, w.shape[1])), ranks, within, other

    def _moment_metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """What depends on sums alone: correlations, the variance of human preferences, means over pairs."""
        first = 3 + len(self._counted)
        (n, y, yy), (x, xx, xy) = sums[:3], sums[first : first + 3]
        a, b = (centre - 0.5 for centre in self._centre)  # from the mean to 1/2
        about_half = (xy + a * y + b * x + a * b * n, xx + 2 * a * x + a * a * n, yy + 2 * b * y + b * b * n)
        spread = np.sqrt(np.maximum(about_half[1], 0)) * np.sqrt(np.maximum(about_half[2], 0))
        counts = dict(zip([None, *self._counted], [n, *sums[3:first]], strict=True))
        means = zip(self._means.items(), sums[first + 3 :], strict=True)
        return {
            "pearson": correlation_of_sums(n, x, y, xx, yy, xy),
            "pearson_symmetric": divide(about_half[0], spread),
            "brier_uncertainty": np.maximum(divide(yy, n) - divide(y, n) ** 2, 0),
            **{key: divide(total, counts[mean.counted]) for (key, mean), total in means},
        }


def _binned(bins: FloatArray, found: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Compute what needs bins from the weight and the sum of p - h in each: shape (bins, 2, resamples)."""
    counts, gaps = bins[:, 0], bins[:, 1]
    total = counts.sum(axis=0)
    reliability = divide(np.where(counts > 0, divide(gaps**2, counts), 0.0).sum(axis=0), total)
    return {
        "ece": divide(np.abs(gaps).sum(axis=0), total),
        "brier_reliability": reliability,
        "brier_resolution": reliability + found["brier_uncertainty"] - found.get("brier", np.nan),
    }


class _Ranks:
    """Spearman's correlation of weighted pairs that lie in the order of their predictions.

    With mid-ranks R for n = sum w weighted pairs, sum w R_p R_h needs R_h by the distinct values of h alone, and
    sum w (R_p - mean)^2 = (n^3 - sum t^3) / 12, where t are the weights of tied predictions.
    """

    def __init__(self, p: FloatArray, h: FloatArray) -> None:
        self._n = p.size
        starts = np.flatnonzero(np.diff(p, prepend=np.nan) != 0)
        self._ties = None if starts.size == p.size else (starts, np.diff([*starts, p.size]))
        self.levels, self._level = np.unique(h, return_inverse=True)
        self._by_level = np.argsort(self._level, kind="stable")
        self._level_starts = np.searchsorted(self._level[self._by_level], np.arange(self.levels.size))
        self._member: FloatArray | None = None
        if self.levels.size <= _FEW_LEVELS:
            self._member = (self._level == np.arange(self.levels.size)[:, None]).astype(np.float64)

    def sum_levels(self, w: FloatArray) -> FloatArray:
        """Sum weights of shape (n, resamples) by the distinct values of h, ``levels``."""
        if self._member is not None:
            return self._member @ w
        summed: FloatArray = np.add.reduceat(w[self._by_level], self._level_starts, axis=0)
        return summed

    def sums(self, padded: FloatArray, of_level: FloatArray) -> FloatArray:
        """Covariance and the two variances of the ranks, times n, for weights of shape (padded n, resamples)."""
        if self._n == 0:
            return np.zeros((3, padded.shape[1]))
        total = of_level.sum(axis=0)
        ranks_h = np.cumsum(of_level, axis=0) - of_level / 2 - total / 2
        weighted, tied = self._weighted_ranks(padded)
        if self._member is not None:
            covariance = np.einsum("lr,lr->r", ranks_h, self._member @ weighted)
        else:
            covariance = np.einsum("nr,nr->r", weighted, ranks_h[self._level])
        # Memory that is at hand costs less than the product itself.
        squares = np.multiply(tied, tied, out=weighted[: len(tied)])
        variance_p = (total**3 - np.einsum("nr,nr->r", squares, tied)) / 12
        variance_h = np.einsum("lr,lr->r", of_level, ranks_h * ranks_h)
        return np.stack([covariance, variance_p, variance_h])

    def _weighted_ranks(self, padded: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight times mid-rank (less 1/2) of each pair; and the weights of the tied predictions."""
        if self._ties is None:
            ranks, w = _half_way_sum(padded)[: self._n], padded[: self._n]
            return np.multiply(ranks, w, out=ranks), w
        starts, lengths = self._ties
        tied = np.add.reduceat(padded[: self._n], starts, axis=0)
        ranks = np.repeat(np.cumsum(tied, axis=0) - tied / 2, lengths, axis=0)
        return ranks * padded[: self._n], tied


_TRIANGLE = np.tril(np.ones((_RUN, _RUN)), -1) + np.eye(_RUN) / 2


def _half_way_sum(w: FloatArray) -> FloatArray:
    """``np.cumsum(w, axis=0) - w / 2`` for a multiple of _RUN rows, some times faster: a product within each run."""
    within = w.reshape(-1, _RUN, w.shape[1])
    runs = _TRIANGLE @ within
    runs[1:] += np.cumsum(runs[:-1, -1] + within[:-1, -1] / 2, axis=0)[:, None]
    return runs.reshape(w.shape)


class _Within:
    """Sums over the weighted pairs of each stratum."""

    def __init__(self, p: FloatArray, h: FloatArray, clusters: IntArray, strata: IntArray) -> None:
        members = [np.flatnonzero(inside) for inside in large_strata(strata)]
        centred = [(p[m] - p[m].mean(), h[m] - h[m].mean()) for m in members]
        self._features = [np.stack([np.ones(x.size), x, y, x * x, y * y, x * y]) for x, y in centred]
        self._clusters = clusters[np.concatenate([*members, np.zeros(0, dtype=np.intp)])]
        ends = np.cumsum([m.size for m in members])
        self._slices = [slice(end - m.size, end) for m, end in zip(members, ends, strict=True)]

    def sums(self, weights: FloatArray) -> FloatArray:
        """Sums of 1, p, h, p^2, h^2 and ph, centred in the stratum; shape (strata, 6, resamples)."""
        w = np.take(weights, self._clusters, axis=0)
        sums = [f @ w[s] for f, s in zip(self._features, self._slices, strict=True)]
        return np.reshape(sums, (-1, 6, weights.shape[1]))


def _within(sums: FloatArray) -> FloatArray:
    """Fisher's mean of r over strata, from sums of shape (strata, 6, resamples)."""
    if not len(sums):
        return np.full(sums.shape[-1], np.nan)
    return fisher_mean(correlation_of_sums(*np.moveaxis(sums, 1, 0)), sums[:, 0])


def bootstrap(cell: Cell, draws: Sequence[NDArray[np.uint8]]) -> FloatArray:
    """Evaluate a cell on resamples as :func:`draw_clusters` gives them; returns shape (metrics, n_resamples)."""
    parts = (cell(drawn.astype(np.float64)) for drawn in draws)
    return np.concatenate([np.zeros((len(cell.metrics), 0)), *parts], axis=1)


def draw_clusters(clusters: Clusters, n_resamples: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Draw clusters with replacement within each stratum, how often each: blocks of shape (clusters, resamples).

    The resamples depend on ``rng`` alone, not on the number of threads.
    """
    sizes = block_sizes(n_resamples, clusters.numbered)
    return in_threads([partial(draw_block, clusters, *job) for job in zip(sizes, rng.spawn(len(sizes)), strict=True)])


def touched(clusters: Clusters, inside: NDArray[np.bool_]) -> Clusters:
    """Leave out the strata that none of the pairs inside, shape (n,), is of: they need not be drawn."""
    used = np.zeros(clusters.numbered, dtype=np.bool_)
    used[clusters.of_pair[inside]] = True
    return replace(clusters, strata=tuple(members for members in clusters.strata if used[members].any()))


def block_sizes(n_resamples: int, n_clusters: int, cells: int = _CELLS, most: int = _AT_ONCE) -> list[int]:
    """Cut resamples into blocks of bounded memory, and of some number, for threads to share."""
    size = min(most, max(16, cells // max(1, n_clusters)))
    return [min(size, n_resamples - start) for start in range(0, n_resamples, size)]


def in_threads(jobs: Sequence[Callable[[], Any]], report: Callable[[int], object] = lambda done: None) -> list[Any]:
    """Run jobs on the processors that this process may use; NumPy computes outside the interpreter's lock."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def run(job: Callable[[], Any]) -> Any:
        result = job()
        report(1)
        return result

    with one_blas_thread():
        if processors == 1 or len(jobs) < 2:
            return [run(job) for job in jobs]
        with ThreadPoolExecutor(processors) as pool:
            return list(pool.map(run, jobs))


def one_blas_thread() -> AbstractContextManager[object]:
    """Keep matrix products on the thread that asks for them: BLAS's own would fight with those of `in_threads`."""
    limit: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limit


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def delete_blocks(clusters: Clusters, rng: np.random.Generator, most: int = 200) -> tuple[FloatArray, IntArray]:
    """Weights of a jackknife that leaves out one block of clusters at a time: exact, one by one, up to ``most``.

    Blocks lie within a stratum, of which each of two clusters or more has at least two. Returns weights of shape
    (clusters, blocks), and the stratum of each block.
    """
    share = min(1.0, most / max(1, clusters.count))
    found = [
        (stratum, block)
        for stratum, members in enumerate(clusters.strata)
        if members.size > 1
        for block in np.array_split(rng.permutation(members), max(2, round(share * members.size)))
    ]
    weights = np.ones((clusters.count, len(found)))
    for column, (_, block) in enumerate(found):
        weights[block, column] = 0
    return weights, np.array([stratum for stratum, _ in found], dtype=np.int64)


def ones(clusters: Clusters) -> FloatArray:
    """Weights that leave the sample as it is, shape (clusters, 1)."""
    return np.ones((clusters.count, 1))
