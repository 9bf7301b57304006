"""Limits on how a server is asked: adaptive concurrency, rate limits, a breaker and a budget.

Everything here runs in one event loop, and takes its clock as an argument.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from dissensus.errors import JudgeError

Clock = Callable[[], float]

_PAYS = 1.05
"""Throughput must grow by this factor for more concurrency to pay."""
_BURST = 2.0
"""Seconds' worth of a rate that may go at once."""
_NOTICED = 10.0
"""Seconds of a wait from which on people are told of it."""
_SECOND_TRY = 5.0
"""Seconds until a server that wants a longer pause than the patience is asked once more."""
_HOLD = 8
"""Measurements between two tries to raise a limit that had stopped to pay."""
_YEAR = 86400.0 * 365


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
        due = max(self._ahead, now - _BURST)
        self._ahead = due + units / self._per_second
        return max(0.0, due - now)

    def correct(self, units: float) -> None:
        """Charge ``units`` more (or fewer), once it is known what a request took."""
        if self._per_second is not None:
            self._ahead += units / self._per_second


class Breaker:
    """Holds everybody back while the server is gone or wants a pause, and lets one ask first whether it is back.

    Args:
        patience: seconds without any answer after which to give up.
        say: called with a line wherever the wait is one that people would notice.
    """

    def __init__(
        self,
        patience: float,
        *,
        clock: Clock = time.monotonic,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._patience, self._clock, self._say = patience, clock, say
        self._random = random.Random()
        self._until = self._said_until = 0.0
        self._failures = self._busy = self._too_short = 0
        """Pauses in a row that the server asked for and was busy after."""
        self._silent_since: float | None = None
        self._overlong = False
        self._scout: asyncio.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are held back now."""
        return self._clock() < self._until or self._scout is not None

    async def wait(self) -> bool:
        """Wait until requests may go; True for the one that goes ahead to see whether the server is back."""
        while True:
            while self._scout is not None:
                await self._scout.wait()
            if (delay := self._until - self._clock()) <= 0:
                break
            await asyncio.sleep(delay)
        if self._failures:
            self._scout = asyncio.Event()
        return self._failures > 0

    def busy(self, reason: str, asked: float | None) -> None:
        """Hold requests back: the server is busy, and asked for so many seconds' pause (None: it did not say).

        A pause that is longer than the patience may be a mistake: the server is asked once more, and then given up.
        Pauses that prove too short grow, and one of 0 seconds is none.

        Raises:
            JudgeError: it wants a longer pause than the patience, or has been busy for longer.
        """
        now = self._clock()
        self._silent_since = now if self._silent_since is None else self._silent_since
        self._busy += 1
        self._too_short += now >= self._until
        pause = max(asked or 0.0, backoff(min(self._too_short if asked else self._busy, 6), self._random) / 5)
        left = self._patience - (now - self._silent_since)
        if pause > left and self._busy > 1:
            if self._overlong and now < self._until:
                return  # sent before the pause that was asked for last
            if asked is None or self._overlong or left < _SECOND_TRY:
                raise JudgeError(self._given_up(reason, now, asked))
        self._overlong = pause > left
        if self._overlong:
            pause = min(_SECOND_TRY, max(left, 0.0))
        elif max(pause, now - self._silent_since) >= _NOTICED and now + pause > self._said_until:
            self._said_until = now + max(pause, 60.0)
            wait = f"waiting {_pause(pause)}" if pause >= _NOTICED else "asking again"
            self._say(f"{reason}: {wait} (--patience {self._patience:g} is the most)")
        self._until = max(self._until, now + pause)
        self._failures = int(pause >= 1)
        self.abandoned()

    def gone(self, reason: str) -> None:
        """Note that nobody answered, and hold requests back a little longer each time.

        Raises:
            JudgeError: nobody has answered for longer than the patience.
        """
        now = self._clock()
        self._silent_since = now if self._silent_since is None else self._silent_since
        silent = now - self._silent_since
        if silent > self._patience:
            raise JudgeError(
                f"{reason}; no answer for {silent:.0f} s. What was answered is kept: "
                "start the server and run the same command again"
            )
        if now >= self._until:
            self._failures += 1
            self._until = now + min(30.0, 0.25 * 2**self._failures) * self._random.uniform(0.7, 1.3)
        if silent >= _NOTICED and now > self._said_until:
            self._said_until = now + 60.0
            self._say(f"{reason}: waiting for it to come back (--patience {self._patience:g} is the most)")
        self.abandoned()

    def back(self) -> None:
        """Note an answer: the server is there."""
        self._failures = self._busy = self._too_short = 0
        self._silent_since = None
        self._overlong = False
        self.abandoned()

    def abandoned(self) -> None:
        """Note that the one who went ahead has an answer, or never asked: the others may go on."""
        if self._scout is not None:
            self._scout.set()
            self._scout = None

    def _given_up(self, reason: str, now: float, asked: float | None) -> str:
        since = 0.0 if self._silent_since is None else now - self._silent_since
        kept = "What was answered is kept: run the same command again"
        if asked is None or asked < 1 or since + asked <= self._patience:
            return f"{reason}; busy for {since:.0f} s, and --patience is {self._patience:g}. {kept} later"
        return (
            f"{reason}; the server asks for a pause of {_pause(asked)}, and --patience is {self._patience:g} s. "
            f"{kept} then, or with more patience"
        )


def _pause(seconds: float) -> str:
    """Write how long a pause is, and until when where people may plan with it."""
    if seconds >= _YEAR:
        return "more than a year"
    at = datetime.now().astimezone() + timedelta(seconds=seconds)
    until = f"{at:{'%H:%M' if seconds < 43200 else '%Y-%m-%d %H:%M'}}"
    return f"{timedelta(seconds=round(seconds))}, until {until}"


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
        self._is_known = False
        """Whether there was an answer to tell what one costs."""

    def waits(self) -> bool:
        """Whether to wait for what is in flight: where there is a limit, the first answer tells what others cost."""
        return self.most is not None and not self._is_known and self._in_flight > 0

    def reserve(self, cost: float) -> bool:
        """Set ``cost`` aside; False where it would pass the limit."""
        if self.most is not None and self.spent + self.reserved + cost > self.most:
            return False
        self._in_flight += 1
        self.reserved += cost
        return True

    def settle(self, reserved: float, cost: float, *, known: bool = False) -> None:
        """Turn what was set aside into what it cost; ``known`` where that is the cost of an answer."""
        self._in_flight -= 1
        self._is_known |= known
        # With nothing in flight the sum is 0, not what rounding left of it.
        self.reserved = self.reserved - reserved if self._in_flight else 0.0
        self.spent += cost
