"""The expected error of votes, in parts of pairs that have a distribution of true preferences of their own.

Data sets have one each: a mixture of them would be known less well than they are. So have the pairs of three and those
of five votes of a data set where votes differ more often among the one, as where five were asked if a pair looked hard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import chdtrc

from dissensus.stats.agreement.ratings import RatingTable
from dissensus.stats.ceilings.true_preferences import VoteMixture
from dissensus.stats.metrics import FloatArray
from dissensus.stats.weighted import divide

_DIFFER = 0.05
"""Of p: pairs of different numbers of votes are then no longer taken for alike."""
_EXACT = 8
"""Votes up to which each number is one by itself; beyond, like numbers go together: 9 to 16, 17 to 32 and so on."""
_FEWEST = 10
"""Pairs from which these can have a distribution of their own."""
_FEWEST_OF_SET, _MOST_SETS = 50, 8
"""Pairs from which a data set has its own: with fewer the error is a hundredth or more too small. And how many have."""

_MOST_PATTERNS = 200
"""Distinct patterns of votes up to which resamples fit the distribution of preferences anew. Patterns are as many only
where pairs have many votes, which tell of each pair by themselves: the distribution matters little then."""


def find_parts(
    table: RatingTable, strata: NDArray[np.integer], inside: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Part the pairs inside by data set, and by their number of votes where these differ in how often votes do.

    Yields the pairs, shape (n,), that share a distribution, and those of them whose error it is for: of small data sets
    together, of numbers that few pairs have and of single votes, which say nothing of a distribution.
    """
    telling = inside & (table.size >= 2)
    pairs = np.bincount(strata[telling])
    own = [number for number in np.argsort(-pairs, kind="stable")[:_MOST_SETS] if pairs[number] >= _FEWEST_OF_SET]
    rest = inside & ~np.isin(strata, own)
    for number in own:
        yield from _by_number(table, inside & (strata == number))
    if (rest & telling).sum() >= _FEWEST:
        yield from _by_number(table, rest)
    elif rest.any():
        yield inside, rest


def _by_number(table: RatingTable, inside: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    number = np.where(table.size <= _EXACT, table.size, np.exp2(np.ceil(np.log2(np.maximum(table.size, 1)))))
    apart = [inside & (number == m) for m in np.unique(number[inside]) if m >= 2]
    apart = [part for part in apart if part.sum() >= _FEWEST]
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
        """Find the patterns of the votes of the pairs inside, and fit their distribution.

        ``asked`` are those whose error is asked for: all of them with certain numbers of votes; all unless given.
        """
        part = table.rows(inside)
        counts = [part.counts[:, np.flatnonzero(part.values == value)].sum(axis=1) for value in (1, 0, 0.5)]
        self._mixture = VoteMixture(np.stack(counts, axis=1).astype(np.int64))
        of_pair = self._mixture.of_pair
        shape = (len(self._mixture.patterns), n_clusters)
        ones = np.ones(of_pair.size)
        self._by_cluster = sparse.coo_array((ones, (of_pair, clusters[inside])), shape=shape).tocsr()
        self._sample = np.bincount(of_pair, minlength=shape[0]).astype(np.float64)
        self._fitted = self._mixture.fit(self._sample[None])
        mine = ones if asked is None else asked[inside].astype(np.float64)
        self._asked = (np.bincount(of_pair, mine, shape[0]) > 0).astype(np.float64)

    def error(self, weights: FloatArray) -> FloatArray:
        """Sum of the expected |h - p|, shape (resamples,), where the number of votes is given beforehand."""
        [found] = self._sum(weights, lambda spread: [self._asked * self._mixture.errors(spread)])
        return found

    def given_votes(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sums of E[p - 1/2 | votes] (h - 1/2), of E (p - 1/2)^2 and of E[|h - p| | votes], each (resamples,)."""

        def terms(spread: FloatArray) -> list[FloatArray]:
            covariance, error = self._mixture.given_votes(spread)
            variance = self._mixture.variance(spread)[:, None]
            return [covariance, np.repeat(variance, self._asked.size, axis=1), error]

        covariance, variance, error = self._sum(weights, terms)
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
        terms = self._mixture.given_votes(self._fitted)[0][0]
        value = float(self._sample @ terms / self._sample.sum())
        low, high = self._mixture.covariance_limits_given_votes(self._fitted[0], self._sample) or (value, value)
        return low, value, high

    def _sum(self, weights: FloatArray, terms: Callable[[FloatArray], list[FloatArray]]) -> list[FloatArray]:
        """Sum what a distribution says of each pattern, shape (resamples, patterns), over pairs: each (resamples,)."""
        if self._asked.size > _MOST_PATTERNS:
            return [np.asarray((term[0] @ self._by_cluster) @ weights) for term in terms(self._fitted)]
        by_pattern = np.asarray(self._by_cluster @ weights).T
        there = by_pattern.any(axis=1)
        return [np.where(there, (by_pattern * x).sum(axis=1), 0) for x in terms(self._mixture.fit(by_pattern))]


def _differ(parts: Sequence[FloatArray]) -> bool:
    """Whether the means of several samples, whose variances may differ, do so beyond chance (chi-square)."""
    if len(parts) < 2:
        return False
    means, sizes = np.array([part.mean() for part in parts]), np.array([part.size for part in parts])
    # A few pairs may all agree by chance, which does not make their mean certain.
    variance = np.maximum([part.var() for part in parts], np.concatenate(parts).var() / 4)
    precision = divide(sizes.astype(np.float64), variance)
    if np.isnan(precision).any():
        return False
    apart = precision @ (means - precision @ means / precision.sum()) ** 2
    return bool(chdtrc(len(parts) - 1, apart) < _DIFFER)
