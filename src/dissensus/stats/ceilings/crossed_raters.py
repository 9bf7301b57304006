"""Pairs that the same people rated: what each of them adds to every pair is noise of h, and lowers no correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from dissensus.stats.agreement.ratings import RatingTable
from dissensus.stats.metrics import FloatArray
from dissensus.stats.weighted import divide

_SURE = 0.975
"""Of t: how far a panel's mean must be from 1/2 to say that preferences are."""


class Panel:
    """The ceiling of plain r on pairs that the same m people rated.

    The noise is the residual mean square of the two-way layout over m, as in ICC(3, k) (Shrout & Fleiss 1979). What
    they add on average is part of the mean square about 1/2. Where the mean differs from 1/2 by no more than they do
    among each other, preferences are taken to lie about the mean; otherwise about 1/2, as everywhere.
    """

    def __init__(
        self, table: RatingTable, panel: NDArray[np.bool_], clusters: NDArray[np.integer], n_clusters: int
    ) -> None:
        """Sum up the ratings of n pairs, with the raters that belong to the panel and the cluster of each pair."""
        self._raters = int(panel.sum())
        mean = table.total / table.size
        by_rater = table.sums_by_annotator[:, panel].toarray().T
        rows = np.vstack([np.ones(mean.size), mean, mean**2, table.squares - table.size * mean**2, by_rater])
        self._by_cluster = np.zeros((rows.shape[0], n_clusters))
        np.add.at(self._by_cluster.T, clusters, rows.T)
        leans = by_rater.mean(axis=1) + table.origin - 0.5
        reach = stdtrit(self._raters - 1, _SURE) * leans.std(ddof=1) / np.sqrt(self._raters)
        self._about_mean = bool(abs(leans.mean()) <= reach)

    def __call__(self, weights: FloatArray, about_half: FloatArray) -> FloatArray:
        """Reliability for plain r, given the variance of p about 1/2; both of shape (resamples,)."""
        pairs, mean, square, within, *by_rater = self._by_cluster @ weights
        between = square - divide(mean**2, pairs)
        raters = divide(np.sum(np.square(by_rater), axis=0) - self._raters * mean**2, pairs)
        noise = divide(np.maximum(within - raters, 0), (pairs - 1) * (self._raters - 1) * self._raters)
        variance = divide(between, pairs - 1) - noise if self._about_mean else about_half
        return divide(variance, variance + noise)


def find_panels(
    table: RatingTable, clusters: NDArray[np.integer], strata: NDArray[np.integer], n_clusters: int
) -> dict[int, Panel]:
    """Find the strata all of whose pairs were rated by the same people.

    Args:
        table: the ratings of n pairs, with who gave them.
        clusters: the number of each pair's cluster, shape (n,).
        strata: the number of each pair's stratum, shape (n,).
        n_clusters: how many clusters there are.
    """
    found = {}
    for number in np.unique(strata).tolist():
        inside = strata == number
        part = table.rows(inside)
        met = np.asarray(part.ratings_by_annotator.sum(axis=0)).reshape(-1)
        panel = met > 0
        if inside.sum() >= 2 and panel.sum() >= 2 and (met[panel] == inside.sum()).all():
            found[number] = Panel(part, panel, clusters[inside], n_clusters)
    return found
