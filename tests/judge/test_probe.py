"""What a server really supports is found out, and asked for in the way that it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from judge_helpers import GOOD, asked, judge_of, probed, profile_in
from stub_server import StubOptions, StubServer

from dissensus.errors import JudgeError
from dissensus.judges.language.messages import Sampling
from dissensus.judges.language.settings import ServerSettings
from dissensus.judges.server import rate_limits
from dissensus.judges.server.backend import request_body
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.probe import cached_probe
from dissensus.judges.server.rate_limits import Breaker
from dissensus.judges.store.store import JudgmentStore


@pytest.fixture
def store(tmp_path: Path):
    with JudgmentStore(tmp_path / "judgments.db") as opened:
        yield opened


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    with StubServer(StubOptions()) as stub, pytest.raises(JudgeError, match=r"gpt-9.*it has: stub"):
        profile_in(stub, tmp_path, model="gpt-9")


def test_a_server_that_answers_to_any_name_is_not_believed_to_be_the_model_asked_for(tmp_path):
    with StubServer(StubOptions(any_model=True)) as stub:
        with pytest.raises(JudgeError, match=r"has no model gpt-9, and answers to any name; it has: stub"):
            profile_in(stub, tmp_path, model="gpt-9")
        assert profile_in(stub, tmp_path, model="stub").model == "stub"


def test_each_parameter_that_a_strict_server_takes_is_sent():
    assert probed(StubOptions(refuses=("min_p", "repeat_penalty")), None).neutral == {
        "top_k": -1,
        "repetition_penalty": 1.0,
    }


def test_a_probe_outlives_single_faults(tmp_path):
    faults = "empty-choices,none,500,none,truncated,none,429-after,none,error-200,none,reset,none,malformed"
    with StubServer(StubOptions(schedule=faults, retry_after=0.01)) as stub:
        assert profile_in(stub, tmp_path).plan == "greedy"


def test_a_probe_is_made_once_for_each_server(tmp_path):
    with StubServer(StubOptions()) as stub:
        first = profile_in(stub, tmp_path)
        asked = stub.stats.requests
        assert asked <= 25
        assert profile_in(stub, tmp_path) == first
        assert stub.stats.requests == asked + 1
        profile_in(stub, tmp_path, refresh=True)
        assert stub.stats.requests > asked
    with StubServer(StubOptions(context=4000, port=stub.port)) as other:
        assert profile_in(other, tmp_path).context == 4000


@pytest.mark.parametrize(
    ("before", "after"),
    [({"ignores": ("logprobs",)}, {}), ({}, {"scaled": True}), ({}, {"ignores": ("n",)}), ({}, {"refuses": ("n",)})],
)
def test_a_server_that_comes_back_with_other_settings_is_probed_again(before, after, tmp_path):
    with StubServer(StubOptions(**before)) as stub:
        first = profile_in(stub, tmp_path)
    with StubServer(StubOptions(**after, port=stub.port)) as other:
        second = profile_in(other, tmp_path)
    assert first.fingerprint == second.fingerprint
    assert second == probed(StubOptions(**after), None).model_copy(update={"fingerprint": second.fingerprint})
    assert second != first


def test_an_honest_server_is_believed():
    profile = probed(StubOptions(token_ids=True, context=4000), None)
    assert profile.several
    assert profile.prefill
    assert profile.temperature
    assert profile.top_p
    assert profile.raw
    assert profile.asked_ids
    assert (profile.logprobs, profile.context) == (20, 4000)
    assert profile.label_ids == {" A": 12, " B": 13}
    assert profile.ignored == ()
    assert profile.plan == "greedy"


@pytest.mark.parametrize("name", ["n", "logprobs", "temperature", "top_p", "prefill"])
def test_a_parameter_that_is_ignored_with_a_200_is_found_out(name):
    profile = probed(StubOptions(ignores=(name,)), None)
    told = {"prefill": "continue_final_message"}.get(name, name)
    assert told in profile.ignored
    assert told in profile.describe()


def test_replies_that_are_greedy_at_every_temperature_are_found_out():
    profile = probed(StubOptions(ignores=("sampling",)), None)
    assert profile.temperature is False
    with pytest.raises(JudgeError, match="ignores temperature, so its replies"):
        profile.check(exact=False)


def test_log_probabilities_of_a_server_that_ignores_temperature_are_not_trusted():
    profile = probed(StubOptions(ignores=("temperature",)), None)
    assert (profile.logprobs, profile.raw, profile.plan) == (20, None, None)
    with pytest.raises(JudgeError, match="nobody knows at which one"):
        profile.check(exact=True)


def test_a_turn_that_is_closed_and_has_none_after_it_is_no_prefill():
    assert not probed(StubOptions(ignores=("continue",)), None).prefill


def test_replies_that_repeat_each_other_under_one_seed_are_not_asked_for_together():
    profile = probed(StubOptions(ignores=("index",)), None)
    assert not profile.several
    assert "with one seed are the same" in profile.describe()


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("scaled", [True, False])
def test_raw_and_scaled_are_told_apart_by_either_api(api, scaled):
    assert probed(StubOptions(scaled=scaled), None, api).raw is not scaled


def test_what_a_server_cannot_do_is_refused_before_anything_is_asked():
    nothing = probed(StubOptions(ignores=("logprobs", "temperature"), nulls=True), None)
    with pytest.raises(JudgeError, match="use --mode sample"):
        nothing.check(exact=True)
    with pytest.raises(JudgeError, match="ignores temperature"):
        nothing.check(exact=False)


def test_scaled_log_probabilities_are_told_from_raw_ones():
    assert probed(StubOptions(scaled=True), None).raw is False
    assert probed(StubOptions(most_logprobs=5), None).logprobs == 5


NEUTRAL = ("top_k", "repetition_penalty", "min_p", "repeat_penalty", "generation_config")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"refuses": ("seed", *NEUTRAL)}, {"temperature": 1.0, "top_p": 0.9}),
        ({"takes": "tgi", "refuses": NEUTRAL}, {"temperature": 1.0, "top_p": 0.9}),
        ({"takes": "claude", "refuses": NEUTRAL}, {"top_p": 0.9}),
        ({"refuses": ("n", "logprobs", "continue_final_message", *NEUTRAL)}, {"temperature": 1.0, "top_p": 0.9}),
    ],
)
def test_a_server_that_refuses_a_parameter_is_asked_without_it(store, options, said):
    profile = probed(StubOptions(**options))
    profile.check(exact=False, sampling=Sampling())
    body = request_body(profile, "q", limit=16, temperature=1.0, top_p=0.9, seed=3)
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == said
    assert ("seed" in body) == ("seed" not in options.get("refuses", ()))
    assert profile.describe()
    with StubServer(StubOptions(**options)) as stub:
        assert asked(stub, GOOD, store, profile).tally.made == 60


@pytest.mark.parametrize("takes", ["reasoning", "no-top-p"])
def test_a_reasoning_model_is_asked_at_its_only_temperature(store, takes):
    profile = probed(StubOptions(takes=takes, refuses=("logprobs", *NEUTRAL)))
    assert (profile.limit_name, profile.temperature, profile.refused_max_tokens) == ("max_completion_tokens", None, 16)
    fitting = Sampling(1.0, 1.0, 500)
    profile.check(exact=False, sampling=fitting)
    with StubServer(StubOptions(takes=takes)) as stub:
        judge = judge_of(top_p=1.0, max_tokens=500)
        assert asked(stub, GOOD, store, profile, judge=judge).tally.made == 60
    for asked_for, remedy in (
        (Sampling(1.0, 0.9, 500), "give --top-p 1"),
        (Sampling(0.7, 1.0, 500), "give --temperature 1"),
        (Sampling(1.0, 1.0, 16), "more with --max-tokens"),
    ):
        with pytest.raises(JudgeError, match=remedy):
            profile.check(exact=False, sampling=asked_for)


def test_temperature_and_top_p_are_not_both_to_be_had_where_one_is_taken():
    profile = probed(StubOptions(takes="claude", refuses=NEUTRAL))
    assert not profile.temperature_and_top_p
    profile.check(exact=False, sampling=Sampling(0.7, 1.0))
    with pytest.raises(JudgeError, match=r"not both \(.*\); give --temperature 1 or --top-p 1"):
        profile.check(exact=False, sampling=Sampling(0.7, 0.9))


def test_a_sampling_that_cannot_be_had_is_refused_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path))
    with StubServer(StubOptions(takes="reasoning")) as stub, pytest.raises(JudgeError, match="give --top-p 1"):
        ServerSettings(base_url=stub.url, model="stub").backend()


@pytest.mark.parametrize("ignores", [(), ("n",), ("seed",)])
def test_a_hosted_model_that_differs_at_temperature_0_is_not_said_to_ignore_it(ignores):
    profile = probed(StubOptions(shaky=True, ignores=ignores))
    assert profile.temperature is True
    assert profile.top_p is not False
    assert "temperature" not in profile.ignored
    profile.check(exact=False, sampling=Sampling())


def test_a_model_that_thinks_for_longer_than_a_probe_lets_it_is_not_said_to_be_greedy():
    assert probed(StubOptions(reasoning=300)).temperature is None


@pytest.mark.parametrize("listing", ["bare", "google", "html", "401", "403", "405", "500"])
def test_a_list_of_models_that_is_odd_or_missing_is_no_obstacle_to_a_model_that_is_named(listing):
    assert probed(StubOptions(listing=listing)).plan == "greedy"


@pytest.mark.parametrize("listing", ["bare", "models"])
def test_the_only_model_of_an_odd_list_is_found(listing):
    assert probed(StubOptions(listing=listing), None).model == "stub"


def test_without_a_list_a_model_has_to_be_named():
    with pytest.raises(JudgeError, match="name the model with --model"):
        probed(StubOptions(listing="403"), None)


def test_what_a_model_was_trained_with_is_not_its_context():
    assert probed(StubOptions(listing="trained")).context is None


def test_a_probe_waits_for_a_busy_server_and_not_for_ever(monkeypatch):
    async def once(url: str, breaker: Breaker) -> ServerProfile:
        async with Endpoint(url) as endpoint:
            return await cached_probe(endpoint, "stub", refresh=True, breaker=breaker)

    monkeypatch.setattr(rate_limits, "_SECOND_TRY", 0.05)
    busy = StubOptions(faults="429-after:1.0", retry_after=3600)
    with StubServer(busy) as stub, pytest.raises(JudgeError, match="pause of 1:00 h"):
        asyncio.run(once(stub.url, Breaker(600.0)))
