"""Requests that are repeated where a server is busy or fails, as a probe makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dissensus.errors import JudgeError
from dissensus.judges.language.messages import AskError
from dissensus.judges.server.rate_limits import Breaker

T = TypeVar("T")
_ATTEMPTS = 4
_FIRST_WAIT, _LONGEST_WAIT = 0.4, 30.0
"""Seconds, doubled after each failure; and what a server may ask for."""
_HINTS = {
    "gone": "start it, or name another with --base-url",
    "refused": "see whether --model and --api are right",
    "withheld": "see whether --model and --api are right",
    "failed": "see the server's log",
}


class RefusedError(JudgeError):
    """The server will not answer such a request; ``said`` is what it says of it."""

    def __init__(self, error: AskError) -> None:
        super().__init__(f"{error}; {_HINTS['refused']}")
        self.said = str(error)
        self.status = error.status


class AwayError(JudgeError):
    """The server is gone, or has been busy for longer than the patience."""


async def patiently(request: Callable[[], Coroutine[Any, Any, T]], breaker: Breaker) -> T:
    """Make a request, a few times where it fails, and until the breaker's patience ends where the server is busy.

    Raises:
        RefusedError: the server will not answer it.
        AwayError: the server is not there, or stays busy.
        JudgeError: it fails each time, or the server wants a key or another model.
    """
    failures = 0
    while True:
        await breaker.wait()
        try:
            answer = await request()
        except AskError as error:
            if error.kind == "busy":
                try:
                    breaker.busy(str(error), error.retry_after)
                except JudgeError as late:
                    raise AwayError(str(late)) from error
                continue
            breaker.back()
            failures += 1
            if error.kind == "gone":
                raise AwayError(f"{error}; {_HINTS['gone']}") from error
            if error.kind == "refused":
                raise RefusedError(error) from error
            if failures == _ATTEMPTS:
                raise JudgeError(f"{error}; {_HINTS[error.kind]}") from error
            await asyncio.sleep(min(error.retry_after or 0.0, _LONGEST_WAIT) or _FIRST_WAIT * 2 ** (failures - 1))
        except BaseException:
            breaker.abandoned()
            raise
        else:
            breaker.back()
            return answer
