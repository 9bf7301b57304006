"""``dissensus train``."""

from __future__ import annotations

import click

from dissensus.cli.options import step_command
from dissensus.steps.train import TrainResult, TrainSettings, idle, run


def _run(settings: TrainSettings) -> TrainResult:
    for line in idle(settings):
        click.echo(line, err=True)
    return run(settings)


command = step_command("train", TrainSettings, _run)
