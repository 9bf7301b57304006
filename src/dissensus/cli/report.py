"""``dissensus report``: the page of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=Path)
@click.option("--out", type=Path, help="Default: RUN/report.html")
def command(run: Path, out: Path | None) -> None:
    """Make one self-contained page of RUN, a study's folder, and print its path."""
    from dissensus.report.page import write_report

    out = out or run / "report.html"
    write_report(run, out)
    click.echo(out)
