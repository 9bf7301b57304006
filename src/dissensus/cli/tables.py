"""``dissensus tables``."""

from dissensus.cli.options import step_command
from dissensus.steps.tables import TablesSettings, run

command = step_command("tables", TablesSettings, run)
