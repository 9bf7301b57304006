"""Tables before they have a format: names, entries and sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluation.tables.number_format import UNDEFINED, cell
from dissensus.records import Metric

Entry = Metric | str | int | None
"""A metric with its interval, a text, a count, or nothing where there is no such row."""

DIFFERENCE = "Δ"
PUBLISHED_PREFIX = "paper: "
"""Headers of the columns that the paper printed; they stand in one block."""


@dataclass(frozen=True)
class Table:
    """Rows of entries: the first column is of names, the others of numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    name: str = "table"
    """For machines: ``pearson``, ``baselines``, …"""
    sections: tuple[tuple[int, str], ...] = ()
    """The number of the first row of each section, with the section's title."""
    notes: tuple[str, ...] = ()
    """What its marks and columns mean."""

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.header)]
        if wrong:
            raise ValueError(f"{self.title}: a row of {len(wrong[0])} entries under a header of {len(self.header)}")

    def texts(self) -> list[list[str]]:
        """Write every entry of every row as people read it."""
        return [[text_of(entry) for entry in row] for row in self.rows]

    def section_of(self, row: int) -> str:
        """Name the section of the row of that number; empty where there is none."""
        return next((title for first, title in reversed(self.sections) if first <= row), "")

    def heading(self, row: int) -> str | None:
        """Name the section that begins with the row of that number; None where none does."""
        return dict(self.sections).get(row)


def text_of(entry: Entry) -> str:
    """Write one entry as people read it; a dash for nothing."""
    if entry is None:
        return UNDEFINED
    return cell(entry) if isinstance(entry, Metric) else str(entry)


def columns_that_fit(table: Table, width: int) -> list[list[int]]:
    """Split a table's columns into blocks no wider than ``width``, each of which starts with the names.

    A model and its difference to the baseline stay together, and so do the paper's columns. A block of one such unit
    may be wider.
    """
    widths = column_widths(table)
    blocks: list[list[int]] = [[0]]
    for unit in _units(table.header):
        if sum(widths[c] + 2 for c in [*blocks[-1], *unit]) - 2 > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1] += unit
    return blocks


def _units(header: Sequence[str]) -> list[list[int]]:
    units: list[list[int]] = []
    for column in range(1, len(header)):
        both_published = all(title.startswith(PUBLISHED_PREFIX) for title in header[column - 1 : column + 1])
        if column > 1 and (header[column] == DIFFERENCE or both_published):
            units[-1].append(column)
        else:
            units.append([column])
    return units


def aligned_texts(table: Table) -> list[list[str]]:
    """Write every entry so that numbers stand below each other when columns are set to the right.

    Where a column has marks of significance, entries without one get blanks in their place.
    """
    texts = table.texts()
    for column in range(1, len(table.header)):
        marks = [len(line[column]) - len(line[column].rstrip("*")) for line in texts]
        for line, mark in zip(texts, marks, strict=True):
            line[column] += " " * (max(marks) - mark)
    return texts


def column_widths(table: Table) -> list[int]:
    """Measure the columns of a terminal, in characters. Rows of a section are indented; its title may overhang."""
    lines = [list(table.header), *aligned_texts(table)]
    widths = [max(len(line[c]) for line in lines) for c in range(len(table.header))]
    if table.sections:
        widths[0] += 2
    return widths
