"""A model behind an OpenAI-compatible server, asked as its profile says it can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from dissensus.judge.ask import Answer, Ask, AskError, Outcome, Sampling, TooLong, Usage
from dissensus.judge.endpoint import ContextExceededError, Endpoint
from dissensus.judge.profile import ServerProfile
from dissensus.judge.prompt import PREFIX
from dissensus.judge.reading import Reading, verdict_of_token

_TOKENS_TO_LABEL = 8
"""A greedy reply that has not come to its label by then does not keep to the prefix."""


class Step(NamedTuple):
    """One position of a reply: the token there, and the most probable ones."""

    text: str
    logprob: float
    top: list[tuple[str, float]]


class Server:
    """An endpoint with a model, as a `ServerBackend`. Use it in an ``async with`` block.

    Args:
        endpoint: where it is.
        profile: what it honours (see `probe`).
        revision: of the model, where the server's name for it does not tell; part of the identity.
    """

    def __init__(self, endpoint: Endpoint, profile: ServerProfile, *, revision: str | None = None) -> None:
        self._endpoint = endpoint
        self._revision = revision
        self.profile = profile

    @property
    def identity(self) -> dict[str, Any]:
        """The model's name and how prompts are sent; never the address."""
        return {"model": self.profile.model, "revision": self._revision, "api": self.profile.api}

    @property
    def context(self) -> int | None:
        """Tokens that fit into a prompt with its reply, where the server tells."""
        return self.profile.context

    @property
    def samples_per_request(self) -> int:
        """How many replies one request may ask for."""
        return 128 if self.profile.several else 1

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._endpoint.__aexit__(*error)

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Outcome:
        """Make one attempt; `Endpoint.post` says what is raised."""
        try:
            return await (self._read(ask) if sampling is None else self._sample(ask, sampling))
        except ContextExceededError as error:
            return TooLong(ask, error.tokens, error.limit or self.context or 0)

    async def _sample(self, ask: Ask, sampling: Sampling) -> Outcome:
        wanted = len(ask.samples)
        body = request_body(
            self.profile,
            ask.prompt,
            limit=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            # The server's seeds are 32 bits; each ask has its own, so that no two orders share their luck.
            seed=(int.from_bytes(ask.key[:4], "big") ^ sampling.seed) & 0x7FFFFFFF,
            n=wanted if self.profile.several else None,
        )
        response = await self._endpoint.post(path_of(self.profile), body)
        replies = [reply_text(choice) for choice in choices_of(response)]
        usage = usage_of(response, ask.prompt, replies)
        if (cut := _silently_cut(ask, usage, self.context)) is not None:
            return cut
        return Answer(ask, tuple(replies[:wanted]), usage=usage)

    async def _read(self, ask: Ask) -> Outcome:
        """Read the label's distribution off a greedy reply, or behind the prefix."""
        if self.profile.plan is None:
            self.profile.check(exact=True)
        if self.profile.plan == "prefill":
            return await self._read_behind_prefix(ask, Usage(), forced=math.nan)
        # Where log-probabilities are (or may be) scaled, temperature 1 leaves them as they are; a forced prefix is
        # drawn all the same.
        temperature = 0.0 if self.profile.raw else 1.0
        body = request_body(self.profile, ask.prompt, limit=_TOKENS_TO_LABEL, temperature=temperature, logprobs=True)
        response = await self._endpoint.post(path_of(self.profile), body)
        steps = steps_of(choices_of(response)[0])
        usage = usage_of(response, ask.prompt, ["".join(step.text for step in steps)])
        if (cut := _silently_cut(ask, usage, self.context)) is not None:
            return cut
        label, forced = find_label(steps)
        if label is not None:
            return Answer(ask, reading=make_reading(label, forced, asked=self.profile.logprobs), usage=usage)
        if self.profile.prefill:
            return await self._read_behind_prefix(ask, usage, forced=0.0)
        # No distribution behind the prefix is known: all that is known is that the prefix is not forced.
        return Answer(ask, reading=Reading(np.zeros(1), "-", 1), usage=usage)

    async def _read_behind_prefix(self, ask: Ask, used: Usage, *, forced: float) -> Outcome:
        body = request_body(self.profile, ask.prompt, limit=1, temperature=1.0, logprobs=True, prefix=PREFIX)
        response = await self._endpoint.post(path_of(self.profile), body)
        steps = steps_of(choices_of(response)[0])
        if not steps:
            raise AskError("no token behind the prefix", billed=True)
        usage = _sum(used, usage_of(response, ask.prompt, [steps[0].text]))
        if (cut := _silently_cut(ask, usage, self.context)) is not None:
            return cut
        further: list[tuple[str, float]] = []
        unseen = {" A", " B"} - {text for text, _ in steps[0].top}
        if unseen and self.profile.asked_ids and self.profile.label_ids:
            asked = {**body, "logprob_token_ids": list(self.profile.label_ids.values())}
            asked.pop("top_logprobs", None)
            response = await self._endpoint.post(path_of(self.profile), asked)
            by_id = steps_of(choices_of(response)[0])
            further = [(text, logprob) for text, logprob in by_id[0].top if text in unseen] if by_id else []
            usage = _sum(usage, usage_of(response, ask.prompt, []))
        return Answer(ask, reading=make_reading(steps[0], forced, further, asked=self.profile.logprobs), usage=usage)


def path_of(profile: ServerProfile) -> str:
    """Name the path that a profile's API is at."""
    return "chat/completions" if profile.api == "chat" else "completions"


def request_body(
    profile: ServerProfile,
    prompt: str,
    *,
    limit: int,
    temperature: float,
    top_p: float = 1.0,
    seed: int | None = None,
    n: int | None = None,
    logprobs: bool | int = False,
    prefix: str = "",
) -> dict[str, Any]:
    """Write a request; every sampling parameter is said, since servers have defaults of their own."""
    body: dict[str, Any] = {
        "model": profile.model,
        profile.limit_name: limit,
        "temperature": temperature,
        "top_p": top_p,
        "stream": False,
        **profile.neutral,
    }
    if seed is not None:
        body["seed"] = seed
    if n is not None:
        body["n"] = n
    top = (profile.logprobs or 20) if logprobs is True else int(logprobs)
    if profile.api == "completions":
        body["prompt"] = f"{prompt}\n\n{prefix}"
        if top:
            body["logprobs"] = top
        return body
    body["messages"] = [{"role": "user", "content": prompt}]
    if prefix:
        body["messages"].append({"role": "assistant", "content": prefix})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if top:
        body |= {"logprobs": True, "top_logprobs": top}
    return body


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
    """Return the text of a choice; reasoning that a server tells apart is no part of it."""
    content = choice.get("text") if "message" not in choice else (choice["message"] or {}).get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


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
                    _text(entry),
                    float(entry["logprob"]),
                    [(_text(other), float(other["logprob"])) for other in entry.get("top_logprobs") or ()],
                )
                for entry in content
            ]
        columns = (logprobs.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs"))
        return [
            Step(token, float(logprob), [(text, float(value)) for text, value in (top or {}).items()])
            for token, logprob, top in zip(*columns, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise AskError(f"log-probabilities that are none ({error!r})", billed=True) from error


def _text(entry: dict[str, Any]) -> str:
    token: str = entry["token"]
    if "\N{REPLACEMENT CHARACTER}" in token and entry.get("bytes"):
        return bytes(entry["bytes"]).decode("latin-1")  # half a character: no verdict, but a token of its own
    return token


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
        forced = min(forced, math.exp(min(step.logprob, 0.0)))
    return None, 0.0


def make_reading(step: Step, forced: float, further: Sequence[tuple[str, float]] = (), *, asked: int = 0) -> Reading:
    """Make a reading of the label's position; the token that was drawn is listed even if it is not among the top.

    Where fewer of the top tokens came than were ``asked`` for, tokens of one text were merged on the way: only those
    that outweigh all that is missing are then known to be the most probable.

    Raises:
        AskError: there are no log-probabilities, or they are no numbers.
    """
    ranked = sorted(((text, min(value, 0.0)) for text, value in step.top if value > -math.inf), key=lambda e: -e[1])
    if not ranked:
        raise AskError("no log-probabilities at the label", billed=True)
    listed = {text for text, _ in ranked}
    others = {text: min(value, 0.0) for text, value in ((step.text, step.logprob), *further) if text not in listed}
    entries = [*ranked, *((text, value) for text, value in others.items() if value > -math.inf)]
    logprobs = np.array([value for _, value in entries], np.float64)
    mass = float(np.exp(logprobs).sum())
    if not math.isfinite(mass) or mass > 1.01:
        raise AskError(f"log-probabilities that are none (their sum is {mass:.3f})", billed=True)
    merged = len(step.top) < asked
    top = int((np.exp(logprobs[: len(ranked)]) >= 1 - mass).sum()) if merged else len(ranked)
    return Reading(logprobs, "".join(verdict_of_token(text) for text, _ in entries), max(top, 1), forced=forced)


def usage_of(response: dict[str, Any], prompt: str, replies: list[str]) -> Usage:
    """Read the tokens that a request took; guess them from the texts where the server does not say."""
    usage = response.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("prompt_tokens"), int) and usage["prompt_tokens"] > 0:
        return Usage(usage["prompt_tokens"], int(usage.get("completion_tokens") or 0))
    return Usage(len(prompt) // 3 + 1, sum(len(reply) // 3 + 1 for reply in replies), estimated=True)


def _silently_cut(ask: Ask, usage: Usage, context: int | None) -> TooLong | None:
    """Notice a server that cut the prompt: fewer tokens than half its words cannot hold it."""
    words = len(ask.prompt.split())
    if not usage.estimated and usage.prompt_tokens < words // 2:
        return TooLong(ask, 0, context or usage.prompt_tokens)
    return None


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.estimated or other.estimated,
    )
