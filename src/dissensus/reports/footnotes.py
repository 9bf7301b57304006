"""What must be said beside numbers, numbered so that each cell can point to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dissensus.evaluation.tables.number_format import shorten
from dissensus.records import Metric
from dissensus.reports.group_tables import label_of

_NAMED = 3
_LABEL = 31


@dataclass(frozen=True)
class Note:
    """One note, with the groups of pairs that it holds for."""

    number: int
    anchor: str
    """The id of its place in the page."""
    where: str
    text: str


class Notes:
    """The notes of a run's rows, in the order in which they come."""

    def __init__(self, metrics: Iterable[Metric], place: int = 0) -> None:
        found: dict[str, dict[str, None]] = {}
        for row in metrics:
            for text in _texts(row):
                found.setdefault(text, {})[label_of(row.group)] = None
        self.all: list[Note] = [
            Note(k, f"note-{place}-{k}", _some(list(groups)), text)
            for k, (text, groups) in enumerate(found.items(), start=1)
        ]
        self._by_text = {note.text: note for note in self.all}

    def of(self, row: Metric | None) -> list[Note]:
        """Find the notes of a row."""
        found = [] if row is None else [self._by_text[text] for text in _texts(row)]
        return sorted(found, key=lambda note: note.number)


def _texts(row: Metric) -> Sequence[str]:
    # That one half has no correlation with anything goes without saying, and other targets have no cell of their own.
    return () if row.target != "votes" or (row.kind == "reference" and row.value is None) else row.notes


def _some(names: Sequence[str]) -> str:
    shown = names if len(names) <= _NAMED + 1 else names[:_NAMED]
    rest = len(names) - len(shown)
    return ", ".join(shorten(name, _LABEL) for name in shown) + (f" and {rest} more groups" if rest else "")
