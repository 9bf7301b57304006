"""Whatever JSON a server answers with, it is an answer, a prompt too long, or an attempt that failed: never a crash."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissensus.errors import JudgeError
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.messages import Answer, AskError, Outcome, Sampling, TooLong
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.server import retry
from dissensus.judges.server.backend import Server
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.probe import cached_probe
from dissensus.records import Pair

PROFILE = ServerProfile(model="m", several=True, logprobs=5, raw=True, temperature=True, prefill=True)
JUDGE = LanguageJudge(LanguageSettings(model="m"), {"model": "m"})
ASK = JUDGE.ask(Pair(id="p", prompt="q", response_a="yes", response_b="no"), "ab", "", (0, 1))


class Canned:
    """An endpoint that has one answer to everything."""

    base_url = "http://127.0.0.1/v1"

    def __init__(self, *responses: dict[str, Any]) -> None:
        self.responses = list(responses)
        self.bodies: list[dict[str, Any]] = []

    async def get(self, _path: str) -> dict[str, Any]:
        return self.responses[0]

    async def post(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        return self.responses[min(len(self.bodies), len(self.responses)) - 1]


def outcome_of(*responses: dict[str, Any], sampling: Sampling | None = None, api: str = "chat") -> Outcome:
    server = Server(Canned(*responses), PROFILE.model_copy(update={"api": api}))
    return asyncio.run(server.answer(ASK, sampling))


def position(token: str, others: dict[str, float], probability: float = 0.99) -> dict[str, Any]:
    top = {token: probability, **others}
    return {
        "token": token,
        "logprob": math.log(probability),
        "bytes": list(token.encode()),
        "top_logprobs": [{"token": t, "logprob": math.log(p), "bytes": list(t.encode())} for t, p in top.items()],
    }


def a_chat(*tokens: dict[str, Any], reasoning: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(t["token"] for t in tokens), "reasoning_content": reasoning}
    choice = {"index": 0, "message": message, "logprobs": {"content": list(tokens)}, "finish_reason": "stop"}
    return {"choices": [choice, choice], "usage": {"prompt_tokens": 300, "completion_tokens": 2 * len(tokens)}}


CHAT = a_chat(position("Choice", {"I": 0.005}), position(":", {}), position(" A", {" B": 0.3, "A": 0.1}, 0.6))
LOGPROBS = {
    "tokens": ["Choice", ":", " A"],
    "token_logprobs": [-0.01, -0.01, -0.5],
    "top_logprobs": [{"Choice": -0.01}, {":": -0.01}, {" A": -0.5, " B": -1.2}],
}
COMPLETION = {
    "choices": [{"index": 0, "text": "Choice: A", "logprobs": LOGPROBS}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 3},
}

SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=6)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=6), SCALARS, max_size=2)


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*at, key))


@st.composite
def spoiled(draw: Any, whole: dict[str, Any]) -> dict[str, Any]:
    """A true answer with one part of it replaced by anything."""
    response = copy.deepcopy(whole)
    *path, last = draw(st.sampled_from(list(paths(whole))))
    part = response
    for key in path:
        part = part[key]
    part[last] = draw(ANYTHING)
    return response


@settings(max_examples=150)
@given(
    st.one_of(
        st.tuples(st.just("chat"), spoiled(CHAT)),
        st.tuples(st.just("completions"), spoiled(COMPLETION)),
        st.tuples(st.just("chat"), st.dictionaries(st.sampled_from(["choices", "usage"]), ANYTHING)),
    ),
    st.sampled_from([None, Sampling()]),
)
def test_an_answer_that_is_spoiled_anywhere_is_no_crash(spoiled_answer, sampling):
    api, response = spoiled_answer
    try:
        outcome = outcome_of(response, sampling=sampling, api=api)
    except AskError:
        return
    assert isinstance(outcome, Answer | TooLong)
    if isinstance(outcome, Answer):
        assert all(isinstance(reply, str) for reply in outcome.replies)
        assert outcome.usage.prompt_tokens >= 0
        if outcome.distribution is not None:
            shares = verdict_probabilities(outcome.distribution, temperature=0.7, top_p=0.9)
            assert 0 <= shares.a <= 1
            assert 0 <= shares.b <= 1
            assert outcome.distribution.to_bytes()


LISTING = {"id": "m", "max_model_len": 4096, "meta": {"n_ctx": 4096}}
ANY_ANSWER = {**CHAT, "data": [LISTING], "tokens": [1, 2]}


@settings(max_examples=60)
@given(spoiled(ANY_ANSWER))
def test_a_probe_of_a_server_that_says_anything_is_a_profile_or_an_error_for_people(response):
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as cache:
        patch.setattr(retry, "_ATTEMPTS", 1)
        with contextlib.suppress(JudgeError):
            assert asyncio.run(cached_probe(Canned(response), "m", cache=Path(cache))).describe()


def test_a_label_written_in_two_ways_counts_with_both():
    reading = outcome_of(CHAT).distribution
    shares = verdict_probabilities(reading, temperature=1.0, top_p=1.0)
    assert (shares.a, shares.b) == pytest.approx((0.7, 0.3))
    assert reading.forced == pytest.approx(0.99)


def test_reasoning_is_no_part_of_a_reply():
    response = a_chat(position("Choice: B", {}), reasoning="Choice: A looks good at first")
    assert outcome_of(response, sampling=Sampling()).replies == ("Choice: B", "Choice: B")


@pytest.mark.parametrize("tokens", [("Choice", ": A"), ("Choice: A",), ("Choice", ":A")])
def test_a_token_across_the_border_of_the_prefix_certifies_nothing(tokens):
    greedy = a_chat(*(position(token, {}) for token in tokens))
    behind = a_chat(position(" A", {" B": 0.3}, 0.6))
    assert outcome_of(greedy, behind).distribution.forced == 0


def test_half_a_character_keeps_its_bytes_and_names_nobody():
    half = {"token": "\N{REPLACEMENT CHARACTER}", "logprob": math.log(0.2), "bytes": [0xE2, 0x80]}
    other = {"token": "\N{REPLACEMENT CHARACTER}", "logprob": math.log(0.1), "bytes": [0xE2, 0x81]}
    label = position(" A", {}, 0.7)
    label["top_logprobs"] += [half, other]
    reading = outcome_of(a_chat(position("Choice", {}), position(":", {}), label)).distribution
    assert reading.verdicts == "A--"
    assert math.fsum(math.e**value for value in reading.logprobs) == pytest.approx(1.0)


def test_a_failed_answer_costs_what_the_server_counted():
    response = copy.deepcopy(CHAT)
    response["choices"][0]["logprobs"] = None
    with pytest.raises(AskError) as caught:
        outcome_of(response)
    assert (caught.value.usage.prompt_tokens, caught.value.usage.completion_tokens) == (300, 6)


def test_a_prompt_that_is_cut_only_behind_the_prefix_is_noticed():
    free = a_chat(position("I", {"Choice": 0.005}))
    cut = {**a_chat(position(" A", {" B": 0.3}, 0.6)), "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    assert isinstance(outcome_of(free, cut), TooLong)


def test_minus_9999_for_a_token_that_was_cut_off_is_a_token_not_seen():
    label = position(" A", {" B": 0.3}, 0.6)
    label["top_logprobs"].append({"token": "C", "logprob": -9999.0, "bytes": [67]})
    reading = outcome_of(a_chat(position("Choice", {}), position(":", {}), label)).distribution
    assert reading.verdicts == "AB"
    assert verdict_probabilities(reading, temperature=2.0, top_p=0.9).error < 1


def test_half_a_surrogate_pair_can_be_kept_in_a_store():
    response = a_chat(position("Choice: B", {}))
    response["choices"][0]["message"]["content"] = "Choice: B \ud83d"
    assert outcome_of(response, sampling=Sampling()).replies[0].encode() == b"Choice: B ?"


@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": "Choice: A"}, {"message": {"content": 3}}])
def test_a_choice_without_a_text_is_a_failure_and_no_invalid_reply(choice):
    with pytest.raises(AskError):
        outcome_of({"choices": [choice]}, sampling=Sampling())


def test_a_reply_that_says_nothing_is_a_reply():
    response = {"choices": [{"message": {"role": "assistant", "content": None, "refusal": "I will not."}}]}
    assert outcome_of(response, sampling=Sampling()).replies == ("",)


@pytest.mark.parametrize("choices", [None, []])
def test_a_blocked_prompt_whose_tokens_were_not_counted_is_not_too_long(choices):
    with pytest.raises(AskError, match="without choices"):
        outcome_of({"choices": choices, "usage": {"prompt_tokens": 2, "completion_tokens": 0}}, sampling=Sampling())
