"""``dissensus demo``."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.study import run


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
def command(out: Path) -> None:
    """Run the study of a simulated population: offline, in minutes."""
    run("demo", out, {})
