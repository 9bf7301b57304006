"""An OpenAI-compatible server with a known model and any fault one likes, for tests and benchmarks.

    python tests/judge/stub_server.py --port 0 --latency 0.01 --faults 429:0.05,reset:0.02

Plain asyncio on 127.0.0.1. The "model" continues ``Choice:`` with `` A`` with a probability that is a hash of the
prompt, else with `` B`` or, rarely, `` neither``. Its log-probabilities are those that its replies are drawn from.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import itertools
import json
import math
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

WRAPPING, OPENING = 4, 2
"""Tokens that the template puts around a turn, and that open the model's turn."""


@dataclass(frozen=True)
class StubOptions:
    """What the server supports, and what goes wrong."""

    port: int = 0
    model: str = "stub"
    any_model: bool = False
    """Answers to any model's name."""
    latency: float = 0.0
    capacity: int = 10**9
    """More requests in flight than this are answered with a 429."""
    forced: float = 0.995
    """Probability of each token of the prefix."""
    ignores: tuple[str, ...] = ()
    """Parameters that are let pass without a word: n, logprobs, seed, temperature, top_p, top_k, prefill (both of its
    flags), continue (that one alone: the turn is closed, and none is opened), sampling (all replies are greedy), index
    (the replies of one seed are the same)."""
    nulls: bool = False
    """Log-probabilities that are ignored come as null instead of being absent."""
    scaled: bool = False
    """Log-probabilities are those at the temperature asked for."""
    most_logprobs: int = 20
    refuses: tuple[str, ...] = ()
    """Parameters that are answered with a 400."""
    token_ids: bool = False
    """Supports ``logprob_token_ids`` and /tokenize, as vLLM does."""
    usage: bool = True
    api_key: str = ""
    context: int = 10**9
    context_style: str = "openai"
    """How a prompt over the context is refused: openai, vllm, cut or halved (silently)."""
    listing: str = "data"
    """How models are listed: data, bare, models (by name), google (longer names), html, trained (n_ctx_train), or the
    status of a refusal."""
    takes: str = ""
    """Whose parameters are taken: reasoning (the new limit's name, temperature 1, top-p 1, not few tokens), no-top-p
    (reasoning, and no top-p at all), claude (temperature or top-p), tgi (temperature above 0, top-p below 1)."""
    flags: str = ""
    """How a prompt with the word ``flagged`` is refused: 400, azure, 403, waf (HTML), 413, 451, 429 (too large),
    withheld (an empty reply), choice (an error in the choice), 302, 401, 404, key, model (words of theirs)."""
    most_replies: int = 10**9
    """More replies at once than this are answered with a 400."""
    shaky: bool = False
    """Replies at temperature 0 begin alike and differ then, as hosted models' do."""
    counts: str = "whole"
    """How usage is counted: whole, uncached (what no earlier prompt began with), apart (cached tokens beside), total
    (reasoning in the total alone), details (in the details alone), null, float."""
    reasoning: int = 0
    """Tokens of a thought that is told apart, before a reply."""
    faults: str = ""
    """KIND:RATE,… at random, by a hash of the request's number."""
    schedule: str = ""
    """KIND,KIND,… for the first requests, in turn."""
    retry_after: float = 0.1
    seed: int = 0
    log: str = ""
    """A file that gets a line for each request received (``>``) and each answered in full (``<``)."""


@dataclass
class Stats:
    requests: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    by_status: Counter[int] = field(default_factory=Counter)


TOKENS = {"<s>": 1, "Choice": 10, ":": 11, " A": 12, " B": 13, " neither": 14, "I": 15, " prefer": 16}


_ZIPF = [1 / (i + 1) / sum(1 / (j + 1) for j in range(30)) for i in range(30)]


def unit(*parts: object) -> float:
    """A number in [0, 1) from a hash."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big") / 2**56


def count_tokens(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def common_beginning(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same)


def label_probabilities(prompt: str) -> dict[str, float]:
    """What follows ``Choice:``: the truth that tests compare with."""
    first = 0.05 + 0.9 * unit("label", prompt)
    return {" A": first * 0.98, " B": (1 - first) * 0.98, " neither": 0.02}


def next_token(prompt: str, written: str, forced: float) -> dict[str, float]:
    """What follows: a judge's reply where the prompt asks for one, else words about anything."""
    if "Choice:" not in prompt:
        return {} if written.count(" ") >= 40 else {f" word{i}": p for i, p in enumerate(_ZIPF)}
    if written == "":
        return {"Choice": forced, "I": 1 - forced}
    if written == "Choice":
        return {":": forced, " A": 1 - forced}
    if written == "Choice:":
        return label_probabilities(prompt)
    if written == "I":
        return {" prefer": 1.0}
    if written == "I prefer":
        return {" A": 0.5, " B": 0.5}
    return {}


def tempered(
    probabilities: dict[str, float], temperature: float, top_p: float, top_k: int | None = None
) -> dict[str, float]:
    """Temperature, then top-k, then top-p, then renormalise."""
    if temperature == 0:
        return {max(probabilities, key=probabilities.__getitem__): 1.0}
    weights = {token: p ** (1 / temperature) for token, p in probabilities.items() if p > 0}
    total = sum(weights.values())
    kept: dict[str, float] = {}
    mass = 0.0
    for token, weight in sorted(weights.items(), key=lambda item: -item[1]):
        if mass < top_p and (top_k is None or top_k < 1 or len(kept) < top_k):
            kept[token] = weight / total
        mass += weight / total
    total = sum(kept.values())
    return {token: p / total for token, p in kept.items()}


def drawn(probabilities: dict[str, float], at: float) -> str:
    for token, probability in probabilities.items():
        at -= probability
        if at < 0:
            return token
    return next(reversed(probabilities))


class StubServer:
    """Runs in a thread of its own, in a ``with`` block; `stop` and `start` let it die and return on the same port."""

    def __init__(self, options: StubOptions = StubOptions()) -> None:
        self.options = options
        self.stats = Stats()
        self.port = options.port
        self._prompts: set[str] = set()
        self._schedule = [kind for kind in options.schedule.split(",") if kind]
        self._faults = [
            (kind, float(rate)) for kind, _, rate in (f.partition(":") for f in options.faults.split(",") if f)
        ]
        self._log = Path(options.log).open("a", buffering=1) if options.log else None  # noqa: SIM115
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> StubServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._log:
            self._log.close()

    def start(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ending.wait()
        server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        await asyncio.sleep(0)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = request.split(" ")
        if path == "/stub/stats":
            return self._send(writer, 200, vars(self.stats))
        if self.options.api_key and headers.get("authorization") != f"Bearer {self.options.api_key}":
            return self._send(writer, 401, {"error": {"message": "a key is needed"}})
        if method == "GET":
            return self._get(writer, path)
        return await self._post(writer, path, json.loads(body))

    def _get(self, writer: asyncio.StreamWriter, path: str) -> bool:
        if path != "/v1/models":
            return self._send(writer, 404, {"error": {"message": "no such path"}})
        name, style = self.options.model, self.options.listing
        entry: dict[str, Any] = {"id": name, "object": "model"}
        if self.options.context < 10**9:
            entry["max_model_len"] = self.options.context
        if style.isdigit():
            return self._send(writer, int(style), {"detail": "not here"})
        lists: dict[str, Any] = {
            "data": {"object": "list", "data": [entry]},
            "bare": [entry],
            "models": {"models": [{"name": name, "context_length": 4096}]},
            "google": {"data": [{"id": f"models/{name}"}, {"id": "models/other"}]},
            "html": "<html><body>welcome</body></html>",
            "trained": {"data": [{**entry, "meta": {"n_ctx_train": 512, "n_vocab": 9}}]},
        }
        return self._send(writer, 200, lists[style])

    async def _post(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> bool:
        if path == "/tokenize" and self.options.token_ids:
            return self._send(writer, 200, {"tokens": [TOKENS[t] for t in re.findall(r" ?\w+|:", body["prompt"])]})
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return self._send(writer, 404, {"error": {"message": "no such path"}})
        stats = self.stats
        stats.requests += 1
        number = stats.requests
        digest = hashlib.sha256(json.dumps(body.get("messages") or body.get("prompt")).encode()).hexdigest()[:16]
        if self._log:
            about = "judgment" if "Answer A:" in json.dumps(body) else "probe"
            self._log.write(f"> {digest} {about}\n")
        stats.in_flight += 1
        stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
        try:
            if self.options.latency:
                await asyncio.sleep(self.options.latency)
            kept = await self._answer(writer, path, body, number)
            if kept is not None and self._log:
                self._log.write(f"< {digest}\n")
            return bool(kept)
        finally:
            stats.in_flight -= 1

    async def _answer(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], number: int) -> bool | None:
        options = self.options
        if body.get("model") != options.model and not options.any_model:
            message = f"The model `{body.get('model')}` does not exist"
            return self._send(writer, 404, {"error": {"message": message, "code": "model_not_found"}})
        for name in options.refuses:
            if name in body:
                return self._send(writer, 400, {"error": {"message": f"Unrecognized request argument: {name}"}})
        if self.stats.in_flight > options.capacity:
            return self._send(writer, 429, {"error": {"message": "slow down"}})
        fault = self._fault(number)
        plain = {"429": 429, "500": 500, "503": 503}
        if fault in plain:
            return self._send(writer, plain[fault], {"error": {"message": "a fault"}})
        if fault == "429-after":
            return self._send(writer, 429, {}, f"Retry-After: {options.retry_after}\r\n")
        if fault == "429-date":
            return self._send(writer, 429, {}, f"Retry-After: {formatdate(time.time() + 2, usegmt=True)}\r\n")
        if fault == "reset":
            writer.transport.abort()
            return None
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "429-inside":
            return self._send(writer, 200, {"error": {"code": 429, "message": "too many; try again in 20ms"}})
        if fault == "error-200":
            return self._send(writer, 200, {"error": {"message": "the model fell over"}})
        if fault == "empty-choices":
            return self._send(writer, 200, {"choices": []})
        if (refused := self._refused(body)) is not None:
            return self._send(writer, *refused)
        response = self._respond(path, body, fault)
        if isinstance(response, str):
            return self._send(writer, 400, {"error": {"message": response, "code": "context_length_exceeded"}})
        return await self._send_body(writer, json.dumps(response).encode(), fault)

    def _refused(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        """What is refused for its parameters or for what it says, in words of our own."""
        takes, temperature, top_p = self.options.takes, body.get("temperature"), body.get("top_p")
        if takes in ("reasoning", "no-top-p"):
            if "max_tokens" in body:
                return 400, {"error": {"message": "max_tokens is old; max_completion_tokens is what this model takes"}}
            for name in ("temperature", "top_p"):
                if body.get(name) not in (None, 1) or (name in body and takes == "no-top-p"):
                    return 400, {"error": {"message": f"a value of {name} that this model cannot do", "param": name}}
            if body["max_completion_tokens"] < 64:
                return 400, {"error": {"message": "no word was reached; a higher limit of tokens may do"}}
        if takes == "claude" and temperature is not None and top_p is not None:
            return 400, {"type": "error", "error": {"message": "say temperature or top_p, not both"}}
        if takes == "tgi" and (temperature == 0 or (top_p is not None and not 0 < top_p < 1)):
            name = "temperature is not above 0" if temperature == 0 else "top_p is not within 0 and 1"
            return 422, {"error": f"validation: {name}", "error_type": "validation"}
        if (body.get("n") or 1) > self.options.most_replies:
            return 400, {"error": {"message": f"candidateCount must be in the range [1, {self.options.most_replies}]"}}
        if not self.options.flags or "flagged" not in json.dumps(body.get("messages") or body.get("prompt")):
            return None
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}}
        azure = {"message": "the prompt was filtered", "code": "content_filter", "innererror": inner}
        large = "too large for tokens per minute: Limit 6000, Requested 9000. Try again in 3s"
        bodies: dict[str, tuple[int, Any]] = {
            "400": (400, {"error": {"message": "this cannot be served"}}),
            "azure": (400, {"error": azure}),
            "403": (403, {"error": {"code": 403, "message": "flagged by moderation", "metadata": {"reasons": ["x"]}}}),
            "waf": (403, "<html><head><title>no</title></head><body><h1>Denied</h1></body></html>"),
            "413": (413, "<html><body><center>Entity Too Large</center></body></html>"),
            "451": (451, {"message": "not for legal reasons"}),
            "429": (429, {"error": {"message": large, "code": "rate_limit_exceeded"}}),
            "302": (302, ""),
            "401": (401, {"error": {"message": "closed to your team"}}),
            "404": (404, {"error": {"message": "no endpoint may take this"}}),
            "key": (403, {"error": {"message": "Blocked: the prompt shows an invalid API key"}}),
            "model": (400, {"error": {"message": "Invalid model output: not found to be valid"}}),
        }
        return bodies.get(self.options.flags)

    def _fault(self, number: int) -> str:
        if self._schedule:
            return self._schedule.pop(0)
        at = unit("fault", self.options.seed, number)
        for kind, rate in self._faults:
            if at < rate:
                return kind
            at -= rate
        return ""

    def _respond(self, path: str, body: dict[str, Any], fault: str) -> dict[str, Any] | str:
        options = self.options
        prompt, written, tokens = self._prompt(path, body)
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
        if tokens + limit > options.context:
            if options.context_style == "openai":
                return (
                    f"This model's maximum context length is {options.context} tokens. "
                    f"However, your messages resulted in {tokens + limit} tokens."
                )
            if options.context_style == "vllm":
                return (
                    f"The decoder prompt (length {tokens}) is longer than the maximum model length of "
                    f"{options.context}: too many tokens"
                )
            tokens = options.context // (2 if options.context_style == "halved" else 1)
        supported = {
            name: body.get(name)
            for name in ("n", "seed", "temperature", "top_p", "top_k")
            if name not in options.ignores
        }
        count = (supported.get("n") or 1) + {"wrong-n": -1, "wrong-n-more": 1}.get(fault, 0)
        choices = [self._choice(path, body, prompt, written, supported, index, fault) for index in range(count)]
        completion = sum(choice.pop("tokens") for choice in choices)
        self.stats.answered += 1
        self.stats.prompt_tokens += tokens
        self.stats.completion_tokens += completion
        response: dict[str, Any] = {"object": "stub", "model": options.model, "choices": choices}
        if options.usage:
            response["usage"] = self._usage(prompt, tokens, completion)
        return response

    def _usage(self, prompt: str, tokens: int, completion: int) -> dict[str, Any]:
        thought, counts = self.options.reasoning, self.options.counts
        usage: dict[str, Any] = {"prompt_tokens": tokens, "completion_tokens": completion + thought}
        if counts in ("uncached", "apart"):
            known = max((len(common_beginning(prompt, other)) for other in self._prompts), default=0)
            self._prompts.add(prompt)
            cached = min(count_tokens(prompt[:known]), tokens - 1)
            usage["prompt_tokens"] = tokens - cached
            if counts == "apart":
                usage["prompt_tokens_details"] = {"cached_tokens": cached}
                usage["total_tokens"] = tokens + completion
        if counts in ("total", "details"):
            usage["completion_tokens"] = completion
            usage["completion_tokens_details"] = {"reasoning_tokens": thought}
            if counts == "total":
                usage |= {"completion_tokens_details": None, "total_tokens": tokens + completion + thought}
        if counts == "null":
            usage = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}
        return {name: float(value) for name, value in usage.items()} if counts == "float" else usage

    def _prompt(self, path: str, body: dict[str, Any]) -> tuple[str, str, int]:
        """The prompt that the model judges, what of its reply is written already, and the tokens of both."""
        if path == "/v1/completions":
            text = body["prompt"]
            written = "Choice:" if text.endswith("\n\nChoice:") else ""
            return text.removesuffix("Choice:").strip(), written, count_tokens(text)
        messages = body["messages"]
        tokens = sum(count_tokens(message["content"]) + WRAPPING for message in messages)
        if messages[-1]["role"] == "assistant" and "prefill" not in self.options.ignores:
            if body.get("continue_final_message") and "continue" not in self.options.ignores:
                return messages[0]["content"], messages[-1]["content"], tokens - WRAPPING + OPENING
            if not body.get("add_generation_prompt", True):
                return messages[0]["content"], "", tokens
        return messages[0]["content"], "", tokens + OPENING

    def _choice(
        self,
        path: str,
        body: dict[str, Any],
        prompt: str,
        written: str,
        supported: dict[str, Any],
        index: int,
        fault: str,
    ) -> dict[str, Any]:
        temperature = supported.get("temperature")
        temperature = 1.0 if temperature is None else temperature
        temperature = 0.0 if "sampling" in self.options.ignores else temperature
        index = 0 if "index" in self.options.ignores else index
        top_p = supported.get("top_p") or 1.0
        seed = supported.get("seed")
        salt = (self.options.seed, self.stats.requests) if seed is None else seed
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
        said: list[tuple[str, dict[str, float]]] = []
        text = written
        while len(said) < limit and (raw := next_token(prompt, text, self.options.forced)):
            drawn_from = tempered(raw, temperature, top_p, supported.get("top_k"))
            if self.options.shaky and len(said) >= 6 and "Choice:" not in prompt:
                drawn_from = raw  # from here on nothing is what it was before
            token = drawn(drawn_from, unit("draw", salt, prompt, index, len(said)))
            scaled = dict.fromkeys(raw, 1e-12) | tempered(raw, temperature, 1.0)
            told = scaled if self.options.scaled else raw
            said.append((token, told))
            text += token
        reply = "".join(token for token, _ in said)
        ended, thought = "stop", self.options.reasoning
        if next_token(prompt, text, self.options.forced):
            ended = "length"
        if thought and thought >= limit:
            reply, ended = None, "length"
        if self.options.flags in ("withheld", "choice") and "flagged" in prompt:
            reply, ended = None, "content_filter"
        ended = {"finish-error": "error", "finish-abort": "abort"}.get(fault, ended)
        choice: dict[str, Any] = {"index": index, "finish_reason": ended, "tokens": len(said)}
        if ended == "content_filter" and self.options.flags == "choice":
            choice["error"] = {"code": 403, "message": "flagged"}
        if fault == "choice-error":
            choice |= {"finish_reason": "error", "error": {"code": 502, "message": "the provider went away"}}
        if fault == "withheld":
            reply, choice["finish_reason"] = None, "content_filter"
        chat = path.endswith("chat/completions")
        choice |= {"message": {"role": "assistant", "content": reply}} if chat else {"text": reply}
        if body.get("logprobs") and "logprobs" not in self.options.ignores and fault != "null-logprobs":
            choice["logprobs"] = self._logprobs(body, said, chat=chat)
        elif body.get("logprobs") and (self.options.nulls or fault == "null-logprobs"):
            choice["logprobs"] = None
        return choice

    def _logprobs(
        self, body: dict[str, Any], said: list[tuple[str, dict[str, float]]], *, chat: bool
    ) -> dict[str, Any]:
        wanted = body.get("top_logprobs") if chat else body["logprobs"]
        most = min(wanted or self.options.most_logprobs, self.options.most_logprobs)
        asked = body.get("logprob_token_ids") if self.options.token_ids else None
        positions = []
        for token, told in said:
            ranked = sorted(told.items(), key=lambda item: -item[1])[:most]
            if asked:
                names = {number: text for text, number in TOKENS.items()}
                ranked = [(names[number], told.get(names[number], 1e-9)) for number in asked]
            positions.append((token, told[token], [(text, math.log(max(p, 1e-12))) for text, p in ranked]))
        if not chat:
            return {
                "tokens": [token for token, _, _ in positions],
                "token_logprobs": [math.log(max(p, 1e-12)) for _, p, _ in positions],
                "top_logprobs": [dict(top) for _, _, top in positions],
            }
        return {
            "content": [
                {
                    "token": token,
                    "logprob": math.log(max(p, 1e-12)),
                    "bytes": list(token.encode()),
                    "top_logprobs": [{"token": t, "logprob": v, "bytes": list(t.encode())} for t, v in top],
                }
                for token, p, top in positions
            ]
        }

    def _send(self, writer: asyncio.StreamWriter, status: int, body: Any, headers: str = "") -> bool:
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.stats.by_status[status] += 1
        writer.write(_head(status, len(payload), headers) + payload)
        return True

    async def _send_body(self, writer: asyncio.StreamWriter, payload: bytes, fault: str) -> bool | None:
        if fault == "malformed":
            payload = b"<html>bad gateway</html>"
        if fault == "truncated":
            payload = payload[: len(payload) // 2]
        self.stats.by_status[200] += 1
        head = _head(200, len(payload), "")
        if fault == "reset-mid":
            writer.write(head + payload[: len(payload) // 2])
            await writer.drain()
            writer.transport.abort()
            return None
        if fault == "slow":
            writer.write(head)
            for byte in payload:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.001)
            return True
        writer.write(head + payload)
        await writer.drain()
        return True


def _head(status: int, length: int, headers: str) -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n".encode()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in dataclasses.fields(StubOptions):
        name = "--" + option.name.replace("_", "-")
        if isinstance(option.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=option.default)
        elif isinstance(option.default, tuple):
            parser.add_argument(name, type=lambda text: tuple(text.split(",")), default=())
        else:
            parser.add_argument(name, type=type(option.default), default=option.default)
    server = StubServer(StubOptions(**vars(parser.parse_args())))

    async def run() -> None:
        serving = asyncio.create_task(server.serve())
        while not server._ready.is_set():
            await asyncio.sleep(0.01)
        print(f"port {server.port}", flush=True)  # noqa: T201
        await serving

    asyncio.run(run())


if __name__ == "__main__":
    main()
