"""Votes to preferences: arrays in, one number per pair out.

Votes are sparse: ``rating`` (1 for response a, 0 for b, 1/2 for a tie, or an estimate), ``pair``, ``group`` and
``voter`` of shape (votes,), the last three numbers from 0. A pair without a vote that counts has the preference NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    votes: IntArray
    voters: IntArray
    """Distinct voters: somebody who votes twice on a pair is one."""

    def of_at_least(self, voters: int) -> Cells:
        """Keep the cells of so many voters."""
        kept = self.voters >= voters
        return Cells(self.pair[kept], self.group[kept], self.mean[kept], self.votes[kept], self.voters[kept])


def group_means(rating: ArrayLike, pair: ArrayLike, group: ArrayLike, voter: ArrayLike | None = None) -> Cells:
    """Average the ratings of each pair by group; ``voter`` is one for each vote unless given.

    Raises:
        ValueError: the shapes differ, a rating is not within 0 and 1, or a number is negative.

    >>> cells = group_means([1, 1, 0], [0, 0, 0], [0, 0, 1])
    >>> cells.mean.tolist(), cells.voters.tolist()
    ([1.0, 0.0], [2, 1])
    """
    ratings, pairs = _checked(rating, pair)
    groups = _indices("group", group, ratings.size)
    voters = np.arange(ratings.size) if voter is None else _indices("voter", voter, ratings.size)
    n_groups = int(groups.max(initial=0)) + 1
    keys, cell = np.unique(pairs * n_groups + groups, return_inverse=True)
    n_voters = int(voters.max(initial=0)) + 1
    distinct = np.unique(cell * n_voters + voters) // n_voters
    votes = np.bincount(cell, minlength=keys.size)
    mean = np.bincount(cell, ratings, minlength=keys.size) / np.maximum(votes, 1)
    return Cells(keys // n_groups, keys % n_groups, mean, votes, np.bincount(distinct, minlength=keys.size))


def weighted_preference(rating: ArrayLike, pair: ArrayLike, weight: ArrayLike, *, n_pairs: int) -> FloatArray:
    """Compute the weighted mean of each pair's ratings, shape (n_pairs,); equal weights give the vote share.

    ``weight`` is 0 or more, of shape (votes,) or one number for all. NaN where the weights of a pair add up to 0.

    >>> weighted_preference([1, 0, 0.5], [0, 0, 1], [3, 1, 1], n_pairs=3).tolist()
    [0.75, 0.5, nan]
    """
    ratings, pairs = _checked(rating, pair)
    weights = np.broadcast_to(np.asarray(weight, np.float64), ratings.shape)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights must be finite and not negative")
    weights = weights / max(float(weights.max(initial=0.0)), np.finfo(float).tiny)  # so that no sum overflows
    total, part = (np.bincount(pairs, w, minlength=n_pairs).astype(np.float64) for w in (weights, weights * ratings))
    return _settle(_ratio(part, total))


def stratified_preference(
    cells: Cells, share: ArrayLike, *, n_pairs: int, population: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """Compute each pair's share-weighted mean of its groups' means, and which share of the population these groups are.

    ``share`` of shape (groups,) is positive and is divided by ``population``, the sum of all groups' shares, of those
    that nobody here belongs to among them; their own sum by default. Both results are of shape (n_pairs,). Where groups
    are missing, the shares of those that are there are scaled up: it is supposed that the missing ones would have voted
    as these do.

    >>> cells = group_means([1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0])
    >>> [x.tolist() for x in stratified_preference(cells, [1, 3], n_pairs=2)]
    [[0.25, 1.0], [1.0, 0.25]]
    """
    shares = np.asarray(share, np.float64)
    if not (np.isfinite(shares) & (shares > 0)).all():
        raise ValueError("shares must be finite and positive")
    weight = (shares / (shares.sum() if population is None else population))[cells.group]
    coverage = np.minimum(np.bincount(cells.pair, weight, minlength=n_pairs), 1.0)
    return weighted_preference(cells.mean, cells.pair, weight, n_pairs=n_pairs), coverage


def maximin_preference(cells: Cells, *, n_pairs: int) -> FloatArray:
    """Compute 1/2 + (min p_g - min (1 - p_g))/2 of each pair's group means p_g: their midrange; shape (n_pairs,).

    Over 1/2 where the group that supports response a least supports it more than the group that supports b least
    supports b. Swapped responses give 1 minus it; one group, or groups that agree, give their mean.

    >>> maximin_preference(group_means([1, 1, 0.25], [0, 0, 0], [0, 0, 1]), n_pairs=1).tolist()
    [0.625]
    """
    low, high = np.full(n_pairs, np.inf), np.full(n_pairs, -np.inf)
    np.minimum.at(low, cells.pair, cells.mean)
    np.maximum.at(high, cells.pair, cells.mean)
    heard = np.isfinite(low)
    return _settle(np.where(heard, (np.where(heard, low, 0) + np.where(heard, high, 0)) / 2, np.nan))


def has_quorum(preference: ArrayLike, voters: ArrayLike, *, quorum: float, min_votes: int = 1) -> NDArray[np.bool_]:
    """Say where one side has at least ``quorum`` of the vote and there are ``min_votes`` voters; shape (pairs,).

    Shares meet a quorum to three digits: two thirds meet 0.667.

    >>> has_quorum([2 / 3, 0.6, 0.0, 1.0], [3, 5, 4, 1], quorum=0.667, min_votes=2).tolist()
    [True, False, True, False]
    """
    share = np.asarray(preference, np.float64)
    met: NDArray[np.bool_] = np.maximum(share, 1 - share) >= quorum - _THREE_DIGITS
    return met & (np.asarray(voters) >= min_votes)


def _settle(preference: FloatArray) -> FloatArray:
    """Make even splits exactly even, whatever the order of the sums: who wins must not hang on rounding."""
    clipped = np.clip(preference, 0.0, 1.0)
    return np.where(np.abs(clipped - 0.5) < _NOISE, 0.5, clipped)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    out: FloatArray = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return out


def _checked(rating: ArrayLike, pair: ArrayLike) -> tuple[FloatArray, IntArray]:
    ratings = np.asarray(rating, np.float64)
    if ratings.ndim != 1 or not ((ratings >= 0) & (ratings <= 1)).all():
        raise ValueError("rating must be within 0 and 1, of shape (votes,)")
    return ratings, _indices("pair", pair, ratings.size)


def _indices(name: str, values: ArrayLike, size: int) -> IntArray:
    numbers = np.asarray(values, np.int64)
    if numbers.shape != (size,) or (numbers < 0).any():
        raise ValueError(f"{name} must be numbers from 0, of shape ({size},)")
    return numbers
