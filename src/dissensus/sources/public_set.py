"""A public data set: what it is, where it lies, who may use it, and what reads its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from dissensus.files.source import Labelled
from dissensus.sources.hub_table import Table
from dissensus.sources.row_reader import Reading

Reader = Callable[[Reading], Iterator[Labelled]]
"""Rows to pairs, each with the margin that the source's own strength of preference gives, where it has one."""


@dataclass(frozen=True)
class Part:
    """What is read together."""

    read: Reader
    tables: tuple[Table, ...]
    has_people: bool = False
    """Whether rows are people's votes: those on the same two responses are then one pair with the votes of all. Where
    they are not, the first of such rows stands."""


@dataclass(frozen=True)
class Source:
    """A public data set."""

    name: str
    hub: str
    what: str
    rows: str
    """Of the source, by split; figures with a tilde are from memory."""
    licence: str
    votes: str
    """Who said what is better, and how many for each pair."""
    parts: dict[str, Part]
    """The first is read unless another is named."""
    paper: Literal["in", "out"] | None = None
    """Whether the paper trained on it, or tested on it alone."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Pairs of the first part, about, by split: what a dry run estimates from."""

    def splits(self, part: str) -> list[str]:
        """List the splits of a part."""
        return list(dict.fromkeys(table.split for table in self.parts[part].tables))

    def lines(self) -> list[str]:
        """Say what the data set is, for a list of all."""
        described = {
            "what": self.what,
            "rows": self.rows,
            "votes": self.votes,
            "parts": "; ".join(f"{part}: {', '.join(self.splits(part))}" for part in self.parts),
            "licence": self.licence,
            "domain": {"in": "trained on in the paper", "out": "tested on in the paper", None: ""}[self.paper],
        }
        return [f"{self.name}  ({self.hub})", *(f"  {title:8} {text}" for title, text in described.items() if text)]


def one_table(read: Reader, *splits: str, has_people: bool = False, **where: Any) -> Part:
    """Describe a part whose splits have a table each; ``where`` is what the tables have in common."""
    return Part(read, tuple(Table(split, **where) for split in splits), has_people)
