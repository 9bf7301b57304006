"""Records in and out: one row each, in the format that the file's extension names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, get_args, overload

from dissensus.errors import InputError
from dissensus.files.readers import format_of, read_rows
from dissensus.files.rows.bad_rows import Faults, describe
from dissensus.files.rows.columns import PAIR_COLUMNS, Notice
from dissensus.files.rows.pair_rows import pair_from_row, row_from_pair
from dissensus.files.source import print_notice
from dissensus.files.trl import TRL_COLUMNS, trl_from_pair
from dissensus.files.writers import check_writable_name, write_rows
from dissensus.records import Margin, Pair, Record

R = TypeVar("R", bound=Record)


def read_records(path: str | Path, record_type: type[R]) -> Iterator[R]:
    """Stream the records of a file (.jsonl, .jsonl.gz, .parquet, .csv or a .json list); a Pair comes from a flat row.

    A file without rows gives none. Raises InputError with file and line for a row that is no such record; for
    files of other people's making, use ``read_pairs``, which checks more and can rename and skip.
    """
    faults = Faults(remedy=f"expected a {record_type.__name__} with {_columns_of(record_type)}; write the file again")
    for row in read_rows(Path(path), faults):
        try:
            yield _record(row.values, record_type)
        except ValueError as error:
            faults(row.place, describe(error))


def _columns_of(record_type: type[Record]) -> str:
    return ", ".join(PAIR_COLUMNS if record_type is Pair else record_type.model_fields)


def _record(values: dict[str, Any], record_type: type[R]) -> R:
    if issubclass(record_type, Pair):
        unknown = values.keys() - PAIR_COLUMNS
        if unknown:
            raise ValueError(f"column {min(unknown)!r} is unknown")
        return pair_from_row(values)  # type: ignore[return-value]
    fields = record_type.model_fields
    given = {}
    for name, value in values.items():
        field = fields.get(name)
        if value is None and field is not None and type(None) not in get_args(field.annotation):
            # An empty text or map and nothing are the same, and CSV cannot tell them apart; another default would
            # say what the file does not.
            if not field.is_required() and field.default not in ("", {}):
                raise ValueError(
                    f"{name} is null or empty; give its value, or leave the column out for {field.default!r} throughout"
                )
            continue
        given[name] = value
    return record_type.model_validate(given)


@overload
def write_records(path: str | Path, records: Iterable[Record]) -> int: ...
@overload
def write_records(path: Iterable[Record], records: str | Path) -> int: ...
def write_records(path: str | Path | Iterable[Record], records: Iterable[Record] | str | Path) -> int:
    """Write records, streaming, in the format that the extension names, and return their number; a Pair is flattened.

    Path first or records first: both work. The file appears whole or not at all. Raises OutputError where it cannot be
    written or cannot hold the records (chat messages in CSV, text and chat mixed in one Parquet column).
    """
    path, every_record = _ordered(path, records)
    check_writable_name(path)
    iterator = iter(every_record)
    first = next(iterator, None)
    if first is None:
        return write_rows(path, (), {})
    every = chain((first,), iterator)
    if isinstance(first, Pair):
        return write_rows(path, (row_from_pair(pair) for pair in every), PAIR_COLUMNS)
    columns = {name: field.annotation for name, field in type(first).model_fields.items()}
    return write_rows(path, (record.model_dump() for record in every), columns)


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
    columns = TRL_COLUMNS | ({} if known is None else {"margin": float})
    # A Parquet column cannot hold tools of any shape: there they stay on the prompt's first turn, as JSON text.
    has_column = (format_of(path) or "").startswith("json")
    skipped = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal skipped
        for pair in given:
            if pair.label not in ("a", "b"):
                skipped += 1
                continue
            row = trl_from_pair(pair, conversational=conversational, tools_apart=has_column)
            yield row if known is None else row | {"margin": _margin_of(pair.id, known)}

    n = write_rows(path, rows(), columns)
    if skipped:
        notice(f"{skipped} pairs without a winner (label tie or none) were left out of {path}")
    return n


def _margin_of(pair_id: str, margins: dict[str, float]) -> float:
    if pair_id not in margins:
        raise InputError(f"pair {pair_id!r} has no margin; make margins for all pairs, or write without them")
    return margins[pair_id]
