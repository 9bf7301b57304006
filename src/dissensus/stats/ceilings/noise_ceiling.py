"""The noise ceiling: how well a perfect model could do against the preferences of so few people.

A perfect model knows the true preference p of each pair, the mean over everybody. It is compared with the mean h of a
few votes or estimates, so even its Pearson r is below 1 and its L1 above 0. Both follow from how the ratings of a pair
differ, if the raters of a pair are drawn at random.

r's ceiling is that of the correlation about 1/2, where each pair is entered both ways: with N the mean variance of the
noise in h, it is the root of the reliability 1 - N / E(h - 1/2)^2. (About the mean it would be false where the votes
chose which response is called a, as in files that list the preferred one first.) Of plain r it is an upper limit, which
is reached where a and b are in random order. N is the mean over pairs of s^2 / m, with s^2 the variance among a pair's
m ratings (as in ICC(1, k) of Shrout & Fleiss 1979); of a pair of one rating s^2 is the mean of its stratum.

Where the votes decided how many of them there are (a third asked where two differ), s^2 and h go together and none of
this holds. The ceiling is then the correlation of p and h itself, by p's fitted distribution (`true_preferences`):
mean E[p - 1/2 | votes] (h - 1/2) / sqrt(E(p - 1/2)^2 mean (h - 1/2)^2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import stdtrit

from dissensus.stats.agreement.ratings import VOTES, RatingTable, tabulate
from dissensus.stats.ceilings.vote_noise import VotePart, find_parts
from dissensus.stats.metrics import FEWEST_IN_STRATUM, FloatArray
from dissensus.stats.weighted import divide

_MOST_SPLITS = 130
"""All splits of ten raters into halves are 126; of more raters, so many are drawn."""

_SURE = 0.975
"""Of t: how far a panel's mean must be from 1/2 to say that preferences are."""


@dataclass(frozen=True)
class Ceiling:
    """What a perfect model would reach against these people, each of shape (...) like the weights.

    Of all pairs that have a rating. Where none has two, or nothing varies, a value is NaN.
    """

    pearson: FloatArray
    """The ceiling of Pearson's r: the root of the reliability, 0 where that is negative, as it can be by chance. NaN
    where h is the same for all pairs. Where the same people rated all pairs, without what each of them adds to every
    pair, which changes no correlation (`Panel`)."""
    pearson_symmetric: FloatArray
    """The ceiling of r with each pair entered both ways."""
    pearson_within: FloatArray
    """The ceiling of the mean r within strata: the root of their mean reliability, weighed by pairs."""
    l1: FloatArray
    """Expected |h - p| of the people's h and the true preference p: the L1 of a model that knows p. No floor: one that
    knew how votes vary could say the median of h."""
    reliability: FloatArray
    """The square of ``pearson_symmetric``, but never clipped."""


def ceiling(
    ratings: FloatArray | RatingTable,
    weights: NDArray[np.generic] | None = None,
    *,
    strata: NDArray[np.generic] | None = None,
    crossed: bool = False,
    decided: bool = False,
) -> Ceiling:
    """Find the noise ceiling from the ratings of each pair.

    Args:
        ratings: shape (n, raters): votes as 1 (a), 1/2 (tie) and 0 (b), or estimates from 0 to 1 of the fraction that
            prefers a; NaN where there is none. Or a table of them. Without ``crossed``, it does not matter which column
            a rating stands in.
        weights: how often each pair counts, shape (..., n), as a bootstrap over prompts draws them.
        strata: the data set of each pair, shape (n,); one by default.
        crossed: a column is one rater. Used where all pairs have the same raters.
        decided: the votes decided how many of them there are.

    Ratings that are 0, 1/2 and 1 alone are taken for votes, whose L1 comes from the fitted distribution of true
    preferences (`true_preferences`); that of estimates is the mean difference of halves, scaled as for normal noise.
    Whether numbers of votes have a distribution each (`vote_noise`) and whose leans a panel's mean may be due to is
    decided by the sample, whatever the weights.

    >>> votes = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0.0]])
    >>> found = ceiling(votes)
    >>> round(float(found.reliability), 3), round(float(found.pearson), 3)
    (0.789, 0.889)
    """
    table = tabulate(ratings)
    n = table.size.size
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != (n,):
        raise ValueError(f"weights must have shape (..., {n}), not {w.shape}")
    stratum = np.zeros(n, dtype=np.intp) if strata is None else np.unique(strata, return_inverse=True)[1].reshape(-1)
    chosen = range(int(stratum.max(initial=0)) + 1) if decided else ()
    yardstick = Yardstick(table, np.arange(n), stratum, crossed=crossed, decided=chosen)
    found = yardstick(w.reshape(int(np.prod(w.shape[:-1])), n).T)
    return Ceiling(**{name: values.reshape(w.shape[:-1]) for name, values in vars(found).items()})


def correct_for_attenuation(r: FloatArray, reliability: FloatArray) -> FloatArray:
    """Estimate Pearson's r with the true preferences from r with those of a few people: r / sqrt(reliability).

    (Spearman 1904.) The noise of the model's predictions is its own and stays. The estimate can exceed 1, since r and
    reliability err separately; NaN where the reliability is not positive. `Ceiling.reliability` belongs to the
    symmetrised r.
    """
    positive = np.where(np.asarray(reliability) > 0, reliability, np.nan)
    result: FloatArray = np.asarray(r) / np.sqrt(positive)
    return result


class Yardstick:
    """The ceilings of one group of pairs, for any weights of their clusters; nearly all of it is sums over clusters."""

    def __init__(
        self,
        table: RatingTable,
        clusters: NDArray[np.integer],
        strata: NDArray[np.integer],
        *,
        crossed: bool = False,
        decided: Collection[int] = (),
    ) -> None:
        """Sum up what does not depend on the weights.

        Args:
            table: the ratings of n pairs.
            clusters: the number of each pair's cluster, from 0: its row in the weights; shape (n,).
            strata: the number of each pair's data set, from 0; shape (n,).
            crossed: whether the table tells who rated what.
            decided: the data sets in which the votes decided how many there are. They must be votes.
        """
        if (table.values < 0).any() or (table.values > 1).any():
            raise ValueError("ratings must be from 0 to 1, or NaN; divide estimates out of 10 by 10")
        rated = table.size > 0
        self._table, self._clusters, self._strata = table.rows(rated), clusters[rated], strata[rated]
        self._count = int(clusters.max(initial=-1)) + 1
        self._sets = int(strata.max(initial=-1)) + 1
        self._large = np.bincount(self._strata, minlength=self._sets) >= FEWEST_IN_STRATUM
        self._decided = {number: inside for number in decided if (inside := self._strata == number).any()}
        other = np.flatnonzero(~np.isin(self._table.values, VOTES))
        rows = np.asarray(self._table.counts[:, other].sum(axis=1)).reshape(-1) > 0
        # The data sets in which some rating is no vote, shape (sets,).
        self._estimates = np.bincount(self._strata[rows], minlength=self._sets) > 0
        if any(self._estimates[number] for number in self._decided):
            raise ValueError("only the number of votes can have been decided by them, not that of estimates")
        self._features = self._sum_features()
        self._panels = _find_panels(self._table, self._clusters, self._strata, self._count) if crossed else {}
        # The votes in parts, each with the data set that it is of where the votes decided how many there are.
        self._parts: list[tuple[int | None, VotePart]] = []
        if (self._table.size >= 2).any():
            votes = partial(VotePart, self._table, self._clusters, self._count)
            others = ~np.isin(self._strata, [*self._decided, *np.flatnonzero(self._estimates)])
            self._parts += [(number, votes(inside)) for number, inside in self._decided.items()]
            self._parts += [(None, votes(*part)) for part in find_parts(self._table, self._strata, others)]

    def __call__(self, weights: FloatArray) -> Ceiling:
        """Find the ceilings for weights of shape (clusters, resamples); each has shape (resamples,)."""
        if not (self._table.size >= 2).any():
            return Ceiling(*np.full((5, weights.shape[1]), np.nan))
        sums = {name: np.asarray(features @ weights) for name, features in self._features.items()}
        total = {name: values.sum(axis=0) for name, values in sums.items()}
        covariance, variance, errors = self._expect(weights, sums)
        spread = sums["spread"]
        symmetric = _squared(covariance.sum(axis=0), variance.sum(axis=0), total["spread"])
        plain, within = symmetric, _squared(covariance, variance, spread)
        for number, panel in self._panels.items():
            within[number] = panel(weights, divide(variance[number], sums["pairs"][number]))
            plain = within[number] if self._sets == 1 else plain
        # Within data sets that are large and have an r, weighed by their pairs.
        counted = sums["pairs"] * (_varies(sums) & np.isfinite(within) & self._large[:, None])
        summed = np.where(counted > 0, counted * np.maximum(within, 0), 0).sum(axis=0)
        return Ceiling(
            pearson=_root(np.where(_varies(total), plain, np.nan)),
            pearson_symmetric=_root(symmetric),
            pearson_within=_root(divide(summed, counted.sum(axis=0))),
            l1=divide(errors, total["pairs"]),
            reliability=symmetric,
        )

    def _expect(self, weights: FloatArray, sums: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sums of (p - 1/2)(h - 1/2) and (p - 1/2)^2 by data set, (sets, resamples), and of |h - p|, (resamples,)."""
        variance = sums["spread"] - sums["noise"] - sums["single"] * _mean_of(sums, "square")
        covariance = variance.copy()
        estimates = {name: values[self._estimates] for name, values in sums.items()}
        errors = (estimates["error"] + estimates["single"] * _mean_of(estimates, "scaled_error")).sum(axis=0)
        for number, votes in self._parts:
            if number is None:
                errors += votes.error(weights)
            else:
                covariance[number], variance[number], wrong = votes.given_votes(weights)
                errors += wrong
        return covariance, variance, errors

    def limits(self) -> Mapping[str, tuple[float, float]]:
        """Find how far the votes of the sample leave a ceiling open, by its name in `Ceiling`, where they do: the L1,
        and r where they decided how many there are; more than a dozen votes a pair identify either.
        """
        weights = np.ones((self._count, 1))
        found, pairs = self(weights), self._strata.size
        limits: dict[str, tuple[float, float]] = {}
        parts = [votes.error_limits(decided=number is not None) for number, votes in self._parts]
        if parts and not self._estimates.any():
            low, high = np.sum(parts, axis=0)
            limits["l1"] = (float(low) / pairs, float(high) / pairs)
        if len(self._decided) == self._sets == 1 and found.pearson_symmetric[0] > 0:
            # What p varies by is identified by the first votes, so r's ceiling is as open as the covariance.
            low, value, high = self._parts[0][1].covariance_limits()
            for name in ("pearson", "pearson_symmetric"):
                r = float(getattr(found, name)[0])
                if np.isfinite(r):
                    limits[name] = (max(0.0, r * low / value), min(1.0, r * high / value))
        return limits

    def _sum_features(self) -> dict[str, sparse.csr_array]:
        """By the names of features, how much each cluster has of it in each data set: shape (sets, clusters)."""
        table = self._table
        size, several = table.size, table.size >= 2
        human, square = table.origin - 0.5 + table.total / size, table.distance / 2
        error, guessed = np.zeros(size.size), self._estimates[self._strata]
        error[guessed] = _split_error(table.rows(guessed))
        features = {
            "pairs": np.ones(size.size),
            "single": ~several,
            "several": several,
            "lean": human,
            "spread": human**2,
            "square": square,
            "noise": square / size,
            "error": error,
            "scaled_error": error * np.sqrt(size),
        }
        shape = (self._sets, self._count)
        return {
            name: sparse.coo_array((values.astype(np.float64), (self._strata, self._clusters)), shape=shape).tocsr()
            for name, values in features.items()
        }


def _mean_of(sums: Mapping[str, FloatArray], name: str) -> FloatArray:
    """Mean of a feature over the pairs of a data set that have two ratings; over all such pairs where it has none."""
    everywhere = divide(sums[name].sum(axis=0), sums["several"].sum(axis=0))
    return np.where(sums["several"] > 0, divide(sums[name], sums["several"]), everywhere)


def _varies(sums: Mapping[str, FloatArray]) -> NDArray[np.bool_]:
    """Whether h is not the same throughout, up to rounding."""
    about_mean = sums["spread"] - divide(sums["lean"] ** 2, sums["pairs"])
    varies: NDArray[np.bool_] = about_mean > 1e-12 * sums["spread"]
    return varies


def _squared(covariance: FloatArray, variance: FloatArray, spread: FloatArray) -> FloatArray:
    """Squared correlation of p and h about 1/2; negative where p seems to vary by less than nothing."""
    return np.where(variance > 0, divide(covariance * np.abs(covariance), variance * spread), divide(variance, spread))


def _split_error(table: RatingTable) -> FloatArray:
    """Mean over the splits of a pair's m ratings of |h1 - h2| sqrt(m1 m2) / m, shape (n,); 0 for a single rating.

    h1 - h2 has variance s^2 (1/m1 + 1/m2) and h - p has s^2 / m: for normal noise the factor is exact.
    """
    sizes, result = table.size.astype(np.intp), np.zeros(table.size.size)
    for m in np.unique(sizes[sizes > 1]).tolist():
        rows = sizes == m
        counts = table.counts[rows]
        there = np.repeat(table.values[counts.indices], counts.data.astype(np.intp)).reshape(-1, m)
        half = m // 2
        if m <= 10:
            # With an even m each split occurs twice, mirrored: the first rating's side stands for both.
            chosen = [c for c in combinations(range(m), half) if m % 2 or 0 in c]
        else:
            rng = np.random.default_rng(m)
            chosen = [tuple(rng.permutation(m)[:half]) for _ in range(_MOST_SPLITS)]
        first = [np.isin(np.arange(m), members) for members in chosen]
        differences = [there[:, s].mean(axis=1) - there[:, ~s].mean(axis=1) for s in first]
        result[rows] = np.abs(differences).mean(axis=0) * np.sqrt(half * (m - half)) / m
    return result


def _root(reliability: FloatArray) -> FloatArray:
    result: FloatArray = np.sqrt(np.maximum(reliability, 0))
    return result


class Panel:
    """The ceiling of plain r on pairs that the same m people rated: what each adds to every pair lowers no correlation.

    The noise is the residual mean square of the two-way layout over m, as in ICC(3, k) (Shrout & Fleiss 1979). Where
    the mean differs from 1/2 by no more than they do among each other, preferences are taken to lie about the mean;
    otherwise about 1/2, as everywhere.
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


def _find_panels(
    table: RatingTable, clusters: NDArray[np.integer], strata: NDArray[np.integer], n_clusters: int
) -> dict[int, Panel]:
    """Find the strata all of whose pairs were rated by the same people; clusters and strata are those of n pairs."""
    found = {}
    for number in np.unique(strata).tolist():
        inside = strata == number
        part = table.rows(inside)
        met = np.asarray(part.ratings_by_annotator.sum(axis=0)).reshape(-1)
        panel = met > 0
        if inside.sum() >= 2 and panel.sum() >= 2 and (met[panel] == inside.sum()).all():
            found[number] = Panel(part, panel, clusters[inside], n_clusters)
    return found
