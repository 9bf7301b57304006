"""What a server will not answer stops nothing else, is named with its reason and is not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from judge_helpers import GOOD, PROFILE, asked, judge_of, probed
from stub_server import StubOptions, StubServer

from dissensus.errors import JudgeError
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.messages import Answer, Ask, AskError, Sampling, Usage
from dissensus.judges.runner import ask_model
from dissensus.judges.server import rate_limits
from dissensus.judges.server.backend import Server
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.refusals import plain_question
from dissensus.judges.store.attempts import Ledger, Price, spent
from dissensus.records import Pair

pytestmark = pytest.mark.usefixtures("no_long_delays")
FLAGGED = [Pair(id=f"f{i}", prompt=f"flagged {i}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(3)]
ONE_EACH = PROFILE.model_copy(update={"several": False})


class Scripted(Server):
    """A server that ``answers``: a function of the ask, which may raise, and None where the stub is to answer."""

    def __init__(self, answers: Callable[[Ask], Any], url: str = "http://127.0.0.1:1/v1", **profile: Any) -> None:
        super().__init__(Endpoint(url), PROFILE.model_copy(update=profile))
        self._answers = answers

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Any:
        answer = self._answers(ask)
        return answer or await super().answer(ask, sampling)


def failing(error: Exception, word: str = "") -> Callable[[Ask], None]:
    def answers(ask: Ask) -> None:
        if word in ask.prompt:
            raise error

    return answers


NOT_FROM_HERE = AskError("status 403: not from here", kind="refused", status=403)


@pytest.mark.parametrize(
    ("how", "first"),
    [(how, True) for how in ("400", "403", "waf", "429", "401", "404", "key", "model")]
    + [(how, False) for how in ("azure", "302")],
)
def test_refused_prompts_stop_no_others_wherever_they_stand(store, how, first):
    pairs = [*FLAGGED, *GOOD] if first else [*GOOD, *FLAGGED]
    with StubServer(StubOptions(flags=how)) as stub:
        one = asked(stub, pairs, store, ONE_EACH, concurrency=1 if first else 256)
        assert (one.tally.made, one.tally.refused, one.tally.failed) == (60, 30, 0)
        assert [line.split(" (")[0] for line in one.tally.refused_pairs] == ["f0", "f1", "f2"]
        assert f"{how if how.isdigit() else 4}" in one.tally.refused_pairs[0]


def test_what_was_refused_is_not_asked_again_unless_told_to(store):
    pairs = [*FLAGGED, *GOOD]
    with StubServer(StubOptions(flags="404")) as stub:
        asked(stub, pairs, store, ONE_EACH)
        served = stub.stats.requests
        again = asked(stub, pairs, store, ONE_EACH)
        assert (stub.stats.requests, again.nothing_judged) == (served, "")
        assert (again.tally.made, again.tally.reused, again.tally.refused, again.tally.refused_new) == (0, 60, 30, 0)
        more = asked(stub, pairs, store, ONE_EACH, judge=judge_of(n=12))  # its first ten are the same ten
        assert (more.tally.made, more.tally.refused_new) == (12, 0)
        once_more = asked(stub, pairs, store, ONE_EACH, ask_refused=True)
        assert once_more.tally.refused_new == 30


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_what_is_answered_after_all_is_not_refused_any_more(store, mode):
    judge, more = judge_of(mode=mode, n=2), judge_of(mode=mode, n=4)
    with StubServer(StubOptions(flags="azure")) as stub:
        assert asked(stub, [*FLAGGED, *GOOD], store, judge=judge).tally.refused == 6
    with StubServer(StubOptions()) as mended:
        assert asked(mended, FLAGGED[:2], store, judge=judge, ask_refused=True).tally.made == 4
        again = asked(mended, [*FLAGGED, *GOOD], store, judge=judge)
        assert (again.tally.made, again.tally.refused) == (0, 2)
        assert asked(mended, FLAGGED[:2], store, judge=more).tally.refused == 0
    assert list(store.rows("SELECT COUNT(*) FROM attempts WHERE state = 'refused'")) == [(2,)]


@pytest.mark.parametrize("mode", ["sample", "exact"])
def test_a_server_that_refuses_everything_says_so_and_nothing_is_kept_as_refused(store, mode):
    backend = Scripted(failing(NOT_FROM_HERE))
    many = [Pair(id=f"m{i}", prompt=f"m{i}", response_a="yes", response_b="no") for i in range(40)]
    options = AskingOptions(progress=False, concurrency=1, force_prefix=True)
    # At the end of a few questions, and after twenty of many.
    for pairs, in_a_row in ((GOOD, 12), (many, 20)):
        with pytest.raises(JudgeError, match=rf"^{in_a_row} .*for good.*not from here.*A plain question fails too"):
            ask_model(pairs, judge_of(mode=mode), backend, store, options)
    assert not list(store.rows("SELECT 1 FROM attempts WHERE state = 'refused'"))


@pytest.mark.parametrize("status", [302, 401, 404])
def test_a_server_that_turns_everybody_away_ends_the_run_with_its_reason(store, status):
    with StubServer(StubOptions(flags=str(status))) as stub:
        everything = [*FLAGGED, Pair(id="plain", prompt="q", response_a="flagged yes", response_b="no")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dissensus.judges.server.refusals._PLAIN", everything[-1])
            with pytest.raises(JudgeError, match=rf"\({status}\).*A plain question fails too"):
                asked(stub, everything, store)
        assert stub.stats.requests <= 2 * 8 + 2
    assert not list(store.rows("SELECT 1 FROM attempts WHERE state IN ('refused', 'lost')"))


@pytest.mark.parametrize(("most", "requests"), [(8, 45), (3, 70), (1, 140)])
def test_a_server_that_refuses_so_many_replies_at_once_is_asked_for_fewer(store, most, requests):
    with StubServer(StubOptions(most_replies=most, flags="400")) as stub:
        summary = asked(stub, [*GOOD, FLAGGED[0]], store, judge=judge_of(n=20))
        assert (summary.tally.made, summary.tally.refused, summary.tally.failed) == (120, 20, 0)
        assert stub.stats.requests <= requests
    (refused,) = store.rows("SELECT COUNT(*) FROM attempts WHERE state = 'refused'")
    assert refused == (2,)


def test_a_server_that_tells_how_many_replies_it_gives_is_asked_for_no_more(store):
    with StubServer(StubOptions(most_replies=3, slots=3)) as stub:
        profile = probed(stub.options, None)
        assert (profile.several, profile.most_replies) == (True, 3)
        assert "one request for up to 3 replies of an order" in profile.describe()
        summary = asked(stub, GOOD, store, profile, judge=judge_of(n=20))
        assert (summary.tally.made, summary.tally.retries, summary.tally.attempts) == (120, 0, 12 * 4)


def test_what_the_account_cannot_pay_costs_nothing(store):
    options = AskingOptions(progress=False, price=Price(1.0, 1.0))
    with pytest.raises(JudgeError, match="no credit"):
        ask_model(GOOD, judge_of(), Scripted(failing(JudgeError("no credit left"))), store, options)
    assert spent(store, judge_of().name).cost == 0


def test_an_answer_to_what_was_sent_before_the_refusals_says_nothing_of_them(store):
    """A server that begins to refuse everything may still answer what it had in hand."""

    class Shuts(Server):
        refusals = 0

        async def answer(self, ask: Any, sampling: Any) -> Any:
            if ask.pair.id != "p0":
                await asyncio.sleep(0.02)
                self.refusals += 1
                raise NOT_FROM_HERE
            while self.refusals < 10:
                await asyncio.sleep(0.01)
            return Answer(ask, ("Choice: A",) * len(ask.samples))

    backend = Shuts(Endpoint("http://127.0.0.1:1/v1"), PROFILE)
    with pytest.raises(JudgeError, match=r"not from here.*A plain question fails too"):
        ask_model(GOOD, judge_of(), backend, store, AskingOptions(progress=False))
    assert not list(store.rows("SELECT 1 FROM attempts WHERE state = 'refused'"))
    assert sum(1 for _ in store.judgments()) == 10


def test_a_plain_question_is_each_runs_own(store):
    """Under one key, a run whose neighbour asks it at this moment would end as if all were well."""
    like = judge_of().ask(GOOD[0], "ab", "", (0,))
    other = Ledger(store, judge_of().name)
    with other.running(), store.transaction():
        other.claim([(plain_question(judge_of(), like), Usage(), 0.0)])
        mine = Ledger(store, judge_of().name)
        mine.run = other.run + 1
        assert mine.claim([(plain_question(judge_of(), like), Usage(), 0.0)]) != [None]


def test_prompts_that_a_server_falls_over_stop_no_others(store):
    with StubServer(StubOptions()) as stub:
        backend = Scripted(failing(AskError("status 500: it fell over"), "flagged"), stub.url, several=False)
        options = AskingOptions(progress=False, retries=0, concurrency=1)
        summary = ask_model([*FLAGGED, *GOOD], judge_of(), backend, store, options)
    assert (summary.tally.made, summary.tally.failed, summary.tally.refused) == (60, 30, 0)


def test_a_pause_is_shown_while_it_lasts(store, capsys, monkeypatch):
    monkeypatch.setattr(rate_limits, "_NOTICED", 0.2)
    with StubServer(StubOptions(schedule="429-after", retry_after=0.4)) as stub:
        assert asked(stub, GOOD, store).tally.made == 60
    assert capsys.readouterr().err.count("busy (429): no reason given: waiting 0:00:00, until ") == 1


def test_where_every_prompt_is_refused_and_a_plain_one_is_not_nothing_was_judged(store):
    with StubServer(StubOptions(flags="azure")) as stub:
        for _ in range(2):
            summary = asked(stub, FLAGGED, store, ONE_EACH)
            assert (summary.tally.made, summary.tally.refused) == (0, 30)
            assert "nothing was judged: the server refused" in summary.nothing_judged


@pytest.mark.parametrize("how", ["withheld", "choice"])
def test_replies_that_are_held_back_are_asked_again_and_then_kept_as_refused(store, how):
    with StubServer(StubOptions(flags=how)) as stub:
        one = asked(stub, [FLAGGED[0], *GOOD], store, retries=1)
        assert (one.tally.made, one.tally.refused, one.tally.retries) == (60, 10, 2)
        served = stub.stats.requests
        assert asked(stub, [FLAGGED[0], *GOOD], store).tally.refused == 10
        assert stub.stats.requests == served
    assert not list(store.rows("SELECT 1 FROM judgments WHERE choice IS NULL AND reply = ''"))


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"omitted": ("top_p",)}, "takes no top_p but 1; give --top-p 1"),
        ({"temperature_and_top_p": False, "omitted": ("temperature",)}, "takes no temperature but 1"),
        ({"top_p": False}, r"ignores top_p.*--mode exact \(with --force-prefix"),
        ({"refused_max_tokens": 16}, "refuses replies of 16 tokens"),
    ],
)
def test_replies_in_mode_exact_are_sampled_as_they_should_be_or_not_at_all(store, limits, match):
    profile = PROFILE.model_copy(update=limits)
    judge = judge_of(mode="exact", temperature=0.7)
    with StubServer(StubOptions(forced=0.5)) as stub:
        with pytest.raises(JudgeError, match=match):
            asked(stub, GOOD, store, profile, judge=judge)
        assert asked(stub, GOOD, store, profile, judge=judge, force_prefix=True).mode == "exact"
    assert not list(store.judgments())


@pytest.mark.parametrize(("forced", "mode", "made", "refused"), [(0.5, "sample", 60, 30), (0.995, "exact", 12, 6)])
def test_refusals_in_mode_exact_are_counted_once_whichever_way_it_goes_on(store, forced, mode, made, refused):
    """Those of a trial are not those of the run that took its place."""
    with StubServer(StubOptions(flags="azure", forced=forced)) as stub:
        summary = asked(stub, [*FLAGGED, *GOOD], store, judge=judge_of(mode="exact"))
        assert (summary.mode, summary.tally.made) == (mode, made)
        assert summary.tally.refused == summary.tally.refused_new == refused
        served = stub.stats.requests
        again = asked(stub, [*FLAGGED, *GOOD], store, judge=judge_of(mode="exact"))
        assert (again.tally.made, stub.stats.requests) == (0, served)


@pytest.mark.parametrize(
    "fault", ["finish-error", "finish-abort", "choice-error", "withheld", "429-inside", "error-200"]
)
def test_a_failure_inside_a_200_is_asked_again(store, fault):
    with StubServer(StubOptions(faults=f"{fault}:0.3")) as stub:
        summary = asked(stub, GOOD, store, ONE_EACH, retries=9)
        assert (summary.tally.made, summary.tally.failed, summary.tally.refused) == (60, 0, 0)
        assert summary.tally.retries > 0
    assert all(judgment.reply.startswith("Choice:") or judgment.choice for judgment in store.judgments())


def test_replies_that_are_cut_are_counted_and_a_run_of_nothing_else_stops_early(store):
    many = [pair.model_copy(update={"id": f"{pair.id}-{i}", "prompt": f"q {i}"}) for pair in GOOD for i in range(30)]
    with StubServer(StubOptions(reasoning=300)) as stub:
        summary = asked(stub, many, store, concurrency=4)
        assert summary.tally.cut == summary.tally.cut_short == summary.tally.made
        assert 0 < summary.tally.made < 200
        assert "cut before it named a winner" in summary.stopped
        assert "none of the" in summary.nothing_judged
        enough = asked(stub, many[:6], store, judge=judge_of(max_tokens=400), concurrency=4)
        assert (enough.tally.made, enough.tally.cut) == (60, 0)


def test_a_few_replies_that_are_cut_stop_nothing(store):
    def answers(ask: Ask) -> Answer | None:
        n = len(ask.samples)
        return Answer(ask, ("I think",) * n, cut=(True,) * n) if ask.pair.id in ("p0", "p1", "p2", "p3") else None

    with StubServer(StubOptions()) as stub:
        summary = ask_model(GOOD, judge_of(), Scripted(answers, stub.url), store, AskingOptions(progress=False))
    assert (summary.tally.made, summary.tally.cut_short, summary.stopped) == (60, 40, "")


def test_hidden_tokens_count_against_the_most_that_may_be_spent(store):
    with StubServer(StubOptions(reasoning=12, counts="total")) as stub:
        price = Price(0.0, 1e6)  # a dollar a token
        summary = asked(stub, GOOD, store, ONE_EACH, price=price, max_cost=100.0)
        assert "most that may be spent" in summary.stopped
        assert 85 <= summary.cost <= 100
        assert spent(store, summary.judge).completion_tokens == summary.tally.made * 15


@pytest.mark.parametrize("counts", ["whole", "one"])
def test_tokens_of_several_replies_are_those_of_all(store, counts):
    with StubServer(StubOptions(counts=counts)) as stub:
        summary = asked(stub, GOOD, store)
        assert stub.stats.requests < summary.tally.made
        assert spent(store, summary.judge).completion_tokens == summary.tally.made * 3


@pytest.mark.parametrize("counts", ["whole", "uncached", "apart", "total", "null", "float"])
def test_prompts_that_share_a_beginning_are_not_taken_for_cut_ones(store, counts):
    pairs = [Pair(id=f"l{i}", prompt="word " * (40 * i + 90), response_a="yes", response_b="no") for i in range(5)]
    with StubServer(StubOptions(counts=counts)) as stub:
        summary = asked(stub, [*pairs, *pairs[::-1]], store)
        assert (summary.tally.too_long, summary.tally.made) == (0, 50)
        assert stub.stats.requests <= (20 if counts == "uncached" else 10)


@pytest.mark.parametrize("style", ["cut", "halved"])
@pytest.mark.parametrize("words", [700, 1500])
def test_a_prompt_that_was_cut_is_noticed_by_its_count(store, style, words):
    """2,000 tokens of 2,200 are more than half of the words, and fewer than there are."""
    long = Pair(id="long", prompt="some word, " * words, response_a="yes", response_b="no")
    with StubServer(StubOptions(context=words * 2, context_style=style)) as stub:
        summary = asked(stub, [*GOOD, long], store)
    assert (summary.tally.too_long, summary.tally.made) == (2, 60)


@pytest.mark.parametrize(
    ("patience", "options", "match"),
    [
        (
            600.0,
            {"faults": "429-after:1.0", "retry_after": 25200},
            r"pause of 7:00:00, until .*--patience is 600 s",
        ),
        (600.0, {"schedule": "429-after", "retry_after": 1e9}, ""),  # one absurd pause is not believed
        (0.3, {"faults": "429:1.0"}, r"--patience is 0.3"),
    ],
)
def test_a_server_that_stays_busy_beyond_the_patience_ends_the_run(store, monkeypatch, patience, options, match):
    monkeypatch.setattr(rate_limits, "_SECOND_TRY", 0.05)
    with StubServer(StubOptions(**options)) as stub:
        if not match:
            assert asked(stub, GOOD, store, patience=patience).tally.made == 60
            return
        with pytest.raises(JudgeError, match=rf"busy \(429\).*{match}"):
            asked(stub, GOOD, store, patience=patience)
    assert not list(store.judgments())
