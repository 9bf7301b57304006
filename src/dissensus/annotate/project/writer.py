"""The writing thread: what waits together is committed together, and acknowledged after the commit."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from dissensus.annotate.project.database import Database, StorageUnavailable, is_of_one_call

_MOST_PER_COMMIT = 256

Work = Callable[[Connection], Any]


@dataclass
class _Call:
    work: Work
    loop: asyncio.AbstractEventLoop | None
    future: Future[Any] | asyncio.Future[Any]
    result: Any = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)

    def resolve(self) -> None:
        if self.future.done():  # the caller has gone; what was committed stays
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Runs writes in the order they came, many in a transaction, each in a savepoint of its own."""

    def __init__(self, engine: Engine, database: Database) -> None:
        self._engine = engine
        self._database = database
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="annotation-writer", daemon=True)
        self._thread.start()

    def write(self, work: Work) -> Any:
        """Run ``work`` in a transaction and return what it returns, after the commit. Blocks."""
        if threading.current_thread() is self._thread:
            raise ValueError("a write inside a write would wait for itself; use the connection that it was given")
        future: Future[Any] = Future()
        self._enqueue(_Call(work, None, future))
        return future.result()

    async def write_async(self, work: Work) -> Any:
        """Do the same without blocking the event loop."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._enqueue(_Call(work, loop, future))
        return await future

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _enqueue(self, call: _Call) -> None:
        with self._gate:  # nothing is queued behind the end
            if self._closed:
                raise StorageUnavailable(f"{self._database.name}: is being closed; nothing was saved; try again")
            self._queue.put(call)

    def _run(self) -> None:
        while call := self._queue.get():
            calls, more = [call], True
            while more and len(calls) < _MOST_PER_COMMIT and not self._queue.empty():
                waiting = self._queue.get()
                more = waiting is not None
                calls += [waiting] if waiting else []
            self._commit(calls)
            _resolve(calls)
            if not more:
                return

    def _commit(self, calls: list[_Call]) -> None:
        try:
            self._database.check()
            with self._engine.connect() as fresh, fresh.execution_options(writing=True).begin():
                for call in calls:
                    _attempt(call, fresh)
            self._database.check()  # what went into a file that nobody will find was not saved
        except DBAPIError as error:
            problem: Exception = self._database.storage_error(error)
            problem.__cause__ = error
        except Exception as error:  # whatever it is, nobody may wait for ever
            problem = error
        else:
            return
        for call in calls:
            call.result, call.error = None, problem


def _attempt(call: _Call, connection: Connection) -> None:
    savepoint = connection.begin_nested()
    try:
        call.result = call.work(connection)
        savepoint.commit()
    except Exception as error:
        if not is_of_one_call(error):
            raise
        call.error = error
        savepoint.rollback()


def _resolve(calls: list[_Call]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop | None, list[_Call]] = defaultdict(list)
    for call in calls:
        by_loop[call.loop].append(call)
    for loop, theirs in by_loop.items():
        if loop is None:
            _resolve_all(theirs)
        else:
            with suppress(RuntimeError):  # a loop that was closed has nobody waiting
                loop.call_soon_threadsafe(_resolve_all, theirs)


def _resolve_all(calls: list[_Call]) -> None:
    for call in calls:
        call.resolve()
