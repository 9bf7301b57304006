"""What an answer of a server means is read off its status and its body together, however servers write them."""

from __future__ import annotations

import json
import random

import pytest

from dissensus.errors import JudgeError
from dissensus.judges.language.messages import AskError
from dissensus.judges.server.failures import (
    ContextExceededError,
    ModelNotFoundError,
    TurnedAwayError,
    error_in,
    pause_asked_for,
)
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.openai_format import choices_of, replies_of, usage_of
from dissensus.judges.server.probe import models_in
from dissensus.judges.server.probe_checks import context_in, more_alike

AT = "http://127.0.0.1:1/v1"


def meaning(status: int, body: object, headers: dict[str, str] | None = None) -> Exception:
    text = body if isinstance(body, str) else json.dumps(body)
    return Endpoint(AT)._failure(status, headers or {}, text)


def error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, error("the prompt was filtered", code="content_filter"), "the prompt was filtered"),
        (400, [error("no field of that name")], "no field of that name"),
        (400, error("one failed", metadata={"raw": '{"error": {"message": "the true reason"}}'}), "the true reason"),
        (403, "<html><head><title>x</title></head><body><h1>Denied</h1></body></html>", r"403: Denied;"),
        (405, {"detail": "Method Not Allowed"}, "Method Not Allowed"),
        (413, error("on tokens per minute (TPM): Limit 6000, Requested 8000, too much"), "Requested 8000"),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "not known"}]}, "not known"),
        (422, {"object": "error", "message": {"detail": [{"msg": "not known"}]}}, "not known"),
        (422, {"error": "top_p lies outside", "error_type": "validation"}, "top_p lies outside"),
        (429, error("on tokens per min (TPM): Limit 30,000, Requested 35,000."), "Requested 35,000"),
        (451, {"message": "for legal reasons"}, "for legal reasons"),
        # What a server repeats of the prompt is not taken for its own words.
        (
            422,
            {"detail": [{"msg": "not known", "input": {"content": "maximum context length is 10 tokens"}}]},
            "known$",
        ),
    ],
)
def test_a_refusal_says_why_and_is_not_repeated(status, body, says):
    failure = meaning(status, body)
    assert isinstance(failure, AskError)
    assert (failure.kind, failure.status) == ("refused", status)
    with pytest.raises(AskError, match=says):
        raise failure


@pytest.mark.parametrize(
    ("status", "body", "kind", "match"),
    [
        (301, "", TurnedAwayError, "has moved"),
        (
            400,
            error("API key not valid. Pass one."),
            TurnedAwayError,
            r"wants a key \(400\).*OPENAI_API_KEY is not set",
        ),
        (401, error("who are you"), TurnedAwayError, r"wants a key \(401\): who are you; OPENAI_API_KEY is not set"),
        (402, error("pay first"), JudgeError, "no credit left"),
        (400, error("your credit balance is too low for this"), JudgeError, "no credit left"),
        (403, error("the team has used all available credits"), JudgeError, "no credit left"),
        (429, error("over the quota", code="insufficient_quota"), JudgeError, "no credit left"),
        (404, error("no such thing"), ModelNotFoundError, r"not found \(404\): no such thing"),
        (400, error("m9 is not a valid model ID"), ModelNotFoundError, r"not found \(400\): m9 is not"),
        (403, error("no such model"), ModelNotFoundError, r"not found \(403\): no such model"),
    ],
)
def test_what_is_about_the_account_the_address_or_the_model_says_so(status, body, kind, match, monkeypatch):
    """Whoever is turned away may be so for one prompt; without credit nobody is served."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    failure = meaning(status, body)
    assert type(failure) is kind
    with pytest.raises(JudgeError, match=match):
        raise failure


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [("busy", (420, 429, 498, 503, 529)), ("failed", (408, 409, 424, 425, 499, 500, 502, 504, 520, 524))],
)
def test_a_busy_server_is_waited_for_and_a_failure_repeated(kind, statuses):
    for status in statuses:
        failure = meaning(status, "<html>over capacity</html>", {"Retry-After": "7"})
        assert (failure.kind, failure.status, failure.retry_after) == (kind, status, 7)


@pytest.mark.parametrize(
    ("status", "message", "tokens", "limit"),
    [
        (400, "This model's maximum context length is 8,192 tokens. However, you sent 9,001 tokens.", 9001, 8192),
        (400, "This model's maximum context length is 2048 tokens, however you requested 15121 tokens (15105 in your "
              "prompt; 16 for the completion). Please reduce your prompt.", 15121, 2048),
        (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 5000, 4096),
        (400, "input tokens (1200000) exceed the number allowed (1048576)", 1200000, 1048576),
        (400, "the request exceeds the available context size, try increasing it", 0, 0),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", 210000, 200000),
        (400, "This model's maximum prompt length is 131072 but the request contains 150000 tokens.", 150000, 131072),
        (422, "`inputs` must have less than 4096 tokens. Given: 5000", 5000, 4096),
        (500, "The input (5000 tokens) is longer than the model's context length (4096 tokens).", 5000, 4096),
        (413, "message is too large", 0, 0),
    ],
)  # fmt: skip
def test_a_prompt_too_long_is_known_in_other_servers_words_with_its_numbers(status, message, tokens, limit):
    failure = meaning(status, error(message))
    assert isinstance(failure, ContextExceededError)
    assert (failure.tokens, failure.limit) == (tokens, limit)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after-ms": "1500"}, {}, 1.5),
        ({"Retry-After": "25200"}, {}, 25200),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT"}, {}, 0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, {}, pytest.approx(2.5e11, rel=0.02)),
        ({"Retry-After": "soon"}, error("please try again in 9m38.016s."), 578.016),
        ({}, error("Try again in 579ms"), 0.579),
        ({}, error("Retry after 26 seconds."), 26),
        ({}, {"error": {"details": [{"retryDelay": "34s"}]}}, 34),
        ({}, error("wait 1 hour 2 minutes"), 3720),
        ({}, error("slow down"), None),
    ],
)
def test_the_pause_that_a_server_asks_for_is_found_wherever_it_says_so(headers, body, seconds):
    assert pause_asked_for(headers, json.dumps(body)) == seconds


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ({"error": {"code": 429, "message": "later, try again in 3s"}}, "busy", "later"),
        ({"error": {"code": "502", "message": "gone"}}, "failed", "gone"),
        ({"error": {"code": 403, "message": "flagged"}}, "refused", "flagged"),
        ({"error": {"code": 401, "message": "who"}}, JudgeError, "wants a key"),
        ({"error": "the context length is 4096 tokens"}, ContextExceededError, "4096"),
        ({"error": "it fell over"}, "failed", "it fell over"),
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, JudgeError, "no credit"),
        ({"base_resp": {"status_code": 1004, "status_msg": "invalid api key"}}, JudgeError, "wants a key"),
        ({"error_code": 336501, "error_msg": "Rate limit for RPM exceeded"}, "busy", "RPM exceeded"),
        ({"code": 50505, "message": "Model service overloaded", "data": None}, "busy", "overloaded"),
        ({"errcode": 7, "errmsg": "it fell over"}, "failed", "it fell over"),
    ],
)
def test_an_error_inside_a_200_is_what_its_code_or_its_words_say(answer, kind, says):
    failure = Endpoint(AT)._failure_inside(error_in({"choices": None, **answer}))
    assert says in str(failure)
    if isinstance(kind, type):
        assert isinstance(failure, kind)
    else:
        assert (failure.kind, failure.billed) == (kind, False)
        assert failure.retry_after == (3 if "try again in 3s" in str(failure) else None)


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"text": "Choice: A"}], "base_resp": {"status_code": 0, "status_msg": "success"}},
        {"choices": [], "message": "it was stopped", "usage": {"prompt_tokens": 300}},
        {"choices": []},
        {"tokens": [1, 2], "count": 2},
    ],
)
def test_an_answer_or_what_was_paid_for_is_no_error_inside_a_200(answer):
    assert error_in(answer) is None


def choice(content: str | None, finish: object = "stop", **more: object) -> dict[str, object]:
    return {"message": {"content": content}, "finish_reason": finish, **more}


FAILED = ["error", "abort", {"type": "abort"}, "CANCELLED", "insufficient_system_resource"]
EMPTY = ["network_error", "something new"]
WITHHELD = ["content_filter", "refusal", "SAFETY", "recitation", "sensitive"]


@pytest.mark.parametrize(
    ("finish", "content", "kind"),
    [(finish, "Choice: A", "failed") for finish in FAILED]
    + [(finish, "", "failed") for finish in EMPTY]
    + [(finish, None, "withheld") for finish in WITHHELD]
    + [("content_filter", "Cho", "withheld"), ("refusal", "I cannot compare these.", "withheld")],
)
def test_a_reply_that_ended_in_a_failure_is_none(finish, content, kind):
    with pytest.raises(AskError) as caught:
        replies_of([choice(content, finish)])
    assert caught.value.kind == kind


@pytest.mark.parametrize(("code", "kind"), [(502, "failed"), (429, "busy"), (403, "withheld"), (None, "failed")])
def test_an_error_of_a_choice_is_a_failure(code, kind):
    with pytest.raises(AskError, match="went away") as caught:
        replies_of([choice("Choice: A", error={"code": code, "message": "it went away"})])
    assert caught.value.kind == kind


def test_a_reply_with_a_text_is_one_however_its_end_is_called():
    for finish in ["stop", "eos", "eos_token", "end_turn", "STOP", "end_of_text", "", None, "content_filter"]:
        assert replies_of([choice("Choice: A", finish)]) == (("Choice: A",), (False,))


def test_an_answer_without_choices_says_whether_they_were_blocked():
    blocked = {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}]}
    for response, kind in ((blocked, "withheld"), ({"choices": []}, "failed"), ({}, "failed")):
        with pytest.raises(AskError, match="without choices") as caught:
            choices_of(response)
        assert caught.value.kind == kind


def test_a_reply_that_was_cut_is_a_reply_and_told():
    cut = ["length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded", "token_limit"]
    for finish in [*cut, "incomplete"]:
        expected = (("I think that", ""), (True, True))
        assert replies_of([choice("I think that", finish), choice(None, finish)]) == expected
    # A reason that nobody knows is no proof of an end.
    assert replies_of([choice("Choice: A", "something new")]) == (("Choice: A",), (True,))


def test_of_several_replies_those_that_are_whole_are_kept():
    choices = [choice(None, "content_filter"), choice("Choice: B"), choice("Cho", "abort"), choice("Choice: A")]
    assert replies_of(choices)[0] == ("Choice: B", "Choice: A")


@pytest.mark.parametrize(
    ("usage", "prompt", "completion"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 4, "total_tokens": 104}, 100, 4),
        ({"prompt_tokens": 100, "completion_tokens": 4, "total_tokens": 1004}, 100, 904),
        ({"prompt_tokens": 100, "completion_tokens": 4,
          "completion_tokens_details": {"reasoning_tokens": 900}}, 100, 904),
        ({"prompt_tokens": 100, "completion_tokens": 904, "completion_tokens_details": {"reasoning_tokens": 900},
          "total_tokens": 1004}, 100, 904),
        ({"prompt_tokens": 100, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 64}}, 100, 4),
        ({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 90}}, 100, 4),
        ({"prompt_tokens": 60, "completion_tokens": 4, "total_tokens": 104,
          "prompt_tokens_details": {"cached_tokens": 40}}, 100, 4),
        ({"prompt_tokens": 10, "completion_tokens": 4, "cache_read_input_tokens": 90}, 100, 4),
        ({"prompt_tokens": 3, "completion_tokens": 4, "cache_creation_input_tokens": 97}, 100, 4),
        ({"prompt_tokens": 100, "completion_tokens": 4, "reasoning_tokens": 900}, 100, 904),
        ({"input_tokens": 100, "output_tokens": 904, "total_tokens": 1004}, 100, 904),
        ({"prompt_tokens": "100", "completion_tokens": "4"}, 100, 4),
        ({"prompt_tokens": 100.0, "completion_tokens": 4.0}, 100, 4),
    ],
)  # fmt: skip
def test_every_token_that_is_paid_for_is_counted(usage, prompt, completion):
    counted = usage_of({"usage": usage}, "a prompt")
    assert (counted.prompt_tokens, counted.completion_tokens, counted.estimated) == (prompt, completion, False)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_a_usage_that_says_nothing_is_estimated(usage):
    counted = usage_of({"usage": usage, "choices": [choice("Choice: A")]}, "a prompt of some words")
    assert counted.estimated
    assert counted.prompt_tokens > 0


@pytest.mark.parametrize(
    "listed",
    [
        [{"id": "m"}],
        ["m"],
        {"data": [{"id": "m"}]},
        {"models": [{"name": "m"}]},
        {"data": [], "models": [{"model": "m"}]},
    ],
)
def test_models_are_listed_in_several_ways(listed):
    assert list(models_in(listed)) == ["m"]


@pytest.mark.parametrize(
    ("listing", "context"),
    [
        ({"max_model_len": 4096, "meta": {"n_ctx_train": 131072}}, 4096),
        ({"meta": {"n_ctx_train": 131072}}, None),
        ({"n_ctx_train": 131072}, None),
        ({"context_length": 200000, "top_provider": {"context_length": 32768}}, 32768),
        ({"max_context_length": 131072, "loaded_context_length": 8192}, 8192),
        ({"context_window": "8192"}, 8192),
        ({"max_model_len": True}, None),
        ("nothing", None),
    ],
)
def test_the_context_is_the_one_that_is_served(listing, context):
    assert context_in(listing) == context


@pytest.mark.parametrize("seed", range(5))
def test_replies_that_differ_in_a_few_words_are_told_from_replies_that_share_none(seed):
    draw = random.Random(seed)
    words = [f"word{draw.randrange(1000)}" for _ in range(16)]
    hot = [" ".join(f"word{draw.randrange(1000)}" for _ in range(16)) for _ in range(4)]
    first = [" ".join([f"new{i}", *words[1:]]) for i in range(4)]
    last = [" ".join([*words[:8], *(f"word{draw.randrange(1000)}" for _ in range(8))]) for _ in range(4)]
    assert more_alike(first, hot)
    assert more_alike(last, hot)
    assert not more_alike(hot, [" ".join(words), *hot[:3]])


def test_a_thought_among_the_parts_of_a_message_is_no_reply():
    parts = [{"type": "reasoning", "text": "Choice: B\n"}, {"type": "thinking"}, {"type": "text", "text": "Choice: A"}]
    assert replies_of([choice(parts)]) == (("Choice: A",), (False,))
