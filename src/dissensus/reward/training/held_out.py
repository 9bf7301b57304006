"""Scores of the held-out prompts, as they are logged after each epoch and as a sweep chooses by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dissensus.reward.config import TrainConfig
from dissensus.reward.fast.select import Layout
from dissensus.reward.objectives import objective_of
from dissensus.reward.serving.calibration import calibrated_nll
from dissensus.reward.serving.score import score_texts
from dissensus.reward.text.train_data import TrainingData
from dissensus.reward.training.trainer import fit_to_labels


def validator(held: TrainingData, layout: Layout, config: TrainConfig) -> Callable[[Any], dict[str, float]]:
    """Make a function of a model that compares it with the labels of held-out pairs, whatever the objective.

    It gives the plain Bradley-Terry ``nll``, the ``accuracy``, and ``calibrated_nll`` after a fitted temperature;
    nothing where no pair has a winner.
    """
    label, objective = torch.from_numpy(held.targets.label), objective_of(config)

    def validate(model: Any) -> dict[str, float]:
        outputs = torch.from_numpy(score_texts(model, layout, held.encoded))
        logit = objective.logit(outputs[held.texts[:, 0]], outputs[held.texts[:, 1]])
        logit = logit if held.added is None else logit + torch.from_numpy(held.added)
        nll, correct, n = fit_to_labels(logit, label).tolist()
        if not n:
            return {}
        calibrated = calibrated_nll(logit.double().numpy(), label.double().numpy())
        return {"nll": nll / n, "accuracy": correct / n, "calibrated_nll": calibrated}

    return validate
