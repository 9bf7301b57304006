"""Asking a server once what it really honours: parameters that are ignored with a 200 are found out."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from dissensus.encoder import default_cache
from dissensus.errors import JudgeError
from dissensus.files import write_text
from dissensus.judge.ask import AskError
from dissensus.judge.endpoint import ContextExceededError, Endpoint
from dissensus.judge.profile import Api, ServerProfile
from dissensus.judge.prompt import PREFIX
from dissensus.judge.server import Step, choices_of, path_of, reply_text, request_body, steps_of

_QUESTION = "Write one sentence about the sea, and then another one about the mountains."
_CONTEXT_NAMES = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")
_NEUTRAL_SETS: tuple[dict[str, float], ...] = (
    {"top_k": -1, "repetition_penalty": 1.0, "min_p": 0.0},  # vLLM, SGLang
    {"top_k": 0, "repeat_penalty": 1.0, "min_p": 0.0},  # llama.cpp, whose Python server defaults to 40 and 1.1
)
_TOKENIZERS = (("tokenize", "prompt"), ("extras/tokenize", "input"), ("tokenize", "content"))
"""Paths and the name of the text: vLLM, llama-cpp-python, llama.cpp."""
_ATTEMPTS = 4
_SAME = 0.02
"""Log-probabilities of one token that are closer than this are the same, on a server that adds up in half precision."""


async def probe(endpoint: Endpoint, model: str | None, *, api: Api = "chat") -> ServerProfile:
    """Find out what the server behind an open endpoint honours, with some twenty short requests.

    Args:
        endpoint: open.
        model: as the server calls it; None for the only one that it has.
        api: which path to use.

    Raises:
        JudgeError: the server is not there, refuses the key, does not know the model or does not answer.
    """
    model, listing = await find_model(endpoint, model)
    profile = ServerProfile(model=model, api=api, fingerprint=_fingerprint(endpoint, model, api, listing))
    found = _Probe(endpoint, profile)
    await found.run(listing)
    return found.profile


async def cached_probe(
    endpoint: Endpoint, model: str | None, *, api: Api = "chat", refresh: bool = False, cache: Path | None = None
) -> ServerProfile:
    """Return what an earlier probe of the same server found, or probe it.

    The server is the same if its address, its list of models and the way it is asked are. Profiles are kept in the
    folder ``probes`` of the cache (see `dissensus.encoder.default_cache`).
    """
    model, listing = await find_model(endpoint, model)
    file = (cache or default_cache()) / "probes" / f"{_fingerprint(endpoint, model, api, listing)}.json"
    if file.is_file() and not refresh:
        try:
            return ServerProfile.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError:
            file.unlink()  # of another version
    profile = await probe(endpoint, model, api=api)
    write_text(file, profile.model_dump_json(indent=2) + "\n")
    return profile


async def find_model(endpoint: Endpoint, model: str | None) -> tuple[str, dict[str, Any]]:
    """Return the model's name and what the server lists of it; the only model where none is named.

    Raises:
        JudgeError: the server is not there, or has no such model, or several and none is named.
    """
    try:
        response = await _patiently(lambda: endpoint.get("models"))
    except JudgeError as error:
        if model is not None and ("(404)" in str(error) or "status 5" in str(error)):
            return model, {}  # a server without a list, or (transformers serve, offline) with a broken one
        raise
    entries = response.get("data")
    models = [e for e in entries if isinstance(e, dict) and e.get("id")] if isinstance(entries, list) else []
    names = ", ".join(str(entry["id"]) for entry in models[:20])
    if model is None:
        if len(models) == 1:
            return str(models[0]["id"]), models[0]
        raise JudgeError(f"{endpoint.base_url}: has {len(models)} models; choose one with --model: {names}")
    listed = next((entry for entry in models if entry["id"] == model), None)
    if listed is None and models:
        # Some servers load what they are asked for: the list is not the last word, an answer is.
        listed = {"unlisted": names}
    return model, listed or {}


async def _patiently(request: Callable[[], Any]) -> dict[str, Any]:
    """Make a request a few times where the server is busy."""
    for attempt in range(_ATTEMPTS):
        try:
            answer: dict[str, Any] = await request()
            return answer
        except AskError as error:
            if attempt == _ATTEMPTS - 1 or error.kind in ("gone", "refused"):
                hint = "start it, or name another with --base-url" if error.kind == "gone" else "see its log"
                raise JudgeError(f"{error}; {hint}") from error
            await asyncio.sleep(error.retry_after or 0.2 * 2**attempt)
    raise ValueError("unreachable")


class _Probe:
    """Questions to one server; fills a profile."""

    def __init__(self, endpoint: Endpoint, profile: ServerProfile) -> None:
        self._endpoint = endpoint
        self.profile = profile
        self._ignored: list[str] = []

    async def run(self, listing: dict[str, Any]) -> None:
        first = await self._hello(listing)
        usage = isinstance(first.get("usage"), dict) and bool(first["usage"].get("prompt_tokens"))
        self._note(usage=usage, server=str(first.get("system_fingerprint") or ""))
        await self._neutral()
        await self._several()
        await self._logprobs()
        await self._sampling()
        await self._prefill()
        await self._tokens(listing)
        self._note(ignored=tuple(self._ignored))

    def _note(self, **found: Any) -> None:
        self.profile = self.profile.model_copy(update=found)

    async def _ask(self, **settings: Any) -> dict[str, Any]:
        """Ask the same question with some settings."""
        extra = settings.pop("extra", {})
        prompt = settings.pop("prompt", _QUESTION)
        body = {**request_body(self.profile, prompt, **{"limit": 1, "temperature": 0.0, **settings}), **extra}
        return await _patiently(lambda: self._endpoint.post(path_of(self.profile), body))

    async def _try(self, **settings: Any) -> dict[str, Any] | None:
        """Ask, and return None where the server refuses the settings."""
        try:
            return await self._ask(**settings)
        except (JudgeError, ContextExceededError):
            return None

    async def _hello(self, listing: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._ask()
        except ContextExceededError as error:
            raise JudgeError(f"{self.profile.model}: its context of {error.limit} tokens holds no question") from error
        except JudgeError as error:
            if "max_completion_tokens" in str(error):
                self._note(limit_name="max_completion_tokens")
                return await self._ask()
            if "404" in str(error):
                known = f"; it has: {listing['unlisted']}" if "unlisted" in listing else ""
                raise JudgeError(f"{error}{known}; choose one with --model, or another --api") from error
            raise

    async def _neutral(self) -> None:
        """Find the parameters that undo a server's own defaults and that it does not refuse."""
        for values in _NEUTRAL_SETS:
            before = self.profile
            self._note(neutral=values)
            if await self._try() is not None:
                return
            self.profile = before

    async def _several(self) -> None:
        response = await self._try(n=2, temperature=1.0)
        several = response is not None and len(choices_of(response)) == 2
        if response is not None and not several:
            self._ignored.append("n")
        self._note(several=several)

    async def _logprobs(self) -> None:
        for wanted in (20, 5):
            # Behind a prefix a completion does not end at once.
            prefix = PREFIX if self.profile.api == "completions" else ""
            response = await self._try(logprobs=wanted, prefix=prefix)
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
        answers = [await self._try(logprobs=self.profile.logprobs, temperature=t) for t in (1.0, 2.0)]
        warm, hot = (dict(steps[0].top) if (steps := _steps(a)) else {} for a in answers)
        shared = set(dict(cold.top)) & set(warm) & set(hot)
        if len(shared) < 2:
            return  # a certain first token tells nothing
        top = dict(cold.top)
        self._note(raw=all(abs(warm[t] - hot[t]) < _SAME and abs(warm[t] - top[t]) < _SAME for t in shared))

    async def _sampling(self) -> None:
        """Replies at temperature 0 repeat themselves, at 2 they do not; a tiny top-p and a seed make them again."""

        async def texts(count: int, **settings: Any) -> set[str]:
            several = [await self._try(limit=16, **settings) for _ in range(count)]
            return {reply_text(choices_of(answer)[0]) for answer in several if answer is not None}

        cold = await texts(2, temperature=0.0)
        hot = await texts(3, temperature=2.0)
        varies = len(hot) > 1
        self._note(temperature=len(cold) == 1 if varies else False if len(cold) > 1 else None)
        if not varies:
            return  # nothing varies: nothing can be told of what would make it repeat itself
        self._note(top_p=len(await texts(3, temperature=2.0, top_p=1e-6)) == 1)
        self._note(seed=len(await texts(3, temperature=2.0, seed=11)) == 1)
        honoured = self.profile
        self._ignored += [name for name in ("temperature", "top_p", "seed") if getattr(honoured, name) is False]

    async def _prefill(self) -> None:
        """Begin a reply: in a chat, fewer tokens are counted where the flags that leave it open are honoured."""
        if self.profile.api == "completions":
            self._note(prefill=True)
            return
        begun = await self._try(prefix=PREFIX)
        closed = await self._try(prefix=PREFIX, extra={"continue_final_message": False, "add_generation_prompt": True})
        tokens = [_prompt_tokens(answer) for answer in (begun, closed)]
        if begun is None:
            return
        honoured = None not in tokens and tokens[0] < tokens[1]  # type: ignore[operator]
        if not honoured:
            self._ignored.append("continue_final_message")
        self._note(prefill=honoured)

    async def _tokens(self, listing: dict[str, Any]) -> None:
        """Look for the context's length, the labels' ids and the tokens that a prompt opens with."""
        context = _context_in(listing)
        root = self._endpoint.base_url.removesuffix("/v1")
        labels: dict[str, int] = {}
        for path, name in (
            (f"{root}/tokenize", "prompt"),
            (f"{root}/extras/tokenize", "input"),
            (f"{root}/tokenize", "content"),
        ):
            if ids := await self._label_ids(path, name):
                labels = ids
                break
        if context is None and (properties := await self._get(f"{root}/props")):
            context = _context_in(properties) or _context_in(properties.get("default_generation_settings") or {})
        self._note(context=context, label_ids=labels)
        opening = _opening(await self._try(extra={"return_token_ids": True}))
        if opening:
            self._note(opening_tokens=2 if opening[:1] == opening[1:2] else 1)
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
                ids.append([i for i in response.get("tokens") or () if isinstance(i, int)])
            if not ids[0] or ids[1][:-1] != ids[0]:
                return {}
            found[label] = ids[1][-1]
        return found

    async def _asked_ids(self, labels: dict[str, int]) -> None:
        extra = {"logprob_token_ids": list(labels.values()), "top_logprobs": None}
        steps = _steps(await self._try(logprobs=1, extra=extra))
        self._note(asked_ids=bool(steps) and {" A", " B"} <= {text for text, _ in steps[0].top})

    async def _get(self, url: str) -> dict[str, Any] | None:
        try:
            return await self._endpoint.get(url)
        except (AskError, JudgeError, ContextExceededError):
            return None


def _steps(response: dict[str, Any] | None) -> list[Step]:
    if response is None:
        return []
    try:
        return [step for step in steps_of(choices_of(response)[0]) if step.top]
    except AskError:
        return []


def _prompt_tokens(response: dict[str, Any] | None) -> int | None:
    usage = (response or {}).get("usage")
    return usage.get("prompt_tokens") if isinstance(usage, dict) else None


def _opening(response: dict[str, Any] | None) -> list[int]:
    if response is None:
        return []
    ids = response.get("prompt_token_ids") or choices_of(response)[0].get("prompt_token_ids")
    return ids if isinstance(ids, list) else []


def _context_in(listing: dict[str, Any]) -> int | None:
    """Find the length of the context in what a server says of a model."""
    places = [listing, listing.get("meta") if isinstance(listing.get("meta"), dict) else {}]
    for place in places:
        for name in _CONTEXT_NAMES:
            value = (place or {}).get(name)
            if isinstance(value, int) and value > 0:
                return value
    return None


def _fingerprint(endpoint: Endpoint, model: str, api: str, listing: dict[str, Any]) -> str:
    """Digest what tells one server from another; times of start are no part of it, configurations are."""
    steady = {key: value for key, value in listing.items() if key not in ("created", "permission")}
    address = urlsplit(endpoint.base_url)
    parts = [address.netloc, address.path, model, api, steady]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
