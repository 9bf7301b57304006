"""Timeouts of connections: each request has to come whole within a time, or its connection is closed.

uvicorn closes a connection that is idle after a response, and waits for ever for a first request or the rest of one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol

PATIENCE_SECONDS = 30.0
"""Within which a request has to come; the largest that is taken has 256 KiB."""


class Patient(_Protocol):
    """uvicorn's protocol with an end to its patience."""

    _since = 0.0
    """When the request that is waited for could have begun."""
    _answered: Any = None
    """The exchange after which that was."""
    _look_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look_again = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take note where this is the beginning of another request."""
        if self.cycle is not None and self.cycle.response_complete and self._answered is not self.cycle:
            self._answered, self._since = self.cycle, self.loop.time()
        super().data_received(data)

    def _look(self) -> None:
        left = self._since + PATIENCE_SECONDS - self.loop.time() if self._is_waiting() else PATIENCE_SECONDS
        if left <= 0:
            self.transport.close()
        else:
            self._look_again = self.loop.call_later(left, self._look)

    def _is_waiting(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.more_body:
            return True
        # The app is at work, or has answered and uvicorn itself waits for what comes next.
        return bool(cycle.response_complete) and self._answered is cycle
