"""``dissensus annotations``: a project's annotations out and in, its people, their agreement, its verification."""

from __future__ import annotations

from functools import partial

import click

from dissensus.cli.options import step_command
from dissensus.cli.outputs import VerbGroup
from dissensus.steps import annotations as steps


@click.group(name="annotations", cls=VerbGroup)
def command() -> None:
    """Export, import and verify annotations; invite people and revoke their access.

    DB is an SQLite file or a postgresql:// URL. All of this is safe while the app runs.
    """


for _name, (_settings, _run) in steps.VERBS.items():
    _step = partial(_run, report=click.echo) if _name == "verify" else _run
    command.add_command(step_command(_name, _settings, _step))
