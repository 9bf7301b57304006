"""Rows of a run on their way to the store, gathered into few transactions by a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from dissensus.judges.job import Job, Rows
from dissensus.judges.language.messages import Ask, Usage

P = ParamSpec("P")
T = TypeVar("T")


class ThreadWriter:
    """Writes from a thread of its own, many rows in one transaction: while one is under way, the next ones gather."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._claims: list[tuple[tuple[Ask, Usage, float], asyncio.Future[int | None]]] = []
        self._rows: list[tuple[Rows, asyncio.Future[None]]] = []
        self._pump: asyncio.Task[None] | None = None

    async def run(self, function: Callable[P, T], *args: P.args, **_: P.kwargs) -> T:
        """Run a function that uses the store, between transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    async def claim(self, ask: Ask, usage: Usage, cost: float) -> int | None:
        """Note an attempt as sent; returns when that is on disk."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._claims.append(((ask, usage, cost), future))
        self._start()
        return await future

    async def write(self, rows: Rows) -> None:
        """Write rows; returns when they are on disk."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rows.append((rows, future))
        self._start()
        # Answers were paid for: they are written whatever becomes of the task that brought them.
        await asyncio.shield(future)

    async def close(self) -> None:
        """Write what is left."""
        if self._pump is not None:
            with suppress(Exception):  # told to those who wait for it
                await self._pump
        self._pool.shutdown()

    def _start(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._claims or self._rows:
            claims, self._claims = self._claims, []
            rows, self._rows = self._rows, []
            try:
                ids = await self.run(self._job.write, [some for some, _ in rows], [claim for claim, _ in claims])
            except Exception as error:
                waiting: list[asyncio.Future[Any]] = [*(f for _, f in claims), *(f for _, f in rows)]
                for future in waiting:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, claimed), attempt in zip(claims, ids, strict=True):
                if not claimed.done():
                    claimed.set_result(attempt)
            for _, written in rows:
                if not written.done():
                    written.set_result(None)
