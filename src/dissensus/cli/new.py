"""``dissensus new``: a study of one's own, begun with every setting explained."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.complete_paths import complete_preset
from dissensus.cli.outputs import Verb
from dissensus.errors import InputError, OutputError


@click.command("new", cls=Verb)
@click.argument("name")
@click.option(
    "--preset",
    shell_complete=complete_preset,
    help="Begin with a shipped study instead: paper, paper-gold, real-votes, …",
)
def command(name: str, preset: str | None) -> None:
    """Write NAME.yaml, a study with a comment for every setting."""
    from dissensus.files import write_text
    from dissensus.study.config import preset_text
    from dissensus.study.template import template

    if not Path(name).name or name.endswith("/"):
        raise InputError(f"{name!r} names no file; give a name, as in: dissensus new my-study")
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if path.exists():
        raise OutputError(f"{path}: exists, and is not written over; choose another name")
    write_text(path, template() if preset is None else preset_text(preset))
    click.echo(f"{path}: set what is yours, then\n  dissensus study {path} --dry-run\n  dissensus study {path}")
