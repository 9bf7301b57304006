"""Making the page of a run, or of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from dissensus.files.database_url import StorePlace
from dissensus.settings import Argument, Option, Reads, Settings, Writes


class ReportSettings(Settings):
    """Make one self-contained page of RUN and print its path.

    RUN is a study's folder, or one with what evaluate wrote: the scores, and beside them the pairs, predictions,
    margins and judgments that belong to them, under any names. Nothing outside of it is read. Several runs are compared
    on one page.
    """

    runs: Annotated[tuple[Path, ...], Reads("folder"), Argument("RUN"), Field(min_length=1)]
    """The folder, or several."""
    out: Annotated[Path | None, Writes("page"), Option(default="RUN/report.html; needed for several runs")] = None
    """The page."""
    store: Annotated[StorePlace | None, Reads("store")] = None
    """The judgments of RUN, where they are not in it: a file or a postgresql:// URL."""

    @model_validator(mode="after")
    def _of_one_run(self) -> Self:
        if len(self.runs) > 1 and self.out is None:
            raise ValueError("several runs need --out FILE for their common page")
        if len(self.runs) > 1 and self.store is not None:
            raise ValueError("--store is of one run; give the runs without it")
        return self


@dataclass(frozen=True)
class ReportResult:
    """A page that was written."""

    page: Path
    notes: tuple[str, ...]
    """What was not read, and whether the page is larger than it should be."""

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        yield str(self.page)


def run(settings: ReportSettings) -> ReportResult:
    """Write the page; an unfinished run gives one that names what is missing."""
    from dissensus.reports.page import LIMIT, write_report

    out = settings.out or settings.runs[0] / "report.html"
    notes = [f"dissensus: {words}" for words in write_report(settings.runs, out, store=settings.store)]
    if (size := out.stat().st_size) > LIMIT:
        notes.append(f"{out} has {size / 1e6:.1f} MB: of so many runs nothing more can be left out; give fewer")
    return ReportResult(out, tuple(notes))
