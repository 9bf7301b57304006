"""An OpenAI-compatible server with a known model and any fault one likes, for tests and benchmarks.

    python tests/judge/stub_server.py [LATENCY [LOG]]

Plain asyncio on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # where it is loaded from its file
from stub_model import count_tokens, label_probabilities, make_choice, unit

__all__ = ["StubOptions", "StubServer", "label_probabilities"]
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
    forced: float = 0.995
    """Probability of each token of the prefix."""
    ignores: tuple[str, ...] = ()
    """Parameters that are let pass without a word: n, logprobs, seed, temperature, top_p, prefill (both of its flags),
    continue (that one alone: the turn is closed, and none is opened), sampling (all replies are greedy), index (the
    replies of one seed are the same)."""
    nulls: bool = False
    """Log-probabilities that are ignored come as null instead of being absent."""
    scaled: bool = False
    """Log-probabilities are those at the temperature asked for."""
    most_logprobs: int = 20
    refuses: tuple[str, ...] = ()
    """Parameters that are answered with a 400."""
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
    """How a prompt with the word ``flagged`` is refused: 400, azure, 403, waf (HTML), 429 (too large), withheld (an
    empty reply), choice (an error in the choice), 302, 401, 404, key, model (words of theirs)."""
    most_replies: int = 10**9
    """More replies at once than this are answered with a 400."""
    slots: int = 0
    """Of llama.cpp's server, which tells how many it has."""
    shaky: bool = False
    """Replies at temperature 0 begin alike and differ then, as hosted models' do."""
    counts: str = "whole"
    """How usage is counted: whole, uncached (what no earlier prompt began with), apart (cached tokens beside), total
    (reasoning in the total alone), one (of several replies), null, float."""
    reasoning: int = 0
    """Tokens of a thought that is told apart, before a reply."""
    faults: str = ""
    """KIND:RATE,… at random, by a hash of the request's number."""
    schedule: str = ""
    """KIND,KIND,… for the first requests, in turn."""
    retry_after: float = 0.1
    log: str = ""
    """A file that gets a line for each request received."""


@dataclass
class Stats:
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class StubServer:
    """Runs in a thread of its own, in a ``with`` block; `stop` and `start` let it die and return on the same port."""

    def __init__(self, options: StubOptions = StubOptions()) -> None:
        self.options = options
        self.stats = Stats()
        self.port = options.port
        self._prompts: set[str] = set()
        self._schedule = [kind for kind in options.schedule.split(",") if kind]
        parts = (fault.partition(":") for fault in options.faults.split(",") if fault)
        self._faults = [(kind, float(rate)) for kind, _, rate in parts]
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> StubServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        if threading.current_thread() is threading.main_thread():
            print(f"port {self.port}", flush=True)  # noqa: T201
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
        """Answer a request; False where the connection is to end."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = request.split(" ")
        if path == "/stub/stats":
            return _send(writer, 200, vars(self.stats))
        if self.options.api_key and headers.get("authorization") != f"Bearer {self.options.api_key}":
            return _send(writer, 401, {"error": {"message": "a key is needed"}})
        if method == "GET" and path == "/v1/models":
            return _send(writer, *self._models())
        if method == "GET" and path == "/props" and self.options.slots:
            return _send(writer, 200, {"total_slots": self.options.slots})
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return _send(writer, 404, {"error": {"message": "no such path"}})
        self.stats.requests += 1
        number, asked = self.stats.requests, json.loads(body)
        if self.options.log:
            digest = hashlib.sha256(json.dumps(asked.get("messages") or asked.get("prompt")).encode()).hexdigest()[:16]
            about = "judgment" if "Answer A:" in json.dumps(asked) else "probe"
            with Path(self.options.log).open("a", encoding="utf-8") as log:
                log.write(f"{digest} {about}\n")
        await asyncio.sleep(self.options.latency)
        return await self._answer(writer, path.endswith("chat/completions"), asked, number)

    def _models(self) -> tuple[int, Any]:
        name, style = self.options.model, self.options.listing
        entry: dict[str, Any] = {"id": name, "object": "model"}
        if self.options.slots:
            entry["owned_by"] = "llamacpp"
        if self.options.context < 10**9:
            entry["max_model_len"] = self.options.context
        lists: dict[str, Any] = {
            "data": {"object": "list", "data": [entry]},
            "bare": [entry],
            "models": {"models": [{"name": name, "context_length": 4096}]},
            "google": {"data": [{"id": f"models/{name}"}, {"id": "models/other"}]},
            "html": "<html><body>welcome</body></html>",
            "trained": {"data": [{**entry, "meta": {"n_ctx_train": 512, "n_vocab": 9}}]},
        }
        return (int(style), {"detail": "not here"}) if style.isdigit() else (200, lists[style])

    async def _answer(self, writer: asyncio.StreamWriter, chat: bool, body: dict[str, Any], number: int) -> bool:
        options = self.options
        if body.get("model") != options.model and not options.any_model:
            message = f"The model `{body.get('model')}` does not exist"
            return _send(writer, 404, {"error": {"message": message, "code": "model_not_found"}})
        for name in options.refuses:
            if name in body:
                return _send(writer, 400, {"error": {"message": f"Unrecognized request argument: {name}"}})
        fault = self._fault(number)
        if fault in ("429", "500", "503"):
            return _send(writer, int(fault), {"error": {"message": "a fault"}})
        if fault == "429-after":
            return _send(writer, 429, {}, f"Retry-After: {options.retry_after}\r\n")
        if fault == "reset":
            return False
        if fault == "hang":
            await asyncio.sleep(3600)
        inside = {
            "429-inside": {"error": {"code": 429, "message": "too many; try again in 20ms"}},
            "error-200": {"error": {"message": "the model fell over"}},
            "empty-choices": {"choices": []},
        }
        if fault in inside:
            return _send(writer, 200, inside[fault])
        if (refused := _refused(options, body)) is not None:
            return _send(writer, *refused)
        response = self._respond(chat, body, number, fault)
        if isinstance(response, str):
            return _send(writer, 400, {"error": {"message": response, "code": "context_length_exceeded"}})
        payload = b"<html>bad gateway</html>" if fault == "malformed" else json.dumps(response).encode()
        payload = payload[: len(payload) // 2] if fault == "truncated" else payload
        sent = payload[: len(payload) // 2] if fault == "reset-mid" else payload
        writer.write(_head(200, len(payload), ""))
        for part in (sent[:40], sent[40:]) if fault == "slow" else (sent,):
            await asyncio.sleep(0.05 if fault == "slow" else 0)
            writer.write(part)
        await writer.drain()
        return fault != "reset-mid"

    def _fault(self, number: int) -> str:
        if self._schedule:
            return self._schedule.pop(0)
        at = unit("fault", 0, number)
        for kind, rate in self._faults:
            if at < rate:
                return kind
            at -= rate
        return ""

    def _respond(self, chat: bool, body: dict[str, Any], number: int, fault: str) -> dict[str, Any] | str:
        options = self.options
        prompt, written, tokens = self._prompt(chat, body)
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
        wanted = 1 if "n" in options.ignores else body.get("n") or 1
        count = wanted + {"wrong-n": -1, "wrong-n-more": 1}.get(fault, 0)
        made = [
            make_choice(options, body, prompt, written, index=index, number=number, fault=fault, chat=chat)
            for index in range(count)
        ]
        completion = sum(tokens for _, tokens in made)
        self.stats.prompt_tokens += tokens
        self.stats.completion_tokens += completion
        return {"choices": [choice for choice, _ in made], "usage": self._usage(prompt, tokens, completion, len(made))}

    def _usage(self, prompt: str, tokens: int, completion: int, replies: int) -> dict[str, Any]:
        thought, counts = self.options.reasoning, self.options.counts
        usage: dict[str, Any] = {"prompt_tokens": tokens, "completion_tokens": completion + thought}
        if counts in ("uncached", "apart"):
            known = max((_alike(prompt, other) for other in self._prompts), default=0)
            self._prompts.add(prompt)
            cached = min(count_tokens(prompt[:known]), tokens - 1)
            usage["prompt_tokens"] = tokens - cached
            if counts == "apart":
                usage["prompt_tokens_details"] = {"cached_tokens": cached}
                usage["total_tokens"] = tokens + completion
        if counts == "one":
            usage["completion_tokens"] = completion // replies
        if counts == "total":
            usage |= {"completion_tokens": completion, "total_tokens": tokens + completion + thought}
        if counts == "null":
            usage = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}
        return {name: float(value) for name, value in usage.items()} if counts == "float" else usage

    def _prompt(self, chat: bool, body: dict[str, Any]) -> tuple[str, str, int]:
        """The prompt that the model judges, what of its reply is written already, and the tokens of both."""
        if not chat:
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


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _refused(options: StubOptions, body: dict[str, Any]) -> tuple[int, Any] | None:
    """What is refused for its parameters or for what it says, in words of our own."""
    takes, temperature, top_p = options.takes, body.get("temperature"), body.get("top_p")

    def error(message: str, **more: object) -> dict[str, Any]:
        return {"error": {"message": message, **more}}

    if takes in ("reasoning", "no-top-p"):
        if "max_tokens" in body:
            return 400, error("max_tokens is old; max_completion_tokens is what this model takes")
        for name in ("temperature", "top_p"):
            if body.get(name) not in (None, 1) or (name in body and takes == "no-top-p"):
                return 400, error(f"a value of {name} that this model cannot do")
        if body["max_completion_tokens"] < 64:
            return 400, error("no word was reached; a higher limit of tokens may do")
    if takes == "claude" and temperature is not None and top_p is not None:
        return 400, {"type": "error", **error("say temperature or top_p, not both")}
    if takes == "tgi" and (temperature == 0 or (top_p is not None and not 0 < top_p < 1)):
        name = "temperature is not above 0" if temperature == 0 else "top_p is not within 0 and 1"
        return 422, {"error": f"validation: {name}", "error_type": "validation"}
    if (body.get("n") or 1) > options.most_replies:
        return 400, error(f"candidateCount must be in the range [1, {options.most_replies}]")
    if not options.flags or "flagged" not in json.dumps(body.get("messages") or body.get("prompt")):
        return None
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}}
    large = "too large for tokens per minute: Limit 6000, Requested 9000. Try again in 3s"
    bodies: dict[str, tuple[int, Any]] = {
        "400": (400, error("this cannot be served")),
        "azure": (400, error("the prompt was filtered", code="content_filter", innererror=inner)),
        "403": (403, error("flagged by moderation", code=403, metadata={"reasons": ["x"]})),
        "waf": (403, "<html><head><title>no</title></head><body><h1>Denied</h1></body></html>"),
        "429": (429, error(large, code="rate_limit_exceeded")),
        "302": (302, ""),
        "401": (401, error("closed to your team")),
        "404": (404, error("no endpoint may take this")),
        "key": (403, error("Blocked: the prompt shows an invalid API key")),
        "model": (400, error("Invalid model output: not found to be valid")),
    }
    return bodies.get(options.flags)


def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: str = "") -> bool:
    payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    writer.write(_head(status, len(payload), headers) + payload)
    return True


def _head(status: int, length: int, headers: str) -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n".encode()
    )


if __name__ == "__main__":
    latency = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    log = sys.argv[2] if len(sys.argv) > 2 else ""
    asyncio.run(StubServer(StubOptions(latency=latency, log=log)).serve())
