"""A model behind an OpenAI-compatible server, asked as its profile says it can be."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from dissensus.judge.ask import Answer, Ask, AskError, Outcome, Sampling, TooLong, Usage
from dissensus.judge.endpoint import ContextExceededError, Endpoint
from dissensus.judge.profile import ServerProfile
from dissensus.judge.prompt import PREFIX
from dissensus.judge.reading import Reading
from dissensus.judge.response import Step, choices_of, find_label, make_reading, reply_text, steps_of, usage_of

_TOKENS_TO_LABEL = 8
"""A greedy reply that has not come to its label by then does not keep to the prefix."""


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
        attempt = _Attempt(self._endpoint, self.profile, ask)
        try:
            return await (attempt.read() if sampling is None else attempt.sample(sampling))
        except ContextExceededError as error:
            return TooLong(ask, error.tokens, error.limit or self.context or 0)
        except AskError as error:
            error.usage = attempt.usage
            raise


class _Attempt:
    """The one or few requests of an attempt, and what they took together."""

    def __init__(self, endpoint: Endpoint, profile: ServerProfile, ask: Ask) -> None:
        self._endpoint = endpoint
        self._profile = profile
        self._ask = ask
        self.usage = Usage()

    async def sample(self, sampling: Sampling) -> Outcome:
        wanted = len(self._ask.samples)
        choices = await self._send(
            limit=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            # The server's seeds are 32 bits; each ask has its own, so that no two orders share their luck.
            seed=(int.from_bytes(self._ask.key[:4], "big") ^ sampling.seed) & 0x7FFFFFFF,
            n=wanted if self._profile.several else None,
        )
        return Answer(self._ask, tuple(reply_text(choice) for choice in choices[:wanted]), usage=self.usage)

    async def read(self) -> Outcome:
        """Read the label's distribution off a greedy reply, or behind the prefix."""
        profile = self._profile
        if profile.plan is None:
            profile.check(exact=True)
        if profile.plan == "prefill":
            return await self._read_behind_prefix(forced=math.nan)
        # Where log-probabilities are (or may be) scaled, temperature 1 leaves them as they are; a forced prefix is
        # drawn all the same.
        temperature = 0.0 if profile.raw else 1.0
        choices = await self._send(limit=_TOKENS_TO_LABEL, temperature=temperature, logprobs=True)
        label, forced = find_label(steps_of(choices[0]))
        if label is not None:
            return self._reading(label, forced)
        if profile.prefill:
            return await self._read_behind_prefix(forced=0.0)
        # No distribution behind the prefix is known: all that is known is that the prefix is not forced.
        return Answer(self._ask, reading=Reading(np.zeros(1), "-", 1), usage=self.usage)

    async def _read_behind_prefix(self, *, forced: float) -> Outcome:
        steps = steps_of((await self._send(limit=1, temperature=1.0, logprobs=True, prefix=PREFIX))[0])
        if not steps:
            raise AskError("no token behind the prefix", billed=True)
        ids = self._profile.label_ids
        unseen = {" A", " B"} - {text for text, _ in steps[0].top}
        if not (unseen and self._profile.asked_ids and ids):
            return self._reading(steps[0], forced)
        asked = {"logprob_token_ids": list(ids.values()), "top_logprobs": None}
        choices = await self._send(limit=1, temperature=1.0, logprobs=True, prefix=PREFIX, extra=asked)
        by_id = steps_of(choices[0])
        return self._reading(
            steps[0], forced, [entry for step in by_id[:1] for entry in step.top if entry[0] in unseen]
        )

    def _reading(self, step: Step, forced: float, further: list[tuple[str, float]] | None = None) -> Answer:
        reading = make_reading(step, forced, further or (), asked=self._profile.logprobs)
        return Answer(self._ask, reading=reading, usage=self.usage)

    async def _send(self, **settings: Any) -> list[dict[str, Any]]:
        """Make a request, and count what it took even if it fails."""
        body = request_body(self._profile, self._ask.prompt, **settings)
        try:
            response = await self._endpoint.post(path_of(self._profile), body)
        except AskError as error:
            if error.billed:
                self.usage = _sum(self.usage, usage_of({}, self._ask.prompt))
            raise
        usage = usage_of(response, self._ask.prompt)
        self.usage = _sum(self.usage, usage)
        # A server that cuts prompts says nothing of it: fewer tokens than half the words cannot hold one.
        if not usage.estimated and usage.prompt_tokens < len(self._ask.prompt.split()) // 2:
            raise ContextExceededError(0, self._profile.context or usage.prompt_tokens)
        # Others (transformers serve) answer beyond the positions that their model has.
        if self._profile.context is not None and not usage.estimated and usage.prompt_tokens > self._profile.context:
            raise ContextExceededError(usage.prompt_tokens, self._profile.context)
        return choices_of(response)


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
    extra: dict[str, Any] | None = None,
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
        return {**body, **(extra or {})}
    body["messages"] = [{"role": "user", "content": prompt}]
    if prefix:
        body["messages"].append({"role": "assistant", "content": prefix})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if top:
        body |= {"logprobs": True, "top_logprobs": top}
    return {**body, **(extra or {})}


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.estimated or other.estimated,
    )
