"""A check that a run learnt something: what the model says of a few training pairs, before and after."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.reward.config import TrainConfig
from dissensus.reward.fast.select import Layout
from dissensus.reward.objectives import objective_of
from dissensus.reward.serving.score import score_texts
from dissensus.reward.text.train_data import TrainingData

_SCORED = 32
"""Pairs that are scored twice."""
_STANDSTILL = 0.05
"""Mean change of a pair's log-odds below which a run ends where it began; where they are large already, a fraction."""
_COLLAPSED = 0.1
"""Of the size of the log-odds before: below it the model no longer tells responses apart."""
_BETTER = 0.98
"""Of the loss before: what it is to fall to at least, on pairs that were trained on."""


class LearningCheck:
    """Compares what a model says of some training pairs before and after training."""

    def __init__(self, model: Any, data: TrainingData, layout: Layout, config: TrainConfig) -> None:
        pairs = len(data.texts)
        self._rows = np.unique(np.linspace(0, pairs - 1, min(_SCORED, pairs)).astype(np.int64))
        self._data, self._layout, self._config = data, layout, config
        self._before = self._score(model)

    def note(self, model: Any, *, steps: int, right: float, counted: float) -> str | None:
        """Say that nothing was learnt, in one line; None where something was.

        Nothing was where the model says of the pairs what it said before, or where its loss on them is no better than
        before, or than that of equal rewards, and of all ``counted`` pairs seen in training no more were ``right`` than
        chance puts right.
        """
        before, after = self._before, self._score(model)
        moved, size, size_before = (
            float(np.abs(gaps).mean()) for gaps in (after.gaps - before.gaps, after.gaps, before.gaps)
        )
        by_chance = right <= counted / 2 + math.sqrt(counted)
        no_better = after.loss > _BETTER * min(before.loss, before.loss_of_equals)
        where = f"in {steps} steps at learning rate {self._config.rate:g}"
        losses = f"loss {before.loss:.3f} before, {after.loss:.3f} after"
        scored = f"{len(after.gaps)} training pairs"
        search = "(--sweep 1e-3..1e-5 finds one)"
        if size < _COLLAPSED * size_before and no_better:
            return (
                f"nothing was learnt {where}: all responses have nearly the same reward now ({losses} on {scored}); "
                f"lower --learning-rate {search}, or look at the labels"
            )
        if moved < _STANDSTILL * max(1.0, size_before):
            return (
                f"the run ends where it began: {where} the log-odds of {scored} moved by {moved:.2g} on average "
                f"({losses}); raise --learning-rate {search} or train longer (--epochs)"
            )
        if by_chance and no_better:
            accuracy = f", accuracy {right / counted:.2f} over the run" if counted else ""
            return (
                f"nothing was learnt {where}: {losses} on {scored}{accuracy}; try another --learning-rate {search}, "
                "train longer (--epochs), or look at the labels"
            )
        return None

    def _score(self, model: Any) -> _Score:
        data, objective = self._data, objective_of(self._config.model_copy(update={"center": 0.0}))
        texts, places = np.unique(data.texts[self._rows], return_inverse=True)
        outputs = torch.from_numpy(score_texts(model, self._layout, data.encoded, rows=texts)).double()
        a, b = outputs[places.reshape(-1, 2)].unbind(dim=1)
        of = {name: torch.from_numpy(values[self._rows]).double() for name, values in data.columns.items()}
        target, margin, added = of["target"], of["margin"], of.get("added")
        loss, of_equals = (objective.losses(a, other, target, margin, added).mean().item() for other in (b, a))
        return _Score(objective.logit(a, b).numpy(), loss, of_equals)


class _Score(NamedTuple):
    gaps: NDArray[np.float64]
    """Log-odds of each pair, shape (pairs,)."""
    loss: float
    """Mean over the pairs, without the centre regulariser."""
    loss_of_equals: float
    """The same where both responses of every pair have one reward."""
