"""Rows into a file, streaming and atomic: JSON Lines, Parquet, CSV and JSON lists."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from dissensus.errors import OutputError
from dissensus.files.arrow import ArrowRows
from dissensus.files.atomic import atomic_path
from dissensus.files.formula_escape import ESCAPED, escape_cells
from dissensus.files.readers import SUFFIXES, Values, format_of

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
    are escaped (see formula_escape.py). Raises OutputError; nothing half-written is left.
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
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], dict) and "role" in value[0]:
            raise OutputError(f"{path}: {column} holds chat messages, which CSV cannot hold; write .jsonl or .parquet")
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def _write_parquet(path: Path, rows: Iterable[Values], columns: Mapping[str, Any], *, name: str | Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 0
    chunks = _chunks(rows)
    first = next(chunks, [])
    arrow = ArrowRows(columns, first, str(name))
    batches: list[Any] = []
    with path.open("wb") as out, pq.ParquetWriter(out, arrow.schema, compression="zstd") as writer:
        for chunk in chain([first] if first else [], chunks):
            batches.append(arrow.batch(chunk))
            n += len(chunk)
            if sum(batch.num_rows for batch in batches) >= _ROW_GROUP:
                writer.write_table(pa.Table.from_batches(batches, arrow.schema))
                batches.clear()
        if batches:
            writer.write_table(pa.Table.from_batches(batches, arrow.schema))
    return n
