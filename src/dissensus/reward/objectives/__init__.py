"""Objectives by name. A new one is a class in a file of this folder, and its name here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from dissensus.reward.objectives.kinds import Blend, BradleyTerry, Brier, Margin, MeanVariance, Soft
from dissensus.reward.objectives.objective import Objective
from dissensus.reward.objectives.retired import RETIRED, refuse_retired

if TYPE_CHECKING:
    from dissensus.reward.config import TrainConfig

ObjectiveName = Annotated[
    Literal["bradley-terry", "margin", "soft", "blend", "brier", "mean-variance"], BeforeValidator(refuse_retired)
]
OBJECTIVES: dict[ObjectiveName, type[Objective]] = {
    "bradley-terry": BradleyTerry,
    "margin": Margin,
    "soft": Soft,
    "blend": Blend,
    "brier": Brier,
    "mean-variance": MeanVariance,
}

__all__ = ["OBJECTIVES", "RETIRED", "Objective", "ObjectiveName", "objective_of"]


def objective_of(config: TrainConfig) -> Objective:
    """Return the objective that a config names, with its settings; also that of a model of before."""
    return (RETIRED | OBJECTIVES)[config.objective](config)
