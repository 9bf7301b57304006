"""``dissensus report``: the page of a run, or of several."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.outputs import Output, Verb


@click.command(cls=Verb)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN [RUN …]")
@click.option("--out", type=Output("page"), help="Default: RUN/report.html; needed for several runs.")
def command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Make one self-contained page of RUN, a study's folder or one with scores.json, and print its path.

    Several runs are compared on one page.
    """
    from dissensus.report.page import LIMIT, write_report

    if out is None and len(runs) > 1:
        raise click.UsageError("several runs need --out FILE for their common page")
    out = out or runs[0] / "report.html"
    write_report(runs, out)
    size = out.stat().st_size
    if size > LIMIT:
        click.echo(f"{out} has {size / 1e6:.1f} MB: of so many runs nothing more can be left out; give fewer", err=True)
    click.echo(out)
