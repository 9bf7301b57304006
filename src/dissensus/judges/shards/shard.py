"""A shard: the answers of one judge to a block of questions, with what was tried in vain, as one Parquet file.

Its name is a hash of its keys, so whoever writes the same block again writes the same name. Rows are those of a store
(`dissensus.judges.store.schema`), of three kinds. ``judgment`` and ``distribution`` are answers, and their key is the
question's. ``attempt`` is what was sent to a model: its tokens, what it cost and, where it failed, the error; it has a
key of its own, and never counts as an answer.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus._version import __version__
from dissensus.cluster.places import SUFFIX, ShardFolder
from dissensus.errors import InputError
from dissensus.hashing import digest_of

VERSION = 1
BLOCK = 4096
"""Rows of a shard at most."""
Keys = NDArray[np.bytes_]
"""Keys of 16 bytes each; numpy compares the bytes that it shows without zeros at their end as if they had them."""
Row = tuple[Any, ...]
_META = b"dissensus.shard"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "judgment": (
        *("key", "judge", "pair_id", "content", "sample", "shown", "choice", "probability_a", "reply"),
        *("persona", "checksum"),
    ),
    "distribution": ("key", "judge", "pair_id", "content", "shown", "persona", "reading", "checksum"),
    "attempt": (
        *("key", "judge", "pair_id", "ask", "state", "error", "prompt_tokens", "completion_tokens", "estimated"),
        *("cost", "seconds", "host", "process", "started", "ended"),
    ),
}
"""What a row of each kind holds, in the order of the store's columns."""
TABLES = {"judgment": "judgments", "distribution": "readings"}
"""The store's tables of answers."""
_TYPES = {
    **dict.fromkeys(("sample", "checksum", "prompt_tokens", "completion_tokens", "estimated"), "int64"),
    **dict.fromkeys(("probability_a", "cost", "seconds"), "float64"),
    **dict.fromkeys(("reading", "ask"), "binary"),
}


@dataclass(frozen=True)
class About:
    """What a shard says of all its rows."""

    judge: str
    settings: str = ""
    """The judge's settings as the store keeps them, JSON; empty where it keeps none."""
    part: str = ""
    """The part of a run, such as 3/8."""
    pairs: str = ""
    """A digest over all pairs of the run."""
    engine: Mapping[str, Any] = field(default_factory=dict)
    """What answered: engine, dtype, batch. Where readings depend on their batch, they may differ in the last digits."""


@dataclass(frozen=True)
class Shard:
    """A shard that was read."""

    path: str
    about: About
    rows: Mapping[str, list[Row]]
    """By kind."""


@functools.cache
def _schema() -> Any:
    import pyarrow as pa

    names = dict.fromkeys(name for columns in COLUMNS.values() for name in columns if name not in ("key", "judge"))
    fields = [(name, getattr(pa, _TYPES.get(name, "string"))()) for name in names]
    return pa.schema([("key", pa.binary(16)), ("kind", pa.string()), *fields])


def shard_name(keys: Iterable[bytes]) -> str:
    """Name a shard by its keys, in whatever order: 32 hex digits."""
    return digest_of(sorted(keys)) + SUFFIX


def write_shard(folder: ShardFolder, about: About, rows: Mapping[str, Sequence[Row]]) -> str:
    """Write a shard and return its name; one that is there already stays. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = [{"kind": kind, **dict(zip(COLUMNS[kind], row, strict=True))} for kind in rows for row in rows[kind]]
    flat.sort(key=lambda row: row["key"])
    name = shard_name(row["key"] for row in flat)
    meta = {"version": VERSION, "dissensus": __version__, **vars(about)}
    schema = _schema().with_metadata({_META: json.dumps(meta, default=str).encode()})
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(flat, schema=schema)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    folder.put(name, sink.getvalue().to_pybytes())
    return name


def read_shard(folder: ShardFolder, name: str) -> Shard:
    """Read a shard whole.

    Raises:
        InputError: it is damaged, of a newer version, or no shard.
    """
    about, table = _read(folder, name, None)
    names = table.column("key").to_pylist()
    if shard_name(names) != name:
        raise InputError(f"{folder.path(name)}: damaged (its keys are not those that it is named by); {_remedy()}")
    rows: dict[str, list[Row]] = {kind: [] for kind in COLUMNS}
    for row in table.to_pylist():
        row["judge"] = about.judge
        columns = COLUMNS.get(row["kind"])
        if columns is None:
            raise InputError(f"{folder.path(name)}: damaged (a row of the kind {row['kind']!r}); {_remedy()}")
        rows[row["kind"]].append(tuple(row[column] for column in columns))
    return Shard(folder.path(name), about, rows)


def read_about(folder: ShardFolder, name: str) -> tuple[About, int]:
    """Read what a shard says of its rows, and how many there are. Raises InputError as `read_shard`."""
    about, table = _read(folder, name, [])
    return about, table.num_rows


def read_keys(folder: ShardFolder, name: str, *, attempts: bool = False) -> Keys:
    """Return the keys of a shard's answers, with ``attempts`` those of all its rows. Raises InputError as above."""
    import pyarrow.compute as pc

    _, table = _read(folder, name, ["key", "kind"])
    if not attempts:
        table = table.filter(pc.not_equal(table.column("kind"), "attempt"))
    return as_keys(table.column("key").to_pylist())


def as_bytes(keys: Keys) -> list[bytes]:
    """Return keys one by one, zeros at their end included, which numpy would leave out."""
    raw = keys.tobytes()
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]


def sorted_keys(keys: Iterable[Keys]) -> Keys:
    """Put arrays of keys into one, sorted: 16 bytes each, and little more on the way."""
    held = bytearray()
    for some in keys:
        held += some.tobytes()
    found: Keys = np.frombuffer(held, dtype="S16")
    found.sort()
    return found


def as_keys(keys: Iterable[bytes]) -> Keys:
    """Put keys into an array of 16 bytes each."""
    return np.frombuffer(b"".join(keys), dtype="S16")


def are_among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Tell which keys are among known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    at = np.searchsorted(known, keys)
    found: NDArray[np.bool_] = known[np.minimum(at, len(known) - 1)] == keys
    return found


def _read(folder: ShardFolder, name: str, columns: list[str] | None) -> tuple[About, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder.path(name)
    try:
        with folder.open(name) as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
            meta = (file.schema_arrow.metadata or {}).get(_META)
            about = None if meta is None else _about(path, json.loads(meta))
            table = file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged, or no Parquet ({reason}); {_remedy()}") from error
    if about is None:
        raise InputError(f"{path}: a Parquet file, but no shard of judgments; name the folder of shards, or move it")
    return about, table


def _about(path: str, meta: Mapping[str, Any]) -> About:
    if int(meta["version"]) > VERSION:
        raise InputError(
            f"{path}: a shard of version {meta['version']}, and this dissensus reads up to version {VERSION}; "
            "upgrade dissensus"
        )
    return About(**{name: meta[name] for name in About.__dataclass_fields__})


def _remedy() -> str:
    return "remove it and run its part again, which makes what is missing"
