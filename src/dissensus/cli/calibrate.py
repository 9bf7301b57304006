"""``dissensus calibrate``."""

from dissensus.cli.options import step_command
from dissensus.steps.calibrate import CalibrateSettings, run

command = step_command("calibrate", CalibrateSettings, run)
