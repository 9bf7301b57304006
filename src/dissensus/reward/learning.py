"""Whether a run learnt anything: some of its pairs, scored before the first step and after the last."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.reward.config import TrainConfig
from dissensus.reward.data import TrainingData
from dissensus.reward.layout import Layout
from dissensus.reward.objectives import objective_of
from dissensus.reward.scoring import score_texts

_SCORED = 32
"""Pairs that are scored twice."""
_STANDSTILL = 0.05
"""Mean change of a pair's log-odds below which a run ends where it began; where they are large already, a fraction."""
_BETTER = 0.98
"""Of the loss before: what it is to fall to at least, on pairs that were trained on."""


class LearningCheck:
    """Compares what a model says of some training pairs before and after training."""

    def __init__(self, model: Any, data: TrainingData, layout: Layout, config: TrainConfig) -> None:
        pairs = len(data.texts)
        self._rows = np.unique(np.linspace(0, pairs - 1, min(_SCORED, pairs)).astype(np.int64))
        self._data, self._layout, self._config = data, layout, config
        self._gaps, self._losses = self._score(model)

    def note(self, model: Any, *, steps: int, right: float, counted: float) -> str | None:
        """Say that nothing was learnt, in one line; None where something was.

        Nothing was where the model says of the pairs what it said before, or where its loss on them is no better and,
        of all ``counted`` pairs seen in training, no more were ``right`` than chance puts right.
        """
        gaps, losses = self._score(model)
        moved = float(np.abs(gaps - self._gaps).mean())
        stands_still = moved < _STANDSTILL * max(1.0, float(np.abs(self._gaps).mean()))
        by_chance = right <= counted / 2 + math.sqrt(counted)
        before, after = float(self._losses.mean()), float(losses.mean())
        if not (stands_still or (by_chance and after > _BETTER * before)):
            return None
        accuracy = f" and the accuracy of the run {right / counted:.2f}" if counted else ""
        remedy = "raise --learning-rate" if stands_still else "try another --learning-rate"
        return (
            f"nothing was learnt in {steps} steps at learning rate {self._config.learning_rate:g}: on {len(gaps)} "
            f"training pairs the loss was {before:.3f} before and is {after:.3f} after{accuracy}; {remedy} (--sweep "
            "1e-3..1e-5 finds one) or train longer (--epochs)"
        )

    def _score(self, model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log-odds and loss of each pair, shape (pairs,)."""
        data, objective = self._data, objective_of(self._config)
        texts, places = np.unique(data.texts[self._rows], return_inverse=True)
        outputs = torch.from_numpy(score_texts(model, self._layout, data.encoded, rows=texts)).double()
        a, b = outputs[places.reshape(-1, 2)].unbind(dim=1)
        target, margin = (
            torch.from_numpy(values[self._rows]).double() for values in (data.targets.target, data.targets.margin)
        )
        return objective.logit(a, b).numpy(), objective.losses(a, b, target, margin).numpy()
