"""``dissensus judgments``: judgments listed, verified, recovered, exported, copied, imported, compared and merged."""

from __future__ import annotations

from functools import partial

import click

from dissensus.cli.options import step_command
from dissensus.cli.outputs import VerbGroup
from dissensus.steps import judgments as steps


@click.group(name="judgments", cls=VerbGroup)
def command() -> None:
    """List, check, export, copy, import, compare and merge the judgments of stores."""


for _name, (_settings, _run) in steps.VERBS.items():
    _step = partial(_run, report=click.echo) if _name == "verify" else _run
    command.add_command(step_command(_name, _settings, _step))
