"""The JSON of an OpenAI-compatible answer: replies, log-probabilities and usage, or a failure that says what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dissensus.judge.ask import AskError, Usage
from dissensus.judge.prompt import PREFIX
from dissensus.judge.reading import Reading, verdict_of_token

_LEAST = -500.0
"""Tokens below this are as good as unseen; some servers write -9999 for those that they cut off."""
_MOST_TOKENS = 2**31


class Step(NamedTuple):
    """One position of a reply: the token there, and the most probable ones."""

    text: str
    logprob: float
    top: list[tuple[str, float]]


def choices_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a response, of which there is at least one.

    Raises:
        AskError: there are none.
    """
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise AskError("an answer without choices", billed=True)
    return choices


def reply_text(choice: dict[str, Any]) -> str:
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
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if not isinstance(content, str | None):
        raise AskError("a reply that is no text", billed=True)
    return whole_characters(content or "")


def whole_characters(text: str) -> str:
    r"""Replace halves of surrogate pairs, which JSON can hold and UTF-8 cannot.

    >>> whole_characters("good \ud83d")
    'good ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def steps_of(choice: dict[str, Any]) -> list[Step]:
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


def _token(entry: dict[str, Any]) -> str:
    token = _text(entry["token"])
    if "\N{REPLACEMENT CHARACTER}" in token and entry.get("bytes"):
        return bytes(entry["bytes"]).decode("latin-1")  # half a character: no verdict, but a token of its own
    return token


def _text(token: Any) -> str:
    if not isinstance(token, str):
        raise TypeError("a token that is no text")
    return token


def _logprob(value: Any) -> float:
    number = float(value)
    if math.isnan(number):
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


def make_reading(step: Step, forced: float, further: Sequence[tuple[str, float]] = (), *, asked: int = 0) -> Reading:
    """Make a reading of the label's position; the token that was drawn is listed even if it is not among the top.

    Where fewer of the top tokens came than were ``asked`` for, tokens of one text were merged on the way: only those
    that outweigh all that is missing are then known to be the most probable.

    Raises:
        AskError: there are no log-probabilities, or they are no numbers.
    """
    ranked = sorted(((text, value) for text, value in step.top if value > _LEAST), key=lambda entry: -entry[1])
    if not ranked:
        raise AskError("no log-probabilities at the label", billed=True)
    listed = {text for text, _ in ranked}
    others = {text: value for text, value in ((step.text, step.logprob), *further) if text not in listed}
    entries = [*ranked, *((text, value) for text, value in others.items() if value > _LEAST)]
    logprobs = np.array([value for _, value in entries], np.float64)
    mass = float(np.exp(logprobs).sum())
    if mass > 1.01:
        raise AskError(f"log-probabilities that are none (their sum is {mass:.3f})", billed=True)
    merged = len(step.top) < asked
    top = int((np.exp(logprobs[: len(ranked)]) >= 1 - mass).sum()) if merged else len(ranked)
    return Reading(logprobs, "".join(verdict_of_token(text) for text, _ in entries), max(top, 1), forced=forced)


def usage_of(response: dict[str, Any], prompt: str) -> Usage:
    """Read the tokens that a request took; guess them from the texts where the server does not say."""
    usage = response.get("usage")
    if isinstance(usage, dict) and (prompt_tokens := _count(usage.get("prompt_tokens"))):
        return Usage(prompt_tokens, _count(usage.get("completion_tokens")))
    try:
        replies = [reply_text(choice) for choice in choices_of(response)]
    except AskError:
        replies = []
    return Usage(len(prompt) // 3 + 1, sum(len(reply) // 3 + 1 for reply in replies), estimated=True)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value < _MOST_TOKENS else 0
