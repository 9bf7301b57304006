"""Encoded texts as columns: in memory, or memory-mapped from a cache on disk that content alone decides."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import OutputError
from dissensus.files.atomic import atomic_path

CHUNK = 4096
"""Texts in a record batch; every batch but the last has as many."""
_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("second", pa.int32()),
        ("truncated", pa.bool_()),
        ("response_cut", pa.bool_()),
    ]
)
_LIMIT = 4 << 30
"""Bytes that the cache may hold; what was used least recently goes first."""
_FRESH = 24 * 3600
"""Seconds for which a file is never removed: another run may be about to map it."""

Row = tuple[Sequence[int], int, bool, bool]
"""Token ids of a prompt and response, where the second type begins, truncated, response cut."""


@dataclass(frozen=True)
class EncodedText:
    """Token ids of one prompt and response."""

    input_ids: list[int]
    token_type_ids: list[int] | None
    truncated: bool
    """The prompt lost its left end, or the response its right end."""
    response_cut: bool = False
    """The response lost its right end."""


class EncodedTexts:
    """Encoded texts, kept as Arrow columns; an index gives an `EncodedText`.

    ``lengths`` (tokens), ``truncated`` and ``response_cut`` have shape (texts,). Where the tokenizer knows token types,
    a text's tokens are of type 0 up to ``second`` and of type 1 from there; its last ones of the types of ``closing``,
    where that is given.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], *, typed: bool, closing: Sequence[int] = ()) -> None:
        self.typed, self.closing = typed, np.array(closing, dtype=np.int64)
        lists = [batch.column("input_ids") for batch in batches]
        self._ids = [column.values.to_numpy() for column in lists]
        self._offsets = [column.offsets.to_numpy() for column in lists]
        none: list[NDArray[Any]] = [np.zeros(0, np.int64)]  # of no batches
        self.lengths = np.concatenate([np.diff(offsets).astype(np.int64) for offsets in self._offsets] or none)
        self.second, self.truncated, self.response_cut = (
            np.concatenate([batch.column(name).to_numpy(zero_copy_only=False) for batch in batches] or none)
            for name in ("second", "truncated", "response_cut")
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> EncodedText:
        if not 0 <= index < len(self):
            raise IndexError(index)
        types = self.types(index).tolist() if self.typed else None
        return EncodedText(self.ids(index).tolist(), types, bool(self.truncated[index]), bool(self.response_cut[index]))

    def ids(self, index: int) -> NDArray[np.int32]:
        """Return a view of one text's token ids."""
        chunk, row = divmod(int(index), CHUNK)
        offsets = self._offsets[chunk]
        ids: NDArray[np.int32] = self._ids[chunk][offsets[row] : offsets[row + 1]]
        return ids

    def types(self, index: int) -> NDArray[np.int64]:
        """Return one text's token types."""
        types: NDArray[np.int64] = (np.arange(self.lengths[index]) >= self.second[index]).astype(np.int64)
        if len(self.closing):
            types[-len(self.closing) :] = self.closing
        return types


def _batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    part: list[Row] = []
    for row in rows:
        part.append(row)
        if len(part) == CHUNK:
            yield _batch(part)
            part = []
    if part:
        yield _batch(part)


def _batch(rows: list[Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(list(c), t.type) for c, t in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)


def in_memory(rows: Iterable[Row], *, typed: bool, closing: Sequence[int] = ()) -> EncodedTexts:
    """Keep rows in memory."""
    return EncodedTexts(list(_batches(rows)), typed=typed, closing=closing)


def from_cache(
    rows: Iterable[Row], *, typed: bool, closing: Sequence[int] = (), folder: Path, key: str
) -> EncodedTexts:
    """Map the texts under this key, and write them first where there are none.

    Raises OutputError where the cache cannot be written.
    """
    path = folder / f"{key}.arrow"
    if not path.is_file():
        with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), _SCHEMA) as writer:
            for batch in _batches(rows):
                writer.write_batch(batch)
        _prune(folder)
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        texts = EncodedTexts(batches, typed=typed, closing=closing)
    except (pa.ArrowInvalid, OSError) as error:
        raise OutputError(f"{path}: a damaged cache of tokens ({error}); delete it and run again") from error
    with suppress(OSError):
        os.utime(path)
    return texts


def _prune(folder: Path) -> None:
    """Remove what was used least recently until the rest is within the limit."""
    with suppress(OSError):
        files = sorted(folder.glob("*.arrow"), key=lambda path: path.stat().st_mtime, reverse=True)
        held = 0
        for path in files:
            held += path.stat().st_size
            if held > _LIMIT and time.time() - path.stat().st_mtime > _FRESH:
                path.unlink()
