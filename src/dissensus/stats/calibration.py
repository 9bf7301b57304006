"""Calibration: whether a predicted preference of .7 means that seven people in ten agree.

Each bin of equal mass of predictions is held against its mean human preference (a fraction, not 0 or 1). The functions
take the arguments of all metrics (see ``metrics``) and ``edges``, the inner edges of the bins, by default those of the
unweighted predictions, so that resamples of one sample share their bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dissensus.stats.weighted import FloatArray, Weights, check_preferences, divide, prepare

BINS = 10
"""How many bins there are, where predictions are not tied and not fewer."""

_FEWEST_TO_A_BIN = 20
"""Pairs to a bin in which ties are counted."""

_CELLS = 120_000
"""Simulated shares held at once."""


def equal_mass_edges(predicted: FloatArray, bins: int = BINS) -> FloatArray:
    """Find the inner edges of bins that hold equally many of the n predictions; fewer than ``bins`` where they tie."""
    if predicted.size == 0:
        return np.zeros(0)
    return np.unique(np.quantile(predicted, np.arange(1, bins) / bins))


def bin_of(predicted: FloatArray, edges: FloatArray) -> NDArray[np.intp]:
    """Number the bin of each prediction from 0: bin k is (edges[k - 1], edges[k]], so equal predictions share one."""
    return np.searchsorted(edges, predicted, side="left")


def ece(
    predicted: FloatArray, human: FloatArray, weights: Weights = None, edges: FloatArray | None = None
) -> FloatArray:
    """Expected calibration error with soft targets: the mean over pairs of |mean p - mean h| of the pair's bin.

    Few votes and few pairs to a bin keep it above zero for a calibrated model too: compare with :func:`ece_null`.
    """
    _, gaps, total = _bins(predicted, human, weights, edges)
    return divide(np.abs(gaps).sum(axis=-1), total)


def brier_reliability(
    predicted: FloatArray, human: FloatArray, weights: Weights = None, edges: FloatArray | None = None
) -> FloatArray:
    """Reliability, the part of the Brier score that calibration would remove: mean (mean p - mean h)^2 of the bins.

    ``brier = reliability - resolution + uncertainty`` (Murphy, 1973), exactly; see :func:`brier_resolution`.
    """
    counts, gaps, total = _bins(predicted, human, weights, edges)
    per_bin = np.where(counts > 0, divide(gaps**2, counts), 0.0)
    return divide(per_bin.sum(axis=-1), total)


def brier_resolution(
    predicted: FloatArray, human: FloatArray, weights: Weights = None, edges: FloatArray | None = None
) -> FloatArray:
    """Resolution, the part of the variance of human preferences that the predictions tell apart. Higher is better.

    The generalised resolution of Stephenson, Coelho and Jolliffe (2008), for predictions that vary within a bin:
    variance of h between bins - variance of p within bins + 2 * covariance within bins. It can fall below zero.
    """
    p, h, w = prepare(predicted, human, weights)
    brier = divide(w @ (p - h) ** 2, w.sum(axis=-1))
    return brier_reliability(p, h, w, edges) + brier_uncertainty(p, h, w) - brier


def brier_uncertainty(predicted: FloatArray, human: FloatArray, weights: Weights = None) -> FloatArray:
    """Uncertainty, the variance of human preferences: the Brier score of always predicting their mean."""
    _, h, w = prepare(predicted, human, weights)
    centred = h - (h.mean() if h.size else 0.0)
    total = w.sum(axis=-1)
    # Of equal preferences rounding may leave less than nothing.
    uncertainty: FloatArray = np.maximum(divide(w @ centred**2, total) - divide(w @ centred, total) ** 2, 0)
    return uncertainty


def _bins(
    predicted: FloatArray, human: FloatArray, weights: Weights, edges: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Count, and sum p - h, by bin: two arrays of shape (..., bins); and the total weight, of shape (...)."""
    p, h, w = prepare(predicted, human, weights)
    edges = equal_mass_edges(p) if edges is None else edges
    member = (bin_of(p, edges)[:, None] == np.arange(edges.size + 1)).astype(np.float64)
    return w @ member, w @ (member * (p - h)[:, None]), w.sum(axis=-1)


@dataclass(frozen=True)
class NullBand:
    """What a metric would be were a model perfectly calibrated: its mean and an interval of its distribution."""

    mean: float
    low: float
    high: float


def ece_null(
    predicted: FloatArray,
    n_votes: NDArray[np.integer],
    rng: np.random.Generator,
    *,
    n_ties: NDArray[np.integer] | None = None,
    n_simulations: int = 1000,
    level: float = 0.95,
) -> NullBand:
    """Simulate the ECE that a perfectly calibrated model would get with these predictions and this many votes.

    Votes are drawn independently between pairs: the least noise a calibrated model can meet. Where the pairs of a
    prompt err together, its ECE is larger. ``n_votes``, one or more, and ``n_ties`` of them, none unless given, have
    shape (n,).
    """
    p, votes = np.asarray(predicted, dtype=np.float64), np.asarray(n_votes)
    rates = None if n_ties is None else tie_rates(p, votes, n_ties)
    errors = SimulatedErrors(p, [np.ones(p.size, dtype=np.bool_)])
    simulated = [errors(simulate_shares(p, votes, rng, rows, rates))[0] for rows in in_blocks(n_simulations, p.size)]
    return null_band(np.concatenate([*simulated, np.zeros(0)]), level)


def tie_rates(
    predicted: FloatArray,
    n_votes: NDArray[np.integer],
    n_ties: NDArray[np.integer],
    strata: NDArray[np.integer] | None = None,
) -> FloatArray:
    """Estimate how probable a tie is in a vote on each pair, were predictions calibrated; shape (n,).

    A tie is half a vote for a, so where p is the mean of the votes at most 2 min(p, 1 - p) of them are ties. Of that
    the share is estimated that the data have, in bins of equal mass of p, at most `BINS` of twenty pairs or more.

    All have shape (n,); each stratum (data set) has its own rates, where some ask for ties and some do not.
    """
    p, votes, ties = np.asarray(predicted, dtype=np.float64), np.asarray(n_votes), np.asarray(n_ties)
    check_preferences("predicted", p)
    if not (p.shape == votes.shape == ties.shape) or not ((votes >= 1) & (ties >= 0) & (ties <= votes)).all():
        raise ValueError("need one vote or more on each pair, of which some may be ties, all of predicted's shape")
    rates, most = np.zeros(p.size), 2 * np.minimum(p, 1 - p)
    for inside in [np.ones(p.size, bool)] if strata is None else [strata == s for s in np.unique(strata)]:
        edges = equal_mass_edges(p[inside], max(1, min(BINS, int(inside.sum()) // _FEWEST_TO_A_BIN)))
        number = bin_of(p[inside], edges)
        found, room = (np.bincount(number, x[inside], edges.size + 1) for x in (ties / votes, most))
        share = np.minimum(np.divide(found, room, out=np.zeros(found.size), where=room > 0), 1.0)
        rates[inside] = most[inside] * share[number]
    return np.maximum(rates, 0.0)


def simulate_shares(
    predicted: FloatArray,
    n_votes: NDArray[np.integer],
    rng: np.random.Generator,
    n_simulations: int,
    rates: FloatArray | None = None,
) -> FloatArray:
    """Draw human shares, a tie counting half, for a perfectly calibrated model: shape (n_simulations, n).

    ``rates``, shape (n,), is how probable a tie is on each pair (`tie_rates`); `in_blocks` says how many to draw at
    once.
    """
    check_preferences("predicted", predicted)
    p, size = np.clip(predicted, 0, 1), (n_simulations, predicted.size)
    drawn: FloatArray
    if rates is None or not rates.any():
        drawn = rng.binomial(n_votes, p, size=size) / n_votes
        return drawn
    ties = rng.binomial(n_votes, np.minimum(rates, 1), size=size)
    decided = np.clip(np.divide(p - rates / 2, 1 - rates, out=np.zeros(p.size), where=rates < 1), 0, 1)
    drawn = (rng.binomial(n_votes - ties, decided) + ties / 2) / n_votes
    return drawn


def in_blocks(n_simulations: int, width: int) -> list[int]:
    """Split simulations of ``width`` pairs into blocks that take a few megabytes each; returns their sizes."""
    size = max(1, _CELLS // max(1, width))
    return [min(size, n_simulations - start) for start in range(0, n_simulations, size)]


class SimulatedErrors:
    """The ECE of predictions in several groups, against simulated shares."""

    def __init__(self, predicted: FloatArray, groups: Sequence[NDArray[np.bool_]]) -> None:
        """Find the bins of each group; ``predicted`` has shape (n,), as has the mask of each group."""
        self._sizes = np.array([mask.sum() for mask in groups])
        pairs = [np.flatnonzero(mask) for mask in groups]
        numbers = [bin_of(predicted[own], equal_mass_edges(predicted[own])) for own in pairs]
        bins = [int(number.max(initial=0)) + 1 for number in numbers]
        self._starts = np.cumsum([0, *bins[:-1]])
        rows = np.concatenate([number + start for number, start in zip(numbers, self._starts, strict=True)])
        entries = np.ones(rows.size), (rows, np.concatenate(pairs))
        # Sums by bin, of all groups at once: shape (bins, n).
        self._bins = sparse.coo_array(entries, shape=(sum(bins), predicted.size)).tocsr()
        self._predicted = (self._bins @ predicted)[:, None]

    def __call__(self, shares: FloatArray) -> FloatArray:
        """Compute the ECE against each row of shares, shape (simulations, n): shape (groups, simulations)."""
        gaps = np.abs(self._bins @ shares.T - self._predicted)
        error: FloatArray = np.add.reduceat(gaps, self._starts, axis=0) / self._sizes[:, None]
        return error


def null_band(simulated: FloatArray, level: float = 0.95) -> NullBand:
    """Summarise simulated values, shape (simulations,)."""
    low, high = np.quantile(simulated, [(1 - level) / 2, (1 + level) / 2])
    return NullBand(float(simulated.mean()), float(low), float(high))
