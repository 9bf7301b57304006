"""Pairs out of any source: a file, a folder of files, a ``datasets`` folder, a Hub id or a table in memory."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from dissensus.errors import InputError
from dissensus.files.dataframes import Table, as_table
from dissensus.files.location import rows_of
from dissensus.files.readers import Values
from dissensus.files.rows.bad_rows import Faults, Notes, describe
from dissensus.files.rows.cells import name_of
from dissensus.files.rows.choices import Choices, with_vote
from dissensus.files.rows.columns import ColumnMap, Notice, Voters
from dissensus.files.rows.infer_columns import InferredRows
from dissensus.files.rows.pair_rows import pair_from_row
from dissensus.files.trl import pair_from_trl
from dissensus.records import Annotator, Margin, Pair, content_id

Labelled = tuple[Pair, Margin | None]
"""A pair, with the margin that its source gives it."""


def print_notice(text: str) -> None:
    """Print a notice to stderr."""
    print(f"dissensus: {text}", file=sys.stderr)  # noqa: T201


class ReadOptions(TypedDict, total=False):
    """How the rows of a source are understood, where they do not say it themselves."""

    columns: Mapping[str, str] | None
    """Our names of columns to theirs; to "", our column is left alone."""
    split: str | None
    """One of several."""
    skip_invalid: bool
    """Drop and count rows that cannot be used."""
    values: Mapping[str, Mapping[str, str]] | None
    """What a column's values mean, as in ``{"winner": {"1": "a", "2": "b"}}``."""
    annotator: str | None
    """The column that names who voted: each row is one person's vote."""
    votes: Sequence[str]
    """The column of that vote; or several, one for each annotator."""
    notice: Notice
    """Called with what is left alone, dropped, merged or understood in one of several ways; prints to stderr."""


def check_options(options: Mapping[str, object]) -> None:
    """Raise TypeError for an option that is none of `ReadOptions`: a misspelt one would change nothing."""
    unknown = options.keys() - ReadOptions.__annotations__
    if unknown:
        raise TypeError(f"no option is called {min(unknown)!r}; there are {', '.join(ReadOptions.__annotations__)}")


@dataclass(frozen=True)
class ReadReport:
    """What became of the rows of a source."""

    pairs: int
    notices: tuple[str, ...] = ()
    """All that is remarkable, a line each."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was dropped by rule, merged or is remarkable, in words, with how often it came."""
    annotators: tuple[Annotator, ...] = ()
    """Who voted, where a public data set names them."""


class PairReader(ABC):
    """The pairs of a source, each with the margin that it gives it; streamed from the beginning by iterating."""

    def __init__(self, notice: Notice) -> None:
        self._notice = notice
        self._report: ReadReport | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Labelled]:
        """Read the source. Raises InputError at the first row that cannot be used."""

    @property
    def report(self) -> ReadReport:
        """What became of the rows; there when they have been read to the end, ValueError before."""
        if self._report is None:
            raise ValueError("the pairs are not read to the end yet")
        return self._report

    def pairs(self) -> Iterator[Pair]:
        """Stream the pairs alone."""
        return (pair for pair, _ in self)

    def _close(self, report: ReadReport) -> None:
        self._report = report
        for text in report.notices:
            self._notice(text)


class TableReader(PairReader):
    """The pairs of a file, a folder of files, a folder of ``datasets``, a Hub id or a table in memory.

    Files end in .jsonl, .jsonl.gz, .parquet, .csv, .tsv or .json. They, DataFrames of pandas and polars, Arrow tables,
    ``datasets.Dataset`` and lists of rows or of pairs hold flat pairs, or TRL's chosen and rejected; the columns tell
    which. Where rows hold one choice each and the same two responses come again, chosen the other way, they are one
    pair with the votes of all; to find them such a source is read twice.

    Iterating raises InputError with file and line at the first row that cannot be used. A pair that is there twice is
    dropped; one id with two contents is an error, unless most ids are so: then they name prompts, and ids are made.
    """

    def __init__(self, source: str | Path | Any, **options: Unpack[ReadOptions]) -> None:
        check_options(options)
        super().__init__(options.get("notice", print_notice))
        self._source: str | Path | Table = source if isinstance(source, str | Path) else as_table(source)
        self._split = options.get("split")
        self._skip_invalid = options.get("skip_invalid", False)
        annotator, votes = options.get("annotator"), tuple(options.get("votes", ()))
        self._voters = Voters(annotator, votes)
        if self._voters.are_columns and annotator:
            raise InputError(
                "an annotator's column goes with one column of votes; with several, each is an annotator's"
            )
        self._columns = dict(options.get("columns") or {})
        if self._voters.are_rows and votes:
            self._columns["label"] = votes[0]
        self._values = options.get("values") or {}

    def __iter__(self) -> Iterator[Labelled]:
        """Read the source from its beginning."""
        faults, notes, seen, n = Faults(skip=self._skip_invalid), Notes(), _Seen(), 0
        choices = Choices(notes, always=self._voters.are_rows)
        says_once = isinstance(self._source, Table) and self._notice is print_notice
        mapping = ColumnMap(self._columns, self._notice, self._voters, self._values, says_once=says_once)

        def labelled(row: Values, notes: Notes | None = None) -> Labelled:
            return pair_from_trl(row, notes) if mapping.layout == "trl" else (pair_from_row(row, notes), None)

        table = InferredRows(lambda faults: rows_of(self._source, self._split, faults), mapping, labelled, choices.scan)
        for found, given in table.read(faults):
            try:
                row = table.in_our_terms(given)
                pair, margin = labelled(row, notes)
                if self._voters.are_rows:
                    who = given.get(self._voters.annotator) if self._voters.annotator else None
                    pair = with_vote(pair, name_of(who, "annotator", notes))
                if found.source[-4:].lower() in (".csv", ".tsv"):
                    _count_floats(row, notes)
                done = choices.add(row, pair, margin)
                if done is None or seen.is_repeat(done[0]):
                    continue
            except ValueError as error:
                faults(found.place, describe(error))
                continue
            n += 1
            yield done
        for done in choices.rest():
            n += 1
            yield done
        if n == 0:
            name = self._source.name if isinstance(self._source, Table) else str(self._source)
            why = f"none of its {faults.n} rows can be used; the first: {faults.first}" if faults.n else "no rows in it"
            raise InputError(f"{name}: {why}; check that it is the file you mean")
        self._close(ReadReport(n, tuple(self._notices(n, faults, seen, notes, choices)), dict(notes.counts)))

    def _notices(self, n: int, faults: Faults, seen: _Seen, notes: Notes, choices: Choices) -> Iterator[str]:
        if notes.unused:
            yield f"keys of votes or chat messages left alone, unknown here: {', '.join(sorted(notes.unused))}"
        if choices.pairs:
            who = "" if self._voters.annotator else "; annotator='COLUMN' says who voted"
            yield (
                f"{choices.rows} rows are choices between the same two responses as others: read as {choices.pairs} "
                f"pairs with {choices.votes} votes, labelled by the majority{who}"
            )
        for what, count in sorted(notes.counts.items()):
            yield f"{count} {what}"
        if seen.repeats:
            yield f"repeated pairs (same id, same content) dropped: {seen.repeats}"
        if faults.n:
            total = n + faults.n + seen.repeats + choices.rows - choices.pairs
            yield f"{faults.n} of {total} rows were dropped as invalid; the first: {faults.first}"


def read_pairs(source: str | Path | Any, **options: Unpack[ReadOptions]) -> Iterator[Pair]:
    """Stream the pairs of a file, a folder of files, a folder of ``datasets``, a Hub id or a table in memory.

    What is read, and how: see `TableReader` and `ReadOptions`. Raises InputError.
    """
    return TableReader(source, **options).pairs()


def _count_floats(row: Values, notes: Notes) -> None:
    """Count texts and names of a CSV that end in .0: whole numbers that pandas writes so beside empty cells."""
    for column in ("id", "prompt", "response_a", "response_b", "chosen", "rejected", "category", "group"):
        value = row.get(column)
        if isinstance(value, str) and value.endswith(".0") and value[:-2].lstrip("-").isdecimal():
            notes.count(
                f"values of {column} end in .0, as pandas writes whole numbers beside empty cells; they are kept as "
                "they are: if they were whole, write the file again with them as text"
            )


class _Seen:
    """The ids so far, as 64-bit hashes: about 100 bytes a pair."""

    def __init__(self) -> None:
        self._content: dict[int, int] = {}
        self.repeats = 0

    def is_repeat(self, pair: Pair) -> bool:
        """Whether this very pair came before; raises ValueError where its id did with other content."""
        key, content = hash(pair.id), hash(pair)
        known = self._content.get(key)
        if known is None:
            self._content[key] = content
            return False
        if known != content:
            if pair.id == content_id(pair.prompt, pair.response_a, pair.response_b):
                raise ValueError("the same texts came before with another label or other votes; keep one of the rows")
            raise ValueError(
                f"id {pair.id!r} came before with other content (texts, label or votes); give every pair its own id, "
                "or have ids made from the texts: columns={'id': ''}"
            )
        self.repeats += 1
        return True
