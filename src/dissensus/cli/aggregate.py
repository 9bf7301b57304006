"""``dissensus aggregate``: several people's votes, or a judge's personas, to one preference under a rule."""

from __future__ import annotations

from dissensus.cli.options import step_command
from dissensus.steps.aggregate import AggregateSettings, run

command = step_command("aggregate", AggregateSettings, run)
