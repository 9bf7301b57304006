"""``dissensus push``."""

from dissensus.cli.options import step_command
from dissensus.steps.push import PushSettings, run

command = step_command("push", PushSettings, run)
