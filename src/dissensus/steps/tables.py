"""Printing the tables of a scorecard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from dissensus.errors import InputError
from dissensus.settings import Argument, Reads, Settings

Format = Literal["terminal", "markdown", "latex", "csv", "json"]


class TableOptions(Settings):
    """How tables are printed."""

    format: Format = "terminal"
    """Of the tables."""
    against: Literal["paper"] | None = None
    """Put the numbers that the paper published beside these."""


class TablesSettings(TableOptions):
    """Print the tables of SCORES, a scores.json or the folder of a run that has one. Nothing is computed again."""

    scores: Annotated[Path, Reads("file"), Argument()]
    """What evaluate wrote, or a study's folder."""


@dataclass(frozen=True)
class TablesResult:
    """The tables of a scorecard as text."""

    text: str

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        yield self.text


def run(settings: TablesSettings) -> TablesResult:
    """Read a scorecard and write its tables."""
    from dissensus.evaluation.tables.render import render
    from dissensus.files import read_records
    from dissensus.records import Metric

    file = settings.scores / "scores.json" if settings.scores.is_dir() else settings.scores
    metrics = list(read_records(file, Metric))
    if not metrics:
        raise InputError(f"{file}: there are no rows; write it with dissensus evaluate")
    return TablesResult(render(metrics, settings.format, against=settings.against))
