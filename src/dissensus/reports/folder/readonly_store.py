"""A store of judgments that is only read: nothing is made, switched or brought up to date on disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from dissensus.errors import InputError
from dissensus.files.database_url import DatabaseUrl
from dissensus.judges import JudgmentStore
from dissensus.judges.store.database import open_postgres
from dissensus.judges.store.keys import Contents
from dissensus.judges.store.schema import APPLICATION_ID, VERSION, migrate
from dissensus.judges.store.sqlite_file import SqliteFile
from dissensus.judges.store.store import StoredDistribution
from dissensus.records import Judgment, Pair


class ReadOnlyStore(JudgmentStore):
    """A store whose file is left byte for byte as it is, with nothing new beside it unless it is in use."""

    def __init__(self, path: Path | DatabaseUrl) -> None:
        """Open the store at ``path``; one of an older version is read from a copy in memory.

        Raises:
            InputError: it is no store of judgments, is damaged or comes from a newer version.
            OutputError: the server that it is on cannot be reached.
        """
        if isinstance(path, DatabaseUrl):
            self._use(open_postgres(path, create=False, read_only=True))
        else:
            self._use(SqliteFile.of(path, _open_file(path)))
        try:
            self._check_rows()
        except BaseException:
            self.close()
            raise

    def judgments(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | Contents | None = None, n: int | None = None
    ) -> Iterator[Judgment]:
        """Iterate as `JudgmentStore.judgments`, and raise InputError at a row that is no judgment."""
        try:
            yield from super().judgments(judge=judge, pairs=pairs, n=n)
        except ValidationError as error:
            raise self._no_row("judgment", error.errors()[0]["msg"]) from error

    def distributions(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | Contents | None = None
    ) -> Iterator[StoredDistribution]:
        """Iterate as `JudgmentStore.distributions`, and raise InputError at a row that is no choice distribution."""
        try:
            for row in super().distributions(judge=judge, pairs=pairs):
                known = {row.pair_id, row.judge, row.content, row.persona}
                if row.order not in ("ab", "ba") or not all(isinstance(text, str) for text in known):
                    raise self._no_row("choice distribution", f"{row.pair_id!r:.60} shown {row.order!r:.20}")
                if not (row.distribution.logprobs < 0.01).all():
                    raise self._no_row("choice distribution", f"{row.pair_id!r:.60}: a probability is none")
                yield row
        except TypeError as error:
            raise self._no_row("choice distribution", str(error)) from error

    def _no_row(self, what: str, why: str) -> InputError:
        return InputError(
            f"{self.path}: a row is no {what} ({why}); look at it with: dissensus judgments verify --store {self.path}"
        )

    def _check_rows(self) -> None:
        for name, settings in self.rows("SELECT name, settings FROM judges"):
            if not (isinstance(name, str) and isinstance(settings, str) and _is_object(settings)):
                raise self._no_row("judge", f"{name!r:.60}")
        for name in self.judges():
            if not isinstance(name, str):
                raise self._no_row("judgment", f"its judge is {name!r:.60}")


def _open_file(path: Path) -> sqlite3.Connection:
    # Where another process writes, or was killed, the newest rows are in the file beside; else no lock is needed.
    in_use = any(_has_bytes(path.with_name(path.name + suffix)) for suffix in ("-wal", "-journal"))
    options = "mode=ro" if in_use else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True, timeout=60)
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be opened as a store of judgments ({error}); check the file") from error
    try:
        return _of_today(path, connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise InputError(f"{path}: cannot be read as a store of judgments ({error}); check the file") from error
        raise


def _of_today(path: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    """Check that a file is a store; returns its connection, or that of a copy that was brought up to date."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise InputError(f"{path}: is no store of judgments; take it out of the folder")
    if not 0 < version <= VERSION:
        raise InputError(f"{path}: a store of version {version}; this dissensus reads 1 to {VERSION}; upgrade")
    if version == VERSION:
        return connection
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.backup(copy)
        migrate(copy)
    except BaseException:
        copy.close()
        raise
    connection.close()
    return copy


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _has_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
