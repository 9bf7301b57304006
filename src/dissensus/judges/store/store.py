"""Judgments on disk: one SQLite file that several processes can write at once and that survives being killed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dissensus.errors import InputError, OutputError
from dissensus.files.sqlite import application_of
from dissensus.hashing import digest_of, framed_digest
from dissensus.judges.base import JsonObject
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.store.keys import checksum, content_of, judgment_checksum
from dissensus.judges.store.schema import APPLICATION_ID, VERSION, migrate
from dissensus.records import Judgment, Order, Pair

_LEAST_FREE = 64 * 1024  # what SQLite needs to open a store in WAL mode, and a page or two
_COLUMNS = "pair_id, judge, sample, shown, choice, probability_a, reply, persona"


@dataclass(frozen=True)
class StoredDistribution:
    """A choice distribution with what it is of."""

    pair_id: str
    judge: str
    content: str
    order: Order
    persona: str
    distribution: ChoiceDistribution


class JudgmentStore:
    """A file of judgments, each kept once.

    SQLite in WAL mode: several processes may add at the same time, every batch is one transaction that is on disk when
    it returns, and a process that is killed leaves whole batches behind. Not for network file systems. Use it in a
    ``with`` block.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Open the store at ``path``; make it first where there is none and ``create`` is true.

        A store of an older version is brought up to date, in one transaction.

        Raises:
            InputError: the file is missing (with ``create=False``), is no store of judgments, is damaged or comes from
                a newer version; it is left as it was.
            OutputError: the file cannot be made.
        """
        self.path = Path(path)
        self._look_at_file(create)
        try:
            # A whole path: SQLite takes "file:x" for an address. The engine writes from a thread of its own; only ever
            # one thread uses the connection at a time.
            place = os.path.abspath(self.path)  # noqa: PTH100 (links stay as they are)
            self.connection = sqlite3.connect(place, timeout=60, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be opened as a store ({error}); does its folder exist?") from error
        try:
            self._prepare()
        except BaseException as error:
            self.connection.close()
            if isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError):
                raise self._explain(error, "cannot be used as a store") from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing.

        Raises:
            InputError: the file is damaged.
            OutputError: the disk is full or the file cannot be written; nothing of the block is there.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.DatabaseError):
                raise self._explain(error, "judgments cannot be written") from error
            raise

    def add(self, judgments: Iterable[Judgment], pairs: Mapping[str, Pair]) -> int:
        """Add judgments in one transaction and return how many were new; ``pairs`` maps their pair ids to the pairs.

        Raises:
            OutputError: the disk is full or the file cannot be written; the batch is not there in part.
        """
        contents = {pair_id: content_of(pair) for pair_id, pair in pairs.items()}
        rows = []
        for j in judgments:
            content = contents[j.pair_id]
            rows.append((framed_digest(j.judge, j.pair_id, content, str(j.sample), j.order), content, j))
        with self.transaction():
            return self.insert(rows)

    def insert(self, rows: Iterable[tuple[bytes, str, Judgment]]) -> int:
        """Insert (key, content, judgment) rows that are not there yet, within a transaction; returns how many."""
        before = self.connection.total_changes
        self.connection.executemany(
            "INSERT OR IGNORE INTO judgments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_row(key, content, judgment) for key, content, judgment in rows],
        )
        return self.connection.total_changes - before

    def insert_distributions(self, rows: Iterable[tuple[bytes, StoredDistribution]]) -> None:
        """Insert (key, choice distribution) rows that are not there yet, within a transaction."""
        self.connection.executemany(
            "INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (key, r.judge, r.pair_id, r.content, r.order, r.persona, blob, checksum(r.pair_id, blob))
                for key, r in rows
                for blob in (r.distribution.to_bytes(),)
            ],
        )

    def missing(self, keys: Collection[bytes]) -> set[bytes]:
        """Return those of ``keys`` (see `judgment_key`, `content_key`) that nothing is there of."""
        found: set[bytes] = set()
        remaining = iter(keys)
        while batch := list(itertools.islice(remaining, 500)):
            marks = ", ".join("?" * len(batch))
            for table in ("judgments", "readings"):
                found.update(key for (key,) in self.rows(f"SELECT key FROM {table} WHERE key IN ({marks})", batch))
        return set(keys) - found

    def judgments(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | None = None, n: int | None = None
    ) -> Iterator[Judgment]:
        """Iterate over judgments by judge, pair and sample.

        Args:
            judge: the full name of a judge; every judge's by default.
            pairs: only judgments of these pairs as they read now, not of an earlier text under the same id. What a
                judge that sees texts alone said of a text holds for every pair that has it.
            n: only the first ``n`` samples of each pair.
        """
        wanted = None if pairs is None else _Wanted(pairs, self._text_judges())
        query = f"SELECT content, {_COLUMNS} FROM judgments WHERE sample < ?"
        arguments: list[object] = [n if n is not None else 2**62]
        if judge is not None:
            query += " AND judge = ?"
            arguments.append(judge)
        for content, *row in self.rows(f"{query} ORDER BY judge, pair_id, sample, shown", arguments):
            judgment = judgment_of(row)
            for pair_id in wanted.ids(judgment.judge, judgment.pair_id, content) if wanted else (judgment.pair_id,):
                yield judgment if pair_id == judgment.pair_id else judgment.model_copy(update={"pair_id": pair_id})

    def distributions(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | None = None
    ) -> Iterator[StoredDistribution]:
        """Iterate over choice distributions by judge and pair; ``pairs`` as for `judgments`.

        Raises:
            InputError: a choice distribution is damaged.
        """
        wanted = None if pairs is None else _Wanted(pairs, self._text_judges())
        query = "SELECT pair_id, judge, content, shown, persona, reading FROM readings"
        if judge is not None:
            query += " WHERE judge = ?"
        arguments = () if judge is None else (judge,)
        query += " ORDER BY judge, pair_id, content, persona, shown"
        for pair_id, name, content, order, persona, blob in self.rows(query, arguments):
            try:
                distribution = ChoiceDistribution.from_bytes(blob)
            except ValueError as error:
                raise InputError(
                    f"{self.path}: the choice distribution {pair_id} is damaged ({error}); "
                    f"find out more with: dissensus judgments verify --store {self.path}"
                ) from error
            for asked in wanted.ids(name, pair_id, content) if wanted else (pair_id,):
                yield StoredDistribution(asked, name, content, order, persona, distribution)

    def judges(self) -> dict[str, int]:
        """Count the judgments and choice distributions of each judge."""
        return dict(
            self.rows(
                "SELECT judge, SUM(n) FROM (SELECT judge, COUNT(*) AS n FROM judgments GROUP BY judge "
                "UNION ALL SELECT judge, COUNT(*) FROM readings GROUP BY judge) GROUP BY judge ORDER BY judge"
            )
        )

    def has_verdict(self, judge: str) -> bool:
        """Whether there is a verdict of a judge: a judgment with a choice, or a choice distribution."""
        queries = (
            "SELECT 1 FROM judgments WHERE judge = ? AND choice IS NOT NULL LIMIT 1",
            "SELECT 1 FROM readings WHERE judge = ? LIMIT 1",
        )
        return any(any(self.rows(query, (judge,))) for query in queries)

    def digest(self, judge: str) -> str:
        """Hash the keys of all that the store has of a judge; 16 hex digits."""
        query = "SELECT key FROM {} WHERE judge = ? ORDER BY key"
        tables = ("judgments", "readings")
        return digest_of((key for table in tables for (key,) in self.rows(query.format(table), (judge,))), size=8)

    def settings(self, judge: str) -> JsonObject:
        """Return what a judge was registered with; empty for one that never was."""
        for (settings,) in self.rows("SELECT settings FROM judges WHERE name = ?", (judge,)):
            return dict(json.loads(settings))
        return {}

    def register(self, judge: str, settings: Mapping[str, Any]) -> None:
        """Note a judge's settings; the last ones count."""
        text = json.dumps(dict(settings))
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO judges VALUES (?, ?, ?)", (judge, text, checksum(judge, text.encode()))
            )

    def rows(self, query: str, arguments: Sequence[object] = ()) -> Iterator[Any]:
        """Iterate over the rows of a query.

        Raises:
            InputError: the file is damaged.
            OutputError: it is locked, or the disk is full.
        """
        try:
            # No "yield from": a reader that stops early would close a cursor of a store that is closed by then.
            for row in self.connection.execute(query, arguments):  # noqa: UP028
                yield row
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._explain(error, "cannot be read") from error

    def _text_judges(self) -> set[str]:
        """The judges that see texts alone."""
        rows = self.rows("SELECT name, settings FROM judges")
        return {name for name, settings in rows if json.loads(settings).get("by_content")}

    def _look_at_file(self, create: bool) -> None:
        """Raise InputError where there is no file to open, or what is there must not be opened as an empty store."""
        if str(self.path) == ":memory:" or self.path.is_dir():
            raise InputError(f"{str(self.path)!r}: a store of judgments is a file; name one, such as judgments.db")
        log = self.path.with_name(self.path.name + "-wal")
        has_log = log.is_file() and log.stat().st_size > 0
        # After the log: whoever makes the store at this moment fills the file first.
        is_there = self.path.is_file()
        is_empty = not is_there or not self.path.stat().st_size
        if has_log and is_empty:  # SQLite would remove it
            raise InputError(
                f"{self.path}: {'is empty' if is_there else 'is gone'}, and {log.name} beside it has judgments of it; "
                f"save them with: dissensus judgments recover --store {self.path} --out RECOVERED.db"
            )
        if not create and not is_there:
            raise InputError(
                f"{self.path}: no such store of judgments; make one, such as with: dissensus judge committee PAIRS "
                f"--store {self.path}"
            )
        if not create and is_empty:
            raise InputError(f"{self.path}: is empty (0 bytes), and so no store of judgments; name another file")

    def _prepare(self) -> None:
        """Check that the file is a store of ours, or make it one; look first, write later."""
        (tables,) = self._look("SELECT COUNT(*) FROM sqlite_master")
        (application,) = self._look("PRAGMA application_id")
        (version,) = self._look("PRAGMA user_version")
        if (tables or application) and application != APPLICATION_ID:
            raise InputError(
                f"{self.path}: an SQLite file, but not a store of judgments; name another file with --store"
            )
        if version > VERSION:
            raise InputError(
                f"{self.path}: a store of version {version}, and this dissensus reads up to version {VERSION}; "
                "upgrade dissensus, or name another file with --store"
            )
        self._use_wal()
        # A commit is on disk when it returns: answers were paid for.
        self.connection.execute("PRAGMA synchronous = FULL")
        if version < VERSION:
            migrate(self.connection)

    def _look(self, query: str) -> Any:
        try:
            return self.connection.execute(query).fetchone()
        except sqlite3.OperationalError:  # locked, unreadable: says nothing of what the file is
            raise
        except sqlite3.DatabaseError as error:
            if application_of(self.path) is not None:
                raise
            raise InputError(
                f"{self.path}: not a store of judgments ({error}); name another file with --store"
            ) from error

    def _explain(self, error: sqlite3.DatabaseError | UnicodeDecodeError, what: str) -> Exception:
        """Say what SQLite's error means: a full disk, something else outside the file, or a damaged file."""
        if isinstance(error, sqlite3.ProgrammingError):
            return error
        # An error of Python's own has no code: a text, or SQLite's words on one, is no UTF-8 any more.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        # The memory that readers share is a file, too, and where it cannot grow SQLite says no more than "I/O error".
        is_full = code == sqlite3.SQLITE_FULL or (
            code == sqlite3.SQLITE_IOERR and shutil.disk_usage(self.path.parent).free < _LEAST_FREE
        )
        if is_full:
            return OutputError(f"{self.path}: {what}: the disk is full ({error}); free space and run again")
        # SQLITE_ERROR of our own queries: the tables are not what they were.
        if isinstance(error, sqlite3.OperationalError) and code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            return OutputError(f"{self.path}: {what} ({error}); put that right and run again")
        return InputError(
            f"{self.path}: the store is damaged ({error}); it is left as it is. Save what can be read with: "
            f"dissensus judgments recover --store {self.path} --out RECOVERED.db"
        )

    def _use_wal(self) -> None:
        """Switch to WAL mode; SQLite does not wait where another process is switching, so wait here."""
        for attempt in range(50):
            try:
                if self.connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
                    return
            except sqlite3.OperationalError:
                if attempt == 49:
                    raise
            time.sleep(0.02)


class _Wanted:
    """Which of the pairs asked for an answer is about."""

    def __init__(self, pairs: Iterable[Pair], text_judges: set[str]) -> None:
        self._text_judges = text_judges
        self._content: dict[str, str] = {pair.id: content_of(pair) for pair in pairs}
        self._ids: dict[str, list[str]] = {}
        for pair_id, content in self._content.items():
            self._ids.setdefault(content, []).append(pair_id)

    def ids(self, judge: str, pair_id: str, content: str) -> Iterable[str]:
        if judge in self._text_judges:
            return self._ids.get(content, ())
        return (pair_id,) if self._content.get(pair_id) == content else ()


def _row(key: bytes, content: str, j: Judgment) -> tuple[object, ...]:
    # A reply may hold half of a surrogate pair, which UTF-8 cannot.
    reply = j.reply if j.reply.isascii() else j.reply.encode("utf-8", "replace").decode()
    said = judgment_checksum(j.pair_id, j.choice, j.probability_a, j.persona, reply)
    return key, j.judge, j.pair_id, content, j.sample, j.order, j.choice, j.probability_a, reply, j.persona, said


def judgment_of(row: Sequence[object]) -> Judgment:
    """Make the judgment that the columns `_COLUMNS` of a row hold."""
    names = ("pair_id", "judge", "sample", "order", "choice", "probability_a", "reply", "persona")
    return Judgment.model_validate(dict(zip(names, row, strict=True)))
