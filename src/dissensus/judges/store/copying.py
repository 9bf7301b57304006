"""All rows of a store into another one, from SQLite to PostgreSQL or back, with nothing lost on the way."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dissensus.errors import InputError, OutputError
from dissensus.files.atomic import atomic_path
from dissensus.files.database_url import StorePlace
from dissensus.judges.store.schema import COLUMNS
from dissensus.judges.store.store import JudgmentStore


def copy(source: JudgmentStore, place: StorePlace) -> dict[str, int]:
    """Copy a store as it is at one moment; returns the rows of each table.

    Judgments, choice distributions, judges, runs and attempts are copied, ids and checksums included, then read back
    from both and compared. The copy is there when it is whole, or not at all.

    Raises:
        InputError: a row cannot be copied, or is not in the copy as it was.
        OutputError: ``place`` is a file that exists or a store that has rows, or cannot be written.
    """
    if not isinstance(place, Path):
        with JudgmentStore(place) as target:
            return _fill(source, target)
    if place.exists():
        raise OutputError(f"{place}: exists already; name a new file")
    with atomic_path(place) as temporary, JudgmentStore(temporary) as target:
        # It is copied anew if it is lost: one sync in the end will do.
        target.connection.execute("PRAGMA journal_mode = MEMORY")
        target.connection.execute("PRAGMA synchronous = OFF")
        return _fill(source, target)


def _fill(source: JudgmentStore, target: JudgmentStore) -> dict[str, int]:
    with source.database.snapshot(), target.transaction():
        for table in COLUMNS:
            if any(target.rows(f"SELECT 1 FROM {table} LIMIT 1")):
                raise OutputError(f"{target.path}: has {table} already; name a new store")
        for table in COLUMNS:
            target.database.add(table, COLUMNS[table], source.rows(_query(table), many=True))
        target.database.ids_are_taken()
        counts = {}
        for table in COLUMNS:
            counts[table], digest = _digest(source, table)
            if (counts[table], digest) != _digest(target, table):
                raise InputError(
                    f"{source.path}: a row of {table} cannot be copied as it is; find it with: dissensus judgments "
                    f"verify --store {source.path}"
                )
    return counts


def _query(table: str) -> str:
    columns = COLUMNS[table]
    return f"SELECT {', '.join(columns)} FROM {table} ORDER BY {columns[0]}"


def _digest(store: JudgmentStore, table: str) -> tuple[int, bytes]:
    """Count the rows of a table, and hash every value with its type."""
    count, digest = 0, hashlib.sha256()
    for row in store.rows(_query(table), many=True):
        count += 1
        digest.update(repr(tuple(row)).encode())
    return count, digest.digest()
