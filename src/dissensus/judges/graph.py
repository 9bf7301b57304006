"""Labels as their own judge: Bradley-Terry over the responses of each prompt, shrunk towards what their length says.

Where a text stands in several labelled pairs, the labels of the other pairs say how strong it is, and so how likely
people are to split. No language model and no encoder is asked.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import JudgeError
from dissensus.hashing import short_digest
from dissensus.judges.committee import fit_bradley_terry, sigmoid
from dissensus.judges.kinds import GraphSettings
from dissensus.judges.runner import Question
from dissensus.messages import log_length
from dissensus.records import LABEL_VALUE, Judgment, Pair, Text, plain_text

Floats = NDArray[np.float64]
_Item = tuple[str, str]
"""A prompt and a response to it."""

_L2_GRID = np.logspace(-2, 2, 25)
_ENOUGH = 20_000
"""Labels that choose the penalty: more of them take longer and say the same."""
_L2_UNKNOWN = 1.0
"""Where no text stands in two labelled pairs, held-out labels say nothing of the penalty."""
_L2_SLOPE = 1.0
"""Of the slope on length: it keeps a handful of labels, all for the longer response, from saying too much."""
_BLOCK = 64
"""Responses that are fitted at once, where prompts have fewer."""
_CHUNK = 512
"""Pairs whose label is held out at once."""
_ROUNDS = 25
_CONVERGED = 1e-8
_NO_GAP = 1e-9


class LabelGraph:
    """Ridge Bradley-Terry inside each prompt, theta = argmax sum of log-likelihood - l2/2 |theta - m|^2.

    A prompt's distinct responses have strengths theta, ties count one half for each side, and m is beta times the
    logarithm of the length (in characters), or 0. A judgment is g = sigmoid(theta_a - theta_b), with the pair's own
    label held out unless settings say otherwise; its choice is the side of g, and no difference is a tie.

    The label that is held out is one row of the fit: leaving it out is a Newton step on a Hessian with a rank less,
    repeated until it stands still, so g is what refitting without it gives (tested). All labels but the own one then
    count, nothing is drawn, and no seed or fold decides. l2 is chosen on a grid by the likelihood of the labels, each
    held out (after one such step), and beta by logistic regression of all labels on the log ratio of lengths: in these
    two numbers a pair's own label weighs as one of many.

    The order of the rows decides nothing, and swapping the responses of a pair (with its label) turns g over.

    Raises:
        JudgeError: no pair has a label.
    """

    def __init__(self, pairs: Iterable[Pair], settings: GraphSettings) -> None:
        self._settings = settings
        self._pairs = _distinct(pairs)
        self._labels = np.array([np.nan if p.label is None else LABEL_VALUE[p.label] for p in self._pairs])
        self._items = [(_item(pair, pair.response_a), _item(pair, pair.response_b)) for pair in self._pairs]
        labelled = ~np.isnan(self._labels)
        if not labelled.any():
            raise JudgeError(
                "no pair has a label for the graph to learn from; give labelled pairs, draw labels from votes "
                "(dissensus pairs --label one-vote), or use the judge votes"
            )
        self.slope = self._fit_slope(labelled) if settings.prior == "length" else 0.0
        shared = self._shared(labelled)
        self.l2 = settings.l2 or self._choose_l2(shared & labelled)
        self.name = f"graph-{self._digest()}"
        self.notes = self._describe(int(labelled.sum()), shared)
        self._gaps = self._fit()

    def questions(self, pair: Pair) -> Sequence[Question]:
        """List the one question."""
        return [Question(pair, 0)]

    def answer(self, questions: Sequence[Question]) -> Iterator[Judgment]:
        """Read the preferences off the strengths."""
        for question in questions:
            gap = self._gaps[question.pair.id]
            yield Judgment(
                pair_id=question.pair.id,
                judge=self.name,
                sample=0,
                choice="tie" if gap == 0 else "a" if gap > 0 else "b",
                probability_a=float(sigmoid(np.array(gap))),
            )

    def _fit(self) -> dict[str, float]:
        """Fit every prompt; returns theta_a - theta_b of each pair, by id."""
        gaps: dict[str, float] = {}
        for block in self._blocks(range(len(self._pairs))):
            fitted = block.fit(self.l2)
            found = fitted.gaps()
            if self._settings.own_label == "held-out":
                found[block.labelled] = fitted.held_out()
            found[np.abs(found) < _NO_GAP] = 0.0
            gaps.update(zip((self._pairs[row].id for row in block.rows), found.tolist(), strict=True))
        return gaps

    def _fit_slope(self, labelled: NDArray[np.bool_]) -> float:
        ratios = np.array([log_length(a[1]) - log_length(b[1]) for a, b in self._items])[labelled, None]
        labels = self._labels[labelled]
        return float(fit_bradley_terry(ratios, labels, np.ones(len(labels)), l2=_L2_SLOPE)[0])

    def _shared(self, labelled: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which pairs have a text that stands in another labelled pair as well; shape (pairs,)."""
        times = Counter(item for row in np.flatnonzero(labelled).tolist() for item in set(self._items[row]))
        return np.array(
            [
                any(times[item] > has_label for item in items)
                for items, has_label in zip(self._items, labelled, strict=True)
            ]
        )

    def _choose_l2(self, shared: NDArray[np.bool_]) -> float:
        """Choose the penalty under which held-out labels are the most likely.

        Args:
            shared: the labelled pairs with a text that another one has as well, shape (pairs,).
        """
        times = Counter(self._items[row][0][0] for row in np.flatnonzero(~np.isnan(self._labels)).tolist())
        useful = {self._items[row][0][0] for row in np.flatnonzero(shared).tolist()}
        if not useful:
            return _L2_UNKNOWN
        order = sorted(useful, key=short_digest)  # any prompts, and always the same
        before = np.cumsum([0, *(times[prompt] for prompt in order)])
        chosen = {prompt for prompt, count in zip(order, before.tolist(), strict=False) if count < _ENOUGH}
        rows = [row for row, (a, _) in enumerate(self._items) if a[0] in chosen and not np.isnan(self._labels[row])]
        losses = np.zeros(len(_L2_GRID))
        for block in self._blocks(rows):
            losses += [block.fit(l2).held_out_loss() for l2 in _L2_GRID.tolist()]
        return float(_L2_GRID[losses.argmin()])

    def _blocks(self, rows: Iterable[int]) -> Iterator[_Block]:
        """Yield the pairs of ``rows`` prompt by prompt, several small ones at once: what one fit takes."""
        by_prompt: dict[str, list[int]] = {}
        for row in rows:
            by_prompt.setdefault(self._items[row][0][0], []).append(row)
        together: list[int] = []
        items: dict[_Item, None] = {}
        for prompt in sorted(by_prompt):
            own = dict.fromkeys(item for row in by_prompt[prompt] for item in self._items[row])
            if together and len(items) + len(own) > _BLOCK:
                yield self._block(together, list(items))
                together, items = [], {}
            together += by_prompt[prompt]
            items |= own
        if together:
            yield self._block(together, list(items))

    def _block(self, rows: list[int], items: list[_Item]) -> _Block:
        column = {item: index for index, item in enumerate(items)}
        design = np.zeros((len(rows), len(items)))
        for index, row in enumerate(rows):
            for item, sign in zip(self._items[row], (1, -1), strict=True):
                design[index, column[item]] += sign  # one text on both sides: no difference
        prior = self.slope * np.array([log_length(item[1]) for item in items])
        return _Block(np.array(rows), design, design @ prior, self._labels[rows])

    def _describe(self, labelled: int, shared: NDArray[np.bool_]) -> list[str]:
        how = "given" if self._settings.l2 else "under which held-out labels are the most likely"
        if not self._settings.l2 and not (shared & ~np.isnan(self._labels)).any():
            how = "by default: no text stands in two labelled pairs, so nothing says which"
        own = "held out of" if self._settings.own_label == "held-out" else "counted in"
        notes = [f"of {labelled:,} pairs, each {own} its own pair; l2 {self.l2:.3g} ({how})"]
        if self._settings.prior == "length":
            notes[0] += f", slope {self.slope:.3f} on log length"
        if alone := int((~shared).sum()):
            alone_in = self._settings.own_label == "in"
            says = "what their lengths say" if self._settings.prior == "length" else "no preference (1/2)"
            says += ", and their own label" if alone_in else ""
            notes.append(f"no other one is about a text of {alone:,} of {len(shared):,} pairs, which get {says}")
        return notes

    def _digest(self) -> str:
        """Hash all that decides the judgments: settings, and every pair with its label."""
        settings = self._settings.model_dump(exclude={"name"})
        pairs = [(p.id, p.label, *map(plain_text, (p.prompt, p.response_a, p.response_b))) for p in self._pairs]
        return short_digest(json.dumps([settings, pairs]))


@dataclass(frozen=True)
class _Block:
    """Pairs of one or more prompts as arrays."""

    rows: NDArray[np.intp]
    """Which pairs they are, shape (pairs,)."""
    design: Floats
    """1 for the text of response a, -1 for that of b; shape (pairs, texts)."""
    prior_gaps: Floats
    """m_a - m_b, shape (pairs,)."""
    labels: Floats
    """1 for a, 0 for b, 1/2 for a tie, NaN for none; shape (pairs,)."""

    @property
    def labelled(self) -> NDArray[np.intp]:
        """The pairs with a label."""
        return np.flatnonzero(~np.isnan(self.labels))

    def fit(self, l2: float) -> _Fit:
        """Fit the strengths to the labels, as differences from their prior."""
        at = self.labelled
        known = _Labelled(self.design[at], self.prior_gaps[at], self.labels[at], l2)
        return _Fit(self, known, known.strengths(np.ones(len(at))))


@dataclass(frozen=True)
class _Labelled:
    """The labelled pairs of a block: what is fitted."""

    design: Floats
    prior_gaps: Floats
    labels: Floats
    l2: float

    def strengths(self, weights: Floats) -> Floats:
        """Fit theta - m with weights on the labels; shape (texts,)."""
        return fit_bradley_terry(self.design, self.labels, weights, l2=self.l2, offsets=self.prior_gaps)


@dataclass(frozen=True)
class _Fit:
    """A fit to all labels of a block, and to all but one."""

    block: _Block
    known: _Labelled
    strengths: Floats
    """theta - m, shape (texts,)."""

    def gaps(self) -> Floats:
        """theta_a - theta_b of all pairs, shape (pairs,)."""
        return self.block.prior_gaps + self.block.design @ self.strengths

    def held_out_loss(self) -> float:
        """Sum the negative log-likelihood of the labels, each under the fit to the others (after one step)."""
        known, curvature = self.known, self._curvature()
        step = curvature.without * (curvature.probabilities - known.labels)
        gaps = curvature.gaps + step * np.einsum("ij,ij->i", known.design, curvature.solved)
        return float((np.logaddexp(0, gaps) - known.labels * gaps).sum())

    def held_out(self) -> Floats:
        """theta_a - theta_b of each labelled pair under the fit to all other labels, shape (labelled,)."""
        curvature = self._curvature()
        chunks = np.array_split(np.arange(len(self.known.labels)), -(-len(self.known.labels) // _CHUNK) or 1)
        return np.concatenate([self._without(rows, curvature) for rows in chunks])

    def _without(self, rows: NDArray[np.intp], curvature: _Curvature) -> Floats:
        """Leave the labels of ``rows`` out, one at a time; Newton steps on the Hessian at the fit to all labels."""
        known = self.known
        moved = np.zeros((len(rows), len(self.strengths)))
        solved, scale = curvature.solved[rows], (curvature.without * curvature.weights)[rows]
        here = np.arange(len(rows))
        active = here
        for _ in range(_ROUNDS):
            residuals = sigmoid(curvature.gaps + moved[active] @ known.design.T) - known.labels
            residuals[np.arange(len(active)), rows[active]] = 0.0
            gradient = residuals @ known.design + known.l2 * (self.strengths + moved[active])
            step = gradient @ curvature.inverse
            along = np.einsum("ij,ij->i", step, known.design[rows[active]])
            step += solved[active] * (scale[active] * along)[:, None]  # Sherman-Morrison
            moved[active] -= step
            active = active[np.abs(step).max(axis=1, initial=0.0) > _CONVERGED]
            if not len(active):
                break
        for row in active.tolist():  # far from the fit to all labels, where its Hessian says little
            weights = np.ones(len(known.labels))
            weights[rows[row]] = 0.0
            moved[row] = known.strengths(weights) - self.strengths
        found: Floats = curvature.gaps[rows] + np.einsum("ij,ij->i", known.design[rows], moved)
        return found

    def _curvature(self) -> _Curvature:
        known = self.known
        gaps = known.prior_gaps + known.design @ self.strengths
        probabilities = sigmoid(gaps)
        weights = probabilities * (1 - probabilities)
        hessian = (known.design * weights[:, None]).T @ known.design
        hessian[np.diag_indices_from(hessian)] += known.l2
        inverse: Floats = np.linalg.inv(hessian).astype(np.float64)
        solved = known.design @ inverse
        without = 1 / (1 - weights * np.einsum("ij,ij->i", known.design, solved))
        return _Curvature(gaps, probabilities, weights, inverse, solved, without)


@dataclass(frozen=True)
class _Curvature:
    """The Hessian H at a fit, and what it takes to leave one pair out of it; x is a row of the design."""

    gaps: Floats
    probabilities: Floats
    weights: Floats
    inverse: Floats
    """Of H."""
    solved: Floats
    """x H^-1 of each pair, shape (labelled, texts)."""
    without: Floats
    """1 / (1 - w x H^-1 x) of each pair: its own curvature taken off."""


def _distinct(pairs: Iterable[Pair]) -> list[Pair]:
    """Keep each pair once, in an order of its own; with the label that one of its copies has."""
    by_id: dict[str, Pair] = {}
    for pair in pairs:
        before = by_id.get(pair.id)
        if before is None or pair.label is not None or before.label is None:
            by_id[pair.id] = pair
    return [by_id[name] for name in sorted(by_id)]


def _item(pair: Pair, response: Text) -> _Item:
    return plain_text(pair.prompt), plain_text(response)
