"""Records in and out: one row each, in the format that the file's extension names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, get_args

from dissensus.errors import InputError
from dissensus.files.columns import PAIR_COLUMNS, Notice
from dissensus.files.faults import Faults, describe
from dissensus.files.pairs import pair_from_row, row_from_pair
from dissensus.files.reading import read_rows
from dissensus.files.source import print_notice
from dissensus.files.trl import TRL_COLUMNS, trl_from_pair
from dissensus.files.writing import check_writable_name, write_rows
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
    # CSV knows no difference between null and empty text: a field that cannot be null takes its default.
    given = {
        name: value
        for name, value in values.items()
        if value is not None or name not in fields or type(None) in get_args(fields[name].annotation)
    }
    return record_type.model_validate(given)


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records, streaming, in the format that the extension names, and return their number; a Pair is flattened.

    The file appears whole or not at all. Raises OutputError where it cannot be written or cannot hold the
    records (chat messages in CSV, text and chat mixed in one Parquet column).
    """
    check_writable_name(path)
    iterator = iter(records)
    first = next(iterator, None)
    if first is None:
        return write_rows(path, (), {})
    every = chain((first,), iterator)
    if isinstance(first, Pair):
        return write_rows(path, (row_from_pair(pair) for pair in every), PAIR_COLUMNS)  # type: ignore[arg-type]
    columns = {name: field.annotation for name, field in type(first).model_fields.items()}
    return write_rows(path, (record.model_dump() for record in every), columns)


def write_trl(
    path: str | Path,
    pairs: Iterable[Pair],
    margins: Iterable[Margin] | None = None,
    *,
    conversational: bool = False,
    notice: Notice = print_notice,
) -> int:
    """Write pairs as TRL's id, prompt, chosen, rejected and, with ``margins``, margin; return their number.

    Margins are joined by pair id. A pair whose label is a tie or missing has no chosen response: it is left out and
    counted in a notice. Raises InputError where a pair has no margin or none has a winner, and OutputError as
    ``write_records``.
    """
    known = None if margins is None else {margin.pair_id: margin.margin for margin in margins}
    columns = TRL_COLUMNS | ({} if known is None else {"margin": float})
    skipped = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal skipped
        for pair in pairs:
            if pair.label not in ("a", "b"):
                skipped += 1
                continue
            row = trl_from_pair(pair, conversational=conversational)
            yield row if known is None else row | {"margin": _margin_of(pair.id, known)}

    n = write_rows(path, rows(), columns)
    if skipped:
        notice(f"{skipped} pairs without a winner (label tie or none) were left out of {path}")
    return n


def _margin_of(pair_id: str, margins: dict[str, float]) -> float:
    if pair_id not in margins:
        raise InputError(f"pair {pair_id!r} has no margin; make margins for all pairs, or write without them")
    return margins[pair_id]
