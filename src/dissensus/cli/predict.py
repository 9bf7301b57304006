"""``dissensus predict``."""

from dissensus.cli.options import step_command
from dissensus.steps.predict import PredictSettings, run

command = step_command("predict", PredictSettings, run)
