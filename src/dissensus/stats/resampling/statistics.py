"""Intervals of whatever is a function of weights, by one bootstrap of whole clusters.

The plain way, for few statistics; the metrics of models have a faster one of their own (`bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.bootstrap import delete_blocks
from dissensus.stats.resampling.clusters import Clusters, IntArray, draw_blocks, find_clusters, find_freedom
from dissensus.stats.resampling.intervals import Estimate, bca_interval, find_acceleration

Statistic = Callable[[FloatArray | None], FloatArray]
"""A statistic of n weighted items: None to shape (), weights of shape (resamples, n) to (resamples,)."""

_Name = TypeVar("_Name")

_CELLS = 400_000
"""Weights of the jackknife held at once: 3 MB."""

_TOGETHER, _HELD = 64, 1_500_000
"""Resamples that kinds are counted in at once, and how many weights of clusters they have at most."""


def estimate_all(
    statistics: Mapping[_Name, Statistic],
    clusters: NDArray[np.generic],
    strata: NDArray[np.generic],
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
    *,
    inside: NDArray[np.bool_] | None = None,
    kinds: IntArray | None = None,
) -> dict[_Name, Estimate]:
    """Compute statistics of n items with intervals, all on the same resamples of whole clusters within strata.

    Intervals are BCa, widened for few or unequal clusters (`find_freedom`); there are none where fewer than five
    clusters can be drawn.

    Args:
        statistics: by name.
        clusters: the cluster (prompt) of each item, shape (n,).
        strata: the stratum (data set) of each item, shape (n,).
        n_resamples: how many; 0 for no intervals.
        rng: the source of randomness.
        level: of the intervals.
        inside: the items that tell something, shape (n,); by default all. Clusters without any count for nothing in how
            far an interval is widened.
        kinds: where many items are alike, the number of each one's kind, from 0, shape (n,): statistics are then of the
            kinds, and are given weights of shape (..., kinds) on the sample, too.
    """
    on_sample = None if kinds is None else np.bincount(kinds).astype(np.float64)
    values = {name: float(f(on_sample)) for name, f in statistics.items()}
    found = find_clusters(clusters, strata)
    if n_resamples == 0 or not found.can_be_resampled():
        return {name: Estimate(value) for name, value in values.items()}
    kept, of_block = delete_blocks(found, np.random.default_rng(0))
    spread = _to_items(found) if kinds is None else _to_kinds(found, kinds)
    at_once = max(1, _CELLS // clusters.size)
    without = _each(statistics, spread(kept[:, i : i + at_once] for i in range(0, of_block.size, at_once)))
    resampled = _each(statistics, spread(draw_blocks(found, n_resamples, rng)))
    spare = find_freedom(found, inside)
    return {
        name: bca_interval(value, resampled[name], find_acceleration(without[name], of_block), level, spare)
        for name, value in values.items()
    }


_Spread = Callable[[Iterable[NDArray[np.uint8]]], Iterator[FloatArray]]
"""Turns weights of clusters, shape (clusters, some), into weights of what statistics are of, shape (some, n)."""


def _to_items(found: Clusters) -> _Spread:
    return lambda parts: (part[found.of_pair].T.astype(np.float64) for part in parts)


def _to_kinds(found: Clusters, kinds: IntArray) -> _Spread:
    shape = (int(kinds.max(initial=-1)) + 1, found.numbered)
    by_cluster = sparse.coo_array((np.ones(kinds.size), (kinds, found.of_pair)), shape=shape).tocsr()

    def spread(parts: Iterable[NDArray[np.uint8]]) -> Iterator[FloatArray]:
        some: list[NDArray[np.uint8]] = []
        for part in parts:
            some.append(part)
            width = sum(part.shape[1] for part in some)
            if width >= _TOGETHER or width * found.numbered >= _HELD:
                yield (by_cluster @ np.concatenate(some, axis=1).astype(np.float64)).T
                some = []
        if some:
            yield (by_cluster @ np.concatenate(some, axis=1).astype(np.float64)).T

    return spread


def _each(statistics: Mapping[_Name, Statistic], weights: Iterable[FloatArray]) -> dict[_Name, FloatArray]:
    """Compute every statistic with weights that come in parts of shape (rows, n)."""
    parts = [[f(part) for f in statistics.values()] for part in weights]
    return {name: np.concatenate(found) for name, found in zip(statistics, zip(*parts, strict=True), strict=True)}
