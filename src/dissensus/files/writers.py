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
from dissensus.files.formula_escape import ESCAPED, escape_cells
from dissensus.files.readers import SUFFIXES, format_of
from dissensus.records import Text

Values = dict[str, Any]

_CHUNK = 512
_PLAIN_TURN = ("role", "content")
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
        if form in ("csv", "tsv"):
            return _write_csv(temporary, rows, columns, name=path, escape=for_spreadsheets, is_tsv=form == "tsv")
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
    path: Path, rows: Iterable[Values], columns: Mapping[str, Any], *, name: str | Path, escape: bool, is_tsv: bool
) -> int:
    n = 0
    with path.open("wb") as binary, io.TextIOWrapper(binary, encoding="utf-8", newline="") as out:
        writer = csv.writer(out, delimiter="\t" if is_tsv else ",")
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
    schema, chat = _schema(columns, first)
    maps = [column for column, kind in columns.items() if _is_map(kind)]
    batches: list[Any] = []
    with path.open("wb") as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for chunk in _prepend(first, chunks):
            _refuse_mixed(chunk, chat, name)
            chunk = [_for_arrow(row, maps, chat) for row in chunk] if maps or any(chat.values()) else chunk
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


def _refuse_mixed(rows: list[Values], chat: Mapping[str, frozenset[str]], path: str | Path) -> None:
    for column, keys in chat.items():
        if any(isinstance(row[column], str) == bool(keys) for row in rows):
            raise OutputError(
                f"{path}: {column} is text in some rows and chat messages in others, which a Parquet column cannot "
                "hold; write .jsonl instead"
            )
        if keys and any(turn.keys() - keys for row in rows for turn in row[column]):
            raise OutputError(
                f"{path}: {column} has tool calls in some rows and none in the first {_CHUNK}, from which a Parquet "
                "column gets its type; write .jsonl instead"
            )


def _for_arrow(row: Values, maps: list[str], chat: Mapping[str, frozenset[str]]) -> Values:
    """Write maps as lists of name and value, and tool calls as JSON text: types that every reader knows."""
    given = {column: [{"name": key, "value": value} for key, value in row[column].items()] for column in maps}
    chats = [column for column, keys in chat.items() if len(keys) > len(_PLAIN_TURN)]
    turns = {column: [{key: _as_text(part) for key, part in turn.items()} for turn in row[column]] for column in chats}
    return row | given | turns


def _as_text(part: Any) -> Any:
    return json.dumps(part, ensure_ascii=False) if isinstance(part, list) else part


def _schema(columns: Mapping[str, Any], first: list[Values]) -> tuple[Any, dict[str, frozenset[str]]]:
    """Build the Arrow schema; a text column is chat where its first row is.

    Returns it with the keys of messages by text column, none where it is plain text: role and content, and the others
    that messages of the first rows have.
    """
    import pyarrow as pa

    chat: dict[str, frozenset[str]] = {}
    fields = []
    for name, kind in columns.items():
        if kind != Text:
            fields.append((name, arrow_type(kind)))
            continue
        values = [row.get(name, "") for row in first]
        is_chat = bool(values) and not isinstance(values[0], str)
        found = (
            {key for value in values if isinstance(value, list) for turn in value for key in turn} if is_chat else ()
        )
        chat[name] = frozenset((*_PLAIN_TURN, *found)) if is_chat else frozenset()
        turn = pa.struct([(key, pa.string()) for key in (*_PLAIN_TURN, *sorted(set(found) - set(_PLAIN_TURN)))])
        fields.append((name, pa.list_(turn) if is_chat else pa.string()))
    return pa.schema(fields), chat


def _is_map(annotation: Any) -> bool:
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return get_origin(kind) is dict


def arrow_type(annotation: Any) -> Any:
    """Derive the Arrow type from an annotation of a record: the same whatever the first rows hold.

    >>> arrow_type(float | None), arrow_type(tuple[str, ...])
    (DataType(double), ListType(list<item: string>))
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
        # No map: `datasets` cannot open it.
        return pa.list_(pa.struct([("name", arrow_type(arguments[0])), ("value", arrow_type(arguments[1]))]))
    return {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}[annotation]
