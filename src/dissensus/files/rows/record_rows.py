"""Records as rows of a table and back: a Pair is flattened, every other record has a column for each field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from dissensus.files.readers import Values
from dissensus.files.rows.columns import PAIR_COLUMNS
from dissensus.files.rows.pair_rows import pair_from_row, row_from_pair
from dissensus.records import Pair, Record

R = TypeVar("R", bound=Record)


def columns_of(record_type: type[Record]) -> Mapping[str, Any]:
    """Map the columns of a record's rows to their types."""
    if issubclass(record_type, Pair):
        return PAIR_COLUMNS
    return {name: field.annotation for name, field in record_type.model_fields.items()}


def row_of(record: Record) -> Values:
    """Return the row of a record."""
    return row_from_pair(record) if isinstance(record, Pair) else record.model_dump()


def record_of(values: Mapping[str, Any], record_type: type[R]) -> R:
    """Make a record of its row. Raises ValueError."""
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
            if not field.is_required() and field.default not in ("", {}, ()):
                raise ValueError(
                    f"{name} is null or empty; give its value, or leave the column out for {field.default!r} throughout"
                )
            continue
        default = None if field is None else field.default
        given[name] = _decoded(value, default) if isinstance(default, dict | tuple) else value
    return record_type.model_validate(given)


def _decoded(value: Any, default: Values | tuple[Any, ...]) -> Any:
    """Take a map or list as CSV gives it back (JSON), and a map as Parquet does: name and value, once pairs of them."""
    found = json.loads(value) if isinstance(value, str) else value
    if isinstance(default, tuple) or not isinstance(found, list):
        return found
    return dict((entry["name"], entry["value"]) if isinstance(entry, dict) else entry for entry in found)
