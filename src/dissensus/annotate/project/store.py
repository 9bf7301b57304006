"""An annotation project in its database: opened, made, read and written."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.database import is_of_one_call, locate, read_secret
from dissensus.annotate.project.schema import SCHEMA_VERSION, metadata, project
from dissensus.annotate.project.writer import Writer
from dissensus.errors import InputError

T = TypeVar("T")


def now() -> int:
    """Return the time: whole milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class AnnotationStore:
    """A project that is open. Close it, or use it in a ``with`` statement.

    What is asked of it are functions of a connection, in assignment.py, answers.py, access.py and adjudication.py::

        store.write(lambda c: submit(c, person_id, key, submission, now(), store.config))
    """

    def __init__(self, database: str | Path, *, secret: Path | None = None) -> None:
        """Open the project in ``database``, a file or a postgresql:// URL. Raises InputError where there is none."""
        self._database = locate(database)
        self.name = self._database.name
        """The database, for messages: never with its password."""
        if not self._database.is_there():
            raise InputError(
                f"{self.name}: there is no annotation project; check the name, or make one: dissensus annotate PAIRS "
                "--db …"
            )
        self.engine = self._database.engine()
        """For checks of the database itself; everything else goes through `read` and `write`."""
        self._secret_path = secret or self._database.secret
        try:
            self.config, self.seed = self.read(self._project)
        except BaseException:
            self.engine.dispose()
            raise
        self._writer = Writer(self.engine, self._database)

    @classmethod
    def create(
        cls,
        database: str | Path,
        config: AnnotationConfig,
        *,
        secret: Path | None = None,
        fill: Callable[[Connection], object] = lambda c: None,
    ) -> AnnotationStore:
        """Make a project and open it.

        ``fill`` puts in what the project begins with. It is there with all of that or not at all, also where ``fill``
        raises or the process is killed. Raises InputError where the file, or a project in the database, exists.
        """
        place = locate(database)
        try:
            with place.making() as engine:
                with engine.connect() as c, c.execution_options(writing=True).begin():
                    _make_tables(c, place.name, config)
                    fill(c)
                read_secret(secret or place.secret)
        except DBAPIError as error:
            raise place.storage_error(error) from error
        return cls(database, secret=secret)

    @staticmethod
    def exists(database: str | Path) -> bool:
        """Tell whether there is a project in ``database``."""
        place = locate(database)
        if not place.is_there():
            return False
        engine = place.engine()
        try:
            with engine.connect() as c:
                return inspect(c).has_table(project.name)
        except DBAPIError as error:
            raise place.storage_error(error) from error
        finally:
            engine.dispose()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction of its own that only reads: all it sees is of one moment."""
        self._database.check()
        try:
            with self.engine.connect() as connection, connection.begin():
                return work(connection)
        except DBAPIError as error:
            if is_of_one_call(error):
                raise
            raise self._database.storage_error(error) from error

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction and return what it returned, after the commit.

        Many writes share a commit, and each has a savepoint: one that raises is undone alone, and its error is
        raised here. Raises StorageFull and StorageUnavailable, and nothing of ``work`` is then left.
        """
        result: T = self._writer.write(work)
        return result

    async def write_async(self, work: Callable[[Connection], T]) -> T:
        """`write`, for an event loop."""
        result: T = await self._writer.write_async(work)
        return result

    async def read_async(self, work: Callable[[Connection], T]) -> T:
        """`read`, in another thread."""
        return await asyncio.to_thread(self.read, work)

    def hash_token(self, token: str) -> bytes:
        """Hash a token with the install's secret: what is stored of links and cookies."""
        return hmac.digest(self._secret, token.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def close(self) -> None:
        """Finish the writes that wait and let go of the database."""
        self._writer.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _secret(self) -> bytes:
        return read_secret(self._secret_path)

    def _project(self, c: Connection) -> tuple[AnnotationConfig, str]:
        if not inspect(c).has_table(project.name):
            raise InputError(
                f"{self.name}: is no annotation project; name one, or make one: dissensus annotate PAIRS --db …"
            )
        version = c.execute(select(project.c.schema_version)).scalar_one()
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.name}: was written by a newer version of dissensus (tables of version {version}, "
                f"expected {SCHEMA_VERSION}); run: pip install --upgrade dissensus"
            )
        config, seed = c.execute(select(project.c.config, project.c.seed)).one()
        return AnnotationConfig.model_validate_json(config), seed


def _make_tables(c: Connection, name: str, config: AnnotationConfig) -> None:
    if inspect(c).has_table(project.name):
        raise InputError(f"{name}: there is an annotation project already; open it, or name another database")
    metadata.create_all(c)
    settled = {"schema_version": SCHEMA_VERSION, "config": config.model_dump_json(), "seed": secrets.token_hex(16)}
    c.execute(insert(project).values(id=1, created_at=now(), **settled))
