"""Databases that a store lives in: what SQLite and PostgreSQL do each in their own way. The queries are the same."""

from __future__ import annotations

import importlib.util
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from dissensus.errors import MissingDependencyError
from dissensus.files.database_url import DatabaseUrl, place_of


class Connection(Protocol):
    """A connection that takes SQL with ``?`` for values, as that of sqlite3."""

    def execute(self, query: str, arguments: Sequence[Any] = ..., /) -> Any:
        """Run a statement; returns a cursor."""

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> Any:
        """Run a statement for each row; returns a cursor, whose ``rowcount`` is over all of them."""


class Database(ABC):
    """A database that is open."""

    place: Path | DatabaseUrl
    """For messages: never with a password."""
    connection: Connection
    error: type[Exception]
    """What the driver raises."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction that writes; no other process writes until it ends."""

    @abstractmethod
    def roll_back(self) -> None:
        """Undo the transaction, where one is open."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Read what is there at one moment, whatever others write meanwhile."""

    @abstractmethod
    def rows(self, query: str, arguments: Sequence[object], *, many: bool) -> Iterator[Any]:
        """Iterate over the rows of a query, of which there may be ``many``; raises as `explain` says."""

    @abstractmethod
    def insert(self, query: str, rows: Sequence[Sequence[Any]]) -> list[int]:
        """Run ``INSERT … RETURNING id`` for each row; returns the ids."""

    @abstractmethod
    def add(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add many rows to a table that has none of them, within a transaction."""

    @abstractmethod
    def explain(self, error: Exception, what: str) -> Exception:
        """Say what an error of the driver means."""

    @abstractmethod
    def faults(self) -> Iterator[str]:
        """Say what the database itself finds wrong, below its rows."""

    @abstractmethod
    def ids_are_taken(self) -> None:
        """Go on behind the ids of rows that were copied."""

    @abstractmethod
    def hold_run(self, run: int) -> None:
        """Show others that this process is at a run, until it ends or `release_run`."""

    @abstractmethod
    def release_run(self, run: int) -> None:
        """Show that no more."""

    @abstractmethod
    def is_dead(self, run: int, host: str, process: str) -> bool:
        """Tell whether the process of a run is known to be gone."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""


def open_database(place: str | Path | DatabaseUrl, *, create: bool) -> Database:
    """Open the database of a store: a file of SQLite, or PostgreSQL by its URL.

    Raises:
        InputError: there is none, or it is no store.
        OutputError: it cannot be made or reached.
        MissingDependencyError: the driver of PostgreSQL is not installed.
    """
    found = place_of(place)
    if isinstance(found, DatabaseUrl):
        return open_postgres(found, create=create)
    from dissensus.judges.store.sqlite_file import SqliteFile

    return SqliteFile(found, create=create)


def open_postgres(url: DatabaseUrl, *, create: bool, read_only: bool = False) -> Database:
    """Open a store in PostgreSQL. Raises as `open_database`."""
    missing = MissingDependencyError("psycopg", extra="postgres", need="a store of judgments in PostgreSQL")
    if importlib.util.find_spec("psycopg") is None:
        raise missing
    try:
        from dissensus.judges.store.postgres import PostgresServer
    except ImportError as error:  # the driver is there, without the library that it wraps
        raise missing from error
    return PostgresServer(url, create=create, read_only=read_only)


def is_gone(host: str, process: str) -> bool:
    """Tell whether a process ran on this host and does no more."""
    return host == socket.gethostname() and process_name(int(process.split(":")[0])) != process


def process_name(pid: int) -> str:
    """Name a process by its number and, where the system tells, its start: numbers are given out again. "" if dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # another user's
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{pid}:"
    return f"{pid}:{stat.rpartition(')')[2].split()[19]}"
