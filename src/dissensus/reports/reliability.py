"""Reliability of preferences against fractions of votes: bins that hold equally many pairs, and the null band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import IntArray

BINS = 10
_DRAWS = 200
_CELLS = 4_000_000
"""Votes simulated at most for a band's draw over all its repetitions; fewer repetitions beyond that."""
_MANY = 1000
"""Votes a pair whose fractions are as good as normal."""


@dataclass(frozen=True)
class Reliability:
    """A model's bins, each array of shape (bins,), in order of the predictions."""

    predicted: FloatArray
    """Mean prediction."""
    observed: FloatArray
    """Mean fraction of people that prefers response a."""
    error: FloatArray
    """Standard error of the observed mean, whole prompts being what could have been drawn otherwise."""
    counts: FloatArray
    """Predictions in the bin, all seeds together."""
    low: FloatArray
    """The null band: where the bins lie in that share of draws, if each vote is cast with the predicted probability."""
    high: FloatArray
    level: float = 0.95
    """Of the band and of the bins' intervals."""

    @property
    def reach(self) -> FloatArray:
        """Half the width of each bin's normal interval."""
        return float(ndtri((1 + self.level) / 2)) * self.error

    @property
    def misses(self) -> int:
        """How many bins have an interval that leaves out their mean prediction."""
        return int((abs(self.observed - self.predicted) > self.reach).sum())


def reliability(
    predicted: FloatArray,
    human: FloatArray,
    votes: FloatArray,
    clusters: IntArray,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Reliability:
    """Bin predictions of shape (seeds, n) and compare them with people.

    The null band assumes that each of a pair's votes is for a with the predicted probability. Seeds share the votes:
    one draw of uniform numbers serves them all, as one set of people has voted.

    Args:
        predicted: preferences, shape (seeds, n).
        human: fraction of people that prefers response a, shape (n,).
        votes: how many voted, shape (n,), positive.
        clusters: the number of each pair's prompt, from 0, shape (n,).
        level: of the null band and of the bins' intervals.
        seed: of the simulated votes.

    >>> p = np.array([[0.1, 0.2, 0.8, 0.9]])
    >>> r = reliability(p, np.array([0.0, 0.2, 0.6, 1.0]), np.full(4, 5.0), np.arange(4))
    >>> r.observed.tolist(), r.counts.tolist()
    ([0.0, 0.2, 0.6, 1.0], [1.0, 1.0, 1.0, 1.0])
    """
    flat = predicted.ravel()
    parts = np.array_split(np.argsort(flat, kind="stable"), min(BINS, flat.size))
    drawn = _simulate(predicted, votes, np.random.default_rng(seed))
    null = np.array([drawn[:, part].mean(axis=1) for part in parts])
    low, high = np.quantile(null, ((1 - level) / 2, (1 + level) / 2), axis=1)
    tiled = np.tile(human, predicted.shape[0])
    return Reliability(
        predicted=np.array([flat[part].mean() for part in parts]),
        observed=np.array([tiled[part].mean() for part in parts]),
        error=np.array([_error(tiled[part], np.tile(clusters, predicted.shape[0])[part]) for part in parts]),
        counts=np.array([float(part.size) for part in parts]),
        low=low,
        high=high,
        level=level,
    )


def _error(values: FloatArray, clusters: IntArray) -> float:
    """The standard error of a mean of values that come in clusters."""
    sums = np.bincount(clusters, weights=values - values.mean())
    found = np.unique(clusters).size
    return float(np.sqrt((sums**2).sum() * found / max(1, found - 1)) / values.size)


def _simulate(predicted: FloatArray, votes: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw fractions of votes from the predictions, shape (draws, seeds * n)."""
    if votes.sum() > _CELLS and votes.mean() > _MANY:
        return _simulate_many(predicted, votes, rng)
    draws = int(np.clip(_CELLS // max(1, votes.sum()), 50, _DRAWS))
    counts = votes.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chances = np.repeat(predicted, counts, axis=1)
    drawn = np.empty((draws, predicted.size), dtype=np.float32)
    for row in drawn:
        uniform = rng.random(chances.shape[1])
        row[:] = (np.add.reduceat((uniform < chances).astype(np.float32), starts, axis=1) / votes).ravel()
    return drawn


def _simulate_many(predicted: FloatArray, votes: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """As above without a number for each vote: fractions of many votes are nearly normal."""
    spread = np.sqrt(predicted * (1 - predicted) / votes)
    drawn = np.empty((50, predicted.size), dtype=np.float32)
    for row in drawn:
        row[:] = np.clip(predicted + spread * rng.standard_normal(predicted.shape[1]), 0, 1).ravel()
    return drawn
