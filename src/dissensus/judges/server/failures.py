"""What a server's error means for the one who asked: read off its status, its headers and its body together."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from dissensus.errors import JudgeError
from dissensus.judges.base import JsonObject
from dissensus.judges.language.messages import AskError

CONTEXT = re.compile(
    r"context[ _]?(?:length|window|size|limit)|maximum (?:context|model|prompt)|too many tokens"
    r"|(?:prompt|input|request|message)s? (?:is|are|was) too (?:long|large)|input (?:token|length)[^.]{0,40}exceed"
    r"|inputs?\W+(?:must|should) have less than|inputs?\W+tokens?\W+\+|string_above_max_length",
    re.I,
)
_NUMBERS = re.compile(r"\b(\d{2,9})\b")
_LIMIT = re.compile(r"(?:context|model)[ _](?:length|window|size)\D{0,30}(\d{2,9})\b", re.I)
_NO_CREDIT = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|billing_hard_limit|exceeded_current_quota"
    r"|credit balance is too low|all available credits|spending limit|out of credits?|arrear|no credits? left",
    re.I,
)
_NO_KEY = re.compile(
    r"(?:invalid|incorrect|missing|expired|no)\s+api[ _-]?key"
    r"|api[ _-]?key\W+(?:is |was |has )?(?:not|invalid|missing|expired|incorrect)",
    re.I,
)
_NO_MODEL = re.compile(
    r"model_not_found|\bmodel\b.{0,60}(?:not found|does not exist)|(?:invalid|unknown|no such) model|not a valid model",
    re.I,
)
_RATE = re.compile(r"rate[ _-]?limit|too many requests|\b(?:rpm|tpm|qps|qpm)\b|throttl|overloaded", re.I)
_TOO_LARGE = re.compile(r"limit:?\s*([\d,]+)\b.*?requested:?\s*~?([\d,]+)\b", re.I | re.S)
_WORDS = (
    "message", "msg", "detail", "details", "error", "errors", "error_message", "error_description", "description",
    "metadata", "raw", "reason", "title", "error_msg", "errmsg", "err_msg", "base_resp", "status_msg",
)  # fmt: skip
_CODES = (*_WORDS, "code", "type", "status", "error_type", "error_code", "innererror", "reasons")
"""Keys whose texts are the server's own words; under others it may repeat what it was asked."""
_TAG = re.compile(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>")
_IN_WORDS = re.compile(
    r"(?:try again|retry|wait|available|reset)\w*[^.\d]{0,20}"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|h|hours?|hrs?|m|minutes?|mins?|s|seconds?|secs?)(?![a-z])\s*)+)",
    re.I,
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|h|m|s)", re.I)
_UNITS = {"ms": 0.001, "milli": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}
_DELAY = re.compile(r'"retry_?(?:delay|after)(?:_seconds)?"\s*:\s*"?(\d+(?:\.\d+)?)s?"?', re.I)
_BUSY = (420, 429, 498, 503, 529)
_PASSING = (408, 409, 424, 425, 499)


class ContextExceededError(Exception):
    """The server says that a prompt is longer than its model's context."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"{tokens} tokens over a context of {limit}")
        self.tokens = tokens
        self.limit = limit


class TurnedAwayError(JudgeError):
    """The server turns a request away in a way that as a rule no request passes: the address, the key, the model.

    It may be about this request alone: whoever makes others has to see whether they are answered.
    """


class ModelNotFoundError(TurnedAwayError):
    """The server has no such model, or no such path."""


def failure(place: str, status: int, headers: Any, text: str, *, message: str, key: str) -> Exception:
    """Say what an error status means for the one who asked.

    Whether a refusal is about this prompt, the parameters or the key cannot be told from one: such an error is of the
    kind ``refused``, and whether others pass is for the caller to find out.

    Args:
        place: the server's address.
        status: of HTTP, or the code of an error inside a 200.
        headers: of the answer.
        text: its body.
        message: what the body says, fit to be shown.
        key: what is to be said of the key where it may be the reason.
    """
    words = f"{message} {' '.join(_texts(as_json(text), _CODES))}"
    if status < 400:
        return TurnedAwayError(f"{place}: has moved ({status}) to {message}; give the new address as --base-url")
    if status == 402 or _NO_CREDIT.search(words):
        return JudgeError(f"{place}: the account has no credit left ({message}); add some and run this again")
    if status in (400, 413, 422, 500) and CONTEXT.search(words):
        return too_long(message)
    if status == 401 or (status in (400, 403) and _NO_KEY.search(words)):
        return TurnedAwayError(f"{place}: the server wants a key ({status}): {message}; {key}")
    if status == 404 or (status in (400, 403) and _NO_MODEL.search(words)):
        return ModelNotFoundError(f"{place}: not found ({status}): {message}")
    if status in (413, 429) and _asks_too_much(words):
        return AskError(f"status {status}: {message}", kind="refused", status=status)
    if status in _BUSY:
        pause = pause_asked_for(headers, text)
        return AskError(f"busy ({status}): {message}", kind="busy", retry_after=pause, status=status)
    if status in _PASSING or status >= 500:
        return AskError(f"status {status}: {message}", retry_after=pause_asked_for(headers, text), status=status)
    about_key = f"; {key}" if status == 403 else ""
    return AskError(f"status {status}: {message}{about_key}", kind="refused", status=status)


def pause_asked_for(headers: Any, text: str) -> float | None:
    """Find how many seconds a server wants to be left alone: in its headers, else in what it says."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (value := headers.get("Retry-After")) is not None:
            is_number = re.fullmatch(r"\s*\d+(\.\d+)?\s*", value)
            return float(value) if is_number else max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        pass  # what it says may be read better
    if named := _DELAY.search(text):
        return float(named.group(1))
    if said := _IN_WORDS.search(text):
        return sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(said.group(1)))
    return None


def too_long(message: str) -> ContextExceededError:
    """Find the numbers in a message: the limit follows its name, and the prompt's length is the largest."""
    plain = message.replace(",", "")
    numbers = sorted(int(number) for number in _NUMBERS.findall(plain))
    named = _LIMIT.search(plain)
    limit = int(named.group(1)) if named else numbers[0] if numbers else 0
    tokens = numbers[-1] if numbers and numbers[-1] > limit else 0
    return ContextExceededError(tokens, limit)


def message_of(text: str) -> str:
    """Find what a body says, in any of the ways that servers write an error: JSON, HTML or text.

    >>> message_of('[{"error": {"code": 400, "message": "no such field"}}]')
    'no such field'
    >>> message_of("<html><head><title>x</title></head><body><h1>403</h1> Forbidden</body></html>")
    '403 Forbidden'
    """
    values = as_json(text)
    if values in ({}, [], ""):
        return ""
    return "; ".join(dict.fromkeys(_texts(values, _WORDS))) or " ".join(_TAG.sub(" ", text).split())


def as_json(text: str) -> Any:
    """Read a text as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def error_in(values: JsonObject) -> Any:
    """Return the error that an answer of status 200 holds, however it is written; None where there is none."""
    if error := values.get("error"):
        return error
    if values.get("object") == "error" or (values.get("success") is False and "choices" not in values):
        return values
    # Others have shapes of their own: what has no choices, took no tokens and says something is an error.
    usage = values.get("usage")
    counts = usage.values() if isinstance(usage, dict) else ()
    took_tokens = any(isinstance(count, int | float) and count > 0 for count in counts)
    if not values.get("choices") and not took_tokens and any(_texts(values, _WORDS)):
        return values
    return None


def status_of(error: Any) -> int:
    """Return the HTTP status that an error inside a 200 stands for, by its code or its words; 0 where it names none."""
    for name in ("code", "status", "statusCode", "status_code"):
        value = error.get(name) if isinstance(error, dict) else None
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    words = " ".join(_texts(error, _CODES))
    said = ((_NO_CREDIT, 402), (_NO_KEY, 401), (_RATE, 429))
    return next((status for pattern, status in said if pattern.search(words)), 0)


def _texts(value: Any, names: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """Yield the texts under ``names``, the outer ones first; JSON within a text is looked into."""
    if depth > 8:
        return
    if isinstance(value, str):
        inner = as_json(value) if value.lstrip().startswith(("{", "[")) else None
        if inner is None:
            if value.strip():
                yield value.strip()
        else:
            yield from _texts(inner, names, depth + 1)
    elif isinstance(value, list):
        for entry in value[:20]:
            yield from _texts(entry, names, depth + 1)
    elif isinstance(value, dict):
        for name in names:
            if name in value:
                yield from _texts(value[name], names, depth + 1)


def _asks_too_much(words: str) -> bool:
    """Whether a request is larger than all that the server gives in a minute: a pause does not help."""
    if (numbers := _TOO_LARGE.search(words)) is None:
        return False
    limit, requested = (int(number.replace(",", "")) for number in numbers.groups())
    return requested > limit
