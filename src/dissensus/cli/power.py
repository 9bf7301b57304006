"""``dissensus power``."""

from dissensus.cli.options import step_command
from dissensus.steps.power import PowerSettings, run

command = step_command("power", PowerSettings, run)
