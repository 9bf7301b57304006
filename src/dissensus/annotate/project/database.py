"""Databases of projects: an SQLite file that only its owner can read, or PostgreSQL."""

# ruff: noqa: N818 (these are named after what happened)

from __future__ import annotations

import importlib.util
import os
import secrets
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import DataError as UnfitData

from dissensus.errors import InputError, MissingDependencyError, OutputError
from dissensus.files.atomic import atomic_path
from dissensus.files.sqlite import application_of

BUSY_SECONDS = 15
_LOCK = 0x646973736E  # of every writing transaction on PostgreSQL; any fixed number that others do not use
_SQLITE_FULL, _POSTGRES_FULL = 13, "53100"
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_OWNER_ONLY = 0o600


class StorageUnavailable(OutputError):
    """The database cannot be reached, or is locked or broken; nothing of what was asked was done."""


class StorageMoved(StorageUnavailable):
    """The database's file is no longer where it was when it was opened, or is another."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: the database was moved, deleted or replaced while it was open; nothing was saved; put the file "
            "back there, or end the app and start it with the file's new name"
        )
        self.file = path.name


class StorageFull(OutputError):
    """The disk is full; nothing of what was asked was done."""


class Database(ABC):
    """Where a project lives."""

    name: str
    """For messages: never with a password."""
    secret: Path
    """Where the secret of its links and sessions is kept unless somebody says otherwise."""

    def is_there(self) -> bool:
        """Tell whether it may be opened; a server is asked when it is."""
        return True

    @abstractmethod
    def engine(self) -> Engine:
        """Make an engine whose transactions read, or write where the connection's option ``writing`` is set."""

    @contextmanager
    def making(self) -> Iterator[Engine]:
        """Give an engine to make the project with; it is there once the block is left without an error."""
        engine = self.engine()
        try:
            yield engine
        finally:
            engine.dispose()

    def check(self) -> None:  # noqa: B027 (a server looks after its files itself)
        """Raise StorageMoved where it is no longer what it was when it was located."""

    def storage_error(self, error: DBAPIError) -> OutputError:
        """Say what is wrong with it."""
        original: Any = error.orig
        is_full = (getattr(original, "sqlite_errorcode", None) or 0) & 0xFF == _SQLITE_FULL
        if is_full or getattr(original, "sqlstate", None) == _POSTGRES_FULL:
            return StorageFull(f"{self.name}: the disk is full; nothing was saved; free space, then send it again")
        reason = str(original).strip().split("\n", 1)[0]
        return StorageUnavailable(
            f"{self.name}: the database cannot be used now ({reason}); nothing was saved; try again"
        )


class SqliteFile(Database):
    """A file of SQLite. Notices that it was moved, deleted or replaced while it is open: SQLite goes on without it."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.secret = path.with_name(f"{path.name}.secret")
        self._path = path
        self._absolute = path.absolute()
        self._file = self._identity()

    def is_there(self) -> bool:
        """Tell whether the file is one of SQLite."""
        return application_of(self._path) is not None

    def engine(self) -> Engine:
        """Make an engine; a file that is gone is not made anew, as SQLite would by itself."""
        address = f"file:{quote(str(self._absolute))}?mode=rw"
        engine = create_engine(
            URL.create("sqlite", database=str(self._path)),
            creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False),
        )
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def making(self) -> Iterator[Engine]:
        """Make the file beside its name, and give it that when it is whole. Raises InputError where it exists."""
        begun = _make_file(self._path)
        engine = SqliteFile(begun).engine()
        try:
            _write_ahead(engine)
            yield engine
            engine.dispose()  # which brings what was written ahead into the file
            _publish(begun, self._path)
        finally:
            engine.dispose()
            for suffix in ("", "-wal", "-shm", "-journal"):
                begun.with_name(f"{begun.name}{suffix}").unlink(missing_ok=True)

    def check(self) -> None:
        """Raise StorageMoved where the name means another file than at first, or none."""
        if self._identity() != self._file:
            raise StorageMoved(self._absolute)

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._absolute.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class PostgresDatabase(Database):
    """A database of a PostgreSQL server."""

    secret = Path("dissensus-annotate.secret")

    def __init__(self, url: URL) -> None:
        self.name = url.render_as_string(hide_password=True)
        self._url = url

    def engine(self) -> Engine:
        """Make an engine. Plans are not kept: those made while tables were empty read them whole ever after."""
        arguments = {"connect_timeout": BUSY_SECONDS, "prepare_threshold": None}
        engine = create_engine(self._url, pool_pre_ping=True, connect_args=arguments)
        event.listen(engine, "begin", _begin_postgres)
        return engine


def locate(database: str | Path) -> Database:
    """Find where a database is: a path, or a URL of PostgreSQL. Raises InputError for other URLs."""
    text = str(database)
    if text in ("", ":memory:"):
        raise InputError(f"{text!r}: a project is a file; name one, such as annotations.db, or a postgresql:// URL")
    if "://" not in text:
        return SqliteFile(Path(database))
    try:
        url = make_url(text)
    except ArgumentError:
        raise InputError("the database's address cannot be read; expected postgresql://USER@HOST/NAME") from None
    if url.drivername == "sqlite" and url.database:
        return SqliteFile(Path(url.database))
    if url.drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise InputError(f"a database of type {url.drivername} is not supported; give a file or a postgresql:// URL")
    if importlib.util.find_spec("psycopg") is None:
        raise MissingDependencyError("psycopg", extra="postgres", need="an annotation project in PostgreSQL")
    return PostgresDatabase(url.set(drivername="postgresql+psycopg"))


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by us: the driver would begin them late, and deferred
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once when another process wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get("writing"):
        # One writer at a time, as on SQLite: what is counted stays counted until the commit.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _write_ahead(engine: Engine) -> None:
    # Kept in the file: readers go on while somebody writes.
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:  # as the engine tells it: a full disk shows here first
        raise DBAPIError("PRAGMA journal_mode = WAL", None, error) from error
    finally:
        connection.close()


def _make_file(path: Path) -> Path:
    """Make an empty file beside ``path`` that only its owner can read; SQLite gives its journals the same mode.

    Returns its name; `_publish` gives it the other. Raises InputError where ``path`` exists, and OutputError.
    """
    if os.path.lexists(path):
        raise _exists(path)
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY))
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({os.strerror(error.errno or 0)}); check the folder") from error
    return temporary


def _publish(temporary: Path, path: Path) -> None:
    """Give a file that is whole its name, where there is none of that name. Raises InputError and OutputError."""
    try:
        _link(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({os.strerror(error.errno or 0)}); check the folder") from error


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise
    except OSError:  # some file systems have no links
        if os.path.lexists(path):
            raise FileExistsError from None
        temporary.rename(path)


def _exists(path: Path) -> InputError:
    return InputError(f"{path}: there is a file of that name already; choose another name, or remove it")


def read_secret(path: Path) -> bytes:
    """Read an install's secret of 32 bytes, or make it where there is none, mode 0600.

    Raises InputError where others may read the file or it is no secret, OutputError where it cannot be made.
    """
    try:
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.chmod(_OWNER_ONLY)
                temporary.write_bytes(secrets.token_bytes(32))
        secret = path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path}: no secret can be kept there ({os.strerror(error.errno or 0)})") from error
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise InputError(f"{path}: others can read this secret; run chmod 600 on it, or remove it and invite anew")
    if len(secret) != 32:
        raise InputError(f"{path}: expected a secret of 32 bytes, found {len(secret)}; remove it and invite anew")
    return secret


def is_of_one_call(error: Exception) -> bool:
    """Tell a refusal, or a row that does not fit, from a fault of the database that everybody has."""
    return not isinstance(error, DBAPIError) or (
        isinstance(error, (IntegrityError, ProgrammingError, UnfitData)) and not error.connection_invalidated
    )
