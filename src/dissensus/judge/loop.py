"""Running a coroutine to its end, wherever one is: in a script, and in a notebook, whose thread has a loop already."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` and return what it returns; in a thread of its own where a loop runs in this one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def apart() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.append((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(1, thread_name_prefix="loop") as pool:
        future = pool.submit(asyncio.run, apart())
        try:
            return future.result()
        except KeyboardInterrupt:  # of the notebook: the thread that it stops is this one
            for loop, task in started:
                loop.call_soon_threadsafe(task.cancel)
            raise
