"""Judges, pairs and servers that tests ask: fakes in this process, and the stub over HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from stub_server import StubServer

from dissensus.judges.job import AskingOptions
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Answer, Ask, Outcome, Sampling, TooLong, Usage
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.server.backend import Server
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.probe import cached_probe
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.summary import Summary
from dissensus.records import Pair

PAIRS = [Pair(id=f"p{i}", prompt=f"q{i // 4}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(40)]
GOOD = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(6)]
QUIET = AskingOptions(progress=False, patience=5.0)
PROFILE = ServerProfile(model="stub", several=True, logprobs=20, raw=True, temperature=True, prefill=True)


def a_distribution(*, first: float = 0.7, forced: float = 1.0) -> ChoiceDistribution:
    return ChoiceDistribution(
        np.log([first, 1 - first]), "AB" if first >= 0.5 else "BA", 2, 2, labels_complete=True, forced=forced
    )


class FakeServer:
    """Answers as told by ``script``, a list of errors raised before the first answers; counts what it is asked."""

    identity = {"model": "fake"}  # noqa: RUF012
    context = None

    def __init__(self, *, script: list[Exception] | None = None, n: int = 5, forced: float = 1.0, latency: float = 0.0):
        self.script = list(script or [])
        self.samples_per_request = n
        self.forced = forced
        self.latency = latency
        self.asked: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
        self.in_flight = self.most_in_flight = 0

    async def __aenter__(self) -> FakeServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Outcome:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
            if self.script:
                raise self.script.pop(0)
            self.asked[ask.pair.id, ask.order, ask.samples] += 1
            if sampling is None:
                return Answer(ask, distribution=a_distribution(forced=self.forced_of(ask)), usage=Usage(100, 1))
            return Answer(ask, self.replies(ask), usage=Usage(100, 5 * len(ask.samples)))
        finally:
            self.in_flight -= 1

    def forced_of(self, ask: Ask) -> float:
        return self.forced

    def replies(self, ask: Ask) -> tuple[str, ...]:
        return tuple("Choice: A" if sample % 3 else "both" for sample in ask.samples)


class FakeModel:
    identity = {"model": "fake"}  # noqa: RUF012
    context = 1000

    def __init__(self, *, forced: float = 1.0) -> None:
        self.forced = forced
        self.asked = 0

    def answer(self, asks, sampling):
        for ask in asks:
            self.asked += 1
            if ask.pair.id == "p7":
                yield TooLong(ask, 1200, 1000)
            elif sampling is None:
                yield Answer(ask, distribution=a_distribution(forced=self.forced))
            else:
                yield Answer(ask, tuple("Choice: A" for _ in ask.samples))


def a_judge(*, names_personas: bool = True, **settings: object) -> LanguageJudge:
    config = LanguageSettings(model="fake", **settings)
    return LanguageJudge(config, FakeServer.identity, names_personas=names_personas)


def check_complete(store: JudgmentStore, judge: LanguageJudge, pairs: list[Pair] = PAIRS) -> None:
    judgments = list(store.judgments(judge=judge.name, pairs=pairs))
    places = Counter((j.pair_id, j.sample, j.order) for j in judgments)
    assert set(places.values()) == {1}
    assert len(judgments) == len(pairs) * judge.config.n
    orders = Counter((j.pair_id, j.order) for j in judgments)
    assert set(orders.values()) == {judge.config.n // 2}


def judge_of(**settings: Any) -> LanguageJudge:
    return LanguageJudge(LanguageSettings(model="stub", **settings), {"model": "stub", "revision": None, "api": "chat"})


def an_ask(samples: int = 5, text: str = "q"):
    pair = Pair(id="p", prompt=text, response_a="yes", response_b="no")
    return judge_of().ask(pair, "ab", "", tuple(range(samples)))


def answer(
    stub: Any, ask: Any, sampling: Sampling | None, profile: ServerProfile = PROFILE, timeout: float = 5.0
) -> Outcome:
    async def once() -> Outcome:
        async with Server(Endpoint(stub.url, timeout=timeout), profile) as server:
            return await server.answer(ask, sampling)

    return asyncio.run(once())


def asked(
    stub: Any,
    pairs: list[Pair],
    store: JudgmentStore,
    profile: ServerProfile = PROFILE,
    judge: LanguageJudge | None = None,
    **options: Any,
) -> Summary:
    settings = AskingOptions(**{"progress": False, "retries": 2, **options})
    return ask_model(pairs, judge or judge_of(), Server(Endpoint(stub.url), profile), store, settings)


def probed(options: Any, model: str | None = "stub", api: str = "chat") -> ServerProfile:
    with StubServer(options) as stub, TemporaryDirectory() as cache:
        return profile_in(stub, Path(cache), model=model, api=api)


def profile_in(
    stub: Any, cache: Path, *, refresh: bool = False, model: str | None = None, api: str = "chat"
) -> ServerProfile:
    async def once() -> ServerProfile:
        async with Endpoint(stub.url) as endpoint:
            return await cached_probe(endpoint, model, api=api, cache=cache, refresh=refresh)

    return asyncio.run(once())


class LoggedServer(FakeServer):
    """Writes down what it is asked before it answers."""

    def __init__(self, log: Path) -> None:
        super().__init__(n=10, latency=0.03)
        self.log = log

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Outcome:
        with self.log.open("a") as file:
            file.write(f"{ask.pair.id} {ask.order} {ask.samples}\n")
        return await super().answer(ask, sampling)


def judge_many(store: JudgmentStore, log: Path) -> Summary:
    """Judge 160 pairs, two requests to each."""
    pairs = [p.model_copy(update={"id": f"{p.id}-{i}", "prompt": f"{p.prompt} {i}"}) for i in range(4) for p in PAIRS]
    return ask_model(pairs, a_judge(), LoggedServer(log), store, AskingOptions(progress=False, concurrency=8))
