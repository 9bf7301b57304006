"""Limits against servers whose capacity is known, on a clock of their own."""

import asyncio
import heapq
import math
import random

import pytest

from dissensus.errors import JudgeError
from dissensus.judges.server.rate_limits import Breaker, Budget, Concurrency, Rate, backoff


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run_against(
    slots: Concurrency, clock: Clock, *, workers: int, refuses_over: int = 10**9, requests: int = 20000
) -> list[int]:
    """Simulate a server with ``workers`` that each take 0.1 s, and more clients than slots; returns the limits."""
    generator = random.Random(0)
    free = [0.0] * workers
    heapq.heapify(free)
    ends: list[tuple[float, bool, int]] = []
    limits = []
    for _ in range(requests):
        while slots.active < slots.limit:
            slots.active += 1
            if slots.active > refuses_over:
                heapq.heappush(ends, (clock.now + 0.001, False, slots.epoch))
                continue
            start = max(clock.now, heapq.heappop(free))
            end = start + 0.1 * generator.uniform(0.8, 1.2)
            heapq.heappush(free, end)
            heapq.heappush(ends, (end, True, slots.epoch))
        clock.now, answered, epoch = heapq.heappop(ends)
        slots.release()
        if answered:
            slots.done()
        else:
            slots.busy(epoch)
        limits.append(slots.limit)
    return limits


@pytest.mark.parametrize(
    ("workers", "refuses_over", "least", "most"),
    [(4, 10**9, 3, 20), (30, 10**9, 22.5, 60), (100, 10**9, 75, 200), (1000, 40, 15, 50)],
)
def test_concurrency_grows_to_what_pays_and_falls_where_it_is_refused(
    workers: int, refuses_over: int, least: float, most: float
) -> None:
    clock = Clock()
    limits = run_against(Concurrency(512, start=4, clock=clock), clock, workers=workers, refuses_over=refuses_over)
    settled = limits[len(limits) // 2 :]
    mean = sum(settled) / len(settled)
    assert (mean if refuses_over < 10**9 else min(settled)) >= least
    assert mean <= most


def test_the_limit_is_never_passed() -> None:
    async def scenario() -> int:
        slots = Concurrency(5, start=5)
        most = 0

        async def work() -> None:
            nonlocal most
            await slots.acquire()
            most = max(most, slots.active)
            await asyncio.sleep(0.001)
            slots.release()

        await asyncio.gather(*(work() for _ in range(50)))
        assert slots.active == 0
        return most

    assert asyncio.run(scenario()) == 5


def test_a_slot_given_to_a_task_that_was_cancelled_is_not_lost() -> None:
    async def scenario() -> None:
        slots = Concurrency(1, start=1)
        await slots.acquire()
        waiting = asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        slots.release()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(slots.acquire(), 1)

    asyncio.run(scenario())


def test_a_rate_lets_through_what_it_says() -> None:
    clock = Clock()
    rate = Rate(600, clock=clock)
    for _ in range(300):
        clock.now += rate.delay(1)
    # 10 a second, after two seconds' worth at once.
    assert clock.now == pytest.approx((300 - 20) / 10, abs=0.2)
    assert Rate(None).delay(10**9) == 0
    rate = Rate(6000, clock=clock)
    rate.correct(1000)  # tokens that were more than guessed
    assert rate.delay(1) == pytest.approx(10, abs=2.1)


def test_a_breaker_lets_one_ahead_and_then_all() -> None:
    async def scenario() -> list[str]:
        breaker = Breaker(60)
        breaker.gone("refused")
        seen: list[str] = []

        async def ask() -> None:
            if await breaker.wait():
                seen.append("scout")
                await asyncio.sleep(0.01)
                breaker.back()
            else:
                seen.append("after")

        await asyncio.gather(*(ask() for _ in range(5)))
        return seen

    assert asyncio.run(scenario()) == ["scout", *["after"] * 4]


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_breaker_gives_up_after_its_patience(is_busy: bool) -> None:
    clock = Clock()
    breaker = Breaker(10, clock=clock)

    def fail() -> None:
        if is_busy:
            breaker.busy("busy (429)", 0.02)
        else:
            breaker.gone("refused")

    fail()
    clock.now = 9.0
    fail()
    clock.now = 9.99 if is_busy else 11.0  # the next pause would end too late; it is not said to be asked for
    said = r"busy for 10 s, and --patience is 10\." if is_busy else "refused; no answer for 11 s"
    with pytest.raises(JudgeError, match=said):
        fail()


def test_a_pause_that_people_would_notice_is_said_once() -> None:
    said: list[str] = []
    clock = Clock()
    breaker = Breaker(600.0, clock=clock, say=said.append)
    for _ in range(5):
        breaker.busy("busy (429)", 90.0)
    assert len(said) == 1
    assert said[0].startswith("busy (429): waiting 0:01:30, until ")
    assert "--patience 600" in said[0]
    breaker.back()
    breaker.busy("busy (429)", 2.0)
    assert len(said) == 1
    for _ in range(100):
        clock.now += 2.0
        breaker.busy("busy (503)", None)
    assert 2 <= len(said) <= 5
    clock.now += 400.0
    with pytest.raises(JudgeError, match="busy for 600 s"):
        breaker.busy("busy (503)", None)


@pytest.mark.parametrize("asked", [None, 0.0, 0.001, 0.5])
def test_pauses_that_prove_too_short_grow(asked: float | None) -> None:
    clock = Clock()
    breaker = Breaker(600, clock=clock)
    requests = 0
    while clock.now < 60:
        requests += 1
        breaker.busy("busy (429)", asked)
        clock.now = breaker._until
    assert 18 <= requests <= 60
    breaker.back()
    breaker.busy("busy (429)", 0.5)
    assert breaker._until - clock.now == 0.5, "an answer ends it"
    for _ in range(64):
        breaker.busy("busy (429)", 0.5)
    assert breaker._until - clock.now == 0.5, "requests that come back together make a pause no longer"


def test_a_pause_without_an_end_has_no_time_of_one() -> None:
    said: list[str] = []
    Breaker(math.inf, clock=Clock(), say=said.append).busy("busy (429)", 1e15)
    assert said == ["busy (429): waiting more than a year (--patience inf is the most)"]
    clock = Clock()
    breaker = Breaker(600, clock=clock)
    breaker.busy("busy (429)", 1e15)
    clock.now = 10.0
    with pytest.raises(JudgeError, match="asks for a pause of more than a year, and --patience is 600 s"):
        breaker.busy("busy (429)", 1e15)


def test_backoff_doubles_with_jitter_up_to_a_limit() -> None:
    generator = random.Random(0)
    for failures in range(1, 12):
        waits = {backoff(failures, generator) for _ in range(20)}
        most = min(30, 0.5 * 2 ** (failures - 1))
        assert most / 2 <= min(waits) < max(waits) <= most


def test_a_budget_counts_what_is_in_flight() -> None:
    budget = Budget(1.0)
    assert budget.reserve(0.6)
    assert not budget.reserve(0.6)
    budget.settle(0.6, 0.1)
    assert budget.reserve(0.6)
    assert Budget(None).reserve(10**9)


def test_only_an_answer_tells_what_others_cost() -> None:
    budget = Budget(1.0)
    for known in (False, True):  # a 429, and then an answer
        budget.reserve(0.1)
        budget.settle(0.1, 0.0, known=known)
        budget.reserve(0.1)
        assert budget.waits() is not known
        budget.settle(0.1, 0.0)
