"""A model that is known: what it says next, how that is drawn, and how a server writes it down.

It continues ``Choice:`` with `` A`` with a probability that is a hash of the prompt, else with `` B`` or, rarely,
`` neither``. Its log-probabilities are those that its replies are drawn from.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

_ZIPF = [1 / (i + 1) / sum(1 / (j + 1) for j in range(30)) for i in range(30)]


def unit(*parts: object) -> float:
    """A number in [0, 1) from a hash."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big") / 2**56


def count_tokens(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def label_probabilities(prompt: str) -> dict[str, float]:
    """What follows ``Choice:``: the truth that tests compare with."""
    first = 0.05 + 0.9 * unit("label", prompt)
    return {" A": first * 0.98, " B": (1 - first) * 0.98, " neither": 0.02}


def next_token(prompt: str, written: str, forced: float) -> dict[str, float]:
    """What follows: a judge's reply where the prompt asks for one, else words about anything."""
    if "Share:" in prompt:
        return {} if written else {f"Share: {round(100 * unit('share', prompt))}%": 1.0}
    if "Choice:" not in prompt:
        return {} if written.count(" ") >= 40 else {f" word{i}": p for i, p in enumerate(_ZIPF)}
    if written == "Choice:":
        return label_probabilities(prompt)
    reply = {
        "": {"Choice": forced, "I": 1 - forced},
        "Choice": {":": forced, " A": 1 - forced},
        "I": {" prefer": 1.0},
        "I prefer": {" A": 0.5, " B": 0.5},
    }
    return reply.get(written, {})


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


def make_choice(
    options: Any, body: dict[str, Any], prompt: str, written: str, *, index: int, number: int, fault: str, chat: bool
) -> tuple[dict[str, Any], int]:
    """Write the ``index``-th choice of the answer to a request, the ``number``-th one; also counts its tokens."""
    supported = {name: None if name in options.ignores else body.get(name) for name in ("seed", "temperature", "top_p")}
    temperature = 1.0 if supported["temperature"] is None else supported["temperature"]
    temperature = 0.0 if "sampling" in options.ignores else temperature
    index = 0 if "index" in options.ignores else index
    salt = number if supported["seed"] is None else supported["seed"]
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 16
    said: list[tuple[str, dict[str, float]]] = []
    text = written
    while len(said) < limit and (raw := next_token(prompt, text, options.forced)):
        drawn_from = tempered(raw, temperature, supported["top_p"] or 1.0, body.get("top_k"))
        if options.shaky and len(said) >= 6 and "Choice:" not in prompt:
            drawn_from = raw  # from here on nothing is what it was before
        token = drawn(drawn_from, unit("draw", salt, prompt, index, len(said)))
        scaled = dict.fromkeys(raw, 1e-12) | tempered(raw, temperature, 1.0)
        said.append((token, scaled if options.scaled else raw))
        text += token
    reply: str | None = "".join(token for token, _ in said)
    ended = "length" if next_token(prompt, text, options.forced) else "stop"
    if options.reasoning and options.reasoning >= limit:
        reply, ended = None, "length"
    is_flagged = options.flags in ("withheld", "choice") and "flagged" in prompt
    if is_flagged or fault == "withheld":
        reply, ended = None, "content_filter"
    failures = {"finish-error": "error", "finish-abort": "abort", "choice-error": "error"}
    choice: dict[str, Any] = {"index": index, "finish_reason": failures.get(fault, ended)}
    if is_flagged and options.flags == "choice":
        choice["error"] = {"code": 403, "message": "flagged"}
    if fault == "choice-error":
        choice["error"] = {"code": 502, "message": "the provider went away"}
    choice |= {"message": {"role": "assistant", "content": reply}} if chat else {"text": reply}
    if body.get("logprobs") and "logprobs" not in options.ignores and fault != "null-logprobs":
        wanted = body.get("top_logprobs") if chat else body["logprobs"]
        choice["logprobs"] = _logprobs(said, min(wanted or 20, options.most_logprobs), chat=chat)
    elif body.get("logprobs") and (options.nulls or fault == "null-logprobs"):
        choice["logprobs"] = None
    return choice, len(said)


def _logprobs(said: list[tuple[str, dict[str, float]]], most: int, *, chat: bool) -> dict[str, Any]:
    def written(token: str, probability: float) -> dict[str, Any]:
        return {"token": token, "logprob": math.log(max(probability, 1e-12)), "bytes": list(token.encode())}

    tops = [sorted(told.items(), key=lambda item: -item[1])[:most] for _, told in said]
    content = [
        {**written(token, told[token]), "top_logprobs": [written(*entry) for entry in top]}
        for (token, told), top in zip(said, tops, strict=True)
    ]
    if chat:
        return {"content": content}
    return {
        "tokens": [step["token"] for step in content],
        "token_logprobs": [step["logprob"] for step in content],
        "top_logprobs": [{entry["token"]: entry["logprob"] for entry in step["top_logprobs"]} for step in content],
    }
