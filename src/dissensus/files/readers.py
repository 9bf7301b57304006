"""Rows out of a file: JSON Lines, Parquet, CSV and JSON lists, each row with its place."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from dissensus.errors import InputError
from dissensus.files.folders.partitions import OneSchema, keys_of, parquet_files
from dissensus.files.formula_escape import ESCAPED, restore_cells
from dissensus.files.parts_folder import beside_its_parts, parts_in
from dissensus.files.rows.class_labels import classes_of_schema, with_names
from dissensus.places.addresses import Address

Format = Literal["jsonl", "jsonl.gz", "parquet", "csv", "tsv", "json"]
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
}

# The csv module refuses cells over 128 KiB by default; transcripts are longer. An open quote still ends here.
csv.field_size_limit(64 * 2**20)

_BATCH = 512
_REMOTE_PIECE = 4 * 2**20
"""Bytes of a column that are asked of a store at once."""


Values = dict[str, Any]
"""The cells of a row by column."""


class Row(NamedTuple):
    """One row with where it stands."""

    source: str
    line: int
    """The line in a text file, the row (from 1) elsewhere."""
    values: Values

    @property
    def place(self) -> str:
        """``file:line``, for messages."""
        return f"{self.source}:{self.line}"


Fault = Callable[[str, str], None]
"""Called with the place of a row that cannot be used and what is wrong. It raises, or the row is dropped."""


def format_of(path: str | Path) -> Format | None:
    """Name the format by the file's extension; None where it is unknown.

    >>> format_of("votes.jsonl.gz"), format_of("votes.xlsx")
    ('jsonl.gz', None)
    """
    name = Path(path).name.lower()
    return next((form for suffix, form in SUFFIXES.items() if name.endswith(suffix)), None)


def read_rows(
    path: Path, fault: Fault, *, form: Format | None = None, table: OneSchema | None = None, keys: Values | None = None
) -> Iterator[Row]:
    """Yield the rows of one file, streaming (a ``.json`` list is read whole), or of a folder of parts or Parquet files.

    ``form`` overrides what the extension says; a line of JSON that is a list is then the row ``{"items": [...]}``. Of
    a Parquet file that is one of several, ``table`` compares the columns, and ``keys`` are what its folders say. A
    single bad row goes to ``fault``. Raises InputError for a file that cannot be read as what it is called.
    """
    if path.is_dir():
        yield from _folder(path, fault, form)
        return
    lists = form is not None
    form = form or format_of(path)
    if form is None:
        if not path.exists():
            hint = beside_its_parts(path) or "; check the name (known ones: dissensus pairs --list)"
            raise InputError(f"{path}: no such file or data set{hint}")
        raise InputError(f"{path}: unknown extension; expected {', '.join(SUFFIXES)}; rename or convert the file")
    try:
        if form == "parquet":
            yield from _parquet(path, table, keys)
        elif form in ("csv", "tsv"):
            yield from _csv(path, fault, "\t" if form == "tsv" else ",")
        elif form == "json":
            yield from _json_list(path, fault)
        else:
            yield from _json_lines(path, fault, compressed=form == "jsonl.gz", lists=lists)
    except FileNotFoundError as error:
        if hint := beside_its_parts(path):
            raise InputError(f"{path}: no such file{hint}") from error
        if isinstance(path, Address):
            raise InputError(f"{path}: no such file at that address; check the bucket and the name") from error
        raise InputError(f"{path}: no such file; check the name") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated gzip ({error}); fetch the file again") from error
    except OSError as error:
        reason = str(error.strerror or error).splitlines()[0]
        raise InputError(f"{path}: cannot be read ({reason}); check the file") from error


def _folder(folder: Path, fault: Fault, form: Format | None) -> Iterator[Row]:
    """Yield the rows of the parts in a folder, or of its Parquet files."""
    if parts := parts_in(folder):
        for part in parts:
            yield from read_rows(part, fault, form=form)
        return
    if not (files := parquet_files(folder)):
        raise InputError(f"{folder}: is a folder without Parquet files and without parts; name a file")
    yield from read_table(files, folder, fault)


def read_table(files: Sequence[Path], folder: Path, fault: Fault) -> Iterator[Row]:
    """Yield the rows of files of one folder, file by file; of Parquet files, with what ``key=value`` folders say.

    Raises InputError as `read_rows`, and where one Parquet file has other columns than another.
    """
    table = OneSchema()
    for file, keys in zip(files, keys_of(files, folder), strict=True):
        yield from read_rows(file, fault, table=table, keys=keys)


def _lines(path: Path, *, compressed: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of lines that end in ``\\n`` alone: U+2028 and its kin are part of the text."""
    number = done = 0
    with path.open("rb") as found, gzip.open(found) if compressed else nullcontext(found) as file:
        for raw in file:
            number += 1
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: not UTF-8 at byte {done + error.start} (0x{raw[error.start]:02x}); "
                    "convert the file to UTF-8"
                ) from error
            done += len(raw)
            yield number, text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null where there is none")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def decode_json(text: str) -> Any:
    """Decode strict JSON: NaN and infinity are refused. Raises ValueError with one line."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"malformed JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("malformed JSON (nested too deeply)") from error


def _json_lines(path: Path, fault: Fault, *, compressed: bool, lists: bool) -> Iterator[Row]:
    for number, text in _lines(path, compressed=compressed):
        text = text.strip("\r\n")
        if not text:
            continue
        try:
            values = decode_json(text)
        except ValueError as error:
            fault(f"{path}:{number}", str(error))
            continue
        if isinstance(values, dict):
            yield Row(str(path), number, values)
        elif lists and isinstance(values, list):
            yield Row(str(path), number, {"items": values})
        else:
            fault(f"{path}:{number}", f"expected a JSON object, found {kind_of(values)}")


def _json_list(path: Path, fault: Fault) -> Iterator[Row]:
    text = "".join(line for _, line in _lines(path))
    try:
        values = decode_json(text) if text.strip() else []
    except ValueError as error:
        hint = "; rename it to .jsonl if it holds one object a line" if "Extra data" in str(error) else ""
        raise InputError(f"{path}: {error}; expected a list of objects{hint}") from error
    if not isinstance(values, list):
        raise InputError(f"{path}: expected a JSON list of objects, found {kind_of(values)}; use .jsonl or a list")
    for number, item in enumerate(values, start=1):
        if isinstance(item, dict):
            yield Row(str(path), number, item)
        else:
            fault(f"{path}:{number}", f"expected a JSON object, found {kind_of(item)}")


def _csv(path: Path, fault: Fault, delimiter: str) -> Iterator[Row]:
    _, first = next(_lines(path), (1, ""))
    # A header without the expected mark may have a semicolon or a tab instead.
    mark = next((mark for mark in (delimiter, ";", "\t", ",") if mark in first), delimiter)
    reader = csv.reader((text for _, text in _lines(path)), strict=True, delimiter=mark)
    line = 1
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise InputError(f"{path}:1: column {twice!r} stands twice in the header; rename one")
        end = reader.line_num
        for cells in reader:
            line, end = end + 1, reader.line_num  # where it starts: a quoted cell may span several
            if len(cells) == len(header):
                values = dict(zip(header, (cell or None for cell in cells), strict=True))
                yield Row(str(path), line, restore_cells(values) if ESCAPED in values else values)
            elif cells:
                wrong = f"{len(cells)} cells where the header has {len(header)}; quote commas in a text"
                fault(f"{path}:{line}", wrong)
    except csv.Error as error:
        raise InputError(f"{path}:{line}: malformed CSV at or after this row ({error}); quote the cells") from error


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file to be read in batches, without ever holding a large row group.

    Raises what Arrow raises, and InputError where an address cannot be read.
    """
    import pyarrow.parquet as pq

    with ExitStack() as opened:
        # Columns are read in turns, piece by piece: to read ahead of a piece would fetch everything several times.
        source = opened.enter_context(path.open_unbuffered(ahead=False)) if isinstance(path, Address) else path
        size = _REMOTE_PIECE if isinstance(path, Address) else 2**20
        yield opened.enter_context(pq.ParquetFile(source, buffer_size=size, pre_buffer=False))


def _parquet(path: Path, table: OneSchema | None, keys: Values | None) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        with open_parquet(path) as file:
            if table is not None:
                table.check(path, file.schema_arrow)
            classes = classes_of_schema(file.schema_arrow.metadata)
            for batch in file.iter_batches(_BATCH, use_threads=False):
                for values in batch.to_pylist():
                    number += 1
                    values |= keys or {}
                    yield Row(str(path), number, with_names(values, classes) if classes else values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as Parquet ({reason}); fetch or write the file again") from error


def kind_of(value: Any) -> str:
    """Name a value for a message: its kind and, shortened, the value.

    >>> kind_of(3.5), kind_of(None), kind_of([1])
    ('a number (3.5)', 'null', 'a list')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"a boolean ({value})"
    if isinstance(value, int | float):
        return f"a number ({value!r:.40})" if isinstance(value, float) else f"a number ({str(value)[:40]})"
    if isinstance(value, str):
        return f"text ({value[:40]!r})"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else type(value).__name__
