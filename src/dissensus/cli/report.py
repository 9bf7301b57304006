"""``dissensus report``: the page of a run, or of several."""

import click

from dissensus.cli.options import step_command
from dissensus.steps.report import ReportResult, ReportSettings, run


def _run(settings: ReportSettings) -> ReportResult:
    found = run(settings)
    for words in found.warnings:
        click.echo(words, err=True)
    return found


command = step_command("report", ReportSettings, _run)
