"""Components of variance of judges' verdicts, what the order shown does to them, and agreement with people.

Verdicts and preferences are fractions in the pair's own terms: 1 for response a, 0 for b, 1/2 for a tie. The metrics
take ``weights`` as those of :mod:`dissensus.stats.metrics` do: counts of shape (..., n), as a bootstrap draws them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.weighted import FloatArray, Weights, divide

IntArray = NDArray[np.int64]

LEVELS = ("pair", "judge", "order", "repetition")
"""From the outside in: judges within a pair, orders within a judge, repetitions within an order."""

_LEVELS = range(1, len(LEVELS) + 1)  # level 0 is the grand mean


@dataclass(frozen=True)
class NestedVerdicts:
    """Verdicts nested as orders within judges within pairs, ready to be split into components of variance.

    The model is y = mu + P + J(P) + O(PJ) + e with independent random effects: the signal (pairs), disagreement
    (judges), what the position does to a judge (orders) and a judge's own noise (repetitions). There are only two
    orders, and what one adds the other takes away: `as_all_orders` restates the components accordingly.
    """

    pairs: tuple[str, ...]
    """The pairs that were judged, sorted; what ``weights`` refer to."""
    units: tuple[int, ...]
    """How many pairs, (pair, judge) cells, (pair, judge, order) cells and verdicts there are."""
    size: FloatArray
    """Verdicts of each pair, shape (pairs,)."""
    total: FloatArray
    """Sum of each pair's verdicts, less the grand mean, shape (pairs,)."""
    squares: FloatArray
    """For each level the sum of (sum of a unit's verdicts)^2 / (their number) within a pair, shape (levels, pairs)."""
    overlap: FloatArray
    """For each two levels (l, m) and pair: sum over the units u of l of (1/n_u) sum over v of m in u of n_uv^2;
    shape (levels, levels, pairs)."""
    counts: FloatArray
    """For each level the sum of n_v^2 over its units within a pair, shape (levels, pairs)."""

    @property
    def merged(self) -> dict[str, str]:
        """The levels without replication, each with the level that holds its component too.

        Where no judge repeats an order, repetitions cannot be told from orders; of one judge, judges not from pairs.
        A component of the outermost units goes into ``mean``.
        """
        found, kept, before = {}, "mean", 1
        for level, units in zip(LEVELS, self.units, strict=True):
            if units == before:
                found[level] = kept
            else:
                kept = level
            before = units
        return found

    def components(self, weights: Weights = None) -> FloatArray:
        """Estimate the component of each of `LEVELS`, without bias: shape (..., levels).

        Sums of squares of each level within the next are set equal to their expectations (analysis of variance for
        unbalanced nested random effects; Searle, Casella & McCulloch, *Variance Components*, 1992, chapter 5), so an
        estimate can be negative. NaN for a level that is `merged` into another or has no replication in a resample.
        ``weights`` of shape (..., pairs) is how often each of ``pairs`` counts.
        """
        w = np.ones(len(self.pairs)) if weights is None else np.asarray(weights, dtype=np.float64)
        kept = [level for level in _LEVELS if LEVELS[level - 1] not in self.merged]
        rows = [0, *kept]
        n = w @ self.size
        squares = {level: w @ self.squares[level - 1] for level in kept}
        squares[0] = divide((w @ self.total) ** 2, n)
        components: FloatArray = np.full((*w.shape[:-1], len(LEVELS)), np.nan)
        for i in range(len(kept), 0, -1):
            level, outer = rows[i], rows[i - 1]
            rest = squares[level] - squares[outer]
            for inner in rows[i + 1 :]:
                loading = self._loading(level, inner, w, n) - self._loading(outer, inner, w, n)
                rest = rest - components[..., inner - 1] * loading
            own = self._loading(level, level, w, n) - self._loading(outer, level, w, n)
            components[..., level - 1] = divide(rest, np.where(own > 1e-9 * n, own, 0))
        return components

    def _loading(self, level: int, component: int, w: FloatArray, n: FloatArray) -> FloatArray:
        """How often a component is in the expected raw sum of squares of a level."""
        if level == 0:
            return divide(w @ self.counts[component - 1], n)
        result: FloatArray = w @ self.overlap[level - 1, component - 1]
        return result


def nest(
    verdicts: FloatArray, pairs: NDArray[np.generic], judges: NDArray[np.generic], orders: NDArray[np.generic]
) -> NestedVerdicts:
    """Sort n verdicts into cells; all of shape (n,). Cells may be of any size, or missing."""
    if verdicts.ndim != 1 or verdicts.size == 0 or not verdicts.shape == pairs.shape == judges.shape == orders.shape:
        raise ValueError("verdicts, pairs, judges and orders must have one shape (n,), n > 0")
    if not np.isfinite(verdicts).all():
        raise ValueError("verdicts must be finite; leave out those that name no winner")
    names, pair = np.unique(pairs, return_inverse=True)
    judge = _cells(pair, np.unique(judges, return_inverse=True)[1])
    order = _cells(judge, np.unique(orders, return_inverse=True)[1])
    unit = [pair, judge, order, np.arange(verdicts.size)]
    sizes = [np.bincount(u).astype(np.float64) for u in unit]
    centred = verdicts - verdicts.mean()
    first = [np.unique(u, return_index=True)[1] for u in unit]  # of each unit, a verdict

    def within_pairs(level: int, values: FloatArray) -> FloatArray:
        return np.bincount(pair[first[level]], values, names.size).astype(np.float64)

    def shared(outer: int, inner: int) -> FloatArray:
        if inner <= outer:  # the inner one is the coarser and holds the outer whole: n_uv = n_u
            return sizes[0]
        own = np.bincount(unit[outer][first[inner]], sizes[inner] ** 2, sizes[outer].size)
        return within_pairs(outer, own / sizes[outer])

    levels = range(len(unit))
    return NestedVerdicts(
        pairs=tuple(map(str, names)),
        units=tuple(size.size for size in sizes),
        size=sizes[0],
        total=np.bincount(pair, centred).astype(np.float64),
        squares=np.array([within_pairs(i, np.bincount(unit[i], centred) ** 2 / sizes[i]) for i in levels]),
        overlap=np.array([[shared(outer, inner) for inner in levels] for outer in levels]),
        counts=np.array([within_pairs(i, size**2) for i, size in enumerate(sizes)]),
    )


def as_all_orders(components: FloatArray, merged: dict[str, str]) -> FloatArray:
    """Restate components, shape (..., levels), for two orders that are all the orders there are.

    With an order's effect of +d and -d, two orders of a cell have the covariance J - E[d^2] and each has the variance
    J + E[d^2]; random effects have J_r and J_r + O_r there. So J = J_r + O_r / 2 and E[d^2] = O_r / 2 (a model with
    Sigma-restrictions; Searle, Casella & McCulloch, chapter 4); the sum stays. A judge that always prefers the first
    response would else have a negative component of judges.

    Nothing changes where orders have no replication. Where repetitions have none, half of them counts as order and
    half as what is outside it.

    >>> always_first = np.array([0.0, -0.25, 0.5, 0.0])
    >>> as_all_orders(always_first, {}).tolist()
    [0.0, 0.0, 0.25, 0.0]
    """
    restated = np.array(components, dtype=np.float64)
    order = LEVELS.index("order")
    outer = merged.get("judge", "judge")
    if "order" in merged or outer == "mean":
        return restated
    half = restated[..., order] / 2
    restated[..., order] = half
    restated[..., LEVELS.index(outer)] += half
    return restated


def flip_share(ab: FloatArray, ba: FloatArray, weights: Weights = None) -> FloatArray:
    """Share of pairs whose winner changes with the order, among those with a winner in both orders.

    ``ab`` and ``ba`` are the preferences for a in each order shown, shape (n,), NaN where there is none.
    """
    w = _weights(weights, ab)
    won = compared(ab, ba)
    return divide(w @ (won & ((ab > 0.5) != (ba > 0.5))), w @ won)


def compared(ab: FloatArray, ba: FloatArray) -> NDArray[np.bool_]:
    """Tell which pairs have a winner in both orders, shape (n,)."""
    won: NDArray[np.bool_] = np.isfinite(ab) & np.isfinite(ba) & (ab != 0.5) & (ba != 0.5)
    return won


def change_share(ab: FloatArray, ba: FloatArray, weights: Weights = None) -> FloatArray:
    """Share of pairs whose verdict (a, b or a tie) changes with the order, among those judged in both.

    One minus this is what others call position consistency. Arguments as for `flip_share`.
    """
    w = _weights(weights, ab)
    both = np.isfinite(ab) & np.isfinite(ba)
    return divide(w @ (both & (np.sign(ab - 0.5) != np.sign(ba - 0.5))), w @ both)


def first_preference(ab: FloatArray, ba: FloatArray, weights: Weights = None) -> FloatArray:
    """Mean preference for the response shown first, over pairs judged in both orders: 1/2 without a bias.

    Arguments as for `flip_share`.
    """
    w = _weights(weights, ab)
    both = np.isfinite(ab) & np.isfinite(ba)
    return divide(w @ np.where(both, (ab + 1 - ba) / 2, 0), w @ both)


def agreement_with_others(predicted: FloatArray, votes: IntArray, weights: Weights = None) -> FloatArray:
    """Agreement of a judge with the majority of a pair's voters without one of them, averaged over who is left out.

    What to hold against `person_agreement`: both face the same majorities. ``predicted`` has shape (n,), exactly 1/2
    counting one half; ``votes`` for a, for b and for a tie shape (n, 3).
    """
    w = _weights(weights, predicted)
    for_a, for_b = _majorities(votes)
    credit_a = np.where(predicted == 0.5, 0.5, predicted > 0.5)
    credit = credit_a[:, None] * for_a + (1 - credit_a)[:, None] * for_b
    return divide(w @ credit.sum(axis=1), w @ (for_a + for_b).sum(axis=1))


def person_agreement(votes: IntArray, weights: Weights = None) -> FloatArray:
    """Agreement of a person drawn from a pair's voters with the majority of the others; a vote for a tie counts half.

    Where the others split evenly there is no majority, and the person is left out. NaN where all are.
    """
    w = _weights(weights, votes[:, 0])
    for_a, for_b = _majorities(votes)
    credit = for_a * [1, 0, 0.5] + for_b * [0, 1, 0.5]
    return divide(w @ credit.sum(axis=1), w @ (for_a + for_b).sum(axis=1))


def _majorities(votes: IntArray) -> tuple[FloatArray, FloatArray]:
    """The share of a pair's voters whose fellows have a majority for a, and for b, by what they vote; both (n, 3)."""
    share = votes / votes.sum(axis=1, keepdims=True)
    lead = (votes[:, 0] - votes[:, 1])[:, None] - np.array([1, -1, 0])
    return np.where(lead > 0, share, 0.0), np.where(lead < 0, share, 0.0)


def _cells(outer: IntArray, inner: IntArray) -> IntArray:
    """Number the combinations of two numberings."""
    return np.unique(outer * (inner.max() + 1) + inner, return_inverse=True)[1]


def _weights(weights: Weights, like: NDArray[np.generic]) -> FloatArray:
    return np.ones(like.shape) if weights is None else np.asarray(weights, dtype=np.float64)
