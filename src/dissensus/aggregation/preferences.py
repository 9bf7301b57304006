"""Votes to preferences: arrays in, one number per pair out.

Votes are sparse: ``rating`` (1 for response a, 0 for b, 1/2 for a tie, or an estimate), ``pair``, ``group`` and
``voter`` of shape (votes,), the last three numbers from 0. A pair without a vote that counts has the preference NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NOISE = 1e-12
_THREE_DIGITS = 5e-4


@dataclass(frozen=True)
class Cells:
    """What each group says of each pair, where it says anything."""

    pair: IntArray
    """Shape (cells,), as are the others."""
    group: IntArray
    mean: FloatArray
    """Of the group's ratings of the pair."""
    voters: IntArray
    """Distinct voters: somebody who votes twice on a pair is one."""

    def of_at_least(self, voters: int) -> Cells:
        """Keep the cells of so many voters."""
        kept = self.voters >= voters
        return Cells(self.pair[kept], self.group[kept], self.mean[kept], self.voters[kept])


def group_means(rating: FloatArray, pair: IntArray, group: IntArray, voter: IntArray | None = None) -> Cells:
    """Average the ratings of each pair by group; ``voter`` is one for each vote unless given."""
    voters = np.arange(rating.size) if voter is None else voter
    n_groups, n_voters = int(group.max(initial=0)) + 1, int(voters.max(initial=0)) + 1
    keys, cell = np.unique(pair * n_groups + group, return_inverse=True)
    distinct = np.unique(cell * n_voters + voters) // n_voters
    mean = np.bincount(cell, rating, minlength=keys.size) / np.maximum(np.bincount(cell, minlength=keys.size), 1)
    return Cells(keys // n_groups, keys % n_groups, mean, np.bincount(distinct, minlength=keys.size))


def weighted_preference(rating: FloatArray, pair: IntArray, weight: FloatArray | float, *, n_pairs: int) -> FloatArray:
    """Compute the weighted mean of each pair's ratings, shape (n_pairs,); equal weights give the vote share.

    ``weight`` is 0 or more, of shape (votes,) or one number for all. NaN where the weights of a pair add up to 0.
    """
    weights = np.broadcast_to(np.asarray(weight, np.float64), rating.shape)
    weights = weights / max(float(weights.max(initial=0.0)), np.finfo(float).tiny)  # so that no sum overflows
    total, part = (np.bincount(pair, w, minlength=n_pairs).astype(np.float64) for w in (weights, weights * rating))
    return _settle(np.divide(part, total, out=np.full(total.shape, np.nan), where=total > 0))


def stratified_preference(
    cells: Cells, share: FloatArray, *, n_pairs: int, population: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """Compute each pair's share-weighted mean of its groups' means, and which share of the population these groups are.

    ``share`` of shape (groups,) is positive and is divided by ``population``, the sum of all groups' shares, of those
    that nobody here belongs to among them; their own sum by default. Both results are of shape (n_pairs,). Where groups
    are missing on a pair, the shares of those that are there are scaled up.

    >>> cells = group_means(*np.array([[1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]]))
    >>> [x.tolist() for x in stratified_preference(cells, np.array([1, 3]), n_pairs=2)]
    [[0.25, 1.0], [1.0, 0.25]]
    """
    weight = (share / (share.sum() if population is None else population))[cells.group]
    coverage = np.minimum(np.bincount(cells.pair, weight, minlength=n_pairs), 1.0)
    return weighted_preference(cells.mean, cells.pair, weight, n_pairs=n_pairs), coverage


def maximin_preference(cells: Cells, *, n_pairs: int) -> FloatArray:
    """Compute 1/2 + (min p_g - min (1 - p_g))/2 of each pair's group means p_g: their midrange; shape (n_pairs,)."""
    low, high = np.full(n_pairs, np.inf), np.full(n_pairs, -np.inf)
    np.minimum.at(low, cells.pair, cells.mean)
    np.maximum.at(high, cells.pair, cells.mean)
    heard = np.isfinite(low)
    return _settle(np.where(heard, (np.where(heard, low, 0) + np.where(heard, high, 0)) / 2, np.nan))


def has_quorum(preference: FloatArray, voters: IntArray, *, quorum: float, min_votes: int) -> NDArray[np.bool_]:
    """Say where one side has at least ``quorum`` of the vote and there are ``min_votes`` voters; shape (pairs,).

    Shares meet a quorum to three digits: two thirds meet 0.667.
    """
    met: NDArray[np.bool_] = np.maximum(preference, 1 - preference) >= quorum - _THREE_DIGITS
    return met & (voters >= min_votes)


def _settle(preference: FloatArray) -> FloatArray:
    """Make even splits exactly even, whatever the order of the sums: who wins must not hang on rounding."""
    clipped = np.clip(preference, 0.0, 1.0)
    return np.where(np.abs(clipped - 0.5) < _NOISE, 0.5, clipped)
