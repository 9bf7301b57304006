"""Every metric of many models in many groups, from the same resamples of whole clusters.

A resample is a count per cluster, so a metric of a resample is a metric of weighted pairs. Nearly all are functions of
a few weighted sums, so what a pair adds is summed by cluster once, and one matrix product gives the sums of a whole
block of resamples; ranks are running sums (`ranks`). Pairs that are alike, in what is predicted and in what people
say, are counted first: of a model that says few different things, a resample is a small table. The functions of
`dissensus.stats.metrics` with their ``weights`` are the plain version; tests hold the two together. Weights lie as
(clusters, resamples) here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import ThreadpoolController

from dissensus.stats.calibration import bin_of, equal_mass_edges
from dissensus.stats.metrics import FEWEST_IN_STRATUM, Function, PairMean, correlation_of_sums, fisher_mean
from dissensus.stats.resampling.clusters import Clusters, IntArray, Units, draw_block, find_units
from dissensus.stats.resampling.ranks import Ranks
from dissensus.stats.weighted import FloatArray, divide

Key = TypeVar("Key", bound=Hashable)
Weights = NDArray[np.generic]
"""How often each cluster counts, shape (clusters, resamples): bytes, or any numbers."""

_CELLS = 300_000
"""Weights drawn at once by one generator: changing it changes all resamples."""

_AT_ONCE = 500
"""At most so many resamples are drawn at once."""

_HELD = 1_500_000
"""Weights of one cell held at once as floats: 12 MB."""

_TOGETHER = 64
"""Resamples that are handled together where `_HELD` allows it: a product of fewer is slow."""

_FEW_VALUES = 64
"""Predictions with no more distinct values than this are tabulated against what people say."""

_BINNED = frozenset({"ece", "brier_reliability", "brier_resolution"})
_FROM_SUMS = _BINNED | {"pearson", "pearson_symmetric", "pearson_within", "spearman", "brier_uncertainty"}
"""The keys of the metrics that share sums and are no means over pairs. (The resolution needs that of ``brier``.)"""


class Cell:
    """All metrics of one model (one seed) on one group, for any weights of the clusters."""

    def __init__(
        self,
        predicted: FloatArray,
        human: FloatArray,
        clusters: IntArray | Units,
        strata: IntArray | None = None,
        *,
        metrics: Mapping[str, Function],
    ) -> None:
        """Prepare what does not depend on the weights.

        Args:
            predicted: shape (n,).
            human: shape (n,).
            clusters: the number of each pair's cluster, which is its row in the weights, shape (n,); or what
                `find_units` makes of these and the strata.
            strata: the stratum of each pair; where there are two or more, ``pearson_within`` is computed.
            metrics: by key, what to compute: from shared sums where the key or its being a mean over pairs allows it.
        """
        self.units = units = clusters if isinstance(clusters, Units) else find_units(clusters, strata)
        self.metrics = metrics
        edges, sizes = equal_mass_edges(predicted) if _BINNED & metrics.keys() else None, units.sizes
        table = None if others(metrics) else _tabulate(predicted, human, units)
        self._table: sparse.csr_array | None = None
        if table is not None:
            self._table, predicted, human, units = table
        self._sums = _Sums(predicted, human, units, edges, sizes >= FEWEST_IN_STRATUM, metrics)

    def __call__(self, weights: Weights) -> FloatArray:
        """Compute all metrics for weights of shape (clusters, resamples); returns shape (metrics, resamples)."""
        step = max(8, _HELD // max(1, self.units.cluster.size))
        # Taking rows of a contiguous block is four times as fast as of a slice.
        blocks = (np.ascontiguousarray(weights[:, i : i + step]) for i in range(0, weights.shape[1], step))
        parts = [part for block in blocks for part in evaluate_cells([self], block)]
        return np.concatenate([np.zeros((len(self.metrics), 0)), *parts], axis=1)

    def of_units(self, weights: Weights, w: FloatArray) -> FloatArray:
        """Compute all metrics for weights of the units, and the same as floats: shape (units, resamples)."""
        if self._table is None:
            return self._sums(weights, w)
        w = self._table @ w
        return self._sums(w, w)


def evaluate_cells(cells: Sequence[Cell], weights: Weights) -> list[FloatArray]:
    """Compute all metrics of several cells for the same weights, a block that is not too wide: see `Cell.__call__`."""
    taken: dict[int, tuple[Weights, FloatArray]] = {}
    found = []
    for cell in cells:
        if id(cell.units) not in taken:
            own = np.take(weights, cell.units.cluster, axis=0)
            taken[id(cell.units)] = own, own.astype(np.float64)
        found.append(cell.of_units(*taken[id(cell.units)]))
    return found


def others(metrics: Mapping[str, Function], from_sums: Collection[str] = _FROM_SUMS) -> list[str]:
    """The metrics that are neither means over pairs nor from shared sums: computed resample by resample."""
    return [key for key, function in metrics.items() if not isinstance(function, PairMean) and key not in from_sums]


def _tabulate(
    predicted: FloatArray, human: FloatArray, units: Units
) -> tuple[sparse.csr_array, FloatArray, FloatArray, Units] | None:
    """Put like pairs together: how many of each kind every unit has, (kinds, units), and the kinds in their place.

    None where predictions take many values, or hardly any pairs are alike.
    """
    if np.unique(predicted[: 8 * _FEW_VALUES]).size > _FEW_VALUES:
        return None
    values, of_value = np.unique(predicted, return_inverse=True)
    if values.size > _FEW_VALUES:
        return None
    levels, of_level = np.unique(human, return_inverse=True)
    codes = (units.strata * values.size + of_value.reshape(-1)) * levels.size + of_level.reshape(-1)
    kinds, kind = np.unique(codes, return_inverse=True)
    if 4 * kinds.size > predicted.size:
        return None
    shape = (kinds.size, units.cluster.size)
    table = sparse.coo_array((np.ones(kind.size), (kind.reshape(-1), units.of_pair)), shape=shape).tocsr()
    stratum, rest = np.divmod(kinds, values.size * levels.size)
    alike = find_units(np.arange(kinds.size), stratum)
    return table, values[rest // levels.size], levels[rest % levels.size], alike


class _Sums:
    """The metrics of pairs from sums over them, each pair being of a unit, which has a weight."""

    def __init__(
        self,
        p: FloatArray,
        h: FloatArray,
        units: Units,
        edges: FloatArray | None,
        large: NDArray[np.bool_],
        metrics: Mapping[str, Function],
    ) -> None:
        """Sum by unit. ``large`` tells which strata count in ``pearson_within``; ``edges`` are those of the bins."""
        self._units, self._large, self._p, self._h = units, large, p, h
        self._means = {key: f for key, f in metrics.items() if isinstance(f, PairMean)}
        self._counted = list(dict.fromkeys(mean.counted for mean in self._means.values() if mean.counted))
        self._metrics, self._others = metrics, others(metrics)
        # Centred in the stratum, for precision.
        self._centres = np.stack([_mean_by(units, p), _mean_by(units, h)])
        x, y = p - self._centres[0][units.strata], h - self._centres[1][units.strata]
        self._features = np.stack([units.sum(feature) for feature in self._features_of(p, h, x, y)])
        self._bins = self._one_hot(bin_of(p, edges), p - h) if edges is not None and p.size else None
        levels, level = np.unique(h, return_inverse=True)
        self._levels, self._ranks = None, None
        if "spearman" in metrics and p.size:
            level = level.reshape(-1)
            self._levels = self._matrix(level, np.ones(p.size), levels.size)
            self._ranks = Ranks(p, level, units.of_pair, units.cluster.size)

    def _features_of(self, p: FloatArray, h: FloatArray, x: FloatArray, y: FloatArray) -> list[FloatArray]:
        moments = [np.ones(p.size), x, y, x * x, y * y, x * y]
        counted = [counts(h).astype(np.float64) for counts in self._counted]
        return [*moments, *counted, *(mean.of_pair(p, h) for mean in self._means.values())]

    def _matrix(self, row: IntArray, data: FloatArray, rows: int) -> sparse.csr_array:
        """Sum data of the pairs by row and unit: shape (rows, units)."""
        shape = (rows, self._units.cluster.size)
        found: sparse.csr_array = sparse.coo_array((data, (row, self._units.of_pair)), shape=shape).tocsr()
        return found

    def _one_hot(self, number: IntArray, gap: FloatArray) -> sparse.csr_array:
        """Of each bin, by unit, how many pairs it has, and the sum of their gaps: shape (2 bins, units)."""
        bins = int(number.max()) + 1
        row, data = np.concatenate([number, number + bins]), np.concatenate([np.ones(gap.size), gap])
        shape = (2 * bins, self._units.cluster.size)
        of_pair = np.tile(self._units.of_pair, 2)
        found: sparse.csr_array = sparse.coo_array((data, (row, of_pair)), shape=shape).tocsr()
        return found

    def __call__(self, weights: Weights, w: FloatArray) -> FloatArray:
        """Compute all metrics; weights, and the same as floats, of shape (units, resamples)."""
        # By stratum: sums of 1, x, y, x^2, y^2, xy, of the pairs that count somewhere, and of the means.
        sums = np.stack([self._features[:, rows] @ w[rows] for rows in self._units.slices])
        found = self._moment_metrics(sums)
        found |= self._binned(w, found)
        if self._ranks is not None and self._levels is not None:
            ranks = self._ranks.sums(weights, w, self._levels @ w)
            found["spearman"] = divide(ranks[0], np.sqrt(ranks[1]) * np.sqrt(ranks[2]))
        found["pearson_within"] = self._within(sums)
        undefined = np.full(w.shape[1], np.nan)
        for key in self._others:
            found[key] = self._metrics[key](self._p, self._h, w[self._units.of_pair].T)
        return np.stack([found.get(key, undefined) for key in self._metrics])

    def _moment_metrics(self, sums: FloatArray) -> dict[str, FloatArray]:
        """What depends on sums alone: correlations, the variance of human preferences, means over pairs."""
        first = 6 + len(self._counted)
        about_mean = _about(sums, self._centres, self._middle())
        about_half = _about(sums, self._centres, np.full(2, 0.5))
        spread = np.sqrt(np.maximum(about_half[3], 0)) * np.sqrt(np.maximum(about_half[4], 0))
        n, y, yy = about_mean[0], about_mean[2], about_mean[4]
        counts = dict(zip([None, *self._counted], [n, *sums[:, 6:first].sum(axis=0)], strict=True))
        means = zip(self._means.items(), sums[:, first:].sum(axis=0), strict=True)
        return {
            "pearson": correlation_of_sums(*about_mean),
            "pearson_symmetric": divide(about_half[5], spread),
            "brier_uncertainty": np.maximum(divide(yy, n) - divide(y, n) ** 2, 0),
            **{key: divide(total, counts[mean.counted]) for (key, mean), total in means},
        }

    def _middle(self) -> FloatArray:
        """The means of p and h over all pairs, shape (2,)."""
        return np.array([float(self._p.mean()), float(self._h.mean())]) if self._p.size else np.zeros(2)

    def _binned(self, w: FloatArray, found: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Compute what needs bins from the weight and the sum of p - h in each."""
        if self._bins is None:
            return {}
        counts, gaps = np.split(self._bins @ w, 2)
        total = counts.sum(axis=0)
        reliability = divide(np.where(counts > 0, divide(gaps**2, counts), 0.0).sum(axis=0), total)
        return {
            "ece": divide(np.abs(gaps).sum(axis=0), total),
            "brier_reliability": reliability,
            "brier_resolution": reliability + found["brier_uncertainty"] - found.get("brier", np.nan),
        }

    def _within(self, sums: FloatArray) -> FloatArray:
        """Fisher's mean of r over the large strata, from their sums; NaN where there is but one stratum."""
        inside = sums[self._large] if len(sums) > 1 else sums[:0]
        if not len(inside):
            return np.full(sums.shape[-1], np.nan)
        return fisher_mean(correlation_of_sums(*np.moveaxis(inside[:, :6], 1, 0)), inside[:, 0])


def _mean_by(units: Units, values: FloatArray) -> FloatArray:
    """The mean of pairs of each stratum, shape (strata,)."""
    found: FloatArray = np.bincount(units.strata, values, units.sizes.size) / np.maximum(units.sizes, 1)
    return found


def _about(sums: FloatArray, centres: FloatArray, point: FloatArray) -> FloatArray:
    """Add up moments about each stratum's centre, shape (strata, 6 or more, resamples), as moments about a point."""
    n, x, y, xx, yy, xy = np.moveaxis(sums[:, :6], 1, 0)
    a, b = (centres - point[:, None])[..., None]
    moved = [n, x + a * n, y + b * n]
    moved += [xx + 2 * a * x + a * a * n, yy + 2 * b * y + b * b * n, xy + a * y + b * x + a * b * n]
    return np.stack([values.sum(axis=0) for values in moved])


def bootstrap(cell: Cell, draws: Sequence[NDArray[np.uint8]]) -> FloatArray:
    """Evaluate a cell on resamples as :func:`draw_clusters` gives them; returns shape (metrics, n_resamples)."""
    return np.concatenate([np.zeros((len(cell.metrics), 0)), *map(cell, draws)], axis=1)


Draw = Callable[[], NDArray[np.uint8]]
"""Draws a block of resamples, shape (clusters, resamples), once."""


def draw_clusters(clusters: Clusters, n_resamples: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Draw clusters with replacement within each stratum, how often each: blocks of shape (clusters, resamples).

    The resamples depend on ``rng`` alone, not on the number of threads.
    """
    return in_threads(plan_draws(clusters, n_resamples, rng))


def plan_draws(clusters: Clusters, n_resamples: int, rng: np.random.Generator) -> list[Draw]:
    """Plan what `draw_clusters` draws, in blocks each of which is small, to be drawn when it is needed."""
    sizes = block_sizes(n_resamples, clusters.numbered)
    drawn = [partial(draw_block, clusters, *job) for job in zip(sizes, rng.spawn(len(sizes)), strict=True)]
    some = max(1, min(_TOGETHER, _HELD // max(1, clusters.numbered)) // max(sizes, default=1))
    return [partial(_draw_several, drawn[i : i + some]) for i in range(0, len(drawn), some)]


def _draw_several(draws: Sequence[Draw]) -> NDArray[np.uint8]:
    return np.concatenate([draw() for draw in draws], axis=1)


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


def delete_blocks(clusters: Clusters, rng: np.random.Generator, most: int = 200) -> tuple[NDArray[np.uint8], IntArray]:
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
    weights = np.ones((clusters.count, len(found)), dtype=np.uint8)
    for column, (_, block) in enumerate(found):
        weights[block, column] = 0
    return weights, np.array([stratum for stratum, _ in found], dtype=np.int64)


def ones(clusters: Clusters) -> FloatArray:
    """Weights that leave the sample as it is, shape (clusters, 1)."""
    return np.ones((clusters.count, 1))
