"""Predictions from a model's outputs: rewards, the preference that they mean, raw and calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.errors import TrainingError
from dissensus.records import Pair, Prediction
from dissensus.reward.objectives import Objective
from dissensus.reward.serving.calibration import Calibration

_PAIRS_AT_ONCE = 4096
"""Integrating over two distributions takes some hundred numbers a pair."""

FloatArray = NDArray[np.float64]


def preference_logits(objective: Objective, outputs: NDArray[np.float32]) -> FloatArray:
    """Return the log-odds that response a is preferred, shape (pairs,): the reward gap of scalar rewards.

    ``outputs`` are those for a and b, shape (pairs, 2, outputs). Raises TrainingError where they are not numbers.
    """
    broken = int((~np.isfinite(outputs)).any(axis=(1, 2)).sum())
    if broken:
        raise TrainingError(f"the model gives rewards that are not numbers for {broken} of {len(outputs)} pairs")
    both = torch.from_numpy(outputs).double()
    parts = [both[start : start + _PAIRS_AT_ONCE] for start in range(0, len(both), _PAIRS_AT_ONCE)]
    logits: FloatArray = torch.cat([objective.logit(part[:, 0], part[:, 1]) for part in parts]).numpy()
    return logits


def predictions_of(
    pairs: Sequence[Pair],
    outputs: NDArray[np.float32],
    objective: Objective,
    *,
    name: str,
    seed: int | None = None,
    calibration: Calibration | None = None,
) -> list[Prediction]:
    """Predict each pair from the outputs for a and b, shape (pairs, 2, outputs), by the model of this name.

    Raises TrainingError where outputs are not numbers.
    """
    if not pairs:
        return []
    logits = preference_logits(objective, outputs)
    both = torch.from_numpy(outputs).double()
    columns = {
        "preference_a": torch.from_numpy(logits).sigmoid().numpy(),
        "reward_a": objective.reward(both[:, 0]).numpy(),
        "reward_b": objective.reward(both[:, 1]).numpy(),
    }
    for side, variance in (("a", objective.variance(both[:, 0])), ("b", objective.variance(both[:, 1]))):
        if variance is not None:
            columns[f"variance_{side}"] = variance.numpy()
    if calibration is not None:
        columns["calibrated_a"] = calibration.preference(logits)
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [
        Prediction(pair_id=pair.id, model=name, seed=seed, **dict(zip(columns, row, strict=True)))
        for pair, row in zip(pairs, rows, strict=True)
    ]
