"""Components of variance by restricted maximum likelihood (REML; Patterson & Thompson 1971), for ratings with holes.

One-way, y = mean + item + error, and crossed two-way, y = mean + item + annotator + error; all but the mean random.
Components are not kept above zero, as long as the variance of the ratings stays positive: an average over samples would
be too large otherwise. Where all are positive they are what lme4 finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from dissensus.stats.metrics import FloatArray

IntArray = NDArray[np.int64]

_HALVINGS = 60
"""Of the interval in which the one-way ratio lies."""

_STEPS = 100
_SETTLED = 1e-10
"""A step of the two-way fit that changes no component by more than this share of their sum is the last."""

_EDGE = 1e-9


def one_way_ratio(
    size: FloatArray, number: FloatArray, mean: FloatArray, square: FloatArray, within: FloatArray
) -> FloatArray:
    """Find variance between items / error variance that maximises the restricted likelihood.

    Args:
        size: ratings of an item, two or more, shape (K,) for K sizes.
        number: items of each size, shape (..., K).
        mean: sum of their means, shape (..., K); of ratings with an origin near their grand mean, for precision.
        square: sum of the squares of their means, shape (..., K).
        within: sum of squares within items, shape (...).

    Returns:
        Shape (...): above -1 / the largest size, infinite where items are unanimous; NaN of fewer than two items.
    """
    n, items = (number * size).sum(axis=-1), number.sum(axis=-1)
    largest = np.where(number > 0, size, 0).max(axis=-1, initial=0.0)

    def slope(ratio: FloatArray) -> FloatArray:
        v = size / (1 + size * ratio[..., None])
        a = (number * v).sum(axis=-1)
        centre = (v * mean).sum(axis=-1) / a
        spread = square - 2 * centre[..., None] * mean + centre[..., None] ** 2 * number
        rest = within + (v * spread).sum(axis=-1)
        second = (number * v**2).sum(axis=-1)
        found: FloatArray = (number * v).sum(axis=-1) - second / a - (n - 1) * (v**2 * spread).sum(axis=-1) / rest
        return found

    # In terms of the intraclass correlation, from its least value, at which ratings of an item vary but not their mean.
    with np.errstate(all="ignore"):
        low, high = -1 / (largest - 1) * (1 - _EDGE), np.full(n.shape, 1 - _EDGE)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            falls = slope(middle / (1 - middle)) < 0
            low, high = np.where(falls, middle, low), np.where(falls, high, middle)
        ratio = np.where(high >= 1 - 2 * _EDGE, np.inf, high / (1 - high))
    return np.where(items >= 2, ratio, np.nan)


@dataclass(frozen=True)
class Crossed:
    """Ratings of items by annotators, each of both a random effect; one entry to a rating."""

    item: IntArray
    """The item of each rating, from 0, shape (n,)."""
    annotator: IntArray
    """Who gave it, from 0, shape (n,)."""
    rating: FloatArray
    """Shape (n,), with an origin near the mean."""
    weight: FloatArray
    """How often each item is there, shape (items,)."""

    def fit(self, start: FloatArray) -> FloatArray:
        """Find the components (item, annotator, error), shape (3,), by average-information steps (Johnson & Thompson
        1995) from a start as by the analysis of variance.

        NaN where no step was found that leads anywhere, or the ratings are fitted without an error.
        """
        scale = float(np.abs(start).sum())
        # The start, and two with the same sum, should the ratings have no such likelihood.
        guesses = [start, np.maximum(start, 0.05 * scale), np.full(3, scale / 3)]
        now = next((state for guess in guesses if (state := self._at(guess)) is not None), None)
        if now is None:
            return np.full(3, np.nan)
        for _ in range(_STEPS):
            step, size = now.step(), 1.0
            while (then := self._at(now.components - size * step)) is None or then.deviance > now.deviance + 1e-9:
                size /= 2
                if size < 1e-6:
                    return now.components if np.abs(step).max() < 1e-4 * scale else np.full(3, np.nan)
            now = then
            if np.abs(size * step).max() <= _SETTLED * scale:
                return now.components
        return np.full(3, np.nan)

    @cached_property
    def sizes(self) -> FloatArray:
        """Ratings of each item."""
        return np.bincount(self.item, minlength=self.weight.size).astype(np.float64)

    @cached_property
    def incidence(self) -> sparse.csr_array:
        """1 where an annotator rated an item, shape (items, annotators)."""
        shape = self.weight.size, int(self.annotator.max(initial=-1)) + 1
        return sparse.coo_array((np.ones(self.item.size), (self.item, self.annotator)), shape=shape).tocsr()

    def by_item(self, x: FloatArray) -> FloatArray:
        """Sum over the ratings of each item."""
        return np.bincount(self.item, x, minlength=self.weight.size).astype(np.float64)

    def by_annotator(self, x: FloatArray) -> FloatArray:
        """Sum over the ratings of each annotator, items as often as they are there."""
        return np.bincount(self.annotator, x * self.weight[self.item]).astype(np.float64)

    def dot(self, x: FloatArray, y: FloatArray) -> float:
        """Inner product over the ratings, items as often as they are there."""
        return float((self.weight[self.item] * x * y).sum())

    def _at(self, components: FloatArray) -> _State | None:
        """The likelihood at these components; None where there is none."""
        if not (np.isfinite(components).all() and components[2] > 0):
            return None
        growth = 1 + self.sizes * components[0] / components[2]
        if growth.min() <= _EDGE:
            return None
        try:
            state = _State(self, components, growth)
            return state if np.isfinite(state.deviance) else None
        except linalg.LinAlgError:
            return None


class _State:
    """-2 log restricted likelihood at some components, and the way down from there."""

    def __init__(self, data: Crossed, components: FloatArray, growth: FloatArray) -> None:
        self.data, self.components = data, components
        self.shrink = (components[0] / components[2]) / growth
        self.growth, self.annotators = growth, components[1] / components[2]
        loads = data.by_annotator(np.ones(data.item.size))
        self.inner = np.diag(loads) - self._between(self.shrink)
        system = np.eye(loads.size) + self.annotators * self.inner
        # Positive definite where the variance of the ratings is; the factor serves every solution.
        self.factor = linalg.cho_factor(system, lower=True)
        self.ones = self.solve(np.ones(data.item.size))
        weight = data.dot(np.ones(data.item.size), self.ones)
        raw = self.solve(data.rating)
        centre = data.dot(np.ones(data.item.size), raw) / weight
        self.projected = raw - centre * self.ones
        self.weight, self.n = weight, float(data.weight @ data.sizes)
        determinant = float(data.weight @ np.log(growth)) + 2 * float(np.log(np.diag(self.factor[0])).sum())
        error = components[2]
        self.deviance = (
            (self.n - 1) * np.log(error)
            + determinant
            + np.log(weight)
            + data.dot(data.rating - centre, self.projected) / error
        )

    def _between(self, weight: FloatArray) -> FloatArray:
        """Sum over items of a weight for every two annotators who both rated them, shape (annotators, annotators)."""
        n = self.data.incidence
        return np.asarray((n.T @ sparse.diags_array(self.data.weight * weight) @ n).toarray())

    def solve(self, x: FloatArray) -> FloatArray:
        """Multiply by the inverse of the ratings' covariance / error variance (Woodbury, annotators within items)."""
        z = self._within(x)
        t = self.annotators * linalg.cho_solve(self.factor, self.data.by_annotator(z))
        return z - self._within(t[self.data.annotator])

    def _within(self, x: FloatArray) -> FloatArray:
        left: FloatArray = x - (self.shrink * self.data.by_item(x))[self.data.item]
        return left

    def step(self) -> FloatArray:
        """What to take from the components: gradient of the deviance / average information."""
        data, error = self.data, self.components[2]
        by_item, by_annotator = data.by_item(self.projected), data.by_annotator(self.projected)
        effects = [by_item[data.item], by_annotator[data.annotator], self.projected]
        squares = [float(data.weight @ by_item**2), float((by_annotator**2).sum()), data.dot(*[self.projected] * 2)]
        inverse = linalg.cho_solve(self.factor, np.eye(self.inner.shape[0]))
        traces = [
            float(data.weight @ (data.sizes / self.growth))
            - self.annotators * float((inverse * self._between(1 / self.growth**2)).sum())
            - float(data.weight @ data.by_item(self.ones) ** 2) / self.weight,
            float((inverse * self.inner).sum()) - float((data.by_annotator(self.ones) ** 2).sum()) / self.weight,
        ]
        ratios = self.components[:2] / error
        traces.append(self.n - 1 - float(ratios @ np.array(traces)))
        gradient = (np.array(traces) - np.array(squares) / error) / error
        seen = [self.solve(x) - data.dot(self.ones, x) / self.weight * self.ones for x in effects]
        information = np.array([[data.dot(x, y) for y in seen] for x in effects]) / error**3
        own = np.diag(information)
        scale = np.sqrt(np.maximum(own, _EDGE * own.max()))
        standard = information / scale / scale[:, None]
        # Nothing tells of a component that leaves no trace in the ratings, or two apart that leave the same.
        if np.linalg.cond(standard) > 1 / _EDGE:
            return np.full(3, np.nan)
        found: FloatArray = linalg.solve(standard, gradient / scale, assume_a="sym") / scale
        return found
