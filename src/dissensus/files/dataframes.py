"""Tables in memory, in and out: DataFrames of pandas and polars, ``datasets.Dataset``, Arrow tables, lists of rows."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dissensus.errors import InputError
from dissensus.files.arrow import ArrowRows
from dissensus.files.readers import Row, kind_of
from dissensus.files.rows.class_labels import classes_of, classes_of_schema, with_names
from dissensus.files.rows.pair_rows import columns_of, row_of
from dissensus.records import Record

_BATCH = 512


@dataclass(frozen=True)
class Table:
    """A table in memory that can be read more than once."""

    name: str
    """The kind of thing it was given as, for messages."""
    data: Any

    def rows(self, split: str | None) -> Iterator[Row]:
        """Stream the rows; of several splits (a ``DatasetDict``) ``split`` names one. Raises InputError."""
        data = self.data
        if isinstance(data, Mapping):
            data = as_table(one_split(data, self.name, split)).data
        elif split is not None:
            raise InputError(f"{self.name}: has no splits; leave out split={split!r}")
        is_arrow = hasattr(data, "to_batches")  # classes are noted in its schema; in the features of a Dataset
        classes = classes_of_schema(data.schema.metadata) if is_arrow else classes_of(getattr(data, "features", None))
        for number, values in enumerate(_arrow_values(data) if is_arrow else data, start=1):
            if isinstance(values, Record):
                values = row_of(values)
            if not isinstance(values, Mapping):
                raise InputError(f"{self.name}:{number}: expected a row with named columns, found {kind_of(values)}")
            plain = {str(key): _plain(value) for key, value in values.items()}
            yield Row(self.name, number, with_names(plain, classes))


def as_table(source: Any) -> Table:
    """Take what has Arrow's interface as an Arrow table, once; raises InputError for what is no table."""
    name = type(source).__name__
    if isinstance(source, list | tuple):
        return Table(name, source)
    if hasattr(source, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            return Table(name, pa.RecordBatchReader.from_stream(source).read_all())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # pandas: a column of text and of lists
            if not hasattr(source, "to_dict"):
                raise InputError(f"{name}: not readable through Arrow ({str(error).splitlines()[0]})") from error
    if isinstance(source, Iterator):
        raise InputError(f"{name}: can be read once only, and pairs may be read twice; give a list")
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return Table(name, source.to_dict("records"))
    if isinstance(source, Iterable) and not isinstance(source, bytes):
        return Table(name, source)
    raise InputError(
        f"{name}: is no source of pairs; give the name of a file or data set, a DataFrame, a Dataset, an Arrow table "
        "or a list of rows"
    )


def one_split(data: Any, name: str, split: str | None) -> Any:
    """Choose a split of data that have several; the only one need not be named. Raises InputError."""
    if not isinstance(data, Mapping):
        return data
    if split is None and len(data) == 1:
        return next(iter(data.values()))
    if split not in data:
        found = f"there is no split {split!r}" if split else "there are several splits"
        raise InputError(f"{name}: {found}; name one, split='NAME': {', '.join(map(str, data))}")
    return data[split]


def to_frame(records: Iterable[Record], library: Literal["arrow", "pandas", "polars"] = "pandas") -> Any:
    """Put records of one kind into a DataFrame, or an Arrow table: the rows and columns that their Parquet file has.

    A Pair is flattened; `dissensus.read_pairs` and `read_records` take the result back. The library has to be
    installed. Raises InputError where it is not, ValueError where it is none of the three, and OutputError where
    records have texts in some rows and chat messages in others.
    """
    if library not in ("arrow", "pandas", "polars"):
        raise ValueError(f"library is {library!r}; give 'pandas', 'polars' or 'arrow'")
    import pyarrow as pa

    found = list(records)
    rows = [row_of(record) for record in found]
    arrow = ArrowRows(columns_of(type(found[0])) if found else {}, rows, "a table of records")
    table = pa.Table.from_batches([arrow.batch(rows)] if rows else [], arrow.schema)
    if library == "arrow":
        return table
    try:
        frames = importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise InputError(
            f"a {library} DataFrame needs {library}, which is not installed: pip install {library}"
        ) from error
    return table.to_pandas() if library == "pandas" else frames.from_arrow(table)


def _arrow_values(table: Any) -> Iterator[Mapping[str, Any]]:
    for batch in table.to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            yield {key: value for key, value in row.items() if not key.startswith("__index_level_")}


def _plain(value: Any) -> Any:
    """Take numpy's arrays and scalars as Python's own, and what pandas writes for nothing as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, Mapping) else value
