"""``dissensus new``: a study of one's own, begun with every setting explained, or a file for accelerate."""

from __future__ import annotations

from pathlib import Path

import click

from dissensus.cli.complete_paths import complete_preset
from dissensus.cli.outputs import Verb
from dissensus.errors import InputError, OutputError

LAUNCHES = Path(__file__).parents[1] / "reward" / "training" / "launch"
"""Files of accelerate's own format, which are shipped with the package."""
_LAUNCHES = ("ddp", "fsdp2", "zero3")


@click.command("new", cls=Verb)
@click.argument("name")
@click.option(
    "--preset",
    shell_complete=complete_preset,
    help="Begin with a shipped study instead: paper, paper-gold, real-votes, …",
)
@click.option(
    "--accelerate",
    type=click.Choice(_LAUNCHES),
    help="Write a configuration of accelerate instead, which spreads training over devices: ddp, fsdp2 or zero3.",
)
def command(name: str, preset: str | None, accelerate: str | None) -> None:
    """Write NAME.yaml, a study with a comment for every setting."""
    from dissensus.files import write_text
    from dissensus.study.config import preset_text
    from dissensus.study.template import template

    if not Path(name).name or name.endswith("/"):
        raise InputError(f"{name!r} names no file; give a name, as in: dissensus new my-study")
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if path.exists():
        raise OutputError(f"{path}: exists, and is not written over; choose another name")
    if accelerate is not None:
        if preset is not None:
            raise InputError(
                "--preset begins a study, and --accelerate a configuration of accelerate; give one of them"
            )
        write_text(path, (LAUNCHES / f"{accelerate}.yaml").read_text(encoding="utf-8"))
        launch = "dissensus train PAIRS --out DIR"
        click.echo(f"{path}: set num_processes, then\n  accelerate launch --config_file {path} -m {launch}")
        return
    write_text(path, template() if preset is None else preset_text(preset))
    click.echo(f"{path}: set what is yours, then\n  dissensus study {path} --dry-run\n  dissensus study {path}")
