"""Questions of a probe, each of which decides how a server is asked: does it support a parameter, or ignore it?"""

from __future__ import annotations

import json
import math
from typing import Any

from dissensus.errors import JudgeError
from dissensus.judges.base import JsonObject
from dissensus.judges.language.messages import AskError
from dissensus.judges.language.prompt import PREFIX
from dissensus.judges.server.backend import path_of, request_body
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.failures import ContextExceededError, ModelNotFoundError
from dissensus.judges.server.http import Endpoint
from dissensus.judges.server.model_list import context_in
from dissensus.judges.server.openai_format import Step, check_end, choices_of, reply_text, steps_of
from dissensus.judges.server.rate_limits import Breaker
from dissensus.judges.server.request_variants import ENOUGH, Way, more_alike, next_way, other_ways, refusals_in
from dissensus.judges.server.retry import PATIENCE, AwayError, RefusedError, patiently

_QUESTION = "Write one sentence about the sea, and then another one about the mountains."
_NEUTRAL_SETS: tuple[dict[str, int | float | str], ...] = (
    {"top_k": -1, "repetition_penalty": 1.0, "min_p": 0.0},  # vLLM, SGLang
    {"top_k": 0, "repeat_penalty": 1.0, "min_p": 0.0},  # llama.cpp, whose Python server defaults to 40 and 1.1
)
_IN_ONE: dict[str, int | float | str] = {
    "generation_config": json.dumps({"do_sample": True, "top_k": 0, "repetition_penalty": 1.0, "min_p": 0.0})
}
"""For transformers serve; without it replies are greedy, or of the top 50 tokens, as the model's folder has it."""
_NO_MODEL = "a-model-that-nobody-has"
_HEATS = (100.0, 2.0, 1.0)
"""Temperatures at which replies should vary; not every server takes the first, which leaves no doubt."""
_TOKENIZERS = (("tokenize", "prompt"), ("extras/tokenize", "input"), ("tokenize", "content"))
"""Paths and the name of the text: vLLM, llama-cpp-python, llama.cpp."""
_SAME = 0.02
"""Log-probabilities of one token that are closer than this are the same, on a server that adds up in half precision."""


class Inquiry:
    """Questions to one server; fills a profile."""

    def __init__(self, endpoint: Endpoint, profile: ServerProfile, breaker: Breaker | None = None) -> None:
        self._endpoint = endpoint
        self._breaker = breaker or Breaker(PATIENCE)
        self.profile = profile
        self._ignored: list[str] = []
        self._refusal = ""

    async def run(self, listing: JsonObject) -> ServerProfile:
        """Ask all of them; ``listing`` is what the server lists of its model."""
        first = await self._hello(listing)
        self._note(usage=_prompt_tokens(first) is not None, server=str(first.get("system_fingerprint") or ""))
        await self._neutral()
        if (heat := await self._sampling()) is not None:
            await self._several(heat)
        await self._logprobs()
        await self._prefill()
        await self._tokens(listing)
        self._note(ignored=tuple(self._ignored))
        self._note(signature=await self.signature())
        return self.profile

    async def signature(self) -> tuple[float, ...]:
        """Ask for several things at once, and sum up what came in numbers that are compared with `alike`."""
        number = self.profile.logprobs or 5
        response = await self._try(n=2, temperature=1.5, logprobs=number, prefix=self._begun)
        if response is None:
            return ()
        steps = _steps(response)
        top = sorted((value for _, value in steps[0].top), reverse=True)[:2] if steps else []
        gap = min(top[0] - top[1], 20.0) if len(top) == 2 else 0.0
        return (len(choices_of(response)), len(top), gap, _prompt_tokens(response) or 0)

    @property
    def _begun(self) -> str:
        """Behind a prefix a completion does not end at once."""
        return PREFIX if self.profile.api == "completions" else ""

    def _note(self, **found: Any) -> None:
        self.profile = self.profile.model_copy(update=found)

    async def _ask(self, **settings: Any) -> JsonObject:
        """Ask the same question with some settings."""
        fewest = ENOUGH if self.profile.refused_max_tokens else 1
        settings = {"temperature": 0.0, **settings, "limit": max(settings.get("limit", 1), fewest)}
        body = request_body(self.profile, _QUESTION, **settings)
        answer: JsonObject = await patiently(lambda: self._post(body), self._breaker)
        return answer

    async def _post(self, body: JsonObject) -> JsonObject:
        """Make a request; an answer without replies is a failure, and is asked for again."""
        response = await self._endpoint.post(path_of(self.profile), body)
        for choice in choices_of(response):
            check_end(choice)
            reply_text(choice)
        return response

    async def _try(self, **settings: Any) -> JsonObject | None:
        """Ask, and return None where the server refuses the settings."""
        try:
            return await self._ask(**settings)
        except AwayError:
            raise
        except RefusedError as error:
            self._refusal = error.said
            return None
        except (JudgeError, ContextExceededError):
            return None

    async def _hello(self, listing: JsonObject) -> JsonObject:
        try:
            first = await self._ask()
        except ContextExceededError as error:
            raise JudgeError(f"{self.profile.model}: its context of {error.limit} tokens holds no question") from error
        except RefusedError as error:
            if error.status == 403:  # the key may not, however it asks
                raise
            first = await self._other_ways(error)
        except ModelNotFoundError as error:
            known = f"; it has: {listing['unlisted']}" if "unlisted" in listing else ""
            raise JudgeError(f"{error}{known}; choose one with --model, or another --api") from error
        if "unlisted" in listing and await self._try(extra={"model": _NO_MODEL}) is not None:
            raise JudgeError(
                f"{self._endpoint.base_url}: has no model {self.profile.model}, and answers to any name; "
                f"it has: {listing['unlisted']}; choose one with --model"
            )
        return first

    async def _other_ways(self, refusal: RefusedError) -> JsonObject:
        """Look for a way to ask that the server does not refuse, and note it; what it says tells where to begin.

        Raises:
            JudgeError: it refuses them all.
        """
        plain, said, way = self.profile, [refusal.said], Way()
        untried = other_ways()
        while untried:
            way = next_way(way, untried, said[-1])
            untried.remove(way)
            self.profile = way.profile(plain)
            try:
                first = await self._ask(limit=way.limit)
            except RefusedError as error:
                said.append(error.said)
                continue
            self._note(refused_max_tokens=way.refused_max_tokens, refusals=refusals_in(said))
            await self._both_said()
            return first
        raise refusal

    async def _both_said(self) -> None:
        """Find out what the server refuses: top-p at 1, top-p at all, or a temperature beside it."""
        if "top_p" in self.profile.omitted:
            return
        if "temperature" in self.profile.omitted:
            if await self._try(top_p=0.9) is None:
                self._note(omitted=("temperature", "top_p"), refusals={**self.profile.refusals, "top_p": self._refusal})
        elif "top_p=1" in self.profile.omitted and await self._try(temperature=0.7, top_p=0.9) is None:
            self._note(
                omitted=(), temperature_and_top_p=False, refusals={**self.profile.refusals, "top_p": self._refusal}
            )
            if await self._try(temperature=1.0, top_p=0.9) is None:
                self._note(omitted=("top_p",), temperature_and_top_p=True)

    async def _neutral(self) -> None:
        """Find the parameters that undo a server's own defaults and that it does not refuse: all, some, or its own."""
        one_by_one = [{name: value} for values in _NEUTRAL_SETS for name, value in values.items()]
        for values in _NEUTRAL_SETS:
            if await self._takes(values):
                return
        for value in one_by_one:
            if not value.keys() & self.profile.neutral.keys():
                await self._takes({**self.profile.neutral, **value})
        if not self.profile.neutral:
            await self._takes(_IN_ONE)

    async def _takes(self, values: dict[str, int | float | str]) -> bool:
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
            greedy = heat == _HEATS[0]
            self._note(temperature=False if greedy else None)
            self._ignored += ["temperature"] * greedy
            return heat
        self._note(
            temperature=await self._steadier(cold, hot, heat, temperature=0.0),
            top_p=await self._steadier(await self._texts(temperature=heat, top_p=1e-6), hot, heat, top_p=1e-6),
        )
        await self._seed(heat)
        self._ignored += [name for name in ("temperature", "top_p") if getattr(self.profile, name) is False]
        return heat

    async def _steadier(self, replies: list[str], hot: list[str], heat: float, **settings: Any) -> bool | None:
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

    async def _texts(self, **settings: Any) -> list[str]:
        """Two replies, reasoning that is told apart included; none where the server refuses the settings."""
        answers = [await self._try(limit=16, **settings)]
        if answers[0] is not None:
            answers.append(await self._try(limit=16, **settings))
        return [_words(choices_of(answer)[0]) for answer in answers if answer is not None]

    async def _several(self, heat: float) -> None:
        """Ask for two replies with one seed, as judgments are; two that are one and the same are no sample."""
        response = await self._try(n=2, temperature=heat, seed=11, limit=16)
        if response is None:
            return
        replies = [reply_text(choice) for choice in choices_of(response)]
        self._note(several=len(replies) == 2 and (replies[0] != replies[1] or not self.profile.temperature))
        if not self.profile.several:
            self._ignored.append("n" if len(replies) != 2 else "n (its replies with one seed are the same)")

    async def _logprobs(self) -> None:
        for wanted in (20, 5):
            response = await self._try(logprobs=wanted, prefix=self._begun)
            if response is None:
                continue
            steps = _steps(response)
            if not steps:
                self._ignored.append("logprobs")
                return
            self._note(logprobs=wanted)
            if len(steps[0].top) < wanted // 2:
                self._note(logprobs=len(steps[0].top))
            await self._raw(steps[0])
            return

    async def _raw(self, cold: Step) -> None:
        """Compare the first token's log-probabilities at temperatures 0, 1 and 2."""
        if self.profile.temperature is False:
            return  # what is the same at every temperature may be scaled by the server's own
        number = self.profile.logprobs
        answers = [await self._try(logprobs=number, temperature=t, prefix=self._begun) for t in (1.0, 2.0)]
        cool, warm, hot = dict(cold.top), *(dict(steps[0].top) if (steps := _steps(a)) else {} for a in answers)
        shared = [cool[token] for token in cool if token in warm and token in hot]
        if len(shared) < 2 or max(shared) - min(shared) < 10 * _SAME:
            return  # a certain token tells nothing, nor do tokens that are all alike
        self._note(raw=all(abs(cool[t] - other[t]) < _SAME for other in (warm, hot) for t in cool if t in other))

    async def _prefill(self) -> None:
        """Begin a reply: in a chat, fewer tokens are counted where the flag that leaves it open is supported.

        Neither request wants a turn opened after it: a server may support that flag and not the other.
        """
        if self.profile.api == "completions":
            self._note(prefill=True)
            return
        begun = await self._try(prefix=PREFIX)
        closed = await self._try(prefix=PREFIX, extra={"continue_final_message": False})
        tokens = [_prompt_tokens(answer) for answer in (begun, closed)]
        if begun is None:
            return
        supported = None not in tokens and tokens[0] < tokens[1]  # type: ignore[operator]
        if not supported:
            self._ignored.append("continue_final_message")
        self._note(prefill=supported)

    async def _tokens(self, listing: JsonObject) -> None:
        """Look for the context's length and the labels' ids."""
        context = context_in(listing)
        root = self._endpoint.base_url.removesuffix("/v1")
        labels: dict[str, int] = {}
        for path, name in _TOKENIZERS:
            if ids := await self._label_ids(f"{root}/{path}", name):
                labels = ids
                break
        for path in ("props", "info"):  # llama.cpp, TGI
            if context is None and (told := await self._get(f"{root}/{path}")):
                context = context_in(told) or context_in(told.get("default_generation_settings"))
        self._note(context=context, label_ids=labels)
        if labels and self.profile.logprobs:
            await self._asked_ids(labels)

    async def _label_ids(self, path: str, name: str) -> dict[str, int]:
        """Encode the prefix with and without each label: one token more is the label's."""
        found = {}
        for label in (" A", " B"):
            ids = []
            for text in (PREFIX, PREFIX + label):
                body = {"model": self.profile.model, name: text, "add_special_tokens": False}
                try:
                    response = await self._endpoint.post(path, body)
                except (AskError, JudgeError, ContextExceededError):
                    return {}
                tokens = response.get("tokens")
                ids.append([i for i in tokens if isinstance(i, int)] if isinstance(tokens, list) else [])
            if not ids[0] or ids[1][:-1] != ids[0]:
                return {}
            found[label] = ids[1][-1]
        return found

    async def _asked_ids(self, labels: dict[str, int]) -> None:
        extra = {"logprob_token_ids": list(labels.values()), "top_logprobs": None}
        steps = _steps(await self._try(logprobs=1, extra=extra))
        self._note(asked_ids=bool(steps) and {" A", " B"} <= {text for text, _ in steps[0].top})

    async def _get(self, url: str) -> JsonObject | None:
        try:
            told = await self._endpoint.get(url)
        except (AskError, JudgeError, ContextExceededError):
            return None
        return told if isinstance(told, dict) else None


def alike(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two signatures are one server's: the same but for what half precision and batching change.

    >>> alike((2, 2, 3.0, 21), (2, 2, 3.1, 21)), alike((2, 2, 3.0, 21), (2, 2, 1.5, 21)), alike((), (1, 0, 0.0, 21))
    (True, False, False)
    """
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=0.1, abs_tol=0.1) for a, b in zip(one, other, strict=True)
    )


def _words(choice: JsonObject) -> str:
    """The words of a choice, and of the reasoning before it where a server tells that apart."""
    message = choice.get("message")
    thoughts = [message.get(name) for name in ("reasoning_content", "reasoning")] if isinstance(message, dict) else []
    return " ".join([*(text for text in thoughts if isinstance(text, str)), reply_text(choice)]).strip()


def _steps(response: JsonObject | None) -> list[Step]:
    if response is None:
        return []
    try:
        return [step for step in steps_of(choices_of(response)[0]) if step.top]
    except AskError:
        return []


def _prompt_tokens(response: JsonObject | None) -> int | None:
    usage = (response or {}).get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and 0 < tokens < 2**31 else None
