"""``dissensus split``: pairs to train on and pairs to test with, by whole prompts."""

from __future__ import annotations

import click

from dissensus.cli.options import step_command
from dissensus.steps.split import SplitResult, SplitSettings, run


def _run(settings: SplitSettings) -> SplitResult:
    found = run(settings)
    if found.shared:
        click.echo(
            f"dissensus: {found.shared} pairs to train on have the text of a prompt that is held out, under another "
            "group; pairs without a group are grouped by their text",
            err=True,
        )
    return found


command = step_command("split", SplitSettings, _run)
