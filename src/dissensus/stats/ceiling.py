"""The noise ceiling: how well a perfect model could do against the preferences of so few people.

A perfect model knows the true preference of each pair, the mean over everybody. It is compared with the mean h of a few
votes or estimates, so even its Pearson r is below 1 and its L1 above 0. Both follow from how the halves of a pair's
ratings differ, if the raters of a pair are drawn at random.

With true preferences of variance V and a mean rating h whose noise has variance N, the reliability of h is V / (V + N).
Splitting each pair's ratings into halves at random, correlating the halves' means and stepping the result up to the
whole by Spearman-Brown (Brown 1910; Spearman 1910; for unequal halves Horst 1951) estimates it. The mean over all
splits has a closed form, which needs no drawing and no equal numbers: the halves' covariance is on average that of two
different raters of a pair, so N is the mean over pairs of s^2 / m, with s^2 the variance among its m ratings (as in the
intraclass correlation of Shrout & Fleiss 1979, ICC(1, k)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.metrics import FloatArray
from dissensus.stats.mixing import expected_vote_error
from dissensus.stats.ratings import VOTES, RatingTable, tabulate
from dissensus.stats.weighted import divide

_MOST_SPLITS = 130
"""All splits of ten raters into halves are 126; of more raters, so many are drawn."""


@dataclass(frozen=True)
class Ceiling:
    """What a perfect model would reach against these people, each of shape (...) like the weights.

    All of them are for the pairs with two ratings or more: a single one does not tell how noisy it is. Where there are
    none, or nothing varies, a value is NaN.
    """

    pearson: FloatArray
    """The square root of the reliability; 0 where that is negative, as it can be by chance where nothing is there."""
    pearson_symmetric: FloatArray
    """The same with each pair entered both ways, which does not depend on the orientation."""
    l1: FloatArray
    """The mean |h - p| of the people's h and the true preference p: the floor of the L1."""
    reliability: FloatArray
    """The share of the variance of h that is not noise; never clipped."""


def ceiling(ratings: FloatArray | RatingTable, weights: NDArray[np.generic] | None = None) -> Ceiling:
    """Find the noise ceiling from the ratings of each pair.

    Args:
        ratings: shape (n, raters): votes as 1 (a), 1/2 (tie) and 0 (b), or estimates from 0 to 1 of the fraction that
            prefers a; NaN where there is none. Which column a rating stands in does not matter. Or a table of them.
        weights: how often each pair counts, shape (..., n), as a bootstrap over prompts draws them.

    Ratings that are 0, 1/2 and 1 alone are taken for votes. The L1 of votes then comes from the fitted distribution of
    true preferences (`dissensus.stats.mixing`): half-split differences of few votes fall short of it by a tenth to a
    half, most of all where people nearly agree. That of estimates is the mean difference of halves, scaled as for
    normal noise.

    >>> votes = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0.0]])
    >>> found = ceiling(votes)
    >>> round(float(found.reliability), 3), round(float(found.pearson), 3)
    (0.825, 0.908)
    """
    table, w = _prepare(ratings, weights)
    flat = w.reshape(int(np.prod(w.shape[:-1])), w.shape[-1])
    enough = table.size >= 2
    table, flat = table.rows(enough), flat[:, enough]
    noise, human = _noise(table), table.origin + table.total / table.size
    total = flat.sum(axis=1)
    mean_noise = divide(flat @ noise, total)
    reliability = 1 - divide(mean_noise, _variance(human, flat, total))
    about_half = 1 - divide(mean_noise, divide(flat @ (human - 0.5) ** 2, total))
    return Ceiling(
        *(
            part.reshape(w.shape[:-1])
            for part in (_root(reliability), _root(about_half), _mean_error(table, flat), reliability)
        )
    )


def correct_for_attenuation(r: FloatArray, reliability: FloatArray) -> FloatArray:
    """Estimate Pearson's r with the true preferences from r with those of a few people: r / sqrt(reliability).

    (Spearman 1904.) Of the model's predictions nothing is corrected: their noise is the model's own. The estimate can
    exceed 1, since r and reliability err separately, and is not clipped; NaN where the reliability is not positive.
    Of the symmetrised r, the reliability is the square of `Ceiling.pearson_symmetric`.

    >>> float(correct_for_attenuation(np.array(0.6), np.array(0.64))).__round__(3)
    0.75
    """
    positive = np.where(np.asarray(reliability) > 0, reliability, np.nan)
    result: FloatArray = np.asarray(r) / np.sqrt(positive)
    return result


def _prepare(ratings: FloatArray | RatingTable, weights: NDArray[np.generic] | None) -> tuple[RatingTable, FloatArray]:
    table = tabulate(ratings)
    n = table.size.size
    if (table.values < 0).any() or (table.values > 1).any():
        raise ValueError("ratings must be from 0 to 1, or NaN; divide estimates out of 10 by 10")
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != (n,):
        raise ValueError(f"weights must have shape (..., {n}), not {w.shape}")
    return table, w


def _noise(table: RatingTable) -> FloatArray:
    """Variance of the noise in the mean of each pair's ratings, shape (n,), without bias."""
    return table.distance / 2 / table.size


def _variance(human: FloatArray, w: FloatArray, total: FloatArray) -> FloatArray:
    """Weighted variance of h with the divisor n - 1; 0, not rounding, where h is constant."""
    centred = human - (human.mean() if human.size else 0)
    mean = divide(w @ centred, total)
    squares = w @ centred**2
    rest = squares - total * mean**2
    return divide(np.where(rest > 1e-12 * squares, rest, 0), total - 1)


def _mean_error(table: RatingTable, w: FloatArray) -> FloatArray:
    """The L1 of a perfect model, shape (resamples,)."""
    if not table.size.size:
        return np.full(w.shape[0], np.nan)
    used = table.values[table.counts.sum(axis=0) > 0]
    if np.isin(used, VOTES).all():
        counts = np.zeros((table.size.size, 3), dtype=np.int64)
        for column, value in enumerate((1, 0, 0.5)):
            if (at := np.flatnonzero(table.values == value)).size:
                counts[:, column] = table.counts[:, at].toarray()[:, 0]
        return expected_vote_error(counts, w)
    return divide(w @ _split_error(table), w.sum(axis=1))


def _split_error(table: RatingTable) -> FloatArray:
    """Mean over the splits of a pair's m ratings of |h1 - h2| sqrt(m1 m2) / m, shape (n,).

    h1 - h2 has variance s^2 (1/m1 + 1/m2) and h - p has s^2 / m: for normal noise the factor is exact.
    """
    sizes, result = table.size.astype(np.intp), np.zeros(table.size.size)
    for m in np.unique(sizes).tolist():
        rows = sizes == m
        counts = table.counts[rows]
        there = np.repeat(table.values[counts.indices], counts.data.astype(np.intp)).reshape(-1, m)
        half = m // 2
        differences = [there[:, s].mean(axis=1) - there[:, ~s].mean(axis=1) for s in _splits(m, half)]
        result[rows] = np.abs(differences).mean(axis=0) * np.sqrt(half * (m - half)) / m
    return result


def _splits(m: int, half: int) -> Iterator[NDArray[np.bool_]]:
    """Which of m ratings are in the first half: all ways, or some of them drawn with a fixed seed."""
    if m <= 10:
        # With an even m each split occurs twice, mirrored: the first rating's side stands for both.
        chosen = [c for c in combinations(range(m), half) if m % 2 or 0 in c]
    else:
        rng = np.random.default_rng(m)
        chosen = [tuple(rng.permutation(m)[:half]) for _ in range(_MOST_SPLITS)]
    for members in chosen:
        mask = np.zeros(m, dtype=bool)
        mask[list(members)] = True
        yield mask


def _root(reliability: FloatArray) -> FloatArray:
    result: FloatArray = np.sqrt(np.maximum(reliability, 0))
    return result
