"""``dissensus tables``: the tables of a scorecard, printed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from dissensus.cli.outputs import Verb
from dissensus.errors import InputError
from dissensus.records import Metric

# The names of evaluate.formats.FORMATS, here so that --help loads nothing.
_FORMATS = ("terminal", "markdown", "latex", "csv", "json")


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how tables are printed: ``form`` and ``against``."""
    form = click.option(
        "--format", "form", type=click.Choice(_FORMATS), default="terminal", show_default=True, help="Of the tables."
    )
    against = click.option(
        "--against", type=click.Choice(["paper"]), help="Put the numbers that the paper published beside these."
    )
    return form(against(command))


@click.command(cls=Verb)
@click.argument("scores", type=click.Path(path_type=Path))
@table_options
def command(scores: Path, form: str, against: Literal["paper"] | None) -> None:
    """Print the tables of SCORES, a scores.json or the folder of a run that has one. Nothing is computed again."""
    from dissensus.evaluate.tables.render import render
    from dissensus.files import read_records

    file = scores / "scores.json" if scores.is_dir() else scores
    metrics = list(read_records(file, Metric))
    if not metrics:
        raise InputError(f"{file}: there are no rows; write it with dissensus evaluate")
    click.echo(render(metrics, form, against=against))
