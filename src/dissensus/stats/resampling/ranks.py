"""Spearman's correlation of weighted pairs, for many weights at once: a running sum over the pairs in order.

With the pairs in the order of their predictions, the rank of a pair is the running sum of the weights down to it. Pairs
are gone through in tiles that stay in the second-level cache, however many pairs there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.resampling.clusters import IntArray
from dissensus.stats.weighted import FloatArray

_TILE = 1024
"""Pairs of a tile: with 64 resamples 0.5 MB."""

_RUN = 16
"""Running sums are taken within runs of this length by one small matrix product, then across runs."""

_FEW_LEVELS = 64
"""Human preferences with no more distinct values than this are summed by value, not pair by pair."""

_TRIANGLE = np.tril(np.ones((_RUN, _RUN)), -1) + np.eye(_RUN) / 2


@dataclass(frozen=True)
class _Tile:
    """Neighbouring pairs in the order of their predictions, and which of them have the same one."""

    rows: slice
    tied: IntArray
    """Those, from the tile's first, that share their prediction with another."""
    starts: IntArray
    """Where among these each shared prediction begins."""
    lengths: IntArray


class Ranks:
    """The sums of Spearman's correlation of n pairs.

    With mid-ranks R for n = sum w weighted pairs, sum w R_p R_h needs R_h by the distinct values of h alone, and
    sum w (R_p - mean)^2 = (n^3 - sum t^3) / 12, where t are the weights of tied predictions.
    """

    def __init__(self, p: FloatArray, level: IntArray, units: IntArray, n_units: int) -> None:
        """Put the pairs in order. All of shape (n,).

        Args:
            p: predictions.
            level: the number of each pair's human preference among its distinct values, from the least.
            units: the row of each pair in the weights.
            n_units: how many rows there are.
        """
        order = np.argsort(p, kind="stable")
        self._units, self._level = units[order].astype(np.int32), level[order].astype(np.int32)
        self._starts = np.flatnonzero(np.diff(p[order], prepend=np.nan) != 0)
        self._lengths = np.diff(self._starts, append=p.size)
        alone = np.repeat(self._lengths == 1, self._lengths)
        self._alone = np.bincount(self._units[alone], minlength=n_units).astype(np.float64)

    @cached_property
    def _tiles(self) -> list[_Tile]:
        """Cut the pairs where predictions differ."""
        found, first, n = [], 0, self._starts.size
        ends = np.append(self._starts[1:], self._units.size)
        while first < n:
            begin = int(self._starts[first])
            last = max(first + 1, int(np.searchsorted(ends, begin + _TILE, side="right")))
            lengths = self._lengths[first:last]
            shared = lengths > 1
            tied = np.flatnonzero(np.repeat(shared, lengths))
            starts = np.cumsum(lengths[shared]) - lengths[shared]
            found.append(_Tile(slice(begin, int(ends[last - 1])), tied, starts, lengths[shared]))
            first = last
        return found

    def sums(self, weights: NDArray[np.generic], w: FloatArray, of_level: FloatArray) -> FloatArray:
        """Covariance and the two variances of the ranks, times n: shape (3, resamples).

        Args:
            weights: of each unit, shape (units, resamples).
            w: the same as floats.
            of_level: sums of the pairs' weights by level, shape (levels, resamples).
        """
        total = of_level.sum(axis=0)
        ranks_h = np.cumsum(of_level, axis=0) - of_level / 2 - total / 2
        few, numbers = of_level.shape[0] <= _FEW_LEVELS, np.arange(of_level.shape[0])[:, None]
        by_level, covariance = np.zeros(of_level.shape if few else 0), np.zeros(total.size)
        cubes, below = self._alone @ (w * w * w), -total / 2
        for tile in self._tiles:
            ranks, mine, tied = self._rank(tile, weights, below)
            if tied.size:
                cubes += np.einsum("tr,tr,tr->r", tied, tied, tied)
            weighted = np.multiply(ranks, mine, out=ranks)
            level = self._level[tile.rows]
            if few:
                by_level += (level == numbers).astype(np.float64) @ weighted
            else:
                covariance += np.einsum("nr,nr->r", weighted, ranks_h[level])
            below = below + mine.sum(axis=0)
        if few:
            covariance = np.einsum("lr,lr->r", ranks_h, by_level)
        variance_h = np.einsum("lr,lr->r", of_level, ranks_h * ranks_h)
        return np.stack([covariance, (total**3 - cubes) / 12, variance_h])

    def _rank(
        self, tile: _Tile, weights: NDArray[np.generic], below: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mid-ranks of a tile's pairs less the mean rank, their weights, and those of each tied prediction."""
        units = self._units[tile.rows]
        w = np.zeros((-(-units.size // _RUN) * _RUN, weights.shape[1]))
        w[: units.size] = np.take(weights, units, axis=0)
        ranks, w = _half_way_sum(w)[: units.size], w[: units.size]
        ranks += below
        tied = np.zeros((0, weights.shape[1]))
        if tile.tied.size:
            tied = np.add.reduceat(w[tile.tied], tile.starts, axis=0)
            first = tile.tied[tile.starts]
            ranks[tile.tied] = np.repeat(ranks[first] - w[first] / 2 + tied / 2, tile.lengths, axis=0)
        return ranks, w, tied


def _half_way_sum(w: FloatArray) -> FloatArray:
    """``np.cumsum(w, axis=0) - w / 2`` for a multiple of _RUN rows, some times faster: a product within each run."""
    within = w.reshape(-1, _RUN, w.shape[1])
    runs: FloatArray = _TRIANGLE @ within
    runs[1:] += np.cumsum(runs[:-1, -1] + within[:-1, -1] / 2, axis=0)[:, None]
    return runs.reshape(w.shape)
