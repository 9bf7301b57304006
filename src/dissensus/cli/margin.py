"""``dissensus margin``: judgments in, margins out."""

from dissensus.cli.options import step_command
from dissensus.steps.margin import MarginSettings, run

command = step_command("margin", MarginSettings, run)
