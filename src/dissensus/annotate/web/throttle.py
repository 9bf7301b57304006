"""Throttling of sign-ins: failures are counted by address; who fails too often waits."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from dissensus.errors import InputError


class Throttled(InputError):  # noqa: N818 (named after what happened)
    """Too many failed sign-ins from one address."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many links that are not valid came from your address; try again in {seconds} seconds")
        self.seconds = seconds


class Throttle:
    """Lets an address fail ``allowed`` times in ``window`` seconds. Kept in memory, for ``addresses`` at most."""

    def __init__(
        self,
        *,
        allowed: int = 10,
        window: float = 300,
        addresses: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed, self._window, self._addresses, self._clock = allowed, window, addresses, clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Throttled where the address has to wait."""
        failures = self._failed.get(address)
        if failures is None:
            return
        now = self._clock()
        while failures and failures[0] <= now - self._window:
            failures.popleft()
        if len(failures) >= self._allowed:
            raise Throttled(max(1, round(failures[0] + self._window - now)))

    def failed(self, address: str) -> None:
        """Count a failure."""
        self._failed.setdefault(address, deque(maxlen=self._allowed)).append(self._clock())
        self._failed.move_to_end(address)
        if len(self._failed) > self._addresses:
            self._failed.popitem(last=False)
