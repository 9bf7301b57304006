"""The expected error of votes, in parts of pairs that have a distribution of true preferences of their own.

Pairs of three and of five votes may differ beforehand: five where a pair looked hard, or in another data set.
Where votes differ more often among the pairs of one number, each number of votes has its own distribution; otherwise
they share one, which those of many votes tell more of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import chdtrc

from dissensus.stats.metrics import FloatArray
from dissensus.stats.mixing import VoteMixture
from dissensus.stats.ratings import RatingTable

_DIFFER = 0.05
"""Of p: pairs of different numbers of votes are then no longer taken for alike."""
_FEWEST = 10
"""Pairs of one number of votes from which they can have a distribution of their own."""

_MOST_PATTERNS = 200
"""Distinct patterns of votes up to which resamples fit the distribution of preferences anew. Patterns are as many only
where pairs have many votes, which tell of each pair by themselves: the distribution matters little then."""


def find_parts(table: RatingTable, inside: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Part pairs by their number of votes where these differ in how often votes do.

    Args:
        table: the votes of n pairs.
        inside: the pairs to part, shape (n,).

    Yields:
        Pairs that share a distribution, and those of them whose error it is for: numbers that few pairs have, and
        single votes, are looked at with all. Both of shape (n,).
    """
    numbers = [m for m in np.unique(table.size[inside]) if m >= 2 and (inside & (table.size == m)).sum() >= _FEWEST]
    apart = [inside & (table.size == m) for m in numbers]
    if not _differ([table.distance[part] for part in apart]):
        apart = []
    yield from zip(apart, apart, strict=True)
    rest = inside & ~np.any([np.zeros_like(inside), *apart], axis=0)
    if rest.any():
        yield inside, rest


class VotePart:
    """The votes of some pairs with the distribution of preferences behind them, for any weights of clusters."""

    def __init__(
        self,
        table: RatingTable,
        clusters: NDArray[np.integer],
        n_clusters: int,
        inside: NDArray[np.bool_],
        asked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Find the patterns of the votes, and fit their distribution.

        Args:
            table: the votes of n pairs.
            clusters: the number of each pair's cluster, shape (n,).
            n_clusters: how many clusters there are.
            inside: the pairs of this part, shape (n,).
            asked: those whose error is asked for: all of them with certain numbers of votes; all unless given.
        """
        self._mixture = VoteMixture(_counts(table.rows(inside)))
        of_pair = self._mixture.of_pair
        self._patterns = len(self._mixture.patterns)
        shape = (self._patterns, n_clusters)
        ones = np.ones(of_pair.size)
        self._by_cluster = sparse.coo_array((ones, (of_pair, clusters[inside])), shape=shape).tocsr()
        self._sample = np.bincount(of_pair, minlength=self._patterns).astype(np.float64)
        self._fitted = self._mixture.fit(self._sample[None])
        mine = ones if asked is None else asked[inside].astype(np.float64)
        self._asked = (np.bincount(of_pair, mine, self._patterns) > 0).astype(np.float64)

    def error(self, weights: FloatArray) -> FloatArray:
        """Sum of the expected |h - p|, shape (resamples,), where the number of votes is given beforehand."""
        by_pattern, spread = self._fit(weights)
        asked = by_pattern * self._asked
        total = asked.sum(axis=1)
        return np.where(total > 0, self._mixture.mean_error(spread, asked) * total, 0)

    def given_votes(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sums of E[p - 1/2 | votes] (h - 1/2), of E (p - 1/2)^2 and of E[|h - p| | votes], each (resamples,)."""
        by_pattern, spread = self._fit(weights)
        found, total = self._mixture.given_votes(spread), by_pattern.sum(axis=1)
        sums = (
            (by_pattern * found.covariance).sum(axis=1),
            self._mixture.variance(spread) * total,
            (by_pattern * found.error).sum(axis=1),
        )
        covariance, variance, error = np.where(total > 0, sums, 0)
        return covariance, variance, error

    def error_limits(self, *, decided: bool) -> FloatArray:
        """The least and the largest sum of |h - p| that the votes of the sample leave possible, shape (2,)."""
        asked = self._sample * self._asked
        if decided:
            found = self._mixture.error_limits_given_votes(self._fitted[0], self._sample)
        else:
            found = self._mixture.error_limits(self._fitted[0], self._sample, asked)
        if found is not None:
            return np.array([end * asked.sum() for end in found])
        once = np.ones((self._by_cluster.shape[1], 1))
        value = self.given_votes(once)[2] if decided else self.error(once)
        return np.array([value[0], value[0]])

    def covariance_limits(self) -> tuple[float, float, float]:
        """The least, the estimated and the largest mean of E[p - 1/2 | votes] (h - 1/2)."""
        terms = self._mixture.given_votes(self._fitted).covariance[0]
        value = float(self._sample @ terms / self._sample.sum())
        low, high = self._mixture.covariance_limits_given_votes(self._fitted[0], self._sample) or (value, value)
        return low, value, high

    def _fit(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """How many pairs have each pattern, (resamples, patterns), and the distribution: of each resample, or one."""
        by_pattern = np.asarray(self._by_cluster @ weights).T
        return by_pattern, self._fitted if self._patterns > _MOST_PATTERNS else self._mixture.fit(by_pattern)


def _counts(table: RatingTable) -> NDArray[np.int64]:
    """Votes (a, b, tie) of each pair, shape (n, 3)."""
    counts = np.zeros((table.size.size, 3), dtype=np.int64)
    for column, value in enumerate((1, 0, 0.5)):
        if (at := np.flatnonzero(table.values == value)).size:
            counts[:, column] = table.counts[:, at].toarray()[:, 0]
    return counts


def _differ(parts: Sequence[FloatArray]) -> bool:
    """Whether the means of several samples differ beyond chance: chi-square of the analysis of variance."""
    if len(parts) < 2:
        return False
    everything = np.concatenate(parts)
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in parts) / (everything.size - len(parts))
    between = sum(part.size * float(part.mean() - everything.mean()) ** 2 for part in parts)
    return bool(between > 0 and (within <= 0 or chdtrc(len(parts) - 1, between / within) < _DIFFER))
