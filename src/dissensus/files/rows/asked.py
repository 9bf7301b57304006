"""What somebody has said of a source beside the names of its columns: what values mean, and where the people are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dissensus.files.rows.columns import ColumnMap, Notice

Values = dict[str, Any]
"""A row under our names."""


@dataclass(frozen=True)
class Voters:
    """Where a source has its people, as somebody has said (``--annotator``, ``--vote``)."""

    annotator: str | None = None
    """The column that names who voted: each row is one vote."""
    votes: tuple[str, ...] = ()
    """The column of the vote; several are one for each annotator."""

    @property
    def are_columns(self) -> bool:
        """Whether each annotator has a column."""
        return len(self.votes) > 1

    @property
    def are_rows(self) -> bool:
        """Whether each row is one vote."""
        return not self.are_columns and (self.annotator is not None or bool(self.votes))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read beside ours."""
        return self.votes if self.are_columns else (self.annotator,) if self.annotator else ()


@dataclass(frozen=True)
class Asked:
    """All that is known of a source before its rows are looked at."""

    mapping: ColumnMap
    values: Mapping[str, Mapping[str, str]]
    """A column's values to ours (``--value``), by our name of the column or theirs."""
    voters: Voters
    notice: Notice

    def meanings(self, *names: str) -> dict[str, str]:
        """Collect what was given for a column, by any of its names."""
        return {str(theirs).lower(): ours for name in names for theirs, ours in self.values.get(name, {}).items()}
