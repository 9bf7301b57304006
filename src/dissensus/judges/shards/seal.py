"""A store's rows put into shards: at the end, while a run goes on, and back into a store that was lost."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dissensus.cluster.places import ShardFolder
from dissensus.errors import DissensusError
from dissensus.files.source import print_notice
from dissensus.hashing import framed_digest
from dissensus.judges.shards.shard import (
    BLOCK,
    COLUMNS,
    TABLES,
    About,
    Keys,
    Row,
    are_among,
    as_bytes,
    as_keys,
    read_keys,
    read_shard,
    sorted_keys,
    write_shard,
)
from dissensus.judges.store.database import process_name
from dissensus.judges.store.keys import checksum
from dissensus.judges.store.store import JudgmentStore

SECONDS = 60.0
"""Between two looks for whole blocks while a run goes on: what a machine may lose that does not come back."""
_SHARE = 20
"""A look may take one in so many of the seconds."""
_FIRST = 1 << 61
"""Ids of attempts and runs that come from elsewhere begin here: of a hash, so that they come once."""


def settings_in(store: JudgmentStore, judge: str) -> str:
    """Return the settings of a judge as the store keeps them, JSON; empty where it keeps none."""
    return next((text for (text,) in store.rows("SELECT settings FROM judges WHERE name = ?", (judge,))), "")


def rows_in(store: JudgmentStore, judge: str) -> Iterator[tuple[str, Row]]:
    """Stream all of a judge that goes into shards: answers, and attempts that have ended; each kind by key or age."""
    for kind, table in TABLES.items():
        query = f"SELECT {', '.join(COLUMNS[kind])} FROM {table} WHERE judge = ? ORDER BY key"
        for row in store.rows(query, (judge,)):
            yield kind, row
    query = (
        "SELECT attempts.id, pair_id, ask, state, error, prompt_tokens, completion_tokens, estimated, cost, seconds, "
        "host, process, started, ended FROM attempts JOIN runs ON runs.id = attempts.run "
        "WHERE attempts.judge = ? AND state != 'sent' ORDER BY attempts.id"
    )
    for number, *row in store.rows(query, (judge,)):
        *_, host, process, started, _ = row
        yield "attempt", (_attempt_key(judge, host, process, started, number), judge, *row)


def keys_in(store: JudgmentStore, judge: str | None = None) -> Iterator[Keys]:
    """Stream the keys of all answers of a judge, or of all, some thousands at a time."""
    for table in TABLES.values():
        where, arguments = ("", ()) if judge is None else (" WHERE judge = ?", (judge,))
        rows = store.rows(f"SELECT key FROM {table}{where}", arguments)
        while batch := list(itertools.islice(rows, BLOCK)):
            yield as_keys(key for (key,) in batch)


def seal(store: JudgmentStore, folder: ShardFolder, about: Mapping[str, Any], *, whole_blocks: bool = False) -> int:
    """Write into shards what they lack of a store; returns how many rows. Raises OutputError.

    Args:
        store: where the rows are.
        folder: where the shards go.
        about: ``part``, ``pairs`` and ``engine`` of `About`.
        whole_blocks: leave what does not fill a shard for later.
    """
    sealed, count = sorted_keys([read_keys(folder, name, attempts=True) for name in folder.names()]), 0
    for judge in store.judges():
        described = About(judge, settings_in(store, judge), **about)
        fresh = not_among(rows_in(store, judge), sealed)
        while block := list(itertools.islice(fresh, BLOCK)):
            if whole_blocks and len(block) < BLOCK:
                break
            write_shard(folder, described, by_kind(block))
            count += len(block)
    return count


def seal_all(store: JudgmentStore, folder: ShardFolder, about: Mapping[str, Any]) -> None:
    """Write all of a store into shards. Raises OutputError."""
    for judge in store.judges():
        described, rows = About(judge, settings_in(store, judge), **about), rows_in(store, judge)
        while block := list(itertools.islice(rows, BLOCK)):
            write_shard(folder, described, by_kind(block))


def lost_attempt(judge: str, pair_id: str, error: str) -> Row:
    """Make the row of an attempt that nobody lived to tell of."""
    now, host = datetime.now(UTC).isoformat(timespec="seconds"), socket.gethostname()
    key = _attempt_key(judge, host, pair_id, now, 0)
    return (key, judge, pair_id, b"", "failed", error, 0, 0, 0, 0.0, 0.0, host, process_name(os.getpid()), now, now)


def by_kind(block: Sequence[tuple[str, Row]]) -> dict[str, list[Row]]:
    """Put rows of one kind together."""
    return {kind: [row for its, row in block if its == kind] for kind in COLUMNS}


def not_among(rows: Iterator[tuple[str, Row]], sealed: Keys) -> Iterator[tuple[str, Row]]:
    """Leave out the rows whose keys are sealed; these are sorted."""
    while batch := list(itertools.islice(rows, BLOCK)):
        known = are_among(as_keys(row[0] for _, row in batch), sealed)
        yield from (one for one, is_known in zip(batch, known.tolist(), strict=True) if not is_known)


@contextmanager
def sealing(store: Path, folder: ShardFolder, about: Mapping[str, Any], *, seconds: float = SECONDS) -> Iterator[None]:
    """Put a store's rows into shards while a run writes it: whole blocks now and then, and in the end the rest.

    Raises:
        OutputError: in the end, where shards cannot be written; the store has everything.
    """
    ended = threading.Event()

    def look() -> None:
        pause = seconds
        while not ended.wait(pause):
            began = time.monotonic()
            try:
                if store.is_file():
                    with JudgmentStore(store, create=False) as opened:
                        seal(opened, folder, about, whole_blocks=True)
            except DissensusError as error:  # said, and tried again; the run goes on
                print_notice(f"{folder}: {error}")
            pause = max(seconds, _SHARE * (time.monotonic() - began))

    thread = threading.Thread(target=look, name="shards", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if store.is_file():
            with JudgmentStore(store, create=False) as opened:
                seal(opened, folder, about)


def restore(folder: ShardFolder, store: Path) -> int:
    """Put into a store the shards that it lacks answers of, as after its machine is gone; returns how many rows.

    Raises:
        InputError: a shard is damaged.
    """
    count = 0
    if names := folder.names():
        with JudgmentStore(store) as opened:
            for name in names:
                answers = as_bytes(read_keys(folder, name))
                if answers and not opened.missing(answers):
                    continue
                shard = read_shard(folder, name)
                with opened.transaction():
                    note_judge(opened, shard.about)
                    for kind, rows in shard.rows.items():
                        insert(opened, kind, rows)
                        count += len(rows)
    return count


def note_judge(store: JudgmentStore, about: About) -> None:
    """Note a judge's settings where the store has none, within a transaction."""
    if about.settings:
        row = (about.judge, about.settings, checksum(about.judge, about.settings.encode()))
        store.connection.execute("INSERT INTO judges VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)


def insert(store: JudgmentStore, kind: str, rows: list[Row]) -> int:
    """Insert rows of one kind that are not there yet, within a transaction; returns how many answers were new."""
    if kind == "attempt":
        _insert_attempts(store, rows)
        return 0
    columns = COLUMNS[kind]
    query = (
        f"INSERT INTO {TABLES[kind]} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        "ON CONFLICT DO NOTHING"
    )
    return max(0, int(store.connection.executemany(query, rows).rowcount))


def _insert_attempts(store: JudgmentStore, rows: list[Row]) -> None:
    """Insert attempts with their runs, under ids that are hashes: whoever merges again finds them there."""
    runs, attempts = {}, []
    for key, judge, *said, host, process, started, ended in rows:
        run = _hashed(framed_digest("run", judge, host, process, started))
        runs[run] = (run, judge, host, process, started, ended or started)
        attempts.append((int.from_bytes(key[8:], "big"), run, judge, *said))
    store.connection.executemany(
        "INSERT INTO runs (id, judge, host, process, started, ended) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        list(runs.values()),
    )
    store.connection.executemany(
        "INSERT INTO attempts (id, run, judge, pair_id, ask, state, error, prompt_tokens, completion_tokens, "
        f"estimated, cost, seconds) VALUES ({', '.join('?' * 12)}) ON CONFLICT DO NOTHING",
        attempts,
    )


def _attempt_key(judge: str, host: str, process: str, started: str, number: int) -> bytes:
    """Name an attempt: 8 bytes of its run and 8 of a number, which is its id wherever it is merged into."""
    if number < _FIRST:  # of this store's own count
        number = _hashed(framed_digest("attempt", host, process, started, str(number)))
    return framed_digest("run", judge, host, process, started)[:8] + number.to_bytes(8, "big")


def _hashed(digest: bytes) -> int:
    return _FIRST + (int.from_bytes(digest[:8], "big") >> 4)
