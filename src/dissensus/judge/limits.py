"""How fast a server may be asked: adaptive concurrency, rate limits, a breaker and a budget.

Everything here runs in one event loop, and takes its clock as an argument.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable

from dissensus.errors import JudgeError

Clock = Callable[[], float]

_PAYS = 1.05
"""Throughput must grow by this factor for more concurrency to pay."""
_BURST = 2.0
"""Seconds' worth of a rate that may go at once."""
_HOLD = 8
"""Measurements between two tries to raise a limit that had stopped to pay."""


class Concurrency:
    """How many requests may be in flight: more while that raises throughput, half as many when told to slow down.

    Doubles from ``start`` as long as each doubling pays; then stays at what paid best and tries a quarter more now and
    then.
    """

    def __init__(self, most: int, *, start: int = 8, clock: Clock = time.monotonic) -> None:
        self.most = most
        self.limit = min(start, most)
        self.active = 0
        self.epoch = 0
        """How often the limit was halved."""
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._doubling = True
        self._best = 0.0
        self._best_limit = self.limit
        self._hold = 0
        self._begin()

    async def acquire(self) -> None:
        """Wait for a slot; first come, first served."""
        if self.active < self.limit and not self._waiting:
            self.active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self.active -= 1
        self._wake()

    def done(self) -> None:
        """Count an answer, and weigh the limit when there are enough of them to tell."""
        self._count += 1
        if self._count == 0:  # what was in flight at the last change has come back
            self._since = self._clock()
        elapsed = self._clock() - self._since
        if self._count >= max(20, 2 * self.limit) and elapsed >= 0.2:
            self._weigh(self._count / elapsed)
            self._begin()

    def busy(self, epoch: int) -> None:
        """Halve the limit: the server asked for it of a request sent in ``epoch``.

        Those sent before the last halving are no news.
        """
        if epoch == self.epoch:
            self.epoch += 1
            self.limit = max(1, self.limit // 2)
            self._doubling = False
            self._best, self._best_limit, self._hold = 0.0, self.limit, _HOLD
            self._begin()

    def _weigh(self, rate: float) -> None:
        if rate > self._best * _PAYS:
            self._best, self._best_limit = rate, self.limit
            if self._hold > 0:
                self._hold -= 1
            else:
                self._raise()
        elif self._hold > 0:
            self._hold -= 1
        elif self.limit > self._best_limit:
            # The last raise did not pay: take it back, and measure anew, since servers change.
            self._doubling = False
            self.limit, self._best, self._hold = self._best_limit, 0.0, _HOLD
        else:
            self._raise()
        self._wake()

    def _raise(self) -> None:
        grown = self.limit * 2 if self._doubling else self.limit + max(1, self.limit // 4)
        self.limit = min(self.most, grown)

    def _begin(self) -> None:
        self._count = -self.limit
        self._since = self._clock()

    def _wake(self) -> None:
        while self._waiting and self.active < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)


class Rate:
    """At most ``per_minute`` units a minute, spread evenly after a burst of a few seconds' worth."""

    def __init__(self, per_minute: float | None, *, clock: Clock = time.monotonic) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._clock = clock
        self._ahead = clock() - _BURST
        """When all that was let through so far will have been due."""

    def delay(self, units: float) -> float:
        """Let ``units`` through and return the seconds to wait before they may go."""
        if self._per_second is None:
            return 0.0
        now = self._clock()
        self._ahead = max(self._ahead, now - _BURST) + units / self._per_second
        return max(0.0, self._ahead - now - units / self._per_second)

    def correct(self, units: float) -> None:
        """Charge ``units`` more (or fewer), once it is known what a request took."""
        if self._per_second is not None:
            self._ahead += units / self._per_second


class Breaker:
    """Holds everybody back while the server is gone or wants a pause, and lets one ask first whether it is back.

    Args:
        patience: seconds without any answer after which to give up.
    """

    def __init__(self, patience: float, *, clock: Clock = time.monotonic, seed: int = 0) -> None:
        self._patience = patience
        self._clock = clock
        self._random = random.Random(seed)
        self._until = 0.0
        self._failures = 0
        self._silent_since: float | None = None
        self._scout: asyncio.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are held back now."""
        return self._clock() < self._until or self._scout is not None

    async def wait(self) -> bool:
        """Wait until requests may go; True for the one that goes ahead to see whether the server is back."""
        while True:
            if (scout := self._scout) is not None:
                await scout.wait()
                continue
            delay = self._until - self._clock()
            if delay > 0:
                await asyncio.sleep(delay)
                continue
            if self._failures == 0:
                return False
            self._scout = asyncio.Event()
            return True

    def pause(self, seconds: float) -> None:
        """Hold requests back for a while: the server said so."""
        self._until = max(self._until, self._clock() + seconds)

    def gone(self, reason: str) -> None:
        """Note that nobody answered, and hold requests back a little longer each time.

        Raises:
            JudgeError: nobody has answered for longer than the patience.
        """
        now = self._clock()
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since > self._patience:
            raise JudgeError(
                f"{reason}; no answer for {now - self._silent_since:.0f} s. What was answered is kept: "
                "start the server and run the same command again"
            )
        if now >= self._until:
            self._failures += 1
            self._until = now + min(30.0, 0.25 * 2**self._failures) * self._random.uniform(0.7, 1.3)
        self._report()

    def back(self) -> None:
        """Note an answer: the server is there."""
        self._failures = 0
        self._silent_since = None
        self._report()

    def abandoned(self) -> None:
        """Note that the one who went ahead never asked."""
        self._report()

    def _report(self) -> None:
        if self._scout is not None:
            self._scout.set()
            self._scout = None


def backoff(failures: int, generator: random.Random) -> float:
    """Seconds to wait after the ``failures``-th failure of a request: doubling from a half to 30, with full jitter."""
    return generator.uniform(0.5, 1.0) * min(30.0, 0.5 * 2.0 ** (failures - 1))


class Budget:
    """Dollars that may be spent; what is in flight counts at its estimate, so that the limit is never passed."""

    def __init__(self, most: float | None, *, spent: float = 0.0) -> None:
        self.most = most
        self.spent = spent
        self.reserved = 0.0
        """Set aside for what is in flight."""
        self._in_flight = 0

    def reserve(self, cost: float) -> bool:
        """Set ``cost`` aside; False where it would pass the limit."""
        if self.most is not None and self.spent + self.reserved + cost > self.most:
            return False
        self._in_flight += 1
        self.reserved += cost
        return True

    def settle(self, reserved: float, cost: float) -> None:
        """Turn what was set aside into what it cost."""
        self._in_flight -= 1
        # With nothing in flight the sum is 0, not what rounding left of it.
        self.reserved = self.reserved - reserved if self._in_flight else 0.0
        self.spent += cost
