"""``dissensus annotate``: the web app in which people annotate pairs."""

from __future__ import annotations

import click

from dissensus.cli.options import step_command
from dissensus.steps import annotate as step


def _run(settings: step.AnnotateSettings) -> None:
    from dissensus.annotate.web.serve import end_on_sigterm

    end_on_sigterm()
    step.run(settings, started=_greet)


def _greet(app: step.App) -> None:
    for line in app.notes:
        click.echo(line, err=True)
    for line in app.lines():
        click.echo(line)
    click.echo("\nStop with Ctrl-C.", err=True)


command = step_command("annotate", step.AnnotateSettings, _run)
