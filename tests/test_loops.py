"""What a notebook needs: a coroutine runs to its end although a loop runs already."""

import asyncio
import contextvars
import threading
import time

import pytest

from dissensus.event_loops import awaitable, run_async
from dissensus.judges.async_api import ask_model_async, judge_pairs_async
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.messages import Answer, Usage
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.votes import HumanVotes
from dissensus.records import Pair, Votes

PAIRS = [Pair(id=f"p{i}", prompt=f"q{i}", response_a="x", response_b="y", votes=Votes(a=2, b=1)) for i in range(5)]
WHO = contextvars.ContextVar("who", default="nobody")


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


async def who() -> str:
    return WHO.get()


async def fail() -> None:
    raise LookupError("as it is")


def within_a_loop(function):
    async def cell():
        return function()

    return asyncio.run(cell())


def test_a_coroutine_runs_with_and_without_a_loop():
    assert run_async(double(2)) == 4
    assert within_a_loop(lambda: run_async(double(3))) == 6
    assert within_a_loop(lambda: within_a_thread(lambda: run_async(double(4)))) == 8
    for caller in (lambda f: f(), within_a_loop):
        with pytest.raises(LookupError, match="as it is"):
            caller(lambda: run_async(fail()))


def within_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_what_the_caller_has_set_is_set_in_the_thread_too():
    def cell():
        WHO.set("me")
        return run_async(who())

    assert within_a_loop(cell) == "me"


def test_an_interrupted_wait_cancels_the_coroutine_and_waits_for_its_end(monkeypatch):
    ended = []

    async def long():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("kept")

    def interrupted(self, timeout=None):
        time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        within_a_loop(lambda: run_async(long()))
    assert ended == ["kept"]


class Server:
    """Prefers x."""

    identity = {"model": "fake"}  # noqa: RUF012
    context = None
    samples_per_request = 2

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def answer(self, ask, sampling):
        await asyncio.sleep(0)
        reply = "Choice: A" if ask.order == "ab" else "Choice: B"
        return Answer(ask, tuple(reply for _ in ask.samples), usage=Usage(10, 1))


def test_a_server_is_asked_from_a_notebook_and_awaited(tmp_path):
    judge = LanguageJudge(LanguageSettings(model="fake", mode="sample", n=4), {"model": "fake"})
    quiet = AskingOptions(progress=False)
    with JudgmentStore(tmp_path / "one.db") as store, JudgmentStore(tmp_path / "two.db") as other:
        summary = within_a_loop(lambda: ask_model(PAIRS, judge, Server(), store, quiet))
        awaited = asyncio.run(ask_model_async(PAIRS, judge, Server(), other, quiet))
        assert summary.tally.made == awaited.tally.made == 20
        assert {judgment.choice for judgment in store.judgments()} == {"a"}


def test_a_loop_goes_on_while_a_judge_is_awaited(tmp_path):
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.001)

    async def cell():
        ticking = asyncio.create_task(tick())
        await awaitable(time.sleep)(0.05)
        with JudgmentStore(tmp_path / "one.db") as store:
            summary = await judge_pairs_async(PAIRS, HumanVotes(PAIRS), store, progress=False)
        ticking.cancel()
        return summary

    assert asyncio.run(cell()).tally.made == 15
    assert len(ticks) > 5
