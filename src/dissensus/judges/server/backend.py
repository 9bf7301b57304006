"""A model behind an OpenAI-compatible server, asked as its profile says it can be."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Self

import numpy as np

from dissensus.judges.base import JsonObject
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Answer, Ask, AskError, Outcome, Sampling, TooLong, Usage
from dissensus.judges.language.prompt import PREFIX
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.failures import ContextExceededError, TurnedAwayError
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.openai_format import (
    Step,
    check_end,
    choices_of,
    find_label,
    make_distribution,
    replies_of,
    steps_of,
    usage_of,
)

_MOST_REPLIES = 128
"""Replies that one request asks for, at most; no server is known to give more."""
_LONG = 4000
"""Characters of a prompt from which on a server may cut it, as Ollama does at 2,048 tokens of 4,096."""
_FEWEST = 0.75
"""Share of the tokens that a prompt of its length is expected to have, below which it may have been cut."""
_MORE_WORDS = 64
"""Words (the digits of a hash) that a prompt is asked behind again, to see whether they are counted."""
_TOKENS_TO_LABEL = 8
"""A greedy reply that has not come to its label by then does not keep to the prefix."""


class Server:
    """An endpoint with a model, as a `ServerBackend`. Use it in an ``async with`` block.

    Args:
        endpoint: where it is.
        profile: what it supports (see `cached_probe`).
        revision: of the model, where the server's name for it does not tell; part of the identity.
    """

    def __init__(self, endpoint: Endpoint, profile: ServerProfile, *, revision: str | None = None) -> None:
        self._endpoint, self._revision = endpoint, revision
        self.profile = profile
        self._gauge = _Gauge()

    @property
    def identity(self) -> JsonObject:
        """The model's name and how prompts are sent; never the address."""
        return {"model": self.profile.model, "revision": self._revision, "api": self.profile.api}

    @property
    def context(self) -> int | None:
        """Tokens that fit into a prompt with its reply, where the server tells."""
        return self.profile.context

    @property
    def samples_per_request(self) -> int:
        """How many replies one request may ask for."""
        return min(self.profile.most_replies or _MOST_REPLIES, _MOST_REPLIES) if self.profile.several else 1

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._endpoint.__aexit__(*error)

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Outcome:
        """Make one attempt; `Endpoint.post` says what is raised, but that whoever is turned away is refused."""
        attempt = _Attempt(self._endpoint, self.profile, self._gauge, ask)
        try:
            return await (attempt.read() if sampling is None else attempt.sample(sampling))
        except ContextExceededError as error:
            return TooLong(ask, error.tokens, error.limit or self.context or 0)
        except TurnedAwayError as error:  # routers and filters do so with one prompt, too
            raise AskError(str(error), kind="refused", usage=attempt.usage) from error
        except AskError as error:
            error.usage = attempt.usage
            raise


class _Gauge:
    """Doubts counts of tokens that are too low for a prompt: a server that cuts prompts says nothing else of it."""

    def __init__(self) -> None:
        self._characters = self._tokens = 0
        self.whole = 0
        """Characters of the longest prompt that is known to be read whole."""

    def doubts(self, prompt: str, tokens: int) -> bool:
        """Whether so few tokens may be those of a part: fewer than words, or far fewer than prompts have had so far."""
        length = len(prompt)
        if length <= self.whole:
            return False
        expected = self._tokens / self._characters * length if length > _LONG and self._characters else 0.0
        # What may part words is counted more quickly than words are, and is hardly ever less.
        gaps = 1 + prompt.count(" ") + prompt.count("\n") + prompt.count("\t")
        if tokens < _FEWEST * expected or (tokens < gaps and tokens < len(prompt.split())):
            return True
        self._characters += length
        self._tokens += tokens
        return False


class _Attempt:
    """The one or few requests of an attempt, and what they took together."""

    def __init__(self, endpoint: Endpoint, profile: ServerProfile, gauge: _Gauge, ask: Ask) -> None:
        self._endpoint, self._profile, self._gauge, self._ask = endpoint, profile, gauge, ask
        self.usage = Usage()

    async def sample(self, sampling: Sampling) -> Outcome:
        self._profile.check(exact=False, sampling=sampling)  # mode exact samples, too, where a prefix is not forced
        wanted = len(self._ask.samples)
        choices = await self._send(
            limit=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            # The server's seeds are 32 bits; each ask has its own, so that no two orders share their luck.
            seed=(int.from_bytes(self._ask.key[:4], "big") ^ sampling.seed) & 0x7FFFFFFF,
            n=wanted if self._profile.several else None,
        )
        replies, cut = replies_of(choices[:wanted])
        return Answer(self._ask, replies, usage=self.usage, cut=cut)

    async def read(self) -> Outcome:
        """Read the label's distribution off a greedy reply, or behind the prefix."""
        profile, forced = self._profile, math.nan
        label: Step | None = None
        if profile.plan is None:
            profile.check(exact=True)
        # Where log-probabilities are (or may be) scaled, temperature 1 leaves them as they are; a forced prefix is
        # drawn all the same. Where they are raw nothing is left to chance: llama.cpp tells none of half a character.
        temperature = 0.0 if profile.raw else 1.0
        if profile.plan == "greedy":
            choices = await self._send(limit=_TOKENS_TO_LABEL, temperature=temperature, logprobs=True)
            check_end(choices[0])
            label, forced = find_label(steps_of(choices[0]))
            if label is None and not profile.prefill:
                # No distribution behind the prefix is known: all that is known is that the prefix is not forced.
                return Answer(self._ask, distribution=ChoiceDistribution(np.zeros(1), "-", 1), usage=self.usage)
        if label is None:
            choices = await self._send(limit=1, temperature=temperature, logprobs=True, prefix=PREFIX)
            check_end(choices[0])
            label = next(iter(steps_of(choices[0])), None)
            if label is None:
                raise AskError("no token behind the prefix", billed=True)
        distribution = make_distribution(label, forced, asked=profile.logprobs)
        return Answer(self._ask, distribution=distribution, usage=self.usage)

    async def _send(self, **settings: Any) -> list[JsonObject]:
        """Make a request, and count what it took even if it fails."""
        prompt = self._ask.prompt
        try:
            response = await self._endpoint.post(
                path_of(self._profile), request_body(self._profile, prompt, **settings)
            )
        except AskError as error:
            if error.billed:
                self._count(usage_of({}, prompt))
            raise
        usage = usage_of(response, prompt)
        self._count(usage)
        choices = choices_of(response)  # first: where there is no answer, nothing was cut that could be told of
        if not usage.estimated and self._gauge.doubts(prompt, usage.prompt_tokens):
            await self._measure(usage.prompt_tokens)
        # Others (transformers serve) answer beyond the positions that their model has.
        if self._profile.context is not None and not usage.estimated and usage.prompt_tokens > self._profile.context:
            raise ContextExceededError(usage.prompt_tokens, self._profile.context)
        return choices

    async def _measure(self, counted: int) -> None:
        """Ask the prompt again behind a few more words: where they are not counted, it is cut.

        They come first, so that nothing of it is in a cache: some servers count only what is not.
        """
        prompt = self._ask.prompt
        more = " ".join(hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest())
        limit = 1000 if self._profile.refused_max_tokens else 1
        body = request_body(self._profile, f"{more}\n\n{prompt}", limit=limit, temperature=0.0)
        try:
            usage = usage_of(await self._endpoint.post(path_of(self._profile), body), prompt)
        except ContextExceededError:
            pass  # what does not fit is refused, and so was not cut
        else:
            self._count(usage)
            if usage.prompt_tokens - counted < _MORE_WORDS // 2:
                raise ContextExceededError(0, self._profile.context or counted)
        self._gauge.whole = max(self._gauge.whole, len(prompt))

    def _count(self, usage: Usage) -> None:
        self.usage = Usage(
            self.usage.prompt_tokens + usage.prompt_tokens,
            self.usage.completion_tokens + usage.completion_tokens,
            self.usage.estimated or usage.estimated,
        )


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
    extra: JsonObject | None = None,
) -> JsonObject:
    """Write a request; every sampling parameter is said, since servers have defaults of their own."""
    body: JsonObject = {
        "model": profile.model,
        profile.limit_name: limit,
        **_said(profile, temperature, top_p),
        "stream": False,
        **profile.neutral,
    }
    if seed is not None and "seed" not in profile.omitted:
        body["seed"] = seed
    if n is not None:
        body["n"] = n
    top = (profile.logprobs or 20) if logprobs is True else int(logprobs)
    if profile.api == "completions":
        body["prompt"] = f"{prompt}\n\n{prefix}"
        if top:
            body["logprobs"] = top
        return body | (extra or {})
    body["messages"] = [{"role": "user", "content": prompt}]
    if prefix:
        body["messages"].append({"role": "assistant", "content": prefix})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if top:
        body |= {"logprobs": True, "top_logprobs": top}
    return body | (extra or {})


def _said(profile: ServerProfile, temperature: float, top_p: float) -> dict[str, float]:
    """Name temperature and top-p as far as the server lets them be named; where both are 1 either may be left out."""
    said = {"temperature": max(temperature, profile.min_temperature), "top_p": top_p}
    left_out = {name for name in said if name in profile.omitted}
    if top_p == 1 and ("top_p=1" in profile.omitted or not profile.temperature_and_top_p):
        left_out.add("top_p")
    elif temperature == 1 and not profile.temperature_and_top_p:
        left_out.add("temperature")
    return {name: value for name, value in said.items() if name not in left_out}
