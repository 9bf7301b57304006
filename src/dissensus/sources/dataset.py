"""A data set by name, opened at a place: its pairs, and afterwards what came of its rows and who voted."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dissensus.errors import ConfigError, InputError
from dissensus.files import read_pairs as read_any_pairs
from dissensus.files.hub import commit_of
from dissensus.files.readers import Row
from dissensus.files.rows.bad_rows import Faults
from dissensus.files.rows.columns import Notice
from dissensus.files.source import print_notice
from dissensus.records import Annotator, Pair
from dissensus.sources.catalogue import SOURCES, Source
from dissensus.sources.hub_table import PARQUET, Table, folder_rows, hub_rows, is_whole
from dissensus.sources.row_reader import Labelled, Reading

_NAME = re.compile(r"(?P<name>[\w./-]+?)(?::(?P<part>[\w-]+))?(?:@(?P<revision>[\w./-]+))?")


class SourceName(NamedTuple):
    """A data set, its part and its revision: ``hh-rlhf:helpful-base@1a2b3c``."""

    source: Source
    part: str
    revision: str | None


def find_source(name: str, *, root: str | Path | None = None) -> SourceName | None:
    """Find a data set by its name here or its id on the Hub, perhaps with a part and a revision.

    None for anything else; for a file or folder of that name, too, unless ``root`` says where data sets lie.

    Raises:
        ConfigError: the data set has no such part.
    """
    match = _NAME.fullmatch(name)
    if match is None or (root is None and Path(name).exists()):
        return None
    source = SOURCES.get(match["name"]) or next((s for s in SOURCES.values() if s.hub == match["name"]), None)
    if source is None:
        return None
    part = match["part"] or next(iter(source.parts))
    if part not in source.parts:
        raise ConfigError(f"{name}: {source.name} has no part {part!r}; it has {', '.join(source.parts)}")
    return SourceName(source, part, match["revision"])


class OpenSource:
    """The pairs of a data set, streamed once; `counts` and `annotators` are whole when they are read.

    Iterating gives each pair with the margin of the source's own strength of preference, where it has one.
    """

    def __init__(self, name: SourceName, *, split: str, root: Path | None, skip_invalid: bool, notice: Notice) -> None:
        self.name = name
        self.split = split
        self._notice = notice
        self._faults = Faults(skip=skip_invalid)
        part = name.source.parts[name.part]
        tables = [table for table in part.tables if table.split == split]
        self._needed = [table for table in tables if not table.is_optional]
        self._root = root
        self._read = part.read
        self._reading = Reading(name.source.name, tables, self._rows, self._faults)
        self.n = 0
        """Pairs that were read."""

    @property
    def counts(self) -> Counter[str]:
        """What was dropped or is remarkable, in words."""
        return +self._reading.counts

    @property
    def annotators(self) -> list[Annotator]:
        """People who voted and are named."""
        return list(self._reading.annotators.values())

    def __iter__(self) -> Iterator[Labelled]:
        if self._root is None:
            self._say_commit()
        for found in self._read(self._reading):
            self.n += 1
            yield found
        self._close()

    def _rows(self, table: Table) -> Iterator[Row]:
        source = self.name.source
        if self._root is None:
            return hub_rows(source.hub, table, self.name.revision)
        alone = self._needed == [table]
        whole = len(self._reading.tables) > 1 and is_whole(self._root, source.hub, source.name, table)
        if whole and table not in self._needed[:1]:
            return iter(())  # the rows of all tables lie in one place, and were read with the first
        return folder_rows(self._root, source.hub, source.name, table, self._faults, alone=alone, whole=whole)

    def _say_commit(self) -> None:
        source, part, revision = self.name
        # Of a data set that is a script, its conversion is read, which has commits of its own.
        converted = any(table.is_script for table in self._reading.tables)
        commit = commit_of(source.hub, revision or (PARQUET if converted else None))
        if commit and commit != revision:
            self._notice(f"{source.hub} is at {commit}; to pin it: {source.name}:{part}@{commit}")

    def _close(self) -> None:
        name = self.name.source.name
        if self.n == 0:
            first = f"; the first bad row: {self._faults.first}" if self._faults.n else ""
            raise InputError(f"{name}: no pair in its {self.split} rows{first}; check that it is the data you mean")
        for what, count in sorted(self.counts.items()):
            self._notice(f"{name}: {count} {what}")
        if self._faults.n:
            self._notice(f"{name}: {self._faults.n} rows were dropped as invalid; the first: {self._faults.first}")


def open_source(
    name: str,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    skip_invalid: bool = False,
    notice: Notice = print_notice,
) -> OpenSource:
    """Open a data set of ``SOURCES``, to be read by iterating.

    Args:
        name: as in ``hh-rlhf``, ``hh-rlhf:helpful-base`` or ``hh-rlhf:helpful-base@REVISION``; the data set's id on the
            Hub does as well.
        split: by default the first that it has.
        root: a folder with a copy, or with a copy of each of several data sets; the Hub by default.
        skip_invalid: drop rows that are not as their schema says, and count them.
        notice: told of what was dropped, and of the commit that was read.

    Raises:
        ConfigError: there is no such data set, part or split.
        InputError: while reading: nothing is there, or a row is not as its schema says.
    """
    found = find_source(name, root=root)
    if found is None:
        close = difflib.get_close_matches(name.partition(":")[0], SOURCES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(SOURCES)}"
        raise ConfigError(f"no data set {name!r}; {hint}")
    if root is not None and found.revision is not None:
        raise ConfigError(f"{name}: a folder has no revisions; leave out @{found.revision} or the folder")
    splits = found.source.splits(found.part)
    if split is not None and split not in splits:
        raise ConfigError(f"{name}: no split {split!r}; it has {', '.join(splits)}")
    return OpenSource(
        found,
        split=split or splits[0],
        root=None if root is None else Path(root),
        skip_invalid=skip_invalid,
        notice=notice,
    )


def read_pairs(
    source: str | Path | Any,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    root: str | Path | None = None,
    skip_invalid: bool = False,
    notice: Notice = print_notice,
) -> Iterator[Pair]:
    """Stream the pairs of a data set of ``SOURCES``, or of anything that `dissensus.files.read_pairs` reads.

    ``columns`` are for the latter: with them even a known data set is read as its columns stand. ``root`` is where
    data sets of ``SOURCES`` lie.
    """
    is_table = not isinstance(source, str | Path)
    if columns or is_table or find_source(str(source), root=root) is None:
        return read_any_pairs(source, columns=columns, split=split, skip_invalid=skip_invalid, notice=notice)
    opened = open_source(str(source), split=split, root=root, skip_invalid=skip_invalid, notice=notice)
    return (pair for pair, _ in opened)
