"""Questions of a probe, each of which decides how a server is asked: does it support a parameter, or ignore it?"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any, get_args

from dissensus.errors import JudgeError
from dissensus.judges.base import JsonObject
from dissensus.judges.language.messages import AskError
from dissensus.judges.language.prompt import PREFIX
from dissensus.judges.server.backend import path_of, request_body
from dissensus.judges.server.capabilities import LimitName, Neutral, Omitted, ServerProfile
from dissensus.judges.server.failures import ContextExceededError, ModelNotFoundError
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.openai_format import Step, check_end, choices_of, reply_text, steps_of
from dissensus.judges.server.rate_limits import Breaker
from dissensus.judges.server.retry import AwayError, RefusedError, patiently

_QUESTION = "Write one sentence about the sea, and then another one about the mountains."
_NEUTRAL_SETS: tuple[Neutral, ...] = (
    {"top_k": -1, "repetition_penalty": 1.0, "min_p": 0.0},  # vLLM, SGLang
    {"top_k": 0, "repeat_penalty": 1.0, "min_p": 0.0},  # llama-cpp-python, which defaults to 40 and 1.1
)
_LLAMA_CPP: Neutral = {"samplers": ["temperature", "top_p"], "mirostat": 0, "dynatemp_range": 0.0}
"""For llama.cpp's own server: these steps in this order and no others, whatever it was started with. Left to itself it
takes the most probable tokens with top-p first, and applies the temperature to what is left."""
_IN_ONE: Neutral = {
    "generation_config": json.dumps({"do_sample": True, "top_k": 0, "repetition_penalty": 1.0, "min_p": 0.0})
}
"""For transformers serve; without it replies are greedy, or of the top 50 tokens, as the model's folder has it."""
_HEATS = (100.0, 2.0, 1.0)
"""Temperatures at which replies should vary; not every server takes the first, which leaves no doubt."""
_SAME = 0.02
"""Log-probabilities of one token that are closer than this are the same, on a server that adds up in half precision."""
_CONTEXT_NAMES = (
    "loaded_context_length", "max_model_len", "n_ctx", "context_length", "context_window", "max_context_length",
    "max_total_tokens",
)  # fmt: skip
"""Where servers name the context that a model is served with: never ``n_ctx_train``, what it was trained with."""
_TEMPERED: tuple[tuple[tuple[Omitted, ...], float], ...] = (
    ((), 0.0),
    (("top_p=1",), 0.0),
    ((), 0.01),
    (("temperature",), 0.0),
    (("top_p=1",), 0.01),
    (("temperature", "top_p"), 0.0),
)
"""What is left out, and the lowest temperature, where temperature 0 and top-p 1 are refused; small changes first."""
_LIMITS = (1, 16, 1000)
"""Tokens of a reply, for servers that refuse few."""


class Inquiry:
    """Questions to one server; fills a profile."""

    def __init__(self, endpoint: Endpoint, profile: ServerProfile, breaker: Breaker) -> None:
        self._endpoint, self._breaker = endpoint, breaker
        self.profile = profile

    async def run(self, listing: JsonObject) -> ServerProfile:
        """Ask all of them; ``listing`` is what the server lists of its model."""
        await self._hello(listing)
        await self._neutral(listing)
        if (heat := await self._sampling()) is not None:
            await self._several(heat, listing)
        await self._logprobs()
        await self._prefill()
        await self._context(listing)
        self._note(signature=await self.signature())
        return self.profile

    async def signature(self) -> tuple[float, ...]:
        """Ask for several things at once, and sum up what came in numbers that are compared with `alike`."""
        response = await self._try(n=2, temperature=1.5, logprobs=self.profile.logprobs or 5, prefix=self._begun)
        if response is None:
            return ()
        steps = _steps(response)
        top = sorted((value for _, value in steps[0].top), reverse=True)[:2] if steps else []
        gap = min(top[0] - top[1], 20.0) if len(top) == 2 else 0.0
        return (len(choices_of(response)), len(top), gap, _tokens(response, "prompt_tokens") or 0)

    @property
    def _begun(self) -> str:
        """Behind a prefix a completion does not end at once."""
        return PREFIX if self.profile.api == "completions" else ""

    def _note(self, **found: Any) -> None:
        self.profile = self.profile.model_copy(update=found)

    async def _ask(self, **settings: Any) -> JsonObject:
        """Ask the same question with some settings."""
        fewest = _LIMITS[-1] if self.profile.refused_max_tokens else 1
        settings = {"temperature": 0.0, **settings, "limit": max(settings.get("limit", 1), fewest)}
        body = request_body(self.profile, _QUESTION, **settings)

        async def post() -> JsonObject:
            response = await self._endpoint.post(path_of(self.profile), body)
            for choice in choices_of(response):  # an answer without replies is a failure, and is asked for again
                check_end(choice)
                reply_text(choice)
            return response

        return await patiently(post, self._breaker)

    async def _try(self, **settings: Any) -> JsonObject | None:
        """Ask, and return None where the server refuses the settings."""
        try:
            return await self._ask(**settings)
        except AwayError:
            raise
        except (JudgeError, ContextExceededError):
            return None

    async def _hello(self, listing: JsonObject) -> None:
        try:
            await self._ask()
        except ContextExceededError as error:
            raise JudgeError(f"{self.profile.model}: its context of {error.limit} tokens holds no question") from error
        except RefusedError as error:
            if error.status == 403:  # the key may not, however it asks
                raise
            await self._other_ways(error)
        except ModelNotFoundError as error:
            known = f"; it has: {listing['unlisted']}" if "unlisted" in listing else ""
            raise JudgeError(f"{error}{known}; choose one with --model, or another --api") from error
        if "unlisted" in listing and await self._try(extra={"model": "a-model-that-nobody-has"}) is not None:
            raise JudgeError(
                f"{self._endpoint.base_url}: has no model {self.profile.model}, and answers to any name; "
                f"it has: {listing['unlisted']}; choose one with --model"
            )

    async def _other_ways(self, refusal: RefusedError) -> None:
        """Look for a way to ask that the server does not refuse, and note it.

        Those of the limit's name that the refusal speaks for come first, then those that change least.

        Raises:
            JudgeError: it refuses them all.
        """
        plain, names = self.profile, get_args(LimitName)
        names = names[::-1] if names[1] in refusal.said else names
        every = itertools.product(names, range(len(_LIMITS)), range(len(_TEMPERED)))
        for name, few, number in sorted(every, key=lambda way: (names.index(way[0]), way[1] + way[2])):
            omitted, lowest = _TEMPERED[number]
            way = {"limit_name": name, "omitted": omitted, "min_temperature": lowest}
            self.profile = plain.model_copy(update=way)
            with suppress(RefusedError):
                await self._ask(limit=_LIMITS[few])
                self._note(refused_max_tokens=_LIMITS[few - 1] if few else 0)
                await self._both_said()
                return
        raise refusal

    async def _both_said(self) -> None:
        """Find out what the server refuses: top-p at 1, top-p at all, or a temperature beside it."""
        omitted = self.profile.omitted
        if "temperature" in omitted and "top_p" not in omitted and await self._try(top_p=0.9) is None:
            self._note(omitted=("temperature", "top_p"))
        if "top_p=1" in omitted and await self._try(temperature=0.7, top_p=0.9) is None:
            self._note(omitted=(), temperature_and_top_p=False)
            if await self._try(temperature=1.0, top_p=0.9) is None:
                self._note(omitted=("top_p",), temperature_and_top_p=True)

    async def _neutral(self, listing: JsonObject) -> None:
        """Find the parameters that undo a server's own defaults and that it does not refuse: all, some, or its own."""
        if listing.get("owned_by") == "llamacpp" and await self._takes(_LLAMA_CPP):
            return
        for values in _NEUTRAL_SETS:
            if await self._takes(values):
                return
        for name, value in [item for values in _NEUTRAL_SETS for item in values.items()]:
            if name not in self.profile.neutral:
                await self._takes({**self.profile.neutral, name: value})
        if not self.profile.neutral:
            await self._takes(_IN_ONE)

    async def _takes(self, values: Neutral) -> bool:
        """Whether the server takes these parameters; they are then sent with every request."""
        before = self.profile
        self._note(neutral=values)
        if await self._try() is None:
            self.profile = before
        return self.profile is not before

    async def _sampling(self) -> float | None:
        """Replies at temperature 0 repeat themselves, at a high one they do not; a low top-p makes them again.

        Returns the temperature at which they were asked for; None where the server refuses each.
        """
        if "temperature" in self.profile.omitted:
            await self._seed(1.0)
            return 1.0
        cold = await self._texts(temperature=0.0)
        for heat in _HEATS:
            if hot := await self._texts(temperature=heat):
                break
        else:
            return None
        if not any(cold + hot):
            return heat  # a server that tells none of its words tells nothing
        if len(set(hot)) == 1:
            # At 100 every model varies: such replies are greedy. At less, it may be sure of what it says.
            self._note(temperature=False if heat == _HEATS[0] else None)
            return heat
        self._note(
            temperature=await self._steadier(cold, hot, heat, temperature=0.0),
            top_p=await self._steadier(await self._texts(temperature=heat, top_p=1e-6), hot, heat, top_p=1e-6),
        )
        await self._seed(heat)
        return heat

    async def _steadier(self, replies: list[str], hot: list[str], heat: float, **settings: float) -> bool | None:
        """Whether replies repeat each other, or are at least more alike than those of a high temperature.

        Hosted models do not repeat themselves to the letter at temperature 0. None where nothing can be told.
        """
        if not replies or len(set(replies)) == 1:
            return True if replies else None
        replies = replies + await self._texts(**{"temperature": heat, **settings})
        hot = hot + await self._texts(temperature=heat)
        if len(set(replies)) < len(replies) or more_alike(replies, hot):
            return True
        return False if heat > 1 else None

    async def _seed(self, heat: float) -> None:
        """Find out whether the server takes a seed."""
        if await self._try(temperature=heat, seed=11) is None:
            self._note(omitted=(*self.profile.omitted, "seed"))

    async def _texts(self, **settings: float) -> list[str]:
        """Two replies, reasoning that is told apart included; none where the server refuses the settings."""
        answers = [await self._try(limit=16, **settings)]
        if answers[0] is not None:
            answers.append(await self._try(limit=16, **settings))
        return [_words(choices_of(answer)[0]) for answer in answers if answer is not None]

    async def _several(self, heat: float, listing: JsonObject) -> None:
        """Ask for two replies with one seed, as judgments are; two that are one and the same are no sample.

        llama.cpp gives as many as it has slots (``--parallel``), which it tells.
        """
        if (response := await self._try(n=2, temperature=heat, seed=11, limit=16)) is not None:
            replies = [reply_text(choice) for choice in choices_of(response)]
            self._note(several=len(replies) == 2 and (replies[0] != replies[1] or not self.profile.temperature))
        if self.profile.several and listing.get("owned_by") == "llamacpp":
            slots = (await self._told("props")).get("total_slots")
            self._note(most_replies=slots if isinstance(slots, int) and slots > 1 else None)

    async def _logprobs(self) -> None:
        for wanted in (20, 5):
            if (response := await self._try(logprobs=wanted, prefix=self._begun)) is None:
                continue
            if steps := _steps(response):
                told = len(steps[0].top)
                self._note(logprobs=told if told < wanted // 2 else wanted)
                await self._raw(steps[0])
            return

    async def _raw(self, cold: Step) -> None:
        """Compare the first token's log-probabilities at temperatures 0, 1 and 2."""
        if self.profile.temperature is False:
            return  # what is the same at every temperature may be scaled by the server's own
        cool, warm, hot = dict(cold.top), await self._top(1.0), await self._top(2.0)
        shared = [cool[token] for token in cool if token in warm and token in hot]
        if len(shared) < 2 or max(shared) - min(shared) < 10 * _SAME:
            return  # a certain token tells nothing, nor do tokens that are all alike
        self._note(raw=all(abs(cool[t] - other[t]) < _SAME for other in (warm, hot) for t in cool if t in other))

    async def _top(self, temperature: float) -> dict[str, float]:
        """The first token's log-probabilities; llama.cpp tells none where half a character was drawn."""
        for _ in range(3):
            if steps := _steps(
                await self._try(logprobs=self.profile.logprobs, temperature=temperature, prefix=self._begun)
            ):
                return dict(steps[0].top)
        return {}

    async def _prefill(self) -> None:
        """Begin a reply: in a chat, fewer tokens are counted where the flag that leaves it open is supported.

        Neither request wants a turn opened after it: a server may support that flag and not the other. llama.cpp needs
        none, and repeats what was begun before the one token that it was asked for.
        """
        if self.profile.api == "completions":
            self._note(prefill=True)
            return
        if (answer := await self._try(prefix=PREFIX)) is None:
            return
        if _tokens(answer, "completion_tokens") == 1 and reply_text(choices_of(answer)[0]).startswith(PREFIX):
            self._note(prefill=True)
            return
        begun = _tokens(answer, "prompt_tokens")
        closed = _tokens(await self._try(prefix=PREFIX, extra={"continue_final_message": False}), "prompt_tokens")
        self._note(prefill=begun is not None and closed is not None and begun < closed)

    async def _context(self, listing: JsonObject) -> None:
        """Look for the context's length in what the server lists, and where llama.cpp and TGI tell it."""
        context = context_in(listing)
        for path in ("props", "info"):
            if context is None:
                told = await self._told(path)
                context = context_in(told) or context_in(told.get("default_generation_settings"))
        self._note(context=context)

    async def _told(self, path: str) -> JsonObject:
        """Get what some servers tell of themselves beside the API; nothing where it cannot be had."""
        try:
            told = await self._endpoint.get(f"{self._endpoint.base_url.removesuffix('/v1')}/{path}")
        except (AskError, JudgeError, ContextExceededError):
            return {}
        return told if isinstance(told, dict) else {}


def alike(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two signatures are one server's: the same but for what half precision and batching change.

    >>> alike((2, 2, 3.0, 21), (2, 2, 3.1, 21)), alike((2, 2, 3.0, 21), (2, 2, 1.5, 21)), alike((), (1, 0, 0.0, 21))
    (True, False, False)
    """
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=0.1, abs_tol=0.1) for a, b in zip(one, other, strict=True)
    )


def more_alike(replies: Sequence[str], others: Sequence[str]) -> bool:
    """Whether replies are far more alike than others: by the words that they begin with, or by those in one order.

    >>> more_alike(["a b c d", "a b c e"], ["k l m n", "o p q r"]), more_alike(["a b", "c d"], ["e f", "g h"])
    (True, False)
    """

    def shares(texts: Sequence[str]) -> tuple[float, float]:
        pairs = list(itertools.combinations([text.split() for text in texts], 2))
        begun = in_order = 0.0
        for one, other in pairs:
            same = itertools.takewhile(lambda words: words[0] == words[1], zip(one, other, strict=False))
            begun += len(list(same)) / max(len(one), len(other), 1)
            in_order += SequenceMatcher(None, one, other, autojunk=False).ratio()
        return begun / max(1, len(pairs)), in_order / max(1, len(pairs))

    return any(own > 2 * other + 0.1 for own, other in zip(shares(replies), shares(others), strict=True))


def context_in(told: object) -> int | None:
    """Find the length of the context in what a server says of a model."""
    values = told if isinstance(told, dict) else {}
    places = (values.get("top_provider"), values.get("meta"), values)
    for place in (place for place in places if isinstance(place, dict)):
        for name in _CONTEXT_NAMES:
            value = place.get(name)
            if isinstance(value, str) and value.isdigit():
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _words(choice: JsonObject) -> str:
    """The words of a choice, and of the reasoning before it where a server tells that apart."""
    message = choice.get("message")
    thoughts = [message.get(name) for name in ("reasoning_content", "reasoning")] if isinstance(message, dict) else []
    return " ".join([*(text for text in thoughts if isinstance(text, str)), reply_text(choice)]).strip()


def _steps(response: JsonObject | None) -> list[Step]:
    try:
        return [step for step in steps_of(choices_of(response)[0]) if step.top] if response else []
    except AskError:
        return []


def _tokens(response: JsonObject | None, name: str) -> int | None:
    usage = (response or {}).get("usage")
    tokens = usage.get(name) if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and 0 < tokens < 2**31 else None
