"""Whatever a server does, every judgment is there once, and nothing is asked or paid for twice."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import signal
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dissensus.cli.judgments import compare
from dissensus.cli.options import command_of_step
from dissensus.errors import InputError, JudgeError
from dissensus.files import write_records
from dissensus.judges import job, runner
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Answer, Ask, AskError, Outcome, Sampling, TooLong, Usage
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.position_bias import position_bias
from dissensus.judges.runner import ask_model
from dissensus.judges.store.attempts import Price, spent
from dissensus.judges.store.query import Recall, choose_judge, without_twins
from dissensus.judges.store.schema import APPLICATION_ID
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.records import Pair, Prediction, Votes

evaluate = command_of_step("evaluate")
margin = command_of_step("margin")

PAIRS = [Pair(id=f"p{i}", prompt=f"q{i // 4}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(40)]
QUIET = AskingOptions(progress=False, patience=5.0)
AGES = ("young", "old")
PRICE = Price(prompt=1000.0, completion=2000.0)


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


@pytest.fixture
def store(tmp_path: Path):
    with JudgmentStore(tmp_path / "judgments.db") as opened:
        yield opened


def check_complete(store: JudgmentStore, judge: LanguageJudge, pairs: list[Pair] = PAIRS) -> None:
    judgments = list(store.judgments(judge=judge.name, pairs=pairs))
    places = Counter((j.pair_id, j.sample, j.order) for j in judgments)
    assert set(places.values()) == {1}
    assert len(judgments) == len(pairs) * judge.config.n
    orders = Counter((j.pair_id, j.order) for j in judgments)
    assert set(orders.values()) == {judge.config.n // 2}


def test_every_judgment_is_made_once_and_none_again(store):
    judge, server = a_judge(), FakeServer()
    first = ask_model(PAIRS, judge, server, store, QUIET)
    assert (first.tally.made, first.tally.reused, first.stopped) == (400, 0, "")
    assert first.tally.invalid_share == pytest.approx(0.4)
    check_complete(store, judge)
    again = ask_model(PAIRS, judge, server, store, QUIET)
    assert (again.tally.made, again.tally.reused) == (0, 400)
    assert set(server.asked.values()) == {1}
    assert len(server.asked) == 80


def test_more_judgments_extend_the_ones_there_are(store):
    ask_model(PAIRS, a_judge(n=4), FakeServer(), store, QUIET)
    server = FakeServer()
    more = ask_model(PAIRS, a_judge(n=10), server, store, QUIET)
    assert (more.tally.reused, more.tally.made) == (160, 240)
    check_complete(store, a_judge(n=10))


def test_a_server_without_n_is_asked_once_for_each_judgment(store):
    server = FakeServer(n=1)
    ask_model(PAIRS, a_judge(), server, store, QUIET)
    assert {len(samples) for _, _, samples in server.asked} == {1}
    check_complete(store, a_judge())


def test_pairs_of_the_same_texts_share_their_judgments(store):
    twins = [PAIRS[0], PAIRS[0].model_copy(update={"id": "other"})]
    server = FakeServer()
    ask_model(twins, a_judge(), server, store, QUIET)
    assert len(server.asked) == 2
    check_complete(store, a_judge(), twins)


@pytest.mark.parametrize(("mode", "forced"), [("sample", 1.0), ("exact", 1.0), ("exact", 0.5)])
def test_pairs_of_the_same_texts_share_what_is_in_flight(store, monkeypatch, mode, forced):
    """The second half is planned while the first is asked."""
    monkeypatch.setattr(job, "WINDOW", 20)
    monkeypatch.setattr(runner, "_TRIAL", 0)
    twins = [*PAIRS[:20], *(pair.model_copy(update={"id": f"{pair.id}-again"}) for pair in PAIRS[:20])]
    server = FakeServer(latency=0.03, forced=forced)
    summary = ask_model(twins, a_judge(mode=mode), server, store, QUIET)
    assert set(server.asked.values()) == {1}
    assert (summary.tally.elsewhere, summary.tally.attempts) == (0, sum(server.asked.values()))
    assert summary.tally.made + summary.tally.reused == summary.tally.wanted
    if mode == "sample":
        check_complete(store, a_judge(), twins)


@pytest.mark.parametrize(
    "errors",
    [
        [AskError("429", kind="busy", retry_after=0.05)] * 6,
        [AskError("429", kind="busy")] * 4,
        [AskError("500")] * 5,
        [AskError("refused", kind="gone")] * 4,
        [
            AskError("cut off", billed=True),
            AskError("429", kind="busy", retry_after=0.01),
            AskError("refused", kind="gone"),
        ],
    ],
    ids=["429 with Retry-After", "429", "500", "gone and back", "all of it"],
)
def test_errors_pass_and_everything_is_there(store, errors):
    judge, server = a_judge(), FakeServer(script=errors)
    summary = ask_model(PAIRS, judge, server, store, QUIET)
    assert (summary.tally.failed, summary.tally.retries) == (0, len(errors))
    check_complete(store, judge)
    assert set(server.asked.values()) == {1}
    assert spent(store, judge.name).failed == len(errors)


def test_fewer_replies_than_asked_for_are_asked_for_again(store):
    class Stingy(FakeServer):
        def replies(self, ask: Ask) -> tuple[str, ...]:
            return super().replies(ask)[:2]

    ask_model(PAIRS, a_judge(), Stingy(), store, QUIET)
    check_complete(store, a_judge())


def test_a_question_that_always_fails_is_left_for_the_next_run(store):
    class Moody(FakeServer):
        cured = False

        async def answer(self, ask, sampling):
            if ask.pair.id == "p3" and not self.cured:
                raise AskError("malformed JSON")
            return await super().answer(ask, sampling)

    server = Moody()
    summary = ask_model(PAIRS, a_judge(), server, store, AskingOptions(progress=False, retries=1))
    assert (summary.tally.failed, summary.tally.made) == (10, 390)
    assert summary.tally.failed_because == "malformed JSON"
    server.cured = True
    assert ask_model(PAIRS, a_judge(), server, store, QUIET).tally.made == 10
    check_complete(store, a_judge())


def test_a_server_that_fails_everything_is_given_up(store):
    class Broken(FakeServer):
        async def answer(self, ask, sampling):
            raise AskError("null log-probabilities")

    with pytest.raises(JudgeError, match=r"20 questions in a row failed for good.*null log-probabilities"):
        ask_model(PAIRS, a_judge(), Broken(), store, AskingOptions(progress=False, retries=0))


def test_a_server_that_stays_away_ends_the_run_with_a_remedy(store):
    class Away(FakeServer):
        async def answer(self, ask, sampling):
            raise AskError("nobody answers at 127.0.0.1:1", kind="gone")

    with pytest.raises(JudgeError, match=r"nobody answers.*start the server and run the same command again"):
        ask_model(PAIRS, a_judge(), Away(), store, AskingOptions(progress=False, patience=0.3))


def test_what_waiting_does_not_fix_ends_the_run_at_once_and_keeps_the_rest(store):
    server = FakeServer(latency=0.001)
    fatal = JudgeError("the key in OPENAI_API_KEY was refused (401)")

    class Expires(FakeServer):
        async def answer(self, ask, sampling):
            if len(self.asked) >= 20:
                raise fatal
            return await super().answer(ask, sampling)

    expiring = Expires()
    with pytest.raises(JudgeError, match="was refused"):
        ask_model(PAIRS, a_judge(), expiring, store, QUIET)
    kept = sum(1 for _ in store.judgments(judge=a_judge().name))
    assert kept >= 100
    assert ask_model(PAIRS, a_judge(), server, store, QUIET).tally.reused == kept


def test_cost_is_counted_for_every_attempt_and_never_passes_the_limit(store):
    judge = a_judge()
    limit = AskingOptions(progress=False, price=PRICE, max_cost=5.0)
    server = FakeServer(script=[AskError("cut off", usage=Usage(100, 25))])
    summary = ask_model(PAIRS, judge, server, store, limit)
    assert "most that may be spent" in summary.stopped
    answered = len(server.asked)
    assert summary.cost == pytest.approx((answered + 1) * PRICE.of(Usage(100, 25)))
    assert 4.5 < summary.cost <= 5.0
    again = ask_model(PAIRS, judge, server, store, limit)
    assert (again.tally.made, again.stopped != "") == (0, True)
    ask_model(PAIRS, judge, server, store, AskingOptions(progress=False, price=PRICE))
    assert spent(store, judge.name).cost == pytest.approx(81 * PRICE.of(Usage(100, 25)))
    check_complete(store, judge)


@pytest.mark.parametrize(
    "script", [[], [AskError("busy", kind="busy", retry_after=0.0)], [AskError("no", kind="refused")]]
)
def test_questions_that_wait_for_the_first_answer_are_weighed_by_it(store, script):
    class Thinks(FakeServer):
        async def answer(self, ask, sampling):
            usage = Usage(100, 200 * len(ask.samples))
            return dataclasses.replace(await super().answer(ask, sampling), usage=usage)

    price = Price(0.0, 1e6)  # a dollar a token
    options = AskingOptions(progress=False, price=price, max_cost=2500.0)
    summary = ask_model(PAIRS[:6], a_judge(), Thinks(script=script, latency=0.01), store, options)
    assert "most that may be spent" in summary.stopped
    assert 2000 <= summary.cost <= 2500


def test_a_fault_in_the_pairs_keeps_what_is_in_flight(store):
    class Torn:
        def __len__(self):
            return 601

        def __iter__(self):
            yield from (PAIRS[0].model_copy(update={"id": str(i), "prompt": f"q{i}"}) for i in range(600))
            raise InputError("pairs.jsonl:601: torn")

    server = FakeServer(latency=0.01)
    with pytest.raises(InputError, match="601: torn"):
        ask_model(Torn(), a_judge(), server, store, QUIET)
    assert sum(1 for _ in store.judgments()) == 5 * len(server.asked) > 0


def test_ctrl_c_finishes_what_is_in_flight(store):
    class Interrupted(FakeServer):
        async def answer(self, ask, sampling):
            if sum(self.asked.values()) >= 10 and not self.cured:
                self.cured = True
                os.kill(os.getpid(), signal.SIGINT)
            return await super().answer(ask, sampling)

        cured = False

    judge, server = a_judge(), Interrupted(latency=0.01)
    summary = ask_model(PAIRS, judge, server, store, AskingOptions(progress=False, concurrency=4))
    assert summary.stopped == "interrupted"
    assert 0 < summary.tally.made < 400
    assert sum(1 for _ in store.judgments(judge=judge.name)) == summary.tally.made == 5 * len(server.asked)
    server.latency = 0.0
    ask_model(PAIRS, judge, server, store, QUIET)
    check_complete(store, judge)
    assert set(server.asked.values()) == {1}


def test_two_runs_at_once_share_the_work(tmp_path):
    server = FakeServer(latency=0.005)

    def run() -> None:
        with JudgmentStore(tmp_path / "shared.db") as opened:
            ask_model(PAIRS, a_judge(), server, opened, AskingOptions(progress=False, concurrency=8))

    runs = [threading.Thread(target=run) for _ in range(2)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert set(server.asked.values()) == {1}
    with JudgmentStore(tmp_path / "shared.db") as opened:
        check_complete(opened, a_judge())


def test_two_runs_at_once_spend_no_more_than_one_may(tmp_path):
    def run(pairs: list[Pair]) -> None:
        with JudgmentStore(tmp_path / "shared.db") as opened:
            options = AskingOptions(progress=False, concurrency=2, price=PRICE, max_cost=3.0)
            ask_model(pairs, a_judge(), FakeServer(latency=0.02), opened, options)

    runs = [threading.Thread(target=run, args=(pairs,)) for pairs in (PAIRS, PAIRS[::-1])]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    with JudgmentStore(tmp_path / "shared.db") as opened:
        assert 2.5 < spent(opened, a_judge().name).cost <= 3.0


def test_an_exact_run_that_falls_back_spends_what_it_may_once(store):
    judge = a_judge(mode="exact")
    options = AskingOptions(progress=False, price=PRICE, max_cost=3.0)
    for _ in range(2):
        summary = ask_model(PAIRS, judge, FakeServer(forced=0.5), store, options)
        assert (summary.mode, summary.judge) == ("sample", judge.with_mode("sample").name)
        assert 2.5 < summary.cost <= 3.0
        assert summary.cost == pytest.approx(spent(store, judge.name, summary.judge).cost)
        assert "most that may be spent" in summary.stopped


def test_a_prompt_that_does_not_fit_is_counted_and_named(store):
    summary = ask_model(PAIRS, a_judge(), FakeModel(), store, QUIET)
    assert summary.tally.too_long == 2
    assert summary.tally.too_long_pairs[0] == "p7 (1,200 tokens do not fit into the context of 1,000)"
    assert summary.tally.made == 390


def test_a_model_in_this_process_whose_replies_are_all_cut_stops_early(store, monkeypatch):
    class Thinks(FakeModel):
        def answer(self, asks, sampling):
            for ask in asks:
                self.asked += 1
                yield Answer(ask, ("I think",) * len(ask.samples), cut=(True,) * len(ask.samples))

    monkeypatch.setattr(job, "WINDOW", 10)
    model = Thinks()
    summary = ask_model(PAIRS, a_judge(), model, store, QUIET)
    assert (summary.stopped, model.asked, summary.tally.cut_short) == (job.ALL_CUT, 20, 100)
    with store.transaction() as connection:
        connection.execute("UPDATE judgments SET choice = 'a' WHERE sample = 0")
    assert (ask_model(PAIRS, a_judge(), model, store, QUIET).stopped, model.asked) == ("", 80)


def test_readings_give_votes_at_any_setting_without_asking_again(store):
    judge, model = a_judge(mode="exact"), FakeServer()
    summary = ask_model(PAIRS, judge, model, store, QUIET)
    assert (summary.mode, summary.tally.made) == ("exact", 80)
    assert sum(1 for _ in store.judgments()) == 0
    drawn = list(Recall(store, judge.name, PAIRS).judgments())
    assert len(drawn) == 400
    # At top-p 0.6 the first token alone is kept: whoever is shown first wins, in both orders.
    sure = list(Recall(store, judge.name, PAIRS, top_p=0.6).judgments())
    assert {(j.order, j.choice) for j in sure} == {("ab", "a"), ("ba", "b")}
    more = list(Recall(store, judge.name, PAIRS, n=1000).judgments())
    share = np.mean([(j.choice == "a") == (j.order == "ab") for j in more])
    assert share == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / len(more)))
    assert {(j.pair_id, j.sample): j.choice for j in drawn}.items() <= {
        (j.pair_id, j.sample): j.choice for j in more
    }.items()
    assert set(model.asked.values()) == {1}


@pytest.mark.parametrize("backend", [FakeModel(forced=0.3), FakeServer(forced=0.3)], ids=["batches", "server"])
def test_a_model_that_does_not_keep_to_the_prefix_is_sampled_instead_unless_told_otherwise(store, backend):
    pairs = [pair for pair in PAIRS if pair.id != "p7"]
    judge = a_judge(mode="exact")
    summary = ask_model(pairs, judge, backend, store, QUIET)
    assert summary.mode == "sample"
    check_complete(store, judge.with_mode("sample"), pairs)
    told = ask_model(pairs, judge, backend, store, AskingOptions(progress=False, force_prefix=True))
    assert (told.mode, told.tally.made + told.tally.reused) == ("exact", 78)


def test_personas_take_turns_in_both_orders(store):
    judge = a_judge(personas=("You are a nurse.", "You are a poet."), n=8)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    seen = Counter((j.persona, j.order) for j in store.judgments(judge=judge.name))
    assert set(seen.values()) == {2 * len(PAIRS)}
    assert len(seen) == 4


@given(people=st.integers(1, 9), n=st.integers(1, 40), first=st.sampled_from("08f"))
def test_every_persona_is_asked_before_one_is_asked_again(people, n, first):
    names = tuple(f"You are number {i}." for i in range(people))
    n = max(n, people)
    plan = a_judge(personas=names, n=n).plan(f"{first}0")
    asked = Counter(planned.persona for planned in plan)
    assert len(asked) == people
    assert max(asked.values()) - min(asked.values()) <= 1
    orders = Counter(planned.order for planned in plan)
    assert abs(orders["ab"] - orders["ba"]) <= 1
    cells = Counter((planned.persona, planned.order) for planned in plan)
    assert max(cells.values()) <= -(-n // (2 * people)), "both orders of a persona before either comes again"
    assert a_judge(personas=names, n=n + 5).plan(f"{first}0")[:n] == plan, "more judgments ask nothing anew"


def test_ten_judgments_of_ten_personas_ask_all_ten(store):
    judge = a_judge(personas=tuple(f"You are number {i}." for i in range(10)), n=10)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    asked = Counter((j.pair_id, j.persona) for j in store.judgments(judge=judge.name, pairs=PAIRS))
    assert set(asked.values()) == {1}
    assert len(asked) == 10 * len(PAIRS)


def test_a_store_of_version_0_1_keeps_its_plan(store):
    """Its samples were dealt otherwise, and its judge's settings do not say so."""
    before = a_judge(personas=("You are a nurse.", "You are a poet."), n=6, deal="pairs", names_personas=False)
    ask_model(PAIRS, before, FakeServer(), store, QUIET)
    settings = before.settings()
    del settings["config"]["deal"], settings["names_personas"]
    store.register(before.name, settings)
    recalled = list(Recall(store, before.name, PAIRS).judgments())
    assert len(recalled) == 6 * len(PAIRS)
    after = a_judge(personas=("You are a nurse.", "You are a poet."), n=6)
    assert after.name != before.name
    assert a_judge(n=6).name == a_judge(n=6, deal="pairs").name, "without personas nothing has changed"


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_store_that_version_0_1_began_is_gone_on_with(store, mode):
    personas = tuple(f"You are number {i}." for i in range(4))
    before = a_judge(personas=personas, n=4, deal="pairs", mode=mode, names_personas=False)
    made = ask_model(PAIRS, before, FakeServer(), store, QUIET).tally.made
    settings = before.settings()
    del settings["config"]["deal"], settings["names_personas"]
    store.register(before.name, settings)
    now = a_judge(personas=personas, n=4, mode=mode)
    again = ask_model(PAIRS, now, FakeServer(), store, QUIET)
    assert (again.judge, again.tally.made, again.tally.reused) == (before.name, 0, made)
    more = ask_model(PAIRS, a_judge(personas=personas, n=8, mode=mode), FakeServer(), store, QUIET)
    assert (more.judge, more.tally.made, more.tally.reused) == (before.name, made, made)
    assert set(store.judges()) == {before.name}


def test_a_store_of_today_keeps_todays_plan_whatever_it_has_of_another(store):
    personas = ("You are a nurse.", "You are a poet.")
    now = a_judge(personas=personas, n=6)
    assert ask_model(PAIRS, now, FakeServer(), store, QUIET).judge == now.name
    ask_model(PAIRS, a_judge(personas=personas, n=6, deal="pairs"), FakeServer(), store, QUIET)
    again = ask_model(PAIRS, now, FakeServer(), store, QUIET)
    assert (again.judge, again.tally.made) == (now.name, 0)
    assert len(store.judges()) == 2


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_another_population_is_another_judge(store, mode):
    young, old = (a_judge(personas=(f"You are {age}.", f"You are {age} and rich."), n=4, mode=mode) for age in AGES)
    for judge in (young, old, young):
        ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    assert len({young.name, old.name, a_judge(n=4, mode=mode).name}) == 3
    assert set(store.judges()) == {young.name, old.name}
    for judge in (young, old):
        assert {j.persona for j in Recall(store, judge.name, PAIRS).judgments()} == set(judge.config.personas)


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_name_without_personas_is_gone_on_with_by_these_personas_alone(store, mode):
    """So judges were called once, and two populations had one name, with the settings of the last one."""
    young, old = (tuple(f"You are {age}{more}" for more in (".", " and rich.")) for age in AGES)
    before = [a_judge(personas=personas, n=4, mode=mode, names_personas=False) for personas in (young, old)]
    for judge in before:
        ask_model(PAIRS, judge, FakeServer(), store, QUIET)
        store.register(judge.name, {k: v for k, v in judge.settings().items() if k != "names_personas"})
    (name,) = store.judges()
    again = ask_model(PAIRS, a_judge(personas=old, n=4, mode=mode), FakeServer(), store, QUIET)
    assert (again.judge, again.tally.made) == (name, 0)
    assert ask_model(PAIRS, a_judge(personas=young, n=4, mode=mode), FakeServer(), store, QUIET).judge != name
    assert {j.persona for j in Recall(store, name, PAIRS).judgments()} == set(old)
    assert {j.persona for j in Recall(store, name, PAIRS, personas=young).judgments()} == set(young)
    assert not verify(store).damaged


@pytest.mark.parametrize("deal", ["cells", "pairs"])
def test_one_order_of_personas_that_were_asked_in_both_is_recalled_whole(store, deal):
    judge = a_judge(personas=tuple(f"You are number {i}." for i in range(4)), n=8, deal=deal)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    in_one = Counter(j.pair_id for j in Recall(store, judge.name, PAIRS, order="ab").judgments() if j.order == "ab")
    assert set(in_one.values()) == {4}
    assert len(in_one) == len(PAIRS)


def test_fewer_judgments_than_personas_are_refused_in_one_line(store):
    judge = a_judge(personas=tuple(f"You are number {i}." for i in range(4)), n=8)
    ask_model(PAIRS, judge, FakeServer(), store, QUIET)
    with pytest.raises(JudgeError, match=r"--n 2 gives not every one of its 4 personas a judgment; give 4 or more"):
        Recall(store, judge.name, PAIRS, n=2)


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_what_a_stopped_run_left_of_a_pair_is_counted(store, tmp_path, mode):
    judge = a_judge(mode=mode)
    ask_model(PAIRS[:10], judge, FakeServer(), store, QUIET)
    whole = Recall(store, judge.name, PAIRS).count()
    assert (whole.unfinished, whole.in_one_order) == (0, 0)
    with store.transaction() as connection:
        connection.execute("DELETE FROM judgments WHERE pair_id = 'p1' AND sample = 9")
        for table in ("judgments", "readings"):
            connection.execute(f"DELETE FROM {table} WHERE pair_id = 'p0' AND shown = 'ba'")
    found = Recall(store, judge.name, PAIRS).count()
    unfinished = 2 if mode == "sample" else 1
    assert (found.unfinished, found.in_one_order) == (unfinished, 1)
    in_one = Recall(store, judge.name, PAIRS[1:], order="ab").count()
    assert (in_one.unfinished, in_one.in_one_order) == (1 if mode == "sample" else 0, 0)
    write_records(tmp_path / "pairs.jsonl", PAIRS[:10])
    arguments = [tmp_path / "pairs.jsonl", "--store", store.path, "--out", tmp_path / "m.jsonl"]
    told = CliRunner().invoke(margin, [str(argument) for argument in arguments]).stdout
    assert f"unfinished {unfinished} pairs have fewer judgments" in told
    assert "one order  1 pairs" in told


def test_an_order_without_a_valid_reply_is_no_second_order(store):
    class Silent(FakeServer):
        def replies(self, ask: Ask) -> tuple[str, ...]:
            return ("neither" if ask.order == "ba" and ask.pair.id == "p3" else "Choice: A",) * len(ask.samples)

    judge = a_judge()
    ask_model(PAIRS, judge, Silent(), store, QUIET)
    found = Recall(store, judge.name, PAIRS).count()
    assert found.judgments == 400
    assert (found.unfinished, found.in_one_order) == (0, 1)


def test_a_judge_that_always_says_a_flips_on_every_swap(store):
    judge = a_judge()
    ask_model([p for p in PAIRS if p.id != "p7"], judge, FakeModel(), store, QUIET)
    bias = position_bias(store, judge.name)
    assert (bias.compared, bias.flips, bias.first) == (39, 39, 1.0)


def test_pairs_are_read_as_they_are_needed(store):
    """A stream of pairs is not read to its end before the first answer: a million need no more memory than 500."""
    read: list[int] = []

    class Stream:
        def __len__(self):
            return 3000

        def __iter__(self):
            read.append(0)
            for pair in (PAIRS[0].model_copy(update={"id": str(i), "prompt": f"q{i}"}) for i in range(3000)):
                read[-1] += 1
                yield pair

    ahead: list[int] = []

    class Watching(FakeServer):
        async def answer(self, ask, sampling):
            ahead.append(read[-1] - len(self.asked) // 2)
            return await super().answer(ask, sampling)

    ask_model(Stream(), a_judge(), Watching(), store, AskingOptions(progress=False, concurrency=16))
    assert max(ahead) <= 512 + 64


def test_a_reading_whose_prefix_is_not_forced_is_kept_as_it_is_and_counted(store):
    server = FakeServer()
    server.forced_of = lambda ask: 0.5 if ask.pair.id == "p30" else 1.0
    judge = a_judge(mode="exact")
    summary = ask_model(PAIRS, judge, server, store, QUIET)
    assert (summary.mode, summary.tally.unforced, set(store.judges())) == ("exact", 2, {judge.name})
    assert "2 of the new choice distributions: the model would not surely begin" in "\n".join(summary.lines())
    found = Recall(store, judge.name, PAIRS).count()
    assert (found.uncertified, found.sampled_instead, found.judgments) == (2, 0, 400)


@pytest.fixture
def store_with_twin(tmp_path: Path) -> Path:
    """A store whose judge in mode exact has, for one pair, replies beside it by a judge in mode sample."""
    path = tmp_path / "twin.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "store-with-twin.sql").read_text())
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 4;")
    return path


def test_a_store_with_replies_beside_readings_is_read_as_it_was(store_with_twin, tmp_path):
    """So runs of mode exact once went on where a prefix was not forced."""
    pairs = [pair.model_copy(update={"votes": Votes(a=2, b=1), "label": "a"}) for pair in PAIRS[:6]]
    judge = a_judge(mode="exact", n=4)
    with JudgmentStore(store_with_twin) as store:
        assert len(store.judges()) == 2
        assert choose_judge("", store) == judge.name
        assert without_twins(store, store.judges()) == [judge.name]
        recall = Recall(store, judge.name, pairs)
        replies = [j for j in recall.judgments() if j.reply]
        assert sorted((j.pair_id, j.sample, j.order, j.choice) for j in replies) == [
            ("p3", 0, "ba", None),
            ("p3", 1, "ab", "a"),
            ("p3", 2, "ba", "b"),
            ("p3", 3, "ab", None),
        ]
        assert recall.count().sampled_instead == recall.count().uncertified == 2
        in_one = Recall(store, judge.name, pairs, order="ab")
        assert {j.order for j in in_one.judgments()} == {"ab"}
        assert in_one.count().sampled_instead == 1
        assert ask_model(pairs, judge, FakeServer(), store, QUIET).tally.made == 0
        assert not verify(store).damaged
    predicted = [
        Prediction(pair_id=p.id, model="m", reward_a=i, reward_b=0, preference_a=0.6) for i, p in enumerate(pairs)
    ]
    write_records(tmp_path / "pairs.jsonl", pairs)
    write_records(tmp_path / "predicted.jsonl", predicted)
    source, scores = str(tmp_path / "pairs.jsonl"), tmp_path / "scores.json"
    compared = CliRunner().invoke(compare, [source, "--store", str(store_with_twin), "--resamples", "0"])
    assert re.search(re.escape("repetition (noise)") + r" +22 ", compared.stdout), compared.output  # two name no winner
    arguments = ["--predictions", str(tmp_path / "predicted.jsonl"), "--judgments", str(store_with_twin)]
    arguments += ["--out", str(scores), "--resamples", "0", "--swaps", "0"]
    assert CliRunner().invoke(evaluate, [source, *arguments]).exit_code == 0
    assert {row["model"] for row in json.loads(scores.read_text()) if row["kind"] == "judge"} == {judge.name}
