"""Records in and out: one row each, in the format that the file's extension names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, overload

from dissensus.errors import InputError
from dissensus.files.dataframes import as_table
from dissensus.files.readers import Values, format_of, read_rows
from dissensus.files.rows.bad_rows import Faults, describe
from dissensus.files.rows.columns import Notice
from dissensus.files.rows.pair_rows import R, columns_of, record_of, row_of
from dissensus.files.source import print_notice
from dissensus.files.trl import TRL_COLUMNS, trl_from_pair
from dissensus.files.writers import check_writable_name, write_rows, write_table
from dissensus.places.addresses import path_of
from dissensus.records import Margin, Pair, Record


def read_records(source: str | Path | Any, record_type: type[R]) -> Iterator[R]:
    """Stream the records of a file (.jsonl, .jsonl.gz, .parquet, .csv or a .json list) or of a table in memory.

    A Pair comes from a flat row; of records in memory each is given as it is. A source without rows gives none. Raises
    InputError with file and line for a row that is no such record; for files of other people's making, use
    ``read_pairs``, which checks more and can rename and skip.
    """
    if not isinstance(source, str | Path):
        source = list(source) if isinstance(source, Iterator) else source
        if isinstance(source, list | tuple) and all(isinstance(one, record_type) for one in source):
            yield from source
            return
    columns = ", ".join(columns_of(record_type))
    faults = Faults(remedy=f"expected a {record_type.__name__} with {columns}; write the file again")
    rows = read_rows(path_of(source), faults) if isinstance(source, str | Path) else as_table(source).rows(None)
    for row in rows:
        try:
            yield record_of(row.values, record_type)
        except ValueError as error:
            reason = describe(error)
            is_new = reason.endswith("is unknown")
            faults(row.place, f"{reason}, unless to a newer dissensus" if is_new else reason)


@overload
def write_records(path: str | Path, records: Iterable[Record]) -> int: ...
@overload
def write_records(path: Iterable[Record], records: str | Path) -> int: ...
def write_records(path: str | Path | Iterable[Record], records: Iterable[Record] | str | Path) -> int:
    """Write records, streaming, in the format that the extension names, and return their number; a Pair is flattened.

    Path first or records first: both work. The file appears whole or not at all. Raises OutputError where it cannot be
    written or cannot hold the records (chat messages in CSV, text and chat mixed in one Parquet column).
    """
    path, given = _ordered(path, records)
    check_writable_name(path)
    iterator = iter(given)
    first = next(iterator, None)
    if first is None:
        return write_rows(path, (), {})
    return write_rows(path, map(row_of, chain((first,), iterator)), columns_of(type(first)))


def write_columns(path: str | Path, columns: Mapping[str, Sequence[Any]], record_type: type[Record]) -> int:
    """Write the columns of records, all of one length, as `write_records` would write the records.

    Raises OutputError where the file cannot be written.
    """
    names, n = list(columns_of(record_type)), len(next(iter(columns.values())))
    return write_table(path, lambda a, b: {name: columns[name][a:b] for name in names}, n, columns_of(record_type))


def _ordered(one: Any, two: Any) -> tuple[str | Path, Iterable[Any]]:
    """Tell the path from the records, whichever was given first."""
    if isinstance(one, str | Path):
        return one, two
    if isinstance(two, str | Path):
        return two, one
    raise TypeError(f"expected a path and records, found {type(one).__name__} and {type(two).__name__}")


def write_trl(
    path: str | Path | Iterable[Pair],
    pairs: Iterable[Pair] | str | Path,
    margins: Iterable[Margin] | None = None,
    *,
    conversational: bool = False,
    notice: Notice = print_notice,
) -> int:
    """Write pairs as TRL's id, prompt, chosen, rejected and, with ``margins``, margin; return their number.

    Path first or pairs first: both work. Margins are joined by pair id. A pair whose label is a tie or missing has no
    chosen response: it is left out and counted in a notice. Raises InputError where a pair has no margin or none has a
    winner, and OutputError as ``write_records``.
    """
    path, given = _ordered(path, pairs)
    known = None if margins is None else {margin.pair_id: margin.margin for margin in margins}
    columns = {**TRL_COLUMNS, **({} if known is None else {"margin": float})}
    # A Parquet column cannot hold tools of any shape: there they stay on the prompt's first turn, as JSON text.
    has_column = (format_of(path) or "").startswith("json")
    skipped = 0

    def rows() -> Iterator[Values]:
        nonlocal skipped
        for pair in given:
            if pair.label not in ("a", "b"):
                skipped += 1
                continue
            row = trl_from_pair(pair, conversational=conversational, tools_apart=has_column)
            if known is not None:
                if pair.id not in known:
                    raise InputError(
                        f"pair {pair.id!r} has no margin; make margins for all pairs, or write without them"
                    )
                row["margin"] = known[pair.id]
            yield row

    n = write_rows(path, rows(), columns)
    if skipped:
        notice(f"{skipped} pairs without a winner (label tie or none) were left out of {path}")
    return n
