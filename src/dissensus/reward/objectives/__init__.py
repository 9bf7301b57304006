"""Objectives by name. A new one is a class in a file of this folder, and its name here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dissensus.reward.objectives.kinds import (
    Blend,
    BradleyTerry,
    Brier,
    Categorical,
    Margin,
    MeanVariance,
    Scaled,
    Soft,
)
from dissensus.reward.objectives.objective import Objective

if TYPE_CHECKING:
    from dissensus.reward.config import TrainConfig

ObjectiveName = Literal["bradley-terry", "margin", "soft", "blend", "brier", "scaled", "mean-variance", "categorical"]
OBJECTIVES: dict[ObjectiveName, type[Objective]] = {
    "bradley-terry": BradleyTerry,
    "margin": Margin,
    "soft": Soft,
    "blend": Blend,
    "brier": Brier,
    "scaled": Scaled,
    "mean-variance": MeanVariance,
    "categorical": Categorical,
}

__all__ = ["OBJECTIVES", "Objective", "ObjectiveName", "objective_of"]


def objective_of(config: TrainConfig) -> Objective:
    """Return the objective that a config names, with its settings."""
    return OBJECTIVES[config.objective](config)
