"""Scoring pairs with a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from dissensus.cluster.ray_data import Workers
from dissensus.parts import InParts
from dissensus.places.addresses import Address, work_place
from dissensus.reward.config import SHORTEST
from dissensus.settings import Argument, Option, Reads, Writes

if TYPE_CHECKING:
    from dissensus.reward.serving.calibration import Calibration


class PredictSettings(InParts, Workers):
    """Score PAIRS with a reward model: window by window, each distinct prompt and response of one once.

    Killed anywhere, the same command goes on with the window that it was at.
    """

    pairs: Annotated[str, Reads(), Argument()]
    """A data set's name, a file or a Hub id."""
    model: Annotated[str, Reads("model")]
    """A trained folder, or any one-output sequence classifier."""
    out: Annotated[Path, Writes()]
    """Predictions: .parquet, .jsonl or .csv."""
    name: Annotated[str | None, Option(default="its folder's")] = None
    """The model's name in tables."""
    seed: int | None = None
    """The training seed, where one model was trained several times."""
    max_length: Annotated[
        Annotated[int, Field(ge=SHORTEST)] | None, Option(default="as trained, or what the model takes")
    ] = None
    """Tokens per prompt and response."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products; bf16 is up to several times as fast where the processor gains by it."""
    calibrated: Annotated[bool | None, Option("--calibrated/--raw", default="calibrated where the model can")] = None
    """Add the preference by the model's calibration, which the comparison with people then takes, or leave it out."""
    debias: Literal["length"] | None = None
    """Leave out of rewards and preferences what length adds, of a model with --length-covariate."""


@dataclass(frozen=True)
class PredictResult:
    """A file of predictions."""

    out: Path
    predictions: int
    calibration: Calibration | None = None
    """By which preferences were calibrated."""
    length_slope: float | None = None
    """Times the log of a response's length: in the rewards, or left out of them."""
    debias: Literal["length"] | None = None

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        yield f"{self.out}: {self.predictions} predictions"
        if (found := self.calibration) is not None:
            yield f"  calibrated: {found}, fitted on {found.pairs} pairs ({found.votes:g} votes)"
        if self.length_slope is not None:
            which = "left out of" if self.debias else "in"
            yield f"  length is {which} the rewards: {self.length_slope:+.3f} * log(characters of the response)"


def run(settings: PredictSettings, *, progress: bool = True) -> PredictResult:
    """Predict; faults of settings and files show before torch is loaded."""
    from dissensus.files import content_of
    from dissensus.files.parts_folder import note_part
    from dissensus.files.source import print_notice
    from dissensus.files.writers import check_writable_name
    from dissensus.reward.training.preflight import check_calibrated, check_debiased, check_model
    from dissensus.sources import pair_file
    from dissensus.text.encoder import resolve_model

    check_writable_name(settings.out)
    check_model(settings.model)
    if isinstance(settings.out, Address) and not settings.are_on_ray:
        waiting = work_place(settings.out).with_name(settings.out.name + ".part")
        print_notice(f"finished predictions wait in {waiting} until all are put to {settings.out}")
    name = settings.name or Path(settings.model).name
    if settings.calibrated:
        check_calibrated(settings.model, name)
    if settings.debias is not None:
        check_debiased(settings.model, name)
    pairs = pair_file(settings.pairs, settings.chosen_part)
    note_part(settings.out, pairs)
    identity = content_of(resolve_model(settings.model)) or settings.model
    # Torch is loaded from here on.
    if settings.are_on_ray:
        from dissensus.reward.serving.on_ray import Scoring, predict_on_ray

        same = settings.model_dump(include={"model", "seed", "max_length", "precision", "calibrated", "debias"})
        scoring, total = Scoring(name=name, identity=identity, **same), len(pairs)
        done = predict_on_ray(scoring, pairs, settings.out, workers=settings, total=total, progress=progress)
        calibration = None if settings.calibrated is False else done.calibration
        return PredictResult(settings.out, done.predictions, calibration, done.length_slope, settings.debias)
    from dissensus.reward.serving.reward_model import RewardModel, predict_file

    model = RewardModel.load(settings.model, max_length=settings.max_length, precision=settings.precision)
    count = predict_file(
        model,
        pairs,
        settings.out,
        name=name,
        identity=identity,
        seed=settings.seed,
        calibrated=settings.calibrated,
        debias=settings.debias,
        total=len(pairs),
        progress=progress,
    )
    calibration = None if settings.calibrated is False else model.calibration
    return PredictResult(settings.out, count, calibration, model.length_slope, settings.debias)
