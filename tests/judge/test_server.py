"""What a server sends is a judgment, a reading, or a failure with a meaning; what it ignores is found out."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import stub_server
from judge_helpers import PAIRS, PROFILE, an_ask, answer, judge_of, profile_in
from scipy import stats
from stub_server import StubOptions, StubServer

from dissensus.errors import JudgeError
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.messages import Answer, AskError, Sampling, TooLong, Usage
from dissensus.judges.runner import ask_model
from dissensus.judges.server.backend import Server
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.openai_format import Step, make_distribution
from dissensus.judges.store.attempts import Price, spent
from dissensus.judges.store.store import JudgmentStore

pytestmark = pytest.mark.usefixtures("no_long_delays")
KEY = "sk-secret-0123456789"


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_reading_is_the_distribution_behind_the_prefix(api, scaled):
    profile = PROFILE.model_copy(update={"api": api, "raw": not scaled})
    ask = an_ask(0)
    with StubServer(StubOptions(scaled=scaled)) as stub:
        greedy = answer(stub, ask, None, profile)
        behind = answer(stub, ask, None, profile.model_copy(update={"raw": False, "temperature": None}))
    truth = stub_server.label_probabilities(ask.prompt)
    for outcome in (greedy, behind):
        shares = verdict_probabilities(outcome.distribution, temperature=1.0, top_p=1.0)
        assert (shares.a, shares.b, shares.none) == pytest.approx((truth[" A"], truth[" B"], 0.02), abs=1e-6)
    assert greedy.distribution.forced == pytest.approx(0.995)
    assert math.isnan(behind.distribution.forced)


def test_sampled_replies_agree_with_the_distribution():
    ask = an_ask(4000)
    with StubServer(StubOptions()) as stub:
        replies = answer(stub, ask, Sampling(temperature=1.0, top_p=0.9)).replies
        reading = answer(stub, an_ask(0), None).distribution
    shares = verdict_probabilities(reading, temperature=1.0, top_p=0.9)
    counted = Counter(replies)
    seen = [counted["Choice: A"], counted["Choice: B"], counted["Choice: neither"]]
    expected = [4000 * p for p in (shares.a, shares.b, shares.none)]
    assert sum(seen) == 4000
    kept = [(s, e) for s, e in zip(seen, expected, strict=True) if e > 0]
    assert stats.chisquare(*zip(*kept, strict=True)).pvalue > 1e-3


def test_the_seed_makes_replies_again():
    with StubServer(StubOptions()) as stub:
        one, two = (answer(stub, an_ask(50), Sampling(seed=3)).replies for _ in range(2))
        other = answer(stub, an_ask(50), Sampling(seed=4)).replies
    assert one == two != other


def test_a_model_that_says_something_else_first_is_read_behind_the_prefix_and_not_certified():
    with StubServer(StubOptions(forced=0.3)) as stub:
        outcome = answer(stub, an_ask(0), None)
    assert outcome.distribution.forced == 0
    assert verdict_probabilities(outcome.distribution, temperature=1.0, top_p=1.0).a > 0.01


@pytest.mark.parametrize(
    ("fault", "kind", "billed"),
    [
        ("429", "busy", False),
        ("429-after", "busy", False),
        ("503", "busy", False),
        ("500", "failed", False),
        ("reset", "failed", True),
        ("reset-mid", "failed", True),
        ("truncated", "failed", True),
        ("malformed", "failed", True),
        ("error-200", "failed", False),
        ("empty-choices", "failed", True),
        ("hang", "failed", True),
    ],
)
def test_each_fault_is_a_failure_that_may_be_repeated(fault, kind, billed):
    with StubServer(StubOptions(schedule=fault, retry_after=0.25)) as stub:
        with pytest.raises(AskError) as caught:
            answer(stub, an_ask(), Sampling(), timeout=0.5 if fault == "hang" else 5.0)
        assert (caught.value.kind, caught.value.billed) == (kind, billed)
        assert caught.value.retry_after == (0.25 if fault == "429-after" else None)
        assert len(answer(stub, an_ask(), Sampling()).replies) == 5


def test_null_log_probabilities_are_no_distribution():
    with StubServer(StubOptions(schedule="null-logprobs")) as stub, pytest.raises(AskError, match="null log-prob"):
        answer(stub, an_ask(0), None)


@pytest.mark.parametrize(("fault", "replies"), [("wrong-n", 4), ("wrong-n-more", 5), ("slow", 5)])
def test_another_number_of_replies_than_asked_for_and_a_slow_body(fault, replies):
    with StubServer(StubOptions(schedule=fault)) as stub:
        assert len(answer(stub, an_ask(), Sampling()).replies) == replies


def test_nobody_there():
    with StubServer(StubOptions()) as stub:
        url = stub.url
    with pytest.raises(AskError, match="nobody answers at") as caught:
        answer(SimpleNamespace(url=url), an_ask(), Sampling())
    assert caught.value.kind == "gone"


@pytest.mark.parametrize("style", ["openai", "vllm", "cut"])
def test_a_prompt_longer_than_the_context_is_never_cut_silently(style):
    with StubServer(StubOptions(context=60, context_style=style)) as stub:
        outcome = answer(stub, an_ask(text="word " * 400), Sampling())
    assert isinstance(outcome, TooLong)
    assert outcome.limit == 60
    assert (outcome.tokens > 400) == (style != "cut")


def test_a_server_that_answers_beyond_its_context_is_not_believed():
    """As transformers serve does, which neither tells its context nor refuses what it does not hold."""
    known = PROFILE.model_copy(update={"context": 60})
    with StubServer(StubOptions()) as stub:
        outcome = answer(stub, an_ask(text="word " * 400), Sampling(), known)
        assert isinstance(outcome, TooLong)
        assert (outcome.tokens > 400, outcome.limit) == (True, 60)
        assert isinstance(answer(stub, an_ask(text="word " * 400), Sampling()), Answer)


@pytest.mark.parametrize("key", [None, "sk-wrong-0123456789"])
def test_a_refused_key_is_named_and_never_shown(key, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with StubServer(StubOptions(api_key=KEY)) as stub:
        for attempt in (lambda: answer(stub, an_ask(), Sampling()), lambda: profile_in(stub, tmp_path)):
            with pytest.raises((AskError, JudgeError), match="OPENAI_API_KEY is") as caught:
                attempt()
            shown = repr(caught.value) + repr(caught.value.__cause__)
            assert KEY not in shown
            assert (key or KEY) not in shown
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with StubServer(StubOptions(api_key=KEY)) as stub:
        assert len(answer(stub, an_ask(), Sampling()).replies) == 5
        assert KEY not in repr(vars(Endpoint(stub.url)))


def test_tokens_of_one_text_that_were_merged_leave_no_false_certainty():
    """18 came of 20: two hide behind others' names, so only what outweighs all that is missing is surely the top."""
    step = Step(" A", math.log(0.6), [(" A", math.log(0.6)), (" B", math.log(0.25)), (" C", math.log(0.01))])
    assert make_distribution(step, 1.0, asked=3).top == 3
    merged = make_distribution(step, 1.0, asked=20)
    assert merged.top == 2
    assert verdict_probabilities(merged, temperature=1.0, top_p=0.95).error > 0.001


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_server_with_every_fault_at_once_gives_every_judgment_once(tmp_path, mode):
    kinds = ["429", "429-after", "500", "reset", "reset-mid", "truncated", "malformed", "error-200", "empty-choices"]
    kinds += ["wrong-n", "null-logprobs"]
    faults = ",".join(f"{kind}:0.03" for kind in kinds)
    judge = judge_of(mode=mode)
    with StubServer(StubOptions(faults=faults, retry_after=0.02)) as stub, JudgmentStore(tmp_path / "j.db") as store:
        backend = Server(Endpoint(stub.url), PROFILE)
        options = AskingOptions(progress=False, price=Price(1.0, 2.0), retries=8)
        summary = ask_model(PAIRS[:20], judge, backend, store, options)
        assert (summary.tally.failed, summary.mode) == (0, mode)
        made = list(store.distributions()) if mode == "exact" else list(store.judgments())
        assert len(made) == (40 if mode == "exact" else 200)
        assert len({(m.pair_id, m.order, getattr(m, "sample", 0)) for m in made}) == len(made)
        assert summary.tally.retries > 1
        served = Usage(stub.stats.prompt_tokens, stub.stats.completion_tokens)
        assert spent(store, judge.name).cost >= Price(1.0, 2.0).of(served)


def test_a_server_that_dies_and_returns_is_waited_for(tmp_path):
    with StubServer(StubOptions(latency=0.005)) as stub, JudgmentStore(tmp_path / "j.db") as store:

        def die_and_return() -> None:
            stub.stop()
            time.sleep(0.2)
            stub.start()

        restart = threading.Timer(0.15, die_and_return)
        restart.start()
        backend = Server(Endpoint(stub.url), PROFILE.model_copy(update={"several": False}))
        summary = ask_model(PAIRS, judge_of(), backend, store, AskingOptions(progress=False, concurrency=4))
        restart.join()
        assert summary.tally.failed == 0
        assert sum(1 for _ in store.judgments()) == 400
        assert summary.tally.retries > 0
