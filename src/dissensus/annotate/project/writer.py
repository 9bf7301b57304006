"""The writing thread: what waits together is committed together, and acknowledged after the commit."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
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
    future: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None


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
        return self._enqueue(work).result()

    async def write_async(self, work: Work) -> Any:
        """Do the same without blocking the event loop."""
        return await asyncio.wrap_future(self._enqueue(work))

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _enqueue(self, work: Work) -> Future[Any]:
        call = _Call(work)
        with self._gate:  # nothing is queued behind the end
            if self._closed:
                raise StorageUnavailable(f"{self._database.name}: is being closed; nothing was saved; try again")
            self._queue.put(call)
        return call.future

    def _run(self) -> None:
        while call := self._queue.get():
            calls, more = [call], True
            while more and len(calls) < _MOST_PER_COMMIT and not self._queue.empty():
                waiting = self._queue.get()
                more = waiting is not None
                calls += [waiting] if waiting else []
            # From here on nobody withdraws a call; who has gone already has nothing done.
            calls = [call for call in calls if call.future.set_running_or_notify_cancel()]
            self._commit(calls)
            for call in calls:
                if call.error is None:
                    call.future.set_result(call.result)
                else:
                    call.future.set_exception(call.error)
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
