"""``dissensus demo``."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.outputs import Output, Verb
from dissensus.cli.study import run


@click.command("demo", cls=Verb)
@click.option("--out", type=Output("run"), default=Path("runs/demo"), show_default=True)
def command(out: Path) -> None:
    """Run the study of a simulated population: offline, in minutes."""
    run("demo", out, {})
