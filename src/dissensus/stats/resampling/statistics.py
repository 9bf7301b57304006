"""Intervals of whatever is a function of weights, by one bootstrap of whole clusters.

The plain way, for few statistics; the metrics of models have a faster one of their own (`bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.bootstrap import delete_blocks
from dissensus.stats.resampling.clusters import cluster_counts, find_clusters, find_freedom
from dissensus.stats.resampling.intervals import Estimate, bca_interval, find_acceleration

Statistic = Callable[[FloatArray | None], FloatArray]
"""A statistic of n weighted items: None to shape (), weights of shape (resamples, n) to (resamples,)."""

_Name = TypeVar("_Name")

_CELLS = 400_000
"""Weights of the jackknife held at once: 3 MB."""


def estimate_all(
    statistics: Mapping[_Name, Statistic],
    clusters: NDArray[np.generic],
    strata: NDArray[np.generic],
    n_resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
    *,
    inside: NDArray[np.bool_] | None = None,
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
    """
    values = {name: float(f(None)) for name, f in statistics.items()}
    found = find_clusters(clusters, strata)
    if n_resamples == 0 or not found.can_be_resampled():
        return {name: Estimate(value) for name, value in values.items()}
    kept, of_block = delete_blocks(found, np.random.default_rng(0))
    at_once = max(1, _CELLS // clusters.size)
    blocks = (kept[:, start : start + at_once][found.of_pair].T for start in range(0, of_block.size, at_once))
    without = _each(statistics, blocks)
    resampled = _each(statistics, cluster_counts(clusters, strata, n_resamples, rng))
    spare = find_freedom(found, inside)
    return {
        name: bca_interval(value, resampled[name], find_acceleration(without[name], of_block), level, spare)
        for name, value in values.items()
    }


def _each(statistics: Mapping[_Name, Statistic], weights: Iterable[NDArray[np.generic]]) -> dict[_Name, FloatArray]:
    """Compute every statistic with weights that come in parts of shape (rows, n)."""
    parts = [[f(part.astype(np.float64)) for f in statistics.values()] for part in weights]
    return {name: np.concatenate(found) for name, found in zip(statistics, zip(*parts, strict=True), strict=True)}
