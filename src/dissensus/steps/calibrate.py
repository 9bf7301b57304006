"""Calibrating a reward model's predicted probabilities on votes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dissensus.reward.config import CalibrationMethod
from dissensus.settings import Argument, Reads, Settings

if TYPE_CHECKING:
    from dissensus.reward.serving.calibration import Calibration


class CalibrateSettings(Settings):
    """Calibrate the probabilities that a reward model predicts, on the votes of PAIRS that it was not trained on.

    A pair without votes counts with its label. 'dissensus predict' applies the calibration from then on; rewards and
    raw preferences stay as they are.
    """

    pairs: Annotated[str, Reads(), Argument()]
    """Pairs with votes or labels: a data set's name, a file or a Hub id."""
    model: Annotated[Path, Reads("folder")]
    """A trained folder; keeps the calibration."""
    method: CalibrationMethod = "temperature"
    """temperature: one factor on the reward gap. platt: also a preference for the side of response a."""


@dataclass(frozen=True)
class CalibrateResult:
    """A calibration, and the file that keeps it."""

    path: Path
    calibration: Calibration

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        found = self.calibration
        yield f"{self.path}: {found}, from {found.pairs} pairs ({found.votes:g} votes)"
        yield f"  nll {found.nll_before:.4f} before, {found.nll_after:.4f} after, on the same votes"
        if found.note:
            yield f"  {found.note}"


def run(settings: CalibrateSettings, *, progress: bool = True) -> CalibrateResult:
    """Fit, and keep the calibration in the model's folder; faults of files show before torch is loaded."""
    from dissensus.reward.serving.calibration import check_observed, save_calibration
    from dissensus.reward.training.preflight import check_model
    from dissensus.sources import read_pairs

    check_model(str(settings.model))
    pairs = list(read_pairs(settings.pairs))
    check_observed(pairs)
    # Torch is loaded from here on.
    from dissensus.reward.serving.reward_model import RewardModel

    calibration = RewardModel.load(settings.model).calibrate(pairs, method=settings.method, progress=progress)
    return CalibrateResult(save_calibration(settings.model, calibration), calibration)
