"""``dissensus evaluate``."""

from dissensus.cli.options import step_command
from dissensus.steps.evaluate import EvaluateSettings, run

command = step_command("evaluate", EvaluateSettings, run)
