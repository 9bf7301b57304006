"""What a server really supports is found out, and asked for in the way that it takes."""

from __future__ import annotations

import asyncio

import pytest
from judge_helpers import GOOD, asked, judge_of, probed, profile_in
from stub_server import StubOptions, StubServer

from dissensus.errors import JudgeError
from dissensus.judges.language.messages import Sampling
from dissensus.judges.language.settings import ServerSettings
from dissensus.judges.server import rate_limits, retry
from dissensus.judges.server.backend import request_body
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.probe import cached_probe
from dissensus.judges.server.rate_limits import Breaker

NEUTRAL = ("top_k", "repetition_penalty", "min_p", "repeat_penalty", "generation_config")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.01)


@pytest.mark.parametrize(
    ("options", "model", "match"),
    [
        ({}, "gpt-9", r"gpt-9.*it has: stub"),
        ({"any_model": True}, "gpt-9", r"has no model gpt-9, and answers to any name; it has: stub"),
        ({"listing": "403"}, None, "name the model with --model"),
        ({"refuses": ("messages",)}, "stub", r"Unrecognized.*see whether --model and --api are right"),
    ],
)
def test_a_model_that_cannot_be_found_or_asked_is_refused_with_a_remedy(options, model, match):
    with pytest.raises(JudgeError, match=match):
        probed(StubOptions(**options), model)


def test_each_parameter_that_a_strict_server_takes_is_sent():
    neutral = probed(StubOptions(refuses=("min_p", "repeat_penalty")), None).neutral
    assert neutral == {"top_k": -1, "repetition_penalty": 1.0}


def test_a_probe_outlives_single_faults():
    faults = "empty-choices,none,500,none,truncated,none,429-after,none,error-200,none,reset,none,malformed"
    assert probed(StubOptions(schedule=faults, retry_after=0.01)).plan == "greedy"


def test_a_probe_is_made_once_for_each_server(tmp_path):
    with StubServer(StubOptions()) as stub:
        first = profile_in(stub, tmp_path)
        asked = stub.stats.requests
        assert asked <= 25
        assert profile_in(stub, tmp_path) == first
        assert stub.stats.requests == asked + 1
        profile_in(stub, tmp_path, refresh=True)
        assert stub.stats.requests > asked + 2
        (file,) = (tmp_path / "probes").iterdir()
        file.write_text('{"model": "stub", "of_another_version": 1}')
        assert profile_in(stub, tmp_path) == first
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


FOUND = {
    "several": True,
    "logprobs": 20,
    "raw": True,
    "temperature": True,
    "top_p": True,
    "prefill": True,
    "plan": "greedy",
}
"""What is found of a server that ignores nothing."""


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"context": 4000}, {"context": 4000}),
        ({"most_logprobs": 5}, {"logprobs": 5}),
        ({"scaled": True}, {"raw": False}),
        ({"ignores": ("n",)}, {"several": False}),
        ({"ignores": ("index",)}, {"several": False}),  # the replies of one seed are the same
        ({"ignores": ("logprobs",)}, {"logprobs": 0, "raw": None, "plan": None}),
        ({"ignores": ("temperature",)}, {"temperature": False, "raw": None, "plan": None}),
        ({"ignores": ("sampling",)}, {"temperature": False, "top_p": None, "raw": None, "plan": None}),
        ({"ignores": ("top_p",)}, {"top_p": False}),
        ({"ignores": ("prefill",)}, {"prefill": False}),
        ({"ignores": ("continue",)}, {"prefill": False}),
        ({"reasoning": 300}, {"temperature": None}),  # it thinks for longer than a probe lets it
        ({"listing": "trained"}, {"context": None}),
        *(({"listing": listing}, {}) for listing in ("bare", "google", "html", "401", "403", "405", "500")),
    ],
)
def test_what_a_server_supports_and_what_it_ignores_with_a_200_is_found_out(options, differs):
    profile = probed(StubOptions(**options))
    expected = FOUND | differs
    if "reasoning" in options:
        expected = differs
    if "temperature" in options.get("ignores", ()):
        expected.pop("top_p")  # replies differ for one reason or the other
    assert {name: getattr(profile, name) for name in expected} == expected
    assert profile.describe()


@pytest.mark.parametrize("scaled", [True, False])
def test_raw_and_scaled_are_told_apart_by_completions_too(scaled):
    profile = probed(StubOptions(scaled=scaled), None, "completions")
    assert (profile.raw, profile.prefill) == (not scaled, True)


@pytest.mark.parametrize("listing", ["bare", "models"])
def test_the_only_model_of_an_odd_list_is_found(listing):
    assert probed(StubOptions(listing=listing), None).model == "stub"


def test_what_a_server_cannot_do_is_refused_before_anything_is_asked():
    nothing = probed(StubOptions(ignores=("logprobs", "temperature"), nulls=True), None)
    with pytest.raises(JudgeError, match="use --mode sample"):
        nothing.check(exact=True)
    with pytest.raises(JudgeError, match="ignores temperature, so its replies"):
        nothing.check(exact=False)
    with pytest.raises(JudgeError, match="nobody knows at which one"):
        ServerProfile(model="m", logprobs=20, temperature=False).check(exact=True)


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
    if not profile.temperature_and_top_p:
        profile.check(exact=False, sampling=Sampling(0.7, 1.0))
        with pytest.raises(JudgeError, match=r"not both; give --temperature 1 or --top-p 1"):
            profile.check(exact=False, sampling=Sampling(0.7, 0.9))


@pytest.mark.parametrize("takes", ["reasoning", "no-top-p"])
def test_a_reasoning_model_is_asked_at_its_only_temperature(store, takes, tmp_path, monkeypatch):
    with StubServer(StubOptions(takes=takes, refuses=("logprobs", *NEUTRAL))) as stub:
        profile = profile_in(stub, tmp_path, model="stub")
        assert stub.stats.requests <= 40
        found = (profile.limit_name, profile.temperature, profile.refused_max_tokens)
        assert found == ("max_completion_tokens", None, 16)
        judge = judge_of(top_p=1.0, max_tokens=500)
        assert asked(stub, GOOD, store, profile, judge=judge).tally.made == 60
        monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path))
        with pytest.raises(JudgeError, match="give --top-p 1"):  # before anything is asked
            ServerSettings(base_url=stub.url, model="stub").backend()
    for temperature, top_p, most, remedy in (
        (1.0, 0.9, 500, "give --top-p 1"),
        (0.7, 1.0, 500, "give --temperature 1"),
        (1.0, 1.0, 16, "more with --max-tokens"),
    ):
        with pytest.raises(JudgeError, match=remedy):
            profile.check(exact=False, sampling=Sampling(temperature, top_p, most))


@pytest.mark.parametrize("ignores", [(), ("n",), ("seed",)])
def test_a_hosted_model_that_differs_at_temperature_0_is_not_said_to_ignore_it(ignores):
    profile = probed(StubOptions(shaky=True, ignores=ignores))
    assert profile.temperature is True
    assert profile.top_p is not False
    profile.check(exact=False, sampling=Sampling())


def test_a_probe_waits_for_a_busy_server_and_not_for_ever(monkeypatch):
    async def once(url: str) -> ServerProfile:
        async with Endpoint(url) as endpoint:
            return await cached_probe(endpoint, "stub", refresh=True, breaker=Breaker(600.0))

    monkeypatch.setattr(rate_limits, "_SECOND_TRY", 0.05)
    busy = StubOptions(faults="429-after:1.0", retry_after=3600)
    with StubServer(busy) as stub, pytest.raises(JudgeError, match="pause of 1:00:00, until"):
        asyncio.run(once(stub.url))
