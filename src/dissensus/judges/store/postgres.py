"""A store in a schema of a PostgreSQL database, for judges on several machines."""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.conninfo import make_conninfo
from psycopg.types.string import StrDumperUnknown, TextLoader

from dissensus.errors import InputError, OutputError
from dissensus.files.database_url import DatabaseUrl
from dissensus.judges.store.database import Database, is_gone
from dissensus.judges.store.schema import POSTGRES_TABLES, VERSION

_CONNECT_SECONDS = 15
_BUSY_SECONDS = 60
_GONE_SECONDS = 1.0
"""How long the server may take to see that a process was killed."""
_AT_ONCE = 2000
"""Rows that are held at a time where there may be many."""
_ALIVE = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 4}
"""Seconds, seconds and probes after which a machine that says nothing is gone: sooner than others stop waiting."""
_SILENT_MS = 40_000
"""The same where it owes an answer."""
_SESSION = (
    f"SET lock_timeout = '{_BUSY_SECONDS}s'",
    *(f"SET tcp_{name} = {value}" for name, value in _ALIVE.items()),
    f"SET tcp_user_timeout = {_SILENT_MS}",
    # A commit is on disk when it returns: answers were paid for.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)
_MARK, _MARKED, _ZERO = "\ufdd0", "\ufdd01", "\ufdd00"
"""PostgreSQL's texts cannot hold a zero character; Unicode keeps this one for such uses, and it is no text itself."""
_NO_TABLES = ("42P01", "42703")


class _Dumper(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        if "\0" in obj or _MARK in obj:
            obj = obj.replace(_MARK, _MARKED).replace("\0", _ZERO)
        return obj.encode()


class _Loader(TextLoader):
    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        return text.replace(_ZERO, "\0").replace(_MARKED, _MARK) if _MARK in text else text


class _Connection:
    """A connection of psycopg that takes ``?`` for values."""

    def __init__(self, inner: psycopg.Connection[Any]) -> None:
        self.inner = inner

    def execute(self, query: str, arguments: Sequence[Any] = (), /) -> Any:
        """Run a statement; returns a cursor."""
        return self.inner.execute(_translated(query) if arguments else query.encode(), arguments or None)

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /, *, returning: bool = False) -> Any:
        """Run a statement for each row, all of them sent at once; returns a cursor."""
        cursor = self.inner.cursor()
        if rows := list(rows):  # without any, the server would be asked all the same
            cursor.executemany(_translated(query), rows, returning=returning)
        return cursor


@lru_cache(maxsize=200)
def _translated(query: str) -> bytes:
    return query.replace("%", "%%").replace("?", "%s").encode()


class PostgresServer(Database):
    """PostgreSQL: processes of several machines may add at the same time, one transaction after the other.

    A run is held by a lock of the session, so whoever is connected sees when its process is gone, wherever that ran.
    """

    error = psycopg.Error

    def __init__(self, url: DatabaseUrl, *, create: bool, read_only: bool = False) -> None:
        self.place = url
        self._inner = _connect(url)
        self.connection = self._inner_as_ours = _Connection(self._inner)
        self._cursors = itertools.count(1)
        self._left: list[str] = []
        """Cursors to close: a generator that is given up may end at a moment when the connection is in use."""
        try:
            self.connection.execute("; ".join(_SESSION))
            if read_only:
                self.connection.execute("SET default_transaction_read_only = on")
            self._schema = self._find_schema(url.schema, create=create and not read_only)
            self._prepare(create=create)
        except BaseException as error:
            self.close()
            if isinstance(error, psycopg.Error):
                raise self.explain(error, "cannot be used as a store") from error
            raise

    def begin(self) -> None:
        """Begin a transaction that writes: one at a time, as on SQLite. What is counted stays counted until it ends."""
        self._close_left()
        self.connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({self._lock}, 0)")

    def roll_back(self) -> None:
        """Undo the transaction, where one is open; a server that is gone has."""
        with suppress(psycopg.Error):
            if self._inner.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read what is there at one moment."""
        self._close_left()
        self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            self.roll_back()

    def rows(self, query: str, arguments: Sequence[object], *, many: bool) -> Iterator[Any]:
        """Iterate over the rows of a query: all at once, or through a cursor, which outlives transactions."""
        try:
            if not many:
                yield from self.connection.execute(query, arguments).fetchall()
                return
            self._close_left()
            name = f"rows_{next(self._cursors)}"
            self.connection.execute(f"DECLARE {name} NO SCROLL CURSOR WITH HOLD FOR {query}", arguments)
            try:
                while rows := self.connection.execute(f"FETCH {_AT_ONCE} FROM {name}").fetchall():
                    yield from rows
            finally:
                self._left.append(name)
            self._close_left()
        except psycopg.Error as error:
            raise self.explain(error, "cannot be read") from error

    def insert(self, query: str, rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert rows, all of them sent at once."""
        if not rows:
            return []
        cursor = self._inner_as_ours.executemany(query, rows, returning=True)
        return [result.fetchone()[0] for result in cursor.results()]

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows as they come, in one COPY."""
        with self._inner.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def explain(self, error: Exception, what: str) -> Exception:
        """Say what an error of the server or the driver means."""
        code, reason = getattr(error, "sqlstate", None) or "", _first_line(error)
        if self._inner.broken or code.startswith(("57P", "08")):
            return OutputError(
                f"{self.place}: the connection to the server was lost ({reason}); what it had said was kept is kept; "
                "run again"
            )
        if code == "42501":
            return OutputError(
                f"{self.place}: {what}: the role has no right to do that ({reason}); ask for the right, or name a "
                "schema of your own with ?schema="
            )
        if code in ("53100", "53200"):
            return OutputError(f"{self.place}: {what}: the server's disk is full ({reason}); free space and run again")
        if code == "55P03":
            return OutputError(
                f"{self.place}: {what}: another process has been writing for {_BUSY_SECONDS} s; end it, or run again"
            )
        if code.startswith("22"):
            return InputError(f"{self.place}: {what}: a value does not fit its column ({reason})")
        if code in _NO_TABLES:
            return InputError(f"{self.place}: its tables are not those of a store of judgments ({reason})")
        if isinstance(error, psycopg.ProgrammingError):
            return error  # of ours
        return OutputError(f"{self.place}: {what} ({reason}); put that right and run again")

    def faults(self) -> Iterator[str]:
        """Say nothing: a server looks after its own pages."""
        return iter(())

    def ids_are_taken(self) -> None:
        """Set the sequences of the tables with ids."""
        for table in ("runs", "attempts"):
            self.connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), MAX(id)) FROM {table} HAVING MAX(id) > 0"
            )

    def hold_run(self, run: int) -> None:
        """Take the run's lock for as long as this session is there."""
        self.connection.execute(f"SELECT pg_advisory_lock({self._lock}, {_int4(run)})")

    def release_run(self, run: int) -> None:
        """Give the run's lock back."""
        self.connection.execute(f"SELECT pg_advisory_unlock({self._lock}, {_int4(run)})")

    def is_dead(self, run: int, host: str, process: str) -> bool:
        """Ask whether any session has the run's lock; one whose process was killed on this host ends at any moment."""
        end = time.monotonic() + _GONE_SECONDS
        while self._is_held(run):
            if not is_gone(host, process) or time.monotonic() > end:  # another machine may be called as this one
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """End the session."""
        self._inner.close()

    def _is_held(self, run: int) -> bool:
        # Looked up, not tried: behind a pooler the session of another process may be this one.
        query = (
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND "
            "classid = ?::bigint::oid AND objid = ?::bigint::oid AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        numbers = [number % 2**32 for number in (self._lock, _int4(run))]
        return self.connection.execute(query, numbers).fetchone() is not None

    @property
    def _lock(self) -> int:
        """The number of the store's locks, apart from those of other schemas and programs."""
        return _int4(zlib.crc32(f"dissensus judgments {self._schema}".encode()))

    def _close_left(self) -> None:
        while self._left:
            with suppress(psycopg.errors.InvalidCursorName):
                self.connection.execute(f"CLOSE {self._left.pop()}")

    def _find_schema(self, named: str | None, *, create: bool) -> str:
        """Find the schema that the store is in, make it where it is named and may be made, and use no other."""
        if named is None:
            (found,) = self.connection.execute("SELECT current_schema()").fetchone()
            if found is None:
                raise InputError(f"{self.place}: no schema to keep a store in; name one with ?schema=")
            named = str(found)
        elif not self.connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (named,)).fetchone():
            if not create:
                raise InputError(f"{self.place}: there is no schema {named!r}; check the name")
            with suppress(psycopg.errors.UniqueViolation):  # another process has made it at this moment
                self._inner.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(named)))
        self._inner.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(named)))
        return named

    def _prepare(self, *, create: bool) -> None:
        """Check that the schema has a store of ours, or make it one."""
        if (version := self._version()) is None:
            if not create:
                raise InputError(
                    f"{self.place}: no such store of judgments; make one, such as with: dissensus judge committee "
                    f"PAIRS --store '{self.place}'"
                )
            version = self._make()
        if version > VERSION:
            raise InputError(
                f"{self.place}: a store of version {version}, and this dissensus reads up to version {VERSION}; "
                "upgrade dissensus, or name another store with --store"
            )

    def _version(self) -> int | None:
        query = "SELECT to_regclass(format('%I.judgment_store', current_schema()))"
        if self.connection.execute(query).fetchone() == (None,):
            return None
        row = self.connection.execute("SELECT version FROM judgment_store").fetchone()
        return None if row is None else int(row[0])

    def _make(self) -> int:
        """Make the tables in one transaction; another process may do the same, and comes second."""
        if (encoding := self._inner.info.parameter_status("server_encoding")) != "UTF8":
            raise InputError(
                f"{self.place}: the database is encoded as {encoding}; expected UTF8, as made with: createdb "
                "--template template0 --encoding UTF8 NAME"
            )
        self.begin()
        try:
            if (version := self._version()) is None:
                self.connection.execute(POSTGRES_TABLES)
                self.connection.execute("INSERT INTO judgment_store VALUES (1, ?)", (VERSION,))
                version = VERSION
            self.connection.execute("COMMIT")
        except psycopg.errors.DuplicateTable as error:
            raise InputError(
                f"{self.place}: schema {self._schema!r} has other tables of these names ({_first_line(error)}); name "
                "another with ?schema="
            ) from error
        return version


def _connect(url: DatabaseUrl) -> psycopg.Connection[Any]:
    """Connect. Raises InputError where the address is wrong, OutputError where the server cannot be reached."""
    try:
        usual: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "application_name": "dissensus", **_ALIVE}
        usual["tcp_user_timeout"] = _SILENT_MS
        conninfo = make_conninfo("", **{**usual, **url.options, "client_encoding": "utf8"})
    except psycopg.ProgrammingError:
        raise InputError(
            f"{url}: has an option that PostgreSQL does not know; expected ?schema= or one of libpq's"
        ) from None
    try:
        # Plans are not kept: those made while tables were empty read them whole ever after.
        connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise _no_connection(url, _first_line(error)) from None  # its arguments may have the password
    connection.adapters.register_dumper(str, _Dumper)
    connection.adapters.register_loader("text", _Loader)
    return cast("psycopg.Connection[Any]", connection)


def _no_connection(url: DatabaseUrl, reason: str) -> InputError | OutputError:
    # The protocol gives no code for these, and servers of other languages other words.
    if "password authentication failed" in reason or "no password supplied" in reason:
        return InputError(
            f"{url}: the password is wrong or missing; give it in PGPASSWORD or ~/.pgpass, or as "
            "postgresql://USER:PASSWORD@HOST/NAME"
        )
    name = url.options.get("dbname") or os.environ.get("PGDATABASE") or ""
    if "database" in reason and reason.endswith("does not exist"):
        return InputError(f"{url}: there is no database of that name; make it with: createdb {name}".rstrip())
    return OutputError(f"{url}: no connection to the server ({reason}); check host, port and user, and that it runs")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]


def _int4(number: int) -> int:
    """Fold a number into the 32 bits, one of them a sign, of half a lock's name."""
    return (number + 2**31) % 2**32 - 2**31
