"""Rows into a file, streaming and atomic: JSON Lines, Parquet, CSV and JSON lists."""

from __future__ import annotations

import csv
import gzip
import io
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from dissensus.errors import OutputError
from dissensus.files.atomic import atomic_path
from dissensus.files.cells import ESCAPED, escape_cells
from dissensus.files.reading import SUFFIXES, format_of
from dissensus.records import Message, Text

Values = dict[str, Any]

_CHUNK = 512
_ROW_GROUP = 8 * _CHUNK


def check_writable_name(path: str | Path) -> None:
    """Raise OutputError unless the extension of ``path`` names a format that can be written."""
    if format_of(path) is None:
        raise OutputError(f"{path}: unknown extension; expected {', '.join(SUFFIXES)}; choose one of them")


def write_rows(
    path: str | Path, rows: Iterable[Values], columns: Mapping[str, Any], *, for_spreadsheets: bool = False
) -> int:
    """Write rows in the format that the extension names, streaming, and return their number.

    ``columns`` maps every column to its annotation, which gives Parquet its types: a column that is null in
    the first million rows still gets the right one. ``for_spreadsheets``: cells of a CSV that a spreadsheet would run
    are escaped (see cells.py). Raises OutputError; nothing half-written is left.
    """
    check_writable_name(path)
    with atomic_path(path) as temporary:
        form = format_of(path)
        if form == "parquet":
            return _write_parquet(temporary, rows, columns, name=path)
        if form == "csv":
            return _write_csv(temporary, rows, columns, name=path, escape=for_spreadsheets)
        if form == "json":
            return _write_json_list(temporary, rows)
        return _write_json_lines(temporary, rows, compressed=form == "jsonl.gz")


def _chunks(rows: Iterable[Values], size: int = _CHUNK) -> Iterator[list[Values]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _encode(row: Values) -> str:
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    # Legal inside JSON, but readers that use str.splitlines would break the line there.
    for mark in ("\x85", "\u2028", "\u2029"):
        if mark in text:
            text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _write_json_lines(path: Path, rows: Iterable[Values], *, compressed: bool) -> int:
    n = 0
    with path.open("wb") as plain, _gzip(plain) if compressed else nullcontext(plain) as out:
        for chunk in _chunks(rows):
            out.write("".join(f"{_encode(row)}\n" for row in chunk).encode("utf-8"))
            n += len(chunk)
    return n


def _gzip(plain: BinaryIO) -> gzip.GzipFile:
    # No name and no time in the header: equal rows give equal bytes.
    return gzip.GzipFile("", "wb", 6, plain, mtime=0)


def _write_json_list(path: Path, rows: Iterable[Values]) -> int:
    n = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        for n, row in enumerate(rows, start=1):
            out.write(("[\n" if n == 1 else ",\n") + _encode(row))
        out.write("\n]\n" if n else "[]\n")
    return n


def _write_csv(
    path: Path, rows: Iterable[Values], columns: Mapping[str, Any], *, name: str | Path, escape: bool
) -> int:
    n = 0
    with path.open("wb") as binary, io.TextIOWrapper(binary, encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*columns, ESCAPED] if escape else columns)
        for row in rows:
            cells = [_cell(row[column], column, name) for column in columns]
            writer.writerow(escape_cells(cells, list(columns)) if escape else cells)
            n += 1
    return n


def _cell(value: Any, column: str, path: str | Path) -> Any:
    if isinstance(value, list):
        if value and "role" in value[0]:
            raise OutputError(f"{path}: {column} holds chat messages, which CSV cannot hold; write .jsonl or .parquet")
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def _write_parquet(path: Path, rows: Iterable[Values], columns: Mapping[str, Any], *, name: str | Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 0
    chunks = _chunks(rows)
    first = next(chunks, [])
    schema, chat = _schema(columns, first[0] if first else {})
    batches: list[Any] = []
    with path.open("wb") as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for chunk in _prepend(first, chunks):
            _refuse_mixed(chunk, chat, name)
            batches.append(pa.RecordBatch.from_pylist(chunk, schema=schema))
            n += len(chunk)
            if sum(batch.num_rows for batch in batches) >= _ROW_GROUP:
                writer.write_table(pa.Table.from_batches(batches, schema))
                batches.clear()
        if batches:
            writer.write_table(pa.Table.from_batches(batches, schema))
    return n


def _prepend(first: list[Values], rest: Iterator[list[Values]]) -> Iterator[list[Values]]:
    if first:
        yield first
    yield from rest


def _refuse_mixed(rows: list[Values], chat: Mapping[str, bool], path: str | Path) -> None:
    for column, is_chat in chat.items():
        if any(isinstance(row[column], str) == is_chat for row in rows):
            raise OutputError(
                f"{path}: {column} is text in some rows and chat messages in others, which a Parquet column cannot "
                "hold; write .jsonl instead"
            )


def _schema(columns: Mapping[str, Any], first: Values) -> tuple[Any, dict[str, bool]]:
    """Build the Arrow schema; a text column is chat where its first row is. Returns it with those columns."""
    import pyarrow as pa

    chat = {name: not isinstance(first.get(name, ""), str) for name, kind in columns.items() if kind == Text}
    fields = [
        (name, arrow_type(tuple[Message, ...] if chat.get(name) else str if name in chat else kind))
        for name, kind in columns.items()
    ]
    return pa.schema(fields), chat


def arrow_type(annotation: Any) -> Any:
    """Derive the Arrow type from an annotation of a record: the same whatever the first rows hold.

    >>> arrow_type(float | None), arrow_type(tuple[Message, ...])
    (DataType(double), ListType(list<item: struct<role: string, content: string>>))
    """
    import pyarrow as pa

    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([(name, arrow_type(field.annotation)) for name, field in annotation.model_fields.items()])
    if origin is Annotated:
        return arrow_type(arguments[0])
    if origin in (Union, types.UnionType):
        return arrow_type(next(kind for kind in arguments if kind is not type(None)))
    if origin is Literal:
        return pa.string()
    if origin is tuple:
        return pa.list_(arrow_type(arguments[0]))
    if origin is dict:
        return pa.map_(*map(arrow_type, arguments))
    return {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}[annotation]
