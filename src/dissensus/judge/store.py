"""Judgments on disk: one SQLite file that several processes can write at once and that survives being killed."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dissensus.errors import InputError, OutputError
from dissensus.records import Judgment, Order, Pair, content_id

_APPLICATION_ID = 0x64697373  # "diss"
_VERSION = 1
_SCHEMA = """
CREATE TABLE judgments (
    key BLOB PRIMARY KEY,
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    content TEXT NOT NULL,
    sample INTEGER NOT NULL,
    shown TEXT NOT NULL,
    choice TEXT,
    probability_a REAL,
    reply TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX judgments_by_pair ON judgments (judge, pair_id, sample, shown);
"""
_COLUMNS = "pair_id, judge, sample, shown, choice, probability_a, reply"


def judgment_key(judge: str, pair: Pair, sample: int, order: Order) -> bytes:
    """Name a judgment by what decides it: 16 bytes over judge, pair (id and texts), sample and order shown.

    Where the row stands in a file plays no part; a pair whose text has changed is a new question.
    """
    parts = (judge, pair.id, _content(pair), str(sample), order)
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class JudgmentStore:
    """A file of judgments, each kept once.

    SQLite in WAL mode: several processes may add at the same time, every batch is one transaction, and a process that
    is killed leaves whole batches behind. Not for network file systems. Use it in a ``with`` block.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Open the store at ``path``; make it first where there is none and ``create`` is true.

        Raises:
            InputError: the file is missing (with ``create=False``), is no store of judgments or comes from a newer
                version; it is left as it was.
            OutputError: the file cannot be made.
        """
        self.path = Path(path)
        if not create and not self.path.is_file():
            raise InputError(f"{path}: no such store of judgments; make one with: dissensus judge PAIRS --store {path}")
        try:
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be opened as a store ({error}); does its folder exist?") from error
        try:
            self._prepare()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise OutputError(f"{path}: cannot be used as a store ({error}); mend that and run again") from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, judgments: Iterable[Judgment], pairs: Mapping[str, Pair]) -> int:
        """Add judgments in one transaction and return how many were new; ``pairs`` maps their pair ids to the pairs.

        Raises:
            OutputError: the disk is full or the file cannot be written; the batch is not there in part.
        """
        rows = [_row(judgment, pairs[judgment.pair_id]) for judgment in judgments]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            before = self._connection.total_changes
            self._connection.executemany("INSERT OR IGNORE INTO judgments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            new = self._connection.total_changes - before
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise OutputError(f"{self.path}: judgments cannot be written ({error}); mend that and run again") from error
        return new

    def missing(self, keys: Collection[bytes]) -> set[bytes]:
        """Return those of ``keys`` (see `judgment_key`) that have no judgment."""
        found: set[bytes] = set()
        for batch in _chunks(keys, 500):
            marks = ", ".join("?" * len(batch))
            query = f"SELECT key FROM judgments WHERE key IN ({marks})"
            found.update(row[0] for row in self._connection.execute(query, batch))
        return set(keys) - found

    def judgments(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | None = None, n: int | None = None
    ) -> Iterator[Judgment]:
        """Iterate over judgments by judge, pair and sample.

        Args:
            judge: the full name of a judge; every judge's by default.
            pairs: only judgments of these pairs as they read now, not of an earlier text under the same id.
            n: only the first ``n`` samples of each pair.
        """
        contents = None if pairs is None else {pair.id: _content(pair) for pair in pairs}
        query = f"SELECT content, {_COLUMNS} FROM judgments WHERE sample < ?"
        arguments: list[object] = [n if n is not None else 2**62]
        if judge is not None:
            query += " AND judge = ?"
            arguments.append(judge)
        for content, *row in self._connection.execute(f"{query} ORDER BY judge, pair_id, sample, shown", arguments):
            if contents is None or contents.get(row[0]) == content:
                yield _judgment(row)

    def judges(self) -> dict[str, int]:
        """Count the judgments of each judge."""
        return dict(self._connection.execute("SELECT judge, COUNT(*) FROM judgments GROUP BY judge ORDER BY judge"))

    def _prepare(self) -> None:
        """Check that the file is a store of ours, or make it one; look first, write later."""
        try:
            (tables,) = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:  # locked, unreadable: says nothing of what the file is
            raise
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path}: not a store of judgments ({error}); name another file with --store"
            ) from error
        if (tables or application) and application != _APPLICATION_ID:
            raise InputError(
                f"{self.path}: an SQLite file, but not a store of judgments; name another file with --store"
            )
        if version > _VERSION:
            raise InputError(
                f"{self.path}: a store of version {version}, and this dissensus reads up to version {_VERSION}; "
                "upgrade dissensus, or name another file with --store"
            )
        self._use_wal()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            self._create()

    def _use_wal(self) -> None:
        """Switch to WAL mode; SQLite does not wait where another process is switching, so wait here."""
        for attempt in range(50):
            try:
                if self._connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
                    return
            except sqlite3.OperationalError:
                if attempt == 49:
                    raise
            time.sleep(0.02)

    def _create(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        # Another process may have been first.
        if not self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA.split(";")[:-1]:
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        self._connection.execute("COMMIT")


def _content(pair: Pair) -> str:
    return content_id(pair.prompt, pair.response_a, pair.response_b)


def _row(judgment: Judgment, pair: Pair) -> tuple[object, ...]:
    return (
        judgment_key(judgment.judge, pair, judgment.sample, judgment.order),
        judgment.judge,
        pair.id,
        _content(pair),
        judgment.sample,
        judgment.order,
        judgment.choice,
        judgment.probability_a,
        judgment.reply,
    )


def _judgment(row: list[object]) -> Judgment:
    names = ("pair_id", "judge", "sample", "order", "choice", "probability_a", "reply")
    return Judgment.model_validate(dict(zip(names, row, strict=True)))


def _chunks(keys: Collection[bytes], size: int) -> Iterator[list[bytes]]:
    remaining = iter(keys)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk
