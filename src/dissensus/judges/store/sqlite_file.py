"""A store in one file of SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dissensus.errors import InputError, OutputError
from dissensus.files.sqlite import application_of
from dissensus.judges.store.database import Database, is_gone
from dissensus.judges.store.schema import APPLICATION_ID, VERSION, migrate

_LEAST_FREE = 64 * 1024  # what SQLite needs to open a store in WAL mode, and a page or two


class SqliteFile(Database):
    """SQLite in WAL mode: several processes of one machine may add at the same time."""

    error = sqlite3.DatabaseError
    connection: sqlite3.Connection

    def __init__(self, path: Path, *, create: bool) -> None:
        self.place = path
        self._look_at_file(create)
        try:
            # A whole path: SQLite takes "file:x" for an address. The engine writes from a thread of its own; only ever
            # one thread uses the connection at a time.
            whole = os.path.abspath(path)  # noqa: PTH100 (links stay as they are)
            self.connection = sqlite3.connect(whole, timeout=60, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise OutputError(f"{path}: cannot be opened as a store ({error}); does its folder exist?") from error
        try:
            self._prepare()
        except BaseException as error:
            self.connection.close()
            if isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError):
                raise self.explain(error, "cannot be used as a store") from error
            raise

    @classmethod
    def of(cls, path: Path, connection: sqlite3.Connection) -> SqliteFile:
        """Take a connection that somebody else has opened and checked."""
        self = cls.__new__(cls)
        self.place, self.connection = path, connection
        return self

    def begin(self) -> None:
        """Begin a transaction that writes."""
        self.connection.execute("BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """Undo the transaction, where one is open."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read what is there at one moment."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.roll_back()

    def rows(self, query: str, arguments: Sequence[object], *, many: bool) -> Iterator[Any]:
        """Iterate over the rows of a query, as they are read."""
        try:
            # No "yield from": a reader that stops early would close a cursor of a store that is closed by then.
            for row in self.connection.execute(query, arguments):  # noqa: UP028
                yield row
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self.explain(error, "cannot be read") from error

    def insert(self, query: str, rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert row by row."""
        return [self.connection.execute(query, row).fetchone()[0] for row in rows]

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows as they come."""
        marks = ", ".join("?" * len(columns))
        self.connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def explain(self, error: Exception, what: str) -> Exception:
        """Say what SQLite's error means: a full disk, something else outside the file, or a damaged file."""
        if isinstance(error, sqlite3.ProgrammingError):
            return error
        # An error of Python's own has no code: a text, or SQLite's words on one, is no UTF-8 any more.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        # The memory that readers share is a file, too, and where it cannot grow SQLite says no more than "I/O error".
        is_full = code == sqlite3.SQLITE_FULL or (
            code == sqlite3.SQLITE_IOERR and shutil.disk_usage(self._path.parent).free < _LEAST_FREE
        )
        if is_full:
            return OutputError(f"{self.place}: {what}: the disk is full ({error}); free space and run again")
        # SQLITE_ERROR of our own queries: the tables are not what they were.
        if isinstance(error, sqlite3.OperationalError) and code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            return OutputError(f"{self.place}: {what} ({error}); put that right and run again")
        return InputError(
            f"{self.place}: the store is damaged ({error}); it is left as it is. Save what can be read with: "
            f"dissensus judgments recover --store {self.place} --out RECOVERED.db"
        )

    def faults(self) -> Iterator[str]:
        """Have SQLite check its own pages."""
        for (message,) in self.rows("PRAGMA integrity_check", (), many=False):
            if message != "ok":
                yield f"SQLite: {message}"

    def ids_are_taken(self) -> None:
        """Do nothing: SQLite takes the next id from the rows."""

    def hold_run(self, run: int) -> None:
        """Do nothing: the run's row names the process."""

    def release_run(self, run: int) -> None:
        """Do nothing."""

    def is_dead(self, run: int, host: str, process: str) -> bool:
        """Ask the system; of another host nobody here can tell."""
        return is_gone(host, process)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @property
    def _path(self) -> Path:
        assert isinstance(self.place, Path)
        return self.place

    def _look_at_file(self, create: bool) -> None:
        """Raise InputError where there is no file to open, or what is there must not be opened as an empty store."""
        path = self._path
        if str(path) == ":memory:" or path.is_dir():
            raise InputError(
                f"{str(path)!r}: a store of judgments is a file; name one, such as judgments.db, or a postgresql:// URL"
            )
        log = path.with_name(path.name + "-wal")
        has_log = log.is_file() and log.stat().st_size > 0
        # After the log: whoever makes the store at this moment fills the file first.
        is_there = path.is_file()
        is_empty = not is_there or not path.stat().st_size
        if has_log and is_empty:  # SQLite would remove it
            raise InputError(
                f"{path}: {'is empty' if is_there else 'is gone'}, and {log.name} beside it has judgments of it; "
                f"save them with: dissensus judgments recover --store {path} --out RECOVERED.db"
            )
        if not create and not is_there:
            raise InputError(
                f"{path}: no such store of judgments; make one, such as with: dissensus judge committee PAIRS "
                f"--store {path}"
            )
        if not create and is_empty:
            raise InputError(f"{path}: is empty (0 bytes), and so no store of judgments; name another file")

    def _prepare(self) -> None:
        """Check that the file is a store of ours, or make it one; look first, write later."""
        (tables,) = self._look("SELECT COUNT(*) FROM sqlite_master")
        (application,) = self._look("PRAGMA application_id")
        (version,) = self._look("PRAGMA user_version")
        if (tables or application) and application != APPLICATION_ID:
            raise InputError(
                f"{self.place}: an SQLite file, but not a store of judgments; name another file with --store"
            )
        if version > VERSION:
            raise InputError(
                f"{self.place}: a store of version {version}, and this dissensus reads up to version {VERSION}; "
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
            if application_of(self._path) is not None:
                raise
            raise InputError(
                f"{self.place}: not a store of judgments ({error}); name another file with --store"
            ) from error

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
