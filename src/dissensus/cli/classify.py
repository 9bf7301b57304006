"""``dissensus classify``: pairs into the paper's two categories."""

from dissensus.cli.options import step_command
from dissensus.steps.classify import ClassifySettings, run

command = step_command("classify", ClassifySettings, run)
