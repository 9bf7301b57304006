"""``dissensus report``: the page of a run, or of several."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.outputs import Output, Verb


@click.command(cls=Verb)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN [RUN …]")
@click.option("--out", type=Output("page"), help="Default: RUN/report.html; needed for several runs.")
@click.option("--store", type=click.Path(path_type=Path), help="The judgments of RUN, where they are not in it.")
def command(runs: tuple[Path, ...], out: Path | None, store: Path | None) -> None:
    """Make one self-contained page of RUN and print its path.

    RUN is a study's folder, or one with what evaluate wrote: the scores, and beside them the pairs, predictions,
    margins and judgments that belong to them, under any names. Nothing outside of it is read. Several runs are compared
    on one page.
    """
    from dissensus.reports.page import LIMIT, write_report

    if out is None and len(runs) > 1:
        raise click.UsageError("several runs need --out FILE for their common page")
    if store is not None and len(runs) > 1:
        raise click.UsageError("--store is of one run; give the runs without it")
    out = out or runs[0] / "report.html"
    for words in write_report(runs, out, store=store):
        click.echo(f"dissensus: {words}", err=True)
    size = out.stat().st_size
    if size > LIMIT:
        click.echo(f"{out} has {size / 1e6:.1f} MB: of so many runs nothing more can be left out; give fewer", err=True)
    click.echo(out)
