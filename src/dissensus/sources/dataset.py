"""Public data sets by name, and every other source: opened, streamed as pairs, with a report of what became of rows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from dissensus.errors import ConfigError, InputError
from dissensus.files.location import commit_of
from dissensus.files.readers import Row
from dissensus.files.rows.bad_rows import Faults
from dissensus.files.rows.columns import Notice
from dissensus.files.source import (
    Labelled,
    PairReader,
    ReadOptions,
    ReadReport,
    TableReader,
    check_options,
    print_notice,
)
from dissensus.parts import Part, PartOf
from dissensus.records import Pair
from dissensus.sources.catalogue import SOURCES
from dissensus.sources.hub_table import PARQUET, Table, folder_rows, hub_rows, is_whole
from dissensus.sources.public_set import Source
from dissensus.sources.row_reader import Reading, merge_votes

_NAME = re.compile(r"(?P<name>[\w./-]+?)(?::(?P<part>[\w-]+))?(?:@(?P<revision>[\w./-]+))?")


class SourceName(NamedTuple):
    """A data set, its part and its revision: ``hh-rlhf:helpful-base@1a2b3c``."""

    source: Source
    part: str
    revision: str | None


def find_source(name: str, *, root: str | Path | None = None) -> SourceName | None:
    """Find a data set by its name here or its id on the Hub, perhaps with a part and a revision.

    None for anything else; for a file or folder of that name, too, unless ``root`` says where data sets lie.

    Raises ConfigError where the data set has no such part.
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


class DatasetReader(PairReader):
    """The pairs of a public data set, each with the margin of the source's own strength of preference if it has one."""

    def __init__(
        self,
        name: SourceName,
        *,
        split: str,
        root: Path | None = None,
        skip_invalid: bool = False,
        notice: Notice = print_notice,
    ) -> None:
        super().__init__(notice)
        self.name = name
        self.split = split
        self._root = root
        self._skip_invalid = skip_invalid

    def __iter__(self) -> Iterator[Labelled]:
        source, part = self.name.source, self.name.source.parts[self.name.part]
        tables = [table for table in part.tables if table.split == self.split]
        faults = Faults(skip=self._skip_invalid)
        reading = Reading(
            source.name, tables, lambda table: self._rows(table, tables, faults), faults, has_people=part.has_people
        )
        if self._root is None:
            # Of a data set that is a script, its conversion is read, which has commits of its own.
            pinned = self.name.revision
            converted = any(table.is_script for table in tables)
            commit = commit_of(source.hub, pinned or (PARQUET if converted else None))
            if commit and commit != pinned:
                self._notice(f"{source.hub} is at {commit}; to pin it: {source.name}:{self.name.part}@{commit}")
        n = 0
        for labelled in merge_votes(part.read(reading), reading) if part.has_people else part.read(reading):
            n += 1
            yield labelled
        if n == 0:
            first = f"; the first bad row: {faults.first}" if faults.n else ""
            raise InputError(
                f"{source.name}: no pair in its {self.split} rows{first}; check that it is the data you mean"
            )
        counts = dict(+reading.counts)
        notices = [f"{source.name}: {count} {what}" for what, count in sorted(counts.items())]
        if faults.n:
            notices.append(f"{source.name}: {faults.n} rows were dropped as invalid; the first: {faults.first}")
        self._close(ReadReport(n, tuple(notices), counts, tuple(reading.annotators.values())))

    def _rows(self, table: Table, tables: Sequence[Table], faults: Faults) -> Iterator[Row]:
        source = self.name.source
        if self._root is None:
            return hub_rows(source.hub, table, self.name.revision)
        needed = [table for table in tables if not table.is_optional]
        whole = len(tables) > 1 and is_whole(self._root, source.hub, source.name, table)
        if whole and table not in needed[:1]:
            return iter(())  # the rows of all tables lie in one place, and were read with the first
        alone = needed == [table]
        return folder_rows(self._root, source.hub, source.name, table, faults, alone=alone, whole=whole)


def open_source(
    name: str,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    skip_invalid: bool = False,
    notice: Notice = print_notice,
) -> DatasetReader:
    """Open a data set of ``SOURCES``, to be read by iterating.

    Args:
        name: as in ``hh-rlhf``, ``hh-rlhf:helpful-base`` or ``hh-rlhf:helpful-base@REVISION``; the data set's id on the
            Hub does as well.
        split: by default the first that it has.
        root: a folder with a copy, or with a copy of each of several data sets; the Hub by default.
        skip_invalid: drop rows that are not as their schema says, and count them.
        notice: called with what was dropped, and the commit that was read.

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
    folder = None if root is None else Path(root)
    return DatasetReader(found, split=split or splits[0], root=folder, skip_invalid=skip_invalid, notice=notice)


def open_pairs(
    source: str | Path | Any, *, root: str | Path | None = None, **options: Unpack[ReadOptions]
) -> PairReader:
    """Open a data set of ``SOURCES`` by its name, or anything that `dissensus.files.TableReader` reads.

    Where ``options`` say how columns are understood, even a known data set is read as its columns stand. ``root`` is
    where data sets of ``SOURCES`` lie. Raises ConfigError and InputError as `open_source` and `TableReader`.
    """
    check_options(options)
    is_described = any(options.get(name) for name in ("columns", "values", "annotator", "votes"))
    if is_described or not isinstance(source, str | Path) or find_source(str(source), root=root) is None:
        return TableReader(source, **options)
    return open_source(
        str(source),
        split=options.get("split"),
        root=root,
        skip_invalid=options.get("skip_invalid", False),
        notice=options.get("notice", print_notice),
    )


def read_pairs(
    source: str | Path | Any, *, root: str | Path | None = None, **options: Unpack[ReadOptions]
) -> Iterator[Pair]:
    """Stream the pairs of a source, by name or any other: see `open_pairs`."""
    return open_pairs(source, root=root, **options).pairs()


class _Again:
    """The pairs of a source, read anew each time; what is to be said of them was said."""

    def __init__(self, source: str | Path) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Pair]:
        return read_pairs(self._source, notice=lambda _: None)


class PairFile(_Again):
    """The pairs of a source, to be streamed as often as needed without ever holding them all.

    Making it reads the source once, to the end: what is wrong with a row shows before anything is done with the
    others. ``len`` is then the number of pairs. Raises as `open_pairs`.
    """

    def __init__(self, source: str | Path) -> None:
        super().__init__(source)
        self._n = sum(1 for _ in read_pairs(source))

    def __len__(self) -> int:
        return self._n


def pair_file(source: str | Path, part: Part | None = None) -> PairFile | PartOf:
    """Open the pairs of a source, or a part of them; either way the source is read once to the end here."""
    return PairFile(source) if part is None else PartOf(_Again(source), part, first=read_pairs(source))
