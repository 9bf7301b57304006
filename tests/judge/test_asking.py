"""Whatever a server does, every judgment is there once, and nothing is asked or paid for twice."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from pathlib import Path

import pytest
from judge_helpers import PAIRS, QUIET, FakeModel, FakeServer, a_judge, check_complete

from dissensus.errors import InputError, JudgeError
from dissensus.judges import job, runner
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.messages import Answer, Ask, AskError, Usage
from dissensus.judges.runner import ask_model
from dissensus.judges.store.attempts import Price, spent
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair

PRICE = Price(prompt=1000.0, completion=2000.0)


@pytest.fixture
def store(tmp_path: Path):
    with JudgmentStore(tmp_path / "judgments.db") as opened:
        yield opened


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


@pytest.mark.parametrize(("mode", "forced"), [("sample", 1.0), ("exact", 1.0), ("exact", 0.5)])
def test_pairs_of_the_same_texts_share_what_is_in_flight(store, monkeypatch, mode, forced):
    """The second half is planned while the first is asked."""
    monkeypatch.setattr(job, "WINDOW", 20)
    monkeypatch.setattr(runner, "TRIAL", 0)
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
        [AskError("429", kind="busy", retry_after=0.02)] * 4,
        [AskError("429", kind="busy")] * 2,
        [AskError("500")] * 3,
        [AskError("refused", kind="gone")] * 2,
        [AskError("cut off", billed=True), AskError("429", kind="busy", retry_after=0.01), AskError("", kind="gone")],
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


@pytest.mark.parametrize(("n", "gives"), [(1, 1), (5, 2)])
def test_replies_that_a_request_cannot_have_or_does_not_bring_are_asked_for_again(store, n, gives):
    class Stingy(FakeServer):
        def replies(self, ask: Ask) -> tuple[str, ...]:
            return super().replies(ask)[:gives]

    server = Stingy(n=n)
    ask_model(PAIRS, a_judge(), server, store, QUIET)
    assert max(len(samples) for _, _, samples in server.asked) == n
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


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (AskError("null log-probabilities"), {"retries": 0}, "20 questions in a row failed for good.*null log-prob"),
        (AskError("nobody is there", kind="gone"), {"patience": 0.2}, "nobody is there.*start the server and run the"),
    ],
)
def test_a_server_that_fails_everything_or_stays_away_ends_the_run_with_a_remedy(store, error, options, message):
    class Broken(FakeServer):
        async def answer(self, ask, sampling):
            raise error

    with pytest.raises(JudgeError, match=message):
        ask_model(PAIRS, a_judge(), Broken(), store, AskingOptions(progress=False, **options))


def test_what_waiting_does_not_fix_ends_the_run_at_once_and_keeps_the_rest(store):
    class Expires(FakeServer):
        async def answer(self, ask, sampling):
            if len(self.asked) >= 20:
                raise JudgeError("the key in OPENAI_API_KEY was refused (401)")
            return await super().answer(ask, sampling)

    with pytest.raises(JudgeError, match="was refused"):
        ask_model(PAIRS, a_judge(), Expires(), store, QUIET)
    kept = sum(1 for _ in store.judgments(judge=a_judge().name))
    assert kept >= 100
    assert ask_model(PAIRS, a_judge(), FakeServer(), store, QUIET).tally.reused == kept


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


def both_at_once(path: Path, servers: list[FakeServer], **options: object) -> None:
    """Two runs of one judge over one store, from both ends of the pairs."""

    def run(pairs: list[Pair], server: FakeServer) -> None:
        with JudgmentStore(path) as opened:
            ask_model(pairs, a_judge(), server, opened, AskingOptions(progress=False, **options))

    runs = [threading.Thread(target=run, args=of) for of in zip((PAIRS, PAIRS[::-1]), servers, strict=True)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()


def test_two_runs_at_once_share_the_work(tmp_path):
    server = FakeServer(latency=0.005)
    both_at_once(tmp_path / "shared.db", [server, server], concurrency=8)
    assert set(server.asked.values()) == {1}
    with JudgmentStore(tmp_path / "shared.db") as opened:
        check_complete(opened, a_judge())


def test_two_runs_at_once_spend_no_more_than_one_may(tmp_path):
    servers = [FakeServer(latency=0.02), FakeServer(latency=0.02)]
    both_at_once(tmp_path / "shared.db", servers, concurrency=2, price=PRICE, max_cost=3.0)
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


def test_pairs_are_read_as_they_are_needed(store, monkeypatch):
    """A stream of pairs is not read to its end before the first answer: a million need no more memory than a window."""
    read: list[int] = []
    ahead: list[int] = []

    class Stream:
        def __len__(self):
            return 700

        def __iter__(self):
            read.append(0)
            for i in range(700):
                read[-1] += 1
                yield PAIRS[0].model_copy(update={"id": str(i), "prompt": f"q{i}"})

    class Watching(FakeServer):
        async def answer(self, ask, sampling):
            ahead.append(read[-1] - len(self.asked) // 2)
            return await super().answer(ask, sampling)

    monkeypatch.setattr(job, "WINDOW", 128)
    ask_model(Stream(), a_judge(), Watching(), store, AskingOptions(progress=False, concurrency=16))
    assert max(ahead) <= 128 + 64
