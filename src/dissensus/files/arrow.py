"""Rows as Arrow: one schema by the records' annotations, whatever the first rows hold, and batches of rows in it.

A column of texts is chat where its first row is. Maps are lists of name and value, and tool calls JSON text: types that
every reader knows.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from dissensus.errors import OutputError
from dissensus.files.readers import Values
from dissensus.records import Text

_TURN = ("role", "content")


class ArrowRows:
    """Turns rows into record batches of one schema.

    ``columns`` maps every column to its annotation; ``first`` are rows that tell which texts are chat, and which keys
    their messages have. ``name`` is what messages call the result.
    """

    def __init__(self, columns: Mapping[str, Any], first: Sequence[Values], name: str) -> None:
        import pyarrow as pa

        self._name = name
        self._n_first = len(first)
        kinds = {column: get_args(k)[0] if get_origin(k) is Annotated else k for column, k in columns.items()}
        self._maps = [column for column, kind in kinds.items() if get_origin(kind) is dict]
        self._keys = {column: _message_keys(column, first) for column, kind in columns.items() if kind == Text}
        chats = {
            column: pa.list_(pa.struct([(key, pa.string()) for key in keys]))
            for column, keys in self._keys.items()
            if keys
        }
        self.schema = pa.schema([(column, chats.get(column) or arrow_type(kind)) for column, kind in columns.items()])

    def batch(self, rows: Sequence[Values]) -> Any:
        """Return rows as a ``pyarrow.RecordBatch``. Raises OutputError where texts are mixed with chat messages."""
        import pyarrow as pa

        self._refuse_mixed(rows)
        return pa.RecordBatch.from_pylist([self._plain(row) for row in rows], schema=self.schema)

    def _refuse_mixed(self, rows: Sequence[Values]) -> None:
        for column, keys in self._keys.items():
            if any(isinstance(row[column], str) == bool(keys) for row in rows):
                raise OutputError(
                    f"{self._name}: {column} is text in some rows and chat messages in others, which a Parquet column "
                    "cannot hold; write .jsonl instead"
                )
            if keys and any(not turn.keys() <= {*keys} for row in rows for turn in row[column]):
                raise OutputError(
                    f"{self._name}: {column} has tool calls in some rows and none in the first {self._n_first}, from "
                    "which a Parquet column gets its type; write .jsonl instead"
                )

    def _plain(self, row: Values) -> Values:
        maps = {name: [{"name": key, "value": value} for key, value in row[name].items()] for name in self._maps}
        chats = [column for column, keys in self._keys.items() if len(keys) > len(_TURN)]
        turns = {name: [{key: _as_text(part) for key, part in turn.items()} for turn in row[name]] for name in chats}
        return row | maps | turns if maps or turns else row


def _message_keys(column: str, rows: Sequence[Values]) -> tuple[str, ...]:
    """List the keys of the messages in a column: role, content, and the others of these rows; none where it is text."""
    values = [row.get(column, "") for row in rows]
    if not values or isinstance(values[0], str):
        return ()
    found = {key for value in values if isinstance(value, list) for turn in value for key in turn}
    return (*_TURN, *sorted(found - {*_TURN}))


def _as_text(part: Any) -> Any:
    return json.dumps(part, ensure_ascii=False) if isinstance(part, list) else part


def arrow_type(annotation: Any) -> Any:
    """Derive the Arrow type from an annotation of a record: the same whatever the first rows hold.

    >>> arrow_type(float | None), arrow_type(tuple[str, ...])
    (DataType(double), ListType(list<item: string>))
    """
    import pyarrow as pa

    if annotation == Text:
        return pa.string()
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
