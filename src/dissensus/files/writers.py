"""Rows into a file, streaming and atomic: JSON Lines, Parquet, CSV and JSON lists."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from dissensus.errors import OutputError
from dissensus.files.arrow import ArrowRows, arrow_type
from dissensus.files.atomic import atomic_path
from dissensus.files.formula_escape import ESCAPED, escape_cells
from dissensus.files.readers import SUFFIXES, Values, format_of

_CHUNK, _GROUP = 512, 8
"""Rows that become Arrow together, the first of which tell what is chat; and how many such batches a row group has."""


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
        with temporary.open("wb") as out:
            if form == "json":
                return _write_json_list(out, rows)
            if form in ("jsonl", "jsonl.gz"):
                return _write_json_lines(out, rows, compressed=form == "jsonl.gz")
            with io.TextIOWrapper(out, encoding="utf-8", newline="") as text:
                writer = csv.writer(text, delimiter="\t" if form == "tsv" else ",")
                return _write_csv(writer, rows, columns, name=path, escape=for_spreadsheets)


def write_table(
    path: str | Path, part: Callable[[int, int], Mapping[str, Sequence[Any]]], n: int, columns: Mapping[str, Any]
) -> int:
    """Write n rows that are there in columns, streaming, as `write_rows`; ``part`` gives those from one row to another.

    No column may hold text that can be chat messages, nor maps.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    steps = [(start, min(start + _CHUNK * _GROUP, n)) for start in range(0, n, _CHUNK * _GROUP)]
    if format_of(path) != "parquet":
        parts = (part(*step) for step in steps)
        rows = (dict(zip(some, values, strict=True)) for some in parts for values in zip(*some.values(), strict=True))
        return write_rows(path, rows, columns)
    check_writable_name(path)
    schema = pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as out,
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        for step in steps:
            writer.write_table(pa.table(dict(part(*step)), schema=schema))
    return n


def _encode(row: Values) -> str:
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    # Legal inside JSON, but readers that use str.splitlines would break the line there.
    for mark in ("\x85", "\u2028", "\u2029"):
        if mark in text:
            text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _write_json_lines(out: BinaryIO, rows: Iterable[Values], *, compressed: bool) -> int:
    # No name and no time in the header: equal rows give equal bytes.
    with gzip.GzipFile("", "wb", 6, out, mtime=0) if compressed else nullcontext(out) as lines:
        n = 0
        for row in rows:
            lines.write(f"{_encode(row)}\n".encode())
            n += 1
        return n


def _write_json_list(out: BinaryIO, rows: Iterable[Values]) -> int:
    n = 0
    for n, row in enumerate(rows, start=1):
        out.write((("[\n" if n == 1 else ",\n") + _encode(row)).encode())
    out.write(b"\n]\n" if n else b"[]\n")
    return n


def _write_csv(
    writer: Any, rows: Iterable[Values], columns: Mapping[str, Any], *, name: str | Path, escape: bool
) -> int:
    n = 0
    writer.writerow([*columns, ESCAPED] if escape else columns)
    for row in rows:
        n += 1
        cells = [_cell(row[column], column, name) for column in columns]
        writer.writerow(escape_cells(cells, list(columns)) if escape else cells)
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
    iterator = iter(rows)
    chunks = iter(lambda: list(islice(iterator, _CHUNK)), [])
    first = next(chunks, [])
    arrow = ArrowRows(columns, first, str(name))
    batches = map(arrow.batch, chain([first] if first else [], chunks))
    with path.open("wb") as out, pq.ParquetWriter(out, arrow.schema, compression="zstd") as writer:
        while group := list(islice(batches, _GROUP)):
            table = pa.Table.from_batches(group, arrow.schema)
            writer.write_table(table)
            n += table.num_rows
    return n
