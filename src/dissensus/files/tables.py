"""Rows of a table in memory: a DataFrame of pandas or polars, a ``datasets.Dataset``, an Arrow table, a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dissensus.errors import InputError
from dissensus.files.reading import Row, kind_of

_BATCH = 512


def table_rows(table: Any, split: str | None) -> Iterator[Row]:
    """Stream the rows of a table; what has Arrow's interface is read through it.

    Of several splits (a ``DatasetDict``) ``split`` names one. Raises InputError for what is no table.
    """
    name = type(table).__name__
    if isinstance(table, Mapping):
        if split is None and len(table) == 1:
            split = str(next(iter(table)))
        if split not in table:
            found = f"there is no split {split!r}" if split else "there are several splits"
            raise InputError(f"{name}: {found}; name one with split=: {', '.join(map(str, table))}")
        table, split = table[split], None
    if split is not None:
        raise InputError(f"{name}: has no splits; leave out split=")
    for number, values in enumerate(_values(table, name), start=1):
        if not isinstance(values, Mapping):
            raise InputError(f"{name}:{number}: expected a row with named columns, found {kind_of(values)}")
        yield Row(name, number, {str(key): _plain(value) for key, value in values.items()})


def _values(table: Any, name: str) -> Iterator[Any]:
    if isinstance(table, Iterator):
        raise InputError(f"{name}: can be read once only, and pairs may be read twice; give a list")
    if hasattr(table, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            reader = pa.RecordBatchReader.from_stream(table)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # pandas: a column of text and of lists
            if not hasattr(table, "to_dict"):
                raise InputError(f"{name}: not readable through Arrow ({str(error).splitlines()[0]})") from error
        else:
            for batch in reader:
                for start in range(0, batch.num_rows, _BATCH):
                    yield from map(_without_index, batch.slice(start, _BATCH).to_pylist())
            return
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        yield from table.to_dict("records")
    elif isinstance(table, Iterable) and not isinstance(table, bytes):
        yield from table
    else:
        raise InputError(
            f"{name}: is no source of pairs; give the name of a file or data set, a DataFrame, a Dataset, an Arrow "
            "table or a list of rows"
        )


def _without_index(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("__index_level_")}


def _plain(value: Any) -> Any:
    """Take numpy's arrays and scalars as Python's own, and what pandas writes for nothing as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, Mapping) else value
