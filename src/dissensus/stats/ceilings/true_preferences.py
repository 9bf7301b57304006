"""The distribution of true preferences behind a handful of votes.

Each pair's votes are a multinomial draw from its own probabilities of the votes a, b and tie; how these are spread over
pairs is fitted by maximum likelihood without a shape being assumed (Kiefer & Wolfowitz 1956; Laird 1978), by EM on a
grid. k votes show k moments of that distribution and no more, so the mean error is known to within some limits alone.
These are found by linear programming over all distributions on the grid that give every pattern of votes the
probability that the fitted one gives it (Manski 2003, *Partial Identification of Probability Distributions*). Between
them, the estimate was within .001 of the truth for smooth distributions at five votes a pair (.005 at three), and up to
.026 off at three and .009 at five where all pairs lie at two points.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.special import gammaln, xlogy

from dissensus.stats.metrics import FloatArray

_STEPS = 100
"""EM steps from an even start: enough for the mean error asked for here, and a little smoother than the optimum."""

_TWO_WAY, _THREE_WAY = 100, 20
"""Steps of the grid for votes without and with ties: 51 and 121 points."""
_MOST_TWO_WAY, _MOST_THREE_WAY = 2000, 200
"""Votes on a pair up to which every outcome is gone through; beyond, h is normal to within a hundredth of its error."""

MOST_BOUNDED = 12
"""Votes on a pair up to which limits are looked for: more votes identify the mean error to the digits shown."""
_TYPICAL = 0.9
"""The limits are those of the number of votes that this share of pairs does not exceed."""


class VoteMixture:
    """The distribution of true preferences behind the votes on n pairs.

    Which response is called a does not matter, so pairs are turned to a >= b and the points of the grid too.
    """

    def __init__(self, counts: NDArray[np.integer]) -> None:
        """Find the patterns of the votes (a, b, tie) of each pair, shape (n, 3), one vote or more each."""
        turned = np.stack([counts[:, :2].max(axis=1), counts[:, :2].min(axis=1), counts[:, 2]], axis=1)
        self.patterns, of_pair = np.unique(turned, axis=0, return_inverse=True)
        self.of_pair: NDArray[np.intp] = of_pair.reshape(-1)
        """The pattern of each pair, shape (n,)."""
        self.sizes: NDArray[np.integer] = self.patterns.sum(axis=1)
        self._ties = bool(self.patterns[:, 2].any())
        self.points = _grid(ties=self._ties)
        self._one, self._mirrored = _turned_likelihood(self.patterns, self.points)

    def fit(self, weights: FloatArray) -> FloatArray:
        """Find the share of pairs at each point, shape (resamples, points), by EM; NaN where no pair has two votes.

        ``weights``, shape (resamples, patterns), is how many pairs have each pattern; single votes say nothing of it.
        """
        several = self.sizes >= 2
        weights, likelihood = weights[:, several], (self._one + self._mirrored)[:, several]
        spread = np.full((weights.shape[0], likelihood.shape[0]), 1 / likelihood.shape[0])
        shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)
        for _ in range(_STEPS):
            spread *= (shares / np.maximum(spread @ likelihood, 1e-300)) @ likelihood.T
        return np.where(weights.any(axis=1, keepdims=True), spread, np.nan)

    def variance(self, spread: FloatArray) -> FloatArray:
        """E (p - 1/2)^2, shape (resamples,)."""
        found: FloatArray = spread @ (_share(self.points) - 0.5) ** 2
        return found

    def given_votes(self, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Find E[(p - 1/2) | votes] (h - 1/2) and E[|h - p| | votes], both of shape (resamples, patterns).

        Whatever decided how many votes there are (the likelihood principle; Berger & Wolpert 1988).
        """
        likelihood = np.maximum(spread @ (self._one + self._mirrored), 1e-300)
        covariance, error = self._terms()
        return (spread @ covariance) / likelihood, (spread @ error) / likelihood

    def errors(self, spread: FloatArray) -> FloatArray:
        """E |h - p| of as many votes as each pattern has, given beforehand; shape (resamples, patterns)."""
        by_size, of_pattern = self._errors
        return (spread @ by_size)[:, of_pattern]

    def error_limits(
        self, spread: FloatArray, weights: FloatArray, asked: FloatArray | None = None
    ) -> tuple[float, float] | None:
        """Find the least and the largest mean error that these votes leave possible; None where that is not asked.

        The number of votes is given beforehand. What is held is the probability of every pattern of as many votes as
        nine in ten pairs do not exceed. ``spread`` is the fitted distribution, shape (points,), ``weights`` how many
        pairs have each pattern, and ``asked`` how many of them the mean is over; all unless given.
        """
        asked = weights if asked is None else asked
        if np.isnan(spread).any():
            return None
        order = np.argsort(self.sizes, kind="stable")
        share = np.cumsum(weights[order]) / max(weights.sum(), 1)
        size = int(self.sizes[order[np.searchsorted(share, _TYPICAL)]]) if weights.any() else 0
        if not 0 < size <= MOST_BOUNDED:
            return None
        ways = _ways(size, ties=self._ties)
        held = sum(_turned_likelihood(ways[ways[:, 0] >= ways[:, 1]], self.points, scaled=False))
        by_size, of_pattern = self._errors
        share = np.bincount(of_pattern, asked, by_size.shape[1]) / asked.sum()
        return _limits(by_size @ share, np.asarray(held), spread)

    def error_limits_given_votes(self, spread: FloatArray, weights: FloatArray) -> tuple[float, float] | None:
        """Find the same limits where the votes decided how many there are."""
        return self._limits_given_votes(self._terms()[1], spread, weights)

    def covariance_limits_given_votes(self, spread: FloatArray, weights: FloatArray) -> tuple[float, float] | None:
        """Find the limits of the mean of E[(p - 1/2) | votes] (h - 1/2) there."""
        return self._limits_given_votes(self._terms()[0], spread, weights)

    def _limits_given_votes(
        self, terms: FloatArray, spread: FloatArray, weights: FloatArray
    ) -> tuple[float, float] | None:
        seen = weights > 0
        if np.isnan(spread).any() or self.sizes[seen].max() > MOST_BOUNDED:
            return None
        likelihood = (self._one + self._mirrored)[:, seen]
        share = weights[seen] / weights.sum() / np.maximum(spread @ likelihood, 1e-300)
        return _limits(terms[:, seen] @ share, likelihood, spread)

    @cached_property
    def _errors(self) -> tuple[FloatArray, NDArray[np.intp]]:
        """E |h - p| at each point for each number of votes, shape (points, sizes), and which one a pattern has."""
        sizes, of_pattern = np.unique(self.sizes, return_inverse=True)
        return np.stack([_error_of(int(size), self.points) for size in sizes], axis=1), of_pattern.reshape(-1)

    def _terms(self) -> tuple[FloatArray, FloatArray]:
        """Likelihood times (p - 1/2)(h - 1/2) and times |h - p|, each of shape (points, patterns)."""
        p = _share(self.points)[:, None]
        h = _share(self.patterns.astype(np.float64)) / self.sizes
        covariance = (self._one - self._mirrored) * (p - 0.5) * (h - 0.5)
        return covariance, self._one * np.abs(h - p) + self._mirrored * np.abs(1 - h - p)


def _limits(wanted: FloatArray, held: FloatArray, spread: FloatArray) -> tuple[float, float] | None:
    """Least and largest ``wanted @ g`` of distributions g over the points with ``g @ held`` as ``spread`` has it."""
    equal = np.vstack([held.T, np.ones(spread.size)])
    # The probability of a pattern may be tiny: relative to its largest value all count alike.
    scale = np.maximum(equal.max(axis=1, keepdims=True), 1e-300)
    equal = equal / scale
    ends = [linprog(sign * wanted, A_eq=equal, b_eq=equal @ spread, method="highs") for sign in (1, -1)]
    if not all(end.success for end in ends):
        return None
    value = float(wanted @ spread)
    return min(value, float(ends[0].fun)), max(value, -float(ends[1].fun))


def _grid(*, ties: bool) -> FloatArray:
    """Probabilities of the votes a, b and tie, shape (points, 3), with that of a not below that of b."""
    steps = _THREE_WAY if ties else _TWO_WAY
    ways = _ways(steps, ties=ties)
    return ways[ways[:, 0] >= ways[:, 1]] / steps


def _ways(size: int, *, ties: bool) -> FloatArray:
    """All ways (a, b, tie) to add up to ``size``, shape (ways, 3)."""
    ways = [(a, size - a - t, t) for t in range(size + 1 if ties else 1) for a in range(size - t + 1)]
    return np.array(ways, dtype=np.float64)


def _log_probability(counts: NDArray[np.generic], points: FloatArray) -> FloatArray:
    """Log of the multinomial probability of counts, shape (kinds, 3), at each point, shape (points, kinds)."""
    ways = gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)
    result: FloatArray = ways + xlogy(counts, points[:, None, :]).sum(axis=-1)
    return result


def _turned_likelihood(
    patterns: NDArray[np.generic], points: FloatArray, *, scaled: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Probability of each pattern and of its mirror image, each of shape (points, patterns).

    A pattern that is its own mirror image has none. Scaled, the likelier is 1 at the best point: of thousands of votes
    any outcome is too unlikely for a float.
    """
    one, mirrored = _log_probability(patterns, points), _log_probability(patterns[:, [1, 0, 2]], points)
    largest = np.maximum(one, mirrored).max(axis=0) if scaled else 0.0
    return np.exp(one - largest), np.where(patterns[:, 0] == patterns[:, 1], 0.0, np.exp(mirrored - largest))


def _error_of(size: int, points: FloatArray) -> FloatArray:
    """E |h - p| of the fraction h of ``size`` votes (a tie counts half) at each point, shape (points,)."""
    ties = bool(points[:, 2].any())
    if size > (_MOST_THREE_WAY if ties else _MOST_TWO_WAY):
        variance = (points[:, 0] + points[:, 2] / 4 - _share(points) ** 2) / size
        return np.sqrt(2 / np.pi * np.maximum(variance, 0))
    counts = _ways(size, ties=ties)
    away = np.abs(_share(counts) / size - _share(points)[:, None])
    result: FloatArray = (np.exp(_log_probability(counts, points)) * away).sum(axis=1)
    return result


def _share(counts: FloatArray) -> FloatArray:
    """Votes for a, a tie counting half, or their probability."""
    result: FloatArray = counts[:, 0] + counts[:, 2] / 2
    return result
