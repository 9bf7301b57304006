"""Dawid-Skene and MACE: models of annotators, who are weighed by how reliable they seem.

For a table of sensitivity, not for a headline: with few raters, or where people rightly differ, such a model can be
worse than the majority. It takes every disagreement for somebody's error.

Votes are sparse: ``item``, ``annotator`` and ``category`` of shape (votes,), numbers from 0. Both models are fitted by
expectation maximisation, with pseudo-votes (a maximum a posteriori estimate): without them three raters suffice for one
to be declared infallible. Plain steps creep, and the objective stops rising long before the posterior stops moving: so
steps are extrapolated (SQUAREM, scheme S3 of Varadhan & Roland 2008), and a fit ends where a step moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.stats.metrics import FloatArray

IntArray = NDArray[np.int64]

MOST_STEPS = 20_000
"""Of a fit; real votes take tens to hundreds."""

_SETTLED = 1e-9
"""A step that changes no parameter and no posterior probability by more than this is the last."""

_RIGHT, _WRONG = 4.0, 1.0
"""Dawid-Skene's pseudo-votes in each row of a confusion matrix: for the true and for each other category (as many as
for a category's prevalence)."""

_SMOOTHING = 1.0
"""MACE's pseudo-votes of each annotator: known, guessed, and guesses spread over the categories."""

_FURTHER = 4.0
"""What the longest extrapolation grows by where it was good, and shrinks by where it was not."""

_LEAST = 1e-300
"""A probability that an extrapolation does not go below."""

_Arrays = tuple[FloatArray, ...]


@dataclass(frozen=True)
class Fit:
    """A fitted model of annotators."""

    posterior: FloatArray
    """The probability of each item's true category, shape (items, categories)."""
    log_posterior: FloatArray
    """The objective after each iteration, less a constant; never falls. Shape (iterations,)."""
    converged: bool
    """Whether a step moved nothing any more before the iterations ran out."""


@dataclass(frozen=True)
class DawidSkene(Fit):
    """A fit of `dawid_skene`."""

    confusion: FloatArray
    """How an annotator votes on an item of a true category, shape (annotators, true, voted)."""
    prevalence: FloatArray
    """How frequent the true categories are, shape (categories,)."""


@dataclass(frozen=True)
class Mace(Fit):
    """A fit of `mace`."""

    competence: FloatArray
    """The probability that an annotator knows an answer, and does not guess; shape (annotators,)."""
    guesses: FloatArray
    """What an annotator votes when guessing, shape (annotators, categories)."""


def dawid_skene(
    item: ArrayLike,
    annotator: ArrayLike,
    category: ArrayLike,
    *,
    shape: tuple[int, int, int] | None = None,
    symmetric: bool = False,
    max_iterations: int = MOST_STEPS,
) -> DawidSkene:
    """Estimate true categories and each annotator's confusion matrix (Dawid & Skene 1979).

    Starts from the shares of the votes. An item without a vote gets the prevalence, an annotator without one the prior.

    Args:
        item: the item of each vote, from 0.
        annotator: who cast it, from 0.
        category: what it was for, from 0.
        shape: how many items, annotators and categories there are; by default as many as the votes need.
        symmetric: where it is arbitrary which response is called a, and the categories are in the order b, tie, a:
            makes matrices and prevalence indifferent to a turn of the order.
        max_iterations: where to stop at the latest; ``converged`` is false then.
    """
    votes = _Votes.read(item, annotator, category, shape)
    n_categories = votes.shape[2]
    prior = np.where(np.eye(n_categories, dtype=bool), _RIGHT, _WRONG)

    def maximise(expected: _Arrays) -> _Arrays:
        (posterior,) = expected
        counts = np.stack([votes.by_annotator(posterior[votes.item, true]) for true in range(n_categories)], axis=1)
        share = posterior[votes.rated].sum(axis=0)
        if symmetric:
            counts, share = (counts + counts[:, ::-1, ::-1]) / 2, (share + share[::-1]) / 2
        return _normalise(counts + prior), _normalise(share + _WRONG)

    def expect(parameters: _Arrays) -> tuple[_Arrays, float]:
        log_confusion, log_prevalence = (np.log(p) for p in parameters)
        posterior, evidence = votes.expect(log_confusion[votes.annotator, :, votes.category], log_prevalence)
        return (posterior,), evidence + float((prior * log_confusion).sum() + _WRONG * log_prevalence.sum())

    (posterior,), parameters, trace, converged = _climb((votes.shares(),), maximise, expect, max_iterations)
    return DawidSkene(posterior, trace, converged, *parameters)


def mace(
    item: ArrayLike,
    annotator: ArrayLike,
    category: ArrayLike,
    *,
    shape: tuple[int, int, int] | None = None,
    max_iterations: int = MOST_STEPS,
) -> Mace:
    """Estimate true categories and each annotator's competence (MACE; Hovy, Berg-Kirkpatrick, Vaswani & Hovy 2013).

    On each item an annotator either knows the true category and votes for it, or guesses, by habits of his own that do
    not look at the item. All true categories are equally likely beforehand. The authors start at random several times;
    this starts from the shares of the votes. Arguments as for `dawid_skene`.
    """
    votes = _Votes.read(item, annotator, category, shape)
    n_categories = votes.shape[2]
    spread = _SMOOTHING / n_categories
    even = np.full(votes.item.size, n_categories / (n_categories + 1))  # if right, with even odds of knowing

    def maximise(expected: _Arrays) -> _Arrays:
        posterior, known = expected
        knew = posterior[votes.item, votes.category] * known
        guessed = votes.by_annotator(1 - knew)
        sums = np.stack([votes.by_annotator(knew).sum(axis=1), guessed.sum(axis=1)], axis=1)
        return _normalise(sums + _SMOOTHING), _normalise(guessed + spread)

    def expect(parameters: _Arrays) -> tuple[_Arrays, float]:
        competence, guesses = parameters[0][:, 0], parameters[1]
        guess = parameters[0][votes.annotator, 1] * guesses[votes.annotator, votes.category]
        right = competence[votes.annotator] + guess
        known = competence[votes.annotator] / right
        log = np.repeat(np.log(guess)[:, None], n_categories, axis=1)
        log[np.arange(guess.size), votes.category] = np.log(right)
        posterior, evidence = votes.expect(log, np.full(n_categories, -np.log(n_categories)))
        prior = _SMOOTHING * np.log(parameters[0]).sum() + spread * np.log(guesses).sum()
        return (posterior, known), evidence + float(prior)

    (posterior, _), (competence, guesses), trace, converged = _climb(
        (votes.shares(), even), maximise, expect, max_iterations
    )
    return Mace(posterior, trace, converged, competence[:, 0], guesses)


@dataclass(frozen=True)
class _Votes:
    """Checked votes, and the sums over them."""

    item: IntArray
    annotator: IntArray
    category: IntArray
    shape: tuple[int, int, int]
    rated: NDArray[np.bool_]
    """Which items have a vote, shape (items,)."""

    @classmethod
    def read(
        cls, item: ArrayLike, annotator: ArrayLike, category: ArrayLike, shape: tuple[int, int, int] | None
    ) -> _Votes:
        arrays = []
        for name, values in (("item", item), ("annotator", annotator), ("category", category)):
            given = np.asarray(values)
            numbers = given.astype(np.float64)
            if given.ndim != 1 or not (np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
                raise ValueError(
                    f"{name} must be whole numbers from 0, of shape (votes,); leave out what is missing (NaN)"
                )
            arrays.append(given.astype(np.int64))
        if len({a.shape for a in arrays}) != 1:
            raise ValueError(f"item, annotator and category must have one shape, not {[a.shape for a in arrays]}")
        items, annotators, categories = (int(a.max(initial=-1)) + 1 for a in arrays)
        needed = (items, annotators, max(1, categories))
        sizes = needed if shape is None else shape
        if any(n > size for n, size in zip(needed, sizes, strict=True)):
            raise ValueError(f"the votes need a shape of {needed} at least, not {sizes}")
        of_item, who, what = arrays
        return cls(of_item, who, what, sizes, np.bincount(of_item, minlength=sizes[0]) > 0)

    def shares(self) -> FloatArray:
        """Share of an item's votes in each category, shape (items, categories); even where there is no vote."""
        n_items, _, n_categories = self.shape
        cell = self.item * n_categories + self.category
        counts = np.bincount(cell, minlength=n_items * n_categories).reshape(n_items, n_categories)
        return _normalise(np.where(self.rated[:, None], counts, 1.0))

    def by_annotator(self, weight: FloatArray) -> FloatArray:
        """Sum weights of votes, shape (votes,), by who cast them for what: (annotators, categories)."""
        _, n_annotators, n_categories = self.shape
        cell = self.annotator * n_categories + self.category
        sums = np.bincount(cell, weight, minlength=n_annotators * n_categories).astype(np.float64)
        return sums.reshape(n_annotators, n_categories)

    def expect(self, log: FloatArray, log_prior: FloatArray) -> tuple[FloatArray, float]:
        """Posterior of the items and log-likelihood, from log p(vote | true category), shape (votes, categories)."""
        sums = [np.bincount(self.item, column, minlength=self.shape[0]) for column in log.T]
        joint = log_prior + np.stack(sums, axis=1)
        top = joint.max(axis=1, keepdims=True)
        share = np.exp(joint - top)
        norm = share.sum(axis=1, keepdims=True)
        return share / norm, float((top + np.log(norm))[self.rated].sum())


def _climb(
    expected: _Arrays,
    maximise: Callable[[_Arrays], _Arrays],
    expect: Callable[[_Arrays], tuple[_Arrays, float]],
    max_iterations: int,
) -> tuple[_Arrays, _Arrays, FloatArray, bool]:
    """Alternate the two steps, extrapolating after every second, until one changes nothing.

    Returns what is expected, the parameters, the objective after each step and whether it converged. Parameters are
    probabilities, rows summing to 1, and are extrapolated as logarithms; an extrapolation that lowers the objective is
    not made.
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, not {max_iterations}")
    furthest, path = _FURTHER, [maximise(expected)]
    expected, objective = expect(path[0])
    trace = [objective]
    while len(trace) < max_iterations:
        path.append(maximise(expected))
        before, (expected, objective) = expected, expect(path[-1])
        trace.append(objective)
        changes = zip([*path[-1], *expected], [*path[-2], *before], strict=True)
        if max(float(np.abs(now - then).max(initial=0.0)) for now, then in changes) <= _SETTLED:
            return expected, path[-1], np.array(trace), True
        if len(path) == 3 and len(trace) < max_iterations:
            ahead, length = _extrapolate(path, furthest)
            with np.errstate(all="ignore"):
                found, reached = expect(ahead)
            path = path[-1:]
            if reached >= objective:
                path, expected = [ahead], found
                trace.append(reached)
                furthest = furthest * _FURTHER if length == furthest else furthest
            else:
                furthest = max(_FURTHER, furthest / _FURTHER)
    return expected, path[-1], np.array(trace), False


def _extrapolate(path: Sequence[_Arrays], furthest: float) -> tuple[_Arrays, float]:
    """Follow three successive parameters ahead by a squared step; returns where it leads and its length."""
    first, second, third = (np.concatenate([np.log(p).ravel() for p in place]) for place in path)
    step, bend = second - first, third - 2 * second + first
    length = float(np.clip(np.linalg.norm(step) / max(float(np.linalg.norm(bend)), _LEAST), 1.0, furthest))
    ahead = first + 2 * length * step + length**2 * bend
    parts = np.split(ahead, np.cumsum([p.size for p in path[0]])[:-1])
    logs = [part.reshape(p.shape) for part, p in zip(parts, path[0], strict=True)]
    shares = (np.exp(log - log.max(axis=-1, keepdims=True, initial=-np.inf)) for log in logs)
    return tuple(_normalise(np.maximum(share, _LEAST)) for share in shares), length


def _normalise(counts: FloatArray) -> FloatArray:
    """Make the last axis sum to 1."""
    normed: FloatArray = counts / counts.sum(axis=-1, keepdims=True)
    return normed
