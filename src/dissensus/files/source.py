"""Pairs out of any source: a file, a folder of Parquet, a ``datasets`` folder or a Hub id."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dissensus.errors import InputError
from dissensus.files.dataframes import Table, as_table
from dissensus.files.location import rows_of
from dissensus.files.readers import Row, format_of
from dissensus.files.rows.bad_rows import Faults, describe
from dissensus.files.rows.choices import Choices, texts_key, with_vote
from dissensus.files.rows.columns import ColumnMap, Notice
from dissensus.files.rows.infer_columns import Survey, Voters
from dissensus.files.rows.pair_rows import name_of, pair_from_row
from dissensus.files.rows.row_notes import Notes
from dissensus.files.trl import pair_from_trl
from dissensus.records import Margin, Pair, content_id

_HEAD = 1000
"""Rows that are looked at together: before the first pair is given, and where a column says something at last."""
_Given = tuple[Row, dict[str, Any]]
"""A row, and its values under our names."""
_IDS_ARE_MADE = (
    "column id names several pairs at a time, as a prompt's id does: it is left alone and ids are made from the texts; "
    "--column group=id takes it as the group"
)


def print_notice(text: str) -> None:
    """Print a notice to stderr."""
    print(f"dissensus: {text}", file=sys.stderr)  # noqa: T201


def read_pairs(
    source: str | Path | Any,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    skip_invalid: bool = False,
    values: Mapping[str, Mapping[str, str]] | None = None,
    annotator: str | None = None,
    votes: Sequence[str] = (),
    notice: Notice = print_notice,
) -> Iterator[Pair]:
    """Stream the pairs of a file, a folder of files, a folder of ``datasets``, a Hub id or a table in memory.

    Files end in .jsonl, .jsonl.gz, .parquet, .csv, .tsv or .json. They, DataFrames of pandas and polars, Arrow tables,
    ``datasets.Dataset`` and lists of rows hold flat pairs, or TRL's chosen and rejected; which of them is told by the
    columns. Where rows hold one choice each and the same two responses come again, chosen the other way, they are one
    pair with the votes of all; to find them such a source is read twice.

    Args:
        source: a path, ``org/name`` on the Hub, or a table.
        columns: our names to theirs; to "", our column is left alone.
        split: one of several.
        skip_invalid: drop and count rows that cannot be used.
        values: what a column's values mean, as in ``{"winner": {"1": "a", "2": "b"}}``.
        annotator: the column that names who voted: each row is one person's vote.
        votes: the column of that vote; or several, one for each annotator.
        notice: told of what is left alone, dropped, merged or understood in one of several ways.

    Raises:
        InputError: with file and line at the first row that cannot be used. A pair that is there twice is dropped; one
            id with two contents is an error, unless most ids are so: then they name prompts, and ids are made.
    """
    found = read_trl(
        source,
        columns=columns,
        split=split,
        skip_invalid=skip_invalid,
        values=values,
        annotator=annotator,
        votes=votes,
        notice=notice,
    )
    return (pair for pair, _ in found)


def read_trl(
    source: str | Path | Any,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    skip_invalid: bool = False,
    values: Mapping[str, Mapping[str, str]] | None = None,
    annotator: str | None = None,
    votes: Sequence[str] = (),
    notice: Notice = print_notice,
) -> Iterator[tuple[Pair, Margin | None]]:
    """Stream pairs with the margins of a ``margin`` column; None where there is none. Otherwise as ``read_pairs``."""
    source = source if isinstance(source, str | Path) else as_table(source)
    voters = Voters(annotator, tuple(votes))
    if voters.are_columns and annotator:
        raise InputError("an annotator's column goes with one column of votes; with several, each is an annotator's")
    if voters.are_rows and votes:
        columns = {**(columns or {}), "label": votes[0]}
    asked = tuple(votes) if voters.are_columns else (annotator,) if annotator else ()
    faults = Faults(skip=skip_invalid)
    notes = Notes()
    mapping = ColumnMap(columns, notice, asked)
    survey = Survey(mapping, values or {}, voters, notice)

    choices = Choices(notes, always=voters.are_rows)
    table = _Rows(source, split, mapping, survey, choices, notice)
    seen = _Seen()
    rows = table.read(faults)
    first = list(islice(rows, 1))
    floats = _Floats() if first and format_of(first[0][0].source) in ("csv", "tsv") else None
    n = 0
    for found, given in chain(first, rows):
        try:
            row = survey.apply(given)
            pair, margin = _pair_of(row, mapping, notes)
            if voters.are_rows:
                pair = with_vote(pair, name_of(survey.annotator_of(given), "annotator", notes))
            if floats is not None:
                floats.look(row)
            key = choices.key_of(row)
            done = (pair, margin) if key is None else choices.add(key, pair, margin)
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
    survey.close()
    _close(source, n, faults, seen, notes, choices, notice, annotator)
    if floats is not None:
        floats.report(notice)


class _Rows:
    """The rows of a source under our names, each given when the survey knows how to read it."""

    def __init__(
        self,
        source: Any,
        split: str | None,
        mapping: ColumnMap,
        survey: Survey,
        choices: Choices,
        notice: Notice,
    ) -> None:
        self._source = source
        self._split = split
        self._mapping = mapping
        self._survey = survey
        self._choices = choices
        self._notice = notice
        self._is_scanned = False

    def read(self, faults: Faults) -> Iterator[_Given]:
        """Stream the rows; ids that name prompts are found out, and choices of the same pair, before they are given."""
        return self._looked_at(self._renamed(faults), self._settle)

    def _settle(self, head: Sequence[_Given], before: int) -> None:
        """Say of rows that were looked at together, and of those behind them, what ids and choices are."""
        if before == 0 and _ids_name_prompts(head, self._survey, self._mapping):
            self._survey.make_ids()
            self._notice(_IDS_ARE_MADE)
        if self._survey.is_choices and not self._is_scanned:
            self._scan(head, before)

    def _renamed(self, faults: Faults) -> Iterator[_Given]:
        return ((row, self._mapping.rename(row)) for row in rows_of(self._source, self._split, faults))

    def _looked_at(
        self, rows: Iterator[_Given], then: Callable[[Sequence[_Given], int], None] | None = None
    ) -> Iterator[_Given]:
        """Yield rows; what is news is looked at, and settled, together with what follows it.

        ``then`` is called with rows that were looked at, and how many were before them.
        """
        is_news, n = self._survey.is_news, 0
        for first in rows:
            if is_news(first[1]):
                head = self._look(first, rows, n)
                if then is not None:
                    then(head, n)
                n += len(head)
                yield from head
            else:
                n += 1
                yield first

    def _look(self, first: _Given, rows: Iterator[_Given], before: int) -> Sequence[_Given]:
        survey = self._survey
        head = [first, *islice(rows, _HEAD - 1)]
        survey.look([row for _, row in head])
        # Rows that are looked at further are read again later: of a file of any size no more than its head is held.
        further = self._renamed(Faults(skip=True)) if survey.is_open else iter(())
        for _, row in islice(further, before + len(head), None):
            survey.observe(row)
            if not survey.is_open:
                break
        survey.decide()
        return head

    def _scan(self, head: Sequence[_Given], before: int) -> None:
        """Find the pairs that come several times among a head and the rows behind it."""
        self._is_scanned = True
        every: Iterable[_Given] = head
        if before or len(head) >= _HEAD:
            every = self._looked_at(islice(self._renamed(Faults(skip=True)), before, None))
        self._choices.scan(_readable(every, self._survey))


def _pair_of(row: dict[str, Any], mapping: ColumnMap, notes: Notes | None) -> tuple[Pair, Margin | None]:
    return pair_from_trl(row, notes) if mapping.layout == "trl" else (pair_from_row(row, notes), None)


def _readable(rows: Iterable[tuple[Row, dict[str, Any]]], survey: Survey) -> Iterator[dict[str, Any]]:
    for _, row in rows:
        with suppress(ValueError):  # told of when its turn comes
            yield survey.apply(row)


def _ids_name_prompts(head: Sequence[tuple[Row, dict[str, Any]]], survey: Survey, mapping: ColumnMap) -> bool:
    """Whether one in ten of the first rows has the id of another pair: then ids are no pair's own."""
    often = {name for name, n in Counter(str(row.get("id")) for _, row in head if row.get("id")).items() if n > 1}
    often |= {"0"} if sum(row.get("id") == 0 for _, row in head) > 1 else set()
    texts: dict[str, int] = {}
    clashes = 0
    for _, row in head:
        if str(row.get("id")) not in often:
            continue
        try:
            told = survey.apply(row)
            _pair_of(told, mapping, None)
        except ValueError:
            continue
        if told.get("id") is None:
            return False  # left alone already
        key, _ = texts_key(told)
        clashes += texts.setdefault(str(row["id"]), key) != key
    return clashes * 10 >= len(head) and clashes > 0


class PairFile:
    """The pairs of a source, to be streamed as often as needed without ever holding them all.

    Making it reads the source once, to the end: what is wrong with a row shows before anything is done with the
    others. ``len`` is then the number of pairs. ``read`` is `read_pairs` unless given. Raises InputError as it does.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        notice: Notice = print_notice,
        read: Callable[..., Iterator[Pair]] | None = None,
    ) -> None:
        self._source = source
        self._read = read or read_pairs
        self._n = sum(1 for _ in self._read(source, notice=notice))

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Pair]:
        return self._read(self._source, notice=lambda _: None)


def _close(
    source: Any,
    n: int,
    faults: Faults,
    seen: _Seen,
    notes: Notes,
    choices: Choices,
    notice: Notice,
    who: str | None,
) -> None:
    if n == 0:
        dropped = f"none of its {faults.n} rows can be used; the first: {faults.first}" if faults.n else "no rows in it"
        name = source.name if isinstance(source, Table) else source
        raise InputError(f"{name}: {dropped}; check that it is the file you mean")
    if notes.unused:
        notice(f"keys of votes or chat messages left alone, unknown here: {', '.join(sorted(notes.unused))}")
    if choices.pairs:
        notice(
            f"{choices.rows} rows are choices between the same two responses as others: read as {choices.pairs} pairs "
            f"with {choices.votes} votes, labelled by the majority"
            + ("" if who else "; --annotator COLUMN says who voted")
        )
    for what, count in sorted(notes.counts.items()):
        notice(f"{count} {what}")
    if seen.repeats:
        notice(f"repeated pairs (same id, same content) dropped: {seen.repeats}")
    if faults.n:
        total = n + faults.n + seen.repeats + choices.rows - choices.pairs
        notice(f"{faults.n} of {total} rows were dropped as invalid; the first: {faults.first}")


class _Floats:
    """Texts and names of a CSV that end in .0: whole numbers that pandas writes so beside empty cells."""

    _COLUMNS = ("id", "prompt", "response_a", "response_b", "chosen", "rejected", "category", "group")

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def look(self, row: Mapping[str, Any]) -> None:
        for column in self._COLUMNS:
            value = row.get(column)
            if isinstance(value, str) and value.endswith(".0") and value[:-2].lstrip("-").isdecimal():
                self._found[column] += 1
                self._first.setdefault(column, value)

    def report(self, notice: Notice) -> None:
        for column, n in self._found.items():
            notice(
                f"{n} values of {column} are such as {self._first[column]}, as pandas writes whole numbers beside "
                "empty cells; they are kept as they are: if they were whole, write the file again with them as text"
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
                "or leave the column alone, and ids are made from the texts: --column id="
            )
        self.repeats += 1
        return True
