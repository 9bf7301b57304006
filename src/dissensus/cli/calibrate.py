"""``dissensus calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.cli.complete_paths import complete_source
from dissensus.cli.outputs import Source, Verb

if TYPE_CHECKING:
    from dissensus.reward.serving.calibration import CalibrationMethod


@click.command("calibrate", cls=Verb)
@click.argument("pairs", type=Source(), shell_complete=complete_source)
@click.option(
    "--model",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A trained folder; keeps the calibration.",
)
@click.option(
    "--method",
    type=click.Choice(["temperature", "platt"]),
    default="temperature",
    show_default=True,
    help="temperature: one factor on the reward gap. platt: also a preference for the side of response a.",
)
def command(pairs: str, model: Path, method: CalibrationMethod) -> None:
    """Fit how sure a reward model may be, on the votes of PAIRS that it was not trained on.

    A pair without votes counts with its label. 'dissensus predict --calibrated' applies the calibration; the model and
    its raw predictions stay as they are.
    """
    from dissensus.reward.serving.calibration import check_observed, save_calibration
    from dissensus.reward.training.preflight import check_model
    from dissensus.sources import read_pairs

    check_model(str(model))
    every = list(read_pairs(pairs))
    check_observed(every)
    # Torch is loaded from here on.
    from dissensus.reward.serving.reward_model import RewardModel

    calibration = RewardModel.load(model).calibrate(every, method=method, progress=True)
    path = save_calibration(model, calibration)
    intercept = f", intercept {calibration.intercept:+.3f}" if method == "platt" else ""
    click.echo(
        f"{path}: temperature {calibration.temperature:.4g}{intercept}, "
        f"from {calibration.pairs} pairs ({calibration.votes:g} votes)"
    )
    click.echo(f"  nll {calibration.nll_before:.4f} before, {calibration.nll_after:.4f} after, on the same votes")
    if calibration.note:
        click.echo(f"  {calibration.note}")
