"""Exact readings against sampling ten replies: judgments a second of one local model.

    python bench/judge_exact.py [--quick] [--json FILE]

A Llama-architecture model of random weights is made on the spot; its answers begin with the prefix, so exact votes
and sampled ones are the same distribution. Prompts of about 600 tokens, both orders of each pair, ten judgments of
each. Contenders, in turn within each round: transformers' own ``generate`` with ten sequences per prompt (four new
tokens, top-p 0.9), the package's exact mode (one forward pass, ten votes drawn), and its sample mode (real replies).
The claim: exact makes at least ten times the judgments of ``generate``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.messages import Ask, Sampling
from dissensus.judges.language.prompt import load_template
from dissensus.judges.language.verdict import parse_verdict
from dissensus.judges.local.tiny import make_judge as make_tiny
from dissensus.judges.local.transformers import LocalModel
from dissensus.records import Pair
from dissensus.text.encoder import quiet_transformers

N, TOP_P, NEW_TOKENS, TOKENS = 10, 0.9, 4, 600
TARGET = 10
Counts = dict[str | None, int]


def make_judge(folder: Path, *, hidden: int, layers: int) -> Path:
    return make_tiny(folder, hidden=hidden, layers=layers, vocabulary=32_000)


def make_asks(pairs: int, tokenizer: object) -> list[Ask]:
    """Both orders of pairs whose prompts fill about `TOKENS` tokens: a sixth in the question, the rest in answers."""
    draw = random.Random(0)
    template = load_template("paper")
    words = sorted(set(template.text.split()))

    def text(tokens: int) -> str:
        written: list[str] = []
        while len(tokenizer(" ".join(written))["input_ids"]) < tokens:
            written.append(draw.choice(words))
        return " ".join(written)

    room = TOKENS - len(tokenizer(template.text)["input_ids"])
    asks = []
    for i in range(pairs):
        first, second = (text(int(room * draw.uniform(0.35, 0.48))) for _ in range(2))
        pair = Pair(id=f"p{i}", prompt=text(room // 6), response_a=first, response_b=second)
        for order in ("ab", "ba"):
            prompt = template.render(pair, order)
            key = hashlib.blake2b(prompt.encode(), digest_size=16).digest()
            asks.append(Ask(key=key, pair=pair, order=order, prompt=prompt, samples=tuple(range(N))))
    return asks


def by_generate(model: object, tokenizer: object, asks: list[Ask]) -> Counts:
    counts: Counts = {"A": 0, "B": 0, None: 0}
    torch.manual_seed(0)
    for ask in asks:
        chat = [{"role": "user", "content": ask.prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = model.generate(
            **ids,
            do_sample=True,
            temperature=1.0,
            top_p=TOP_P,
            top_k=0,
            max_new_tokens=NEW_TOKENS,
            num_return_sequences=N,
        )
        for reply in tokenizer.batch_decode(written[:, ids["input_ids"].shape[1] :], skip_special_tokens=True):
            counts[parse_verdict(reply)] += 1
    return counts


def by_distribution(model: LocalModel, asks: list[Ask]) -> Counts:
    counts: Counts = {"A": 0, "B": 0, None: 0}
    generator = np.random.default_rng(0)
    for answer in model.answer(asks, None):
        p = verdict_probabilities(answer.distribution, temperature=1.0, top_p=TOP_P)
        for verdict, votes in zip(counts, generator.multinomial(N, [p.a, p.b, p.none]).tolist(), strict=True):
            counts[verdict] += votes
    return counts


def by_sampling(model: LocalModel, asks: list[Ask]) -> Counts:
    counts: Counts = {"A": 0, "B": 0, None: 0}
    for answer in model.answer(asks, Sampling(temperature=1.0, top_p=TOP_P, max_tokens=NEW_TOKENS)):
        for reply in answer.replies:
            counts[parse_verdict(reply)] += 1
    return counts


def run(folder: Path, *, pairs: int, rounds: int, hidden: int, layers: int) -> list[dict[str, object]]:
    with quiet_transformers():
        make_judge(folder, hidden=hidden, layers=layers)
        stock, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ours = LocalModel(str(folder), device="cpu")
    asks = make_asks(pairs, tokenizer)
    parameters = sum(p.numel() for p in stock.parameters())
    contenders: dict[str, Callable[[list[Ask]], Counts]] = {
        "transformers generate": lambda asks: by_generate(stock, tokenizer, asks),
        "dissensus exact": lambda asks: by_distribution(ours, asks),
        "dissensus sample": lambda asks: by_sampling(ours, asks),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    share: dict[str, float] = {}
    for contender in contenders.values():
        contender(asks[:2])  # warm
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            counts = contender(asks)
            seconds[name].append(time.perf_counter() - start)
            share[name] = counts["A"] / max(counts["A"] + counts["B"], 1)
    base = statistics.median(seconds["transformers generate"])
    return [
        {
            "contender": name,
            "parameters_m": round(parameters / 1e6),
            "tokens": round(statistics.mean(len(tokenizer(ask.prompt)["input_ids"]) for ask in asks)),
            "judgments": len(asks) * N,
            "seconds": round(statistics.median(times), 2),
            "slowest": round(max(times), 2),
            "judgments_per_second": round(len(asks) * N / statistics.median(times), 1),
            "times_generate": round(base / statistics.median(times), 2),
            "share_of_a": round(share[name], 3),
        }
        for name, times in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and rounds")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args()
    pairs, rounds = args.pairs or (4 if args.quick else 12), args.rounds or (1 if args.quick else 3)
    versions = {name: importlib.metadata.version(name) for name in ("dissensus", "torch", "transformers")}
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print("command:", " ".join([Path(sys.executable).name, *sys.argv]))
    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), pairs=pairs, rounds=rounds, hidden=512, layers=8)
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in rows[0]}, *rows):
        print("  ".join(str(row[key]).rjust(width) for key, width in widths.items()))
    times = rows[1]["times_generate"]
    print(f"exact: {times} times generate's judgments (target {TARGET}): {'met' if times >= TARGET else 'MISSED'}")
    if args.json:
        args.json.write_text(json.dumps([row | {"versions": versions} for row in rows], indent=1))


if __name__ == "__main__":
    main()
