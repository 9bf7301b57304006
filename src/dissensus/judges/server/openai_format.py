"""The JSON of an OpenAI-compatible answer: replies, log-probabilities and usage, or a failure that says what it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dissensus.judges.base import JsonObject
from dissensus.judges.language.choice_distribution import ChoiceDistribution, verdict_of_token
from dissensus.judges.language.messages import AskError, Kind, Usage
from dissensus.judges.language.prompt import PREFIX
from dissensus.judges.language.share import parse_share
from dissensus.judges.language.verdict import parse_verdict
from dissensus.judges.server.failures import message_of, status_of

_LEAST = -500.0
"""Tokens below this are as good as unseen; some servers write -9999 for those that they cut off."""
_MOST_TOKENS = 2**31
_STOPS = (
    "", "stop", "eos", "eos_token", "end", "end_turn", "end_of_text", "endoftext", "stop_sequence", "stop_token",
    "stop_sequence_reached", "eosfound", "stopstringfound", "complete", "completed", "done", "finish", "finished",
    "tool_calls", "tool_use", "function_call",
)  # fmt: skip
_CUT = (
    "length", "max_tokens", "max_length", "model_length", "max_output_tokens", "max_completion_tokens",
    "max_new_tokens", "maximum_tokens", "token_limit", "incomplete", "context_length", "model_context_window_exceeded",
)  # fmt: skip
_FAILED = re.compile(r"error|abort|cancel|fail|time_?out|insufficient|overload|unload|interrupt|preempt|rate_?limit")
_BLOCKED = re.compile(r'(?i)"filtered": true|"block_?reason": "')
_WITHHELD = re.compile(r"filter|safety|sensitive|refus|recitation|prohibited|blocklist|spii|guardrail|toxic|moderat")
"""Of the reasons why a reply ended: an end of its own, a limit of tokens, a failure, what it says."""


class Step(NamedTuple):
    """One position of a reply: the token there, and the most probable ones."""

    text: str
    logprob: float
    top: list[tuple[str, float]]


def choices_of(response: JsonObject) -> list[JsonObject]:
    """Return the choices of a response, of which there is at least one.

    Raises:
        AskError: there are none.
    """
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        blocked = choices == [] and _BLOCKED.search(json.dumps(response))
        raise AskError("an answer without choices", kind="withheld" if blocked else "failed", billed=True)
    return choices


def reply_text(choice: JsonObject) -> str:
    """Return the text of a choice; reasoning that a server tells apart is no part of it.

    Raises:
        AskError: there is no place for a text. An empty one is a reply: the model may have said nothing.
    """
    message = choice.get("message")
    if isinstance(message, dict):
        content = message.get("content")
    elif message is None and "text" in choice:
        content = choice["text"]
    else:
        raise AskError("a choice without a message", billed=True)
    if isinstance(content, list):
        thoughts = ("thinking", "reasoning", "redacted_thinking")
        said = [part for part in content if isinstance(part, dict) and part.get("type") not in thoughts]
        content = "".join(str(part.get("text") or "") for part in said)
    if not isinstance(content, str | None):
        raise AskError("a reply that is no text", billed=True)
    return whole_characters(content or "")


def replies_of(choices: Sequence[JsonObject]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Return the replies among choices, and which of them were cut; a reason that nobody knows proves no end.

    A choice that ended in a failure or was held back is no reply. Other choices beside it are.

    Raises:
        AskError: none of them is a reply; that of the first.
    """
    replies, cut, errors = [], [], list[AskError]()
    for choice in choices:
        try:
            finish = check_end(choice)
            replies.append(reply_text(choice))
        except AskError as error:
            errors.append(error)
        else:
            # What a filter left of a reply is one only where its verdict is there (see `check_end`).
            cut.append(finish not in _STOPS and not _WITHHELD.search(finish))
    if errors and not replies:
        raise errors[0]
    return tuple(replies), tuple(cut)


def check_end(choice: JsonObject) -> str:
    """Return the reason why a reply ended, unless it is none that the model came to an end with.

    A server that has sent its 200 can tell of a failure only inside: as an error of the choice, or as the reason why
    the reply ended. Those of an unknown name are failures where there is no text; what a filter left of a reply is
    none, unless its verdict is there.

    Raises:
        AskError: the reply failed or was held back.
    """
    finish = choice.get("finish_reason")
    if isinstance(finish, dict):
        finish = finish.get("type")
    finish = whole_characters(finish).lower() if isinstance(finish, str) else ""
    if error := choice.get("error"):
        reason = f"a failure inside a 200: {message_of(json.dumps(error)) or finish or 'no reason given'}"[:300]
        kinds: dict[int, Kind] = {429: "busy", 400: "withheld", 403: "withheld", 422: "withheld", 451: "withheld"}
        raise AskError(whole_characters(reason), kind=kinds.get(status_of(error), "failed"))
    if _FAILED.search(finish):
        raise AskError(f"a reply that ended with {finish[:50]!r}", billed=True)
    if finish not in _STOPS and finish not in _CUT:
        text, held_back = reply_text(choice).strip(), _WITHHELD.search(finish) is not None
        if not text or (held_back and not _names_something(text)):
            what = "a reply without a verdict" if text else "an empty reply"
            kind: Kind = "withheld" if held_back else "failed"
            raise AskError(f"{what} that ended with {finish[:50]!r}", kind=kind, billed=True)
    return finish


def _names_something(reply: str) -> bool:
    return parse_verdict(reply, cut=True) is not None or parse_share(reply, cut=True) is not None


def whole_characters(text: str) -> str:
    r"""Replace halves of surrogate pairs, which JSON can hold and UTF-8 cannot.

    >>> whole_characters("good \ud83d")
    'good ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def steps_of(choice: JsonObject) -> list[Step]:
    """Read the log-probabilities of a choice, in chat or completions format.

    Raises:
        AskError: they are null, or not what was asked for.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        raise AskError("null log-probabilities", billed=True)
    try:
        if isinstance(content := logprobs.get("content"), list):
            return [
                Step(
                    _token(entry),
                    _logprob(entry["logprob"]),
                    [(_token(other), _logprob(other["logprob"])) for other in entry.get("top_logprobs") or ()],
                )
                for entry in content
            ]
        columns = (logprobs.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
        return [
            Step(_text(token), _logprob(value), [(_text(t), _logprob(v)) for t, v in (top or {}).items()])
            for token, value, top in zip(*columns, strict=True)
        ]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise AskError(f"log-probabilities that are none ({error!r})", billed=True) from error


def _token(entry: JsonObject) -> str:
    token = _text(entry["token"])
    if "\N{REPLACEMENT CHARACTER}" in token and entry.get("bytes"):
        return bytes(entry["bytes"]).decode("latin-1")  # half a character: no verdict, but a token of its own
    return token


def _text(token: object) -> str:
    if not isinstance(token, str):
        raise TypeError("a token that is no text")
    return token


def _logprob(value: str | float) -> float:
    if math.isnan(number := float(value)):
        raise ValueError("NaN")
    return min(number, 0.0)


def find_label(steps: list[Step]) -> tuple[Step | None, float]:
    """Find the position behind the prefix in a reply, and the lowest probability of a token on the way.

    None where the reply does not begin with the prefix, or a token lies across its end.
    """
    written, forced = "", 1.0
    for step in steps:
        if written.lstrip() == PREFIX:
            return step, forced
        written += step.text
        if not PREFIX.startswith(written.lstrip()):
            break
        forced = min(forced, math.exp(step.logprob))
    return None, 0.0


def make_distribution(step: Step, forced: float, *, asked: int = 0) -> ChoiceDistribution:
    """Make the choice distribution of the label's position; the token that was drawn is listed even below the top.

    Where fewer of the top tokens came than were ``asked`` for, tokens of one text were merged on the way: only those
    that outweigh all that is missing are then known to be the most probable.

    Raises:
        AskError: there are no log-probabilities, or they are no numbers.
    """
    ranked = sorted(((text, value) for text, value in step.top if value > _LEAST), key=lambda entry: -entry[1])
    if not ranked:
        raise AskError("no log-probabilities at the label", billed=True)
    is_below = step.logprob > _LEAST and step.text not in dict(ranked)
    entries = [*ranked, (step.text, step.logprob)] if is_below else ranked
    logprobs = np.array([value for _, value in entries], np.float64)
    mass = float(np.exp(logprobs).sum())
    if mass > 1.01:
        raise AskError(f"log-probabilities that are none (their sum is {mass:.3f})", billed=True)
    merged = len(step.top) < asked
    top = int((np.exp(logprobs[: len(ranked)]) >= 1 - mass).sum()) if merged else len(ranked)
    return ChoiceDistribution(
        logprobs, "".join(verdict_of_token(text) for text, _ in entries), max(top, 1), forced=forced
    )


def usage_of(response: JsonObject, prompt: str) -> Usage:
    """Read the tokens that a request took; guess them from the texts where the server does not say.

    Tokens read from a cache are of the prompt, and reasoning is of the reply, wherever a server counts them. Where it
    counts fewer tokens than its replies have words, it has counted one of them, as llama.cpp's does, for each.
    """
    usage = response.get("usage")
    try:
        replies = [reply_text(choice) for choice in choices_of(response)]
    except AskError:
        replies = []
    if isinstance(usage, dict) and (prompt_tokens := _first(usage, "prompt_tokens", "input_tokens")):
        completion = _first(usage, "completion_tokens", "output_tokens")
        total = _count(usage.get("total_tokens"))
        cached = _detail(usage, "prompt_tokens_details", "cached_tokens") or sum(
            _count(usage.get(name)) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
        )
        if cached > prompt_tokens or (cached and total == prompt_tokens + cached + completion):
            prompt_tokens += cached  # counted apart
        told = _count(usage.get("reasoning_tokens"))
        reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens") or told
        if reasoning > completion:
            completion += reasoning  # counted apart
        if completion < sum(len(reply.split()) for reply in replies):
            completion *= len(replies)
        return Usage(prompt_tokens, max(completion, total - prompt_tokens))
    return Usage(len(prompt) // 3 + 1, sum(len(reply) // 3 + 1 for reply in replies), estimated=True)


def _first(usage: JsonObject, *names: str) -> int:
    return next((count for name in names if (count := _count(usage.get(name)))), 0)


def _detail(usage: JsonObject, group: str, name: str) -> int:
    details = usage.get(group)
    return _count(details.get(name)) if isinstance(details, dict) else 0


def _count(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    return value if isinstance(value, int) and 0 < value < _MOST_TOKENS else 0
