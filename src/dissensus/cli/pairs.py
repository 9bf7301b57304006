"""``dissensus pairs``: a data set, a Hub id or a file into pairs."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from dissensus.cli.options import step_command
from dissensus.steps.pairs import PairsResult, PairsSettings, run


def _run(settings: PairsSettings) -> PairsResult:
    from tqdm import tqdm

    def notice(text: str) -> None:
        tqdm.write(f"dissensus: {text}", file=sys.stderr)  # past the progress bar

    return run(settings, command=shlex.join(["dissensus", *sys.argv[1:]]), progress=True, notice=notice)


def _list(ctx: click.Context, param: click.Parameter, is_asked: Any) -> None:
    if not is_asked:
        return
    from dissensus.sources import SOURCES

    click.echo("Public data sets, by the name that SOURCE takes; the first part is read unless another is named.\n")
    for source in SOURCES.values():
        click.echo("\n".join(source.lines()))
    ctx.exit()


command = step_command("pairs", PairsSettings, _run)
command.params.append(
    click.Option(
        ["--list"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_list,
        help="Show the public data sets that are known by name.",
    )
)
