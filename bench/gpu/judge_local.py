"""Exact readings on an accelerator: prompts a second, and the share of the measured matrix-product peak.

    python bench/gpu/judge_local.py [--quick] [--json FILE] [--pairs N] [--tokens-per-batch N ...]

A Llama-architecture model of about 1.2 billion random parameters (Llama 3.2 1B's shape) in bfloat16 reads prompts of
about 600 tokens, both orders of each pair, two pairs to a prompt. Arithmetic is counted as two operations per weight
and token that is read: a beginning that prompts share once, padding and attention not at all. The peak is that of a
square bfloat16 product on the same device, measured before. ``--quick`` is a tiny model on any device, as a trial.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from dissensus import __version__
from dissensus.judges.language.messages import Ask
from dissensus.judges.language.prompt import load_template
from dissensus.judges.local.kv_cache import Reader
from dissensus.judges.local.tiny import make_tokenizer
from dissensus.judges.local.transformers import LocalModel
from dissensus.records import Pair
from dissensus.text.encoder import best_device, quiet_transformers

BILLION = {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192, "vocab_size": 128_256}
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 256, "vocab_size": 2000}
TOKENS, TARGET = 600, 0.5


def make_model(folder: Path, shape: dict[str, int], device: str) -> int:
    """Save a model of random weights; returns its weights apart from the embeddings."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        **shape,
        num_attention_heads=shape["hidden_size"] // 64,
        num_key_value_heads=max(1, shape["hidden_size"] // 256),
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with quiet_transformers(), torch.device(device):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return sum(p.numel() for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name)


def make_asks(pairs: int) -> list[Ask]:
    tokenizer = make_tokenizer()
    draw, template = random.Random(0), load_template("paper")
    words = sorted(set(template.text.split()))
    per_word = len(tokenizer(" ".join(words))["input_ids"]) / len(words)
    room = (TOKENS - len(tokenizer(template.text)["input_ids"])) / per_word

    def text(share: float) -> str:
        return " ".join(draw.choices(words, k=int(room * share)))

    asks = []
    for i in range(pairs):
        if i % 2 == 0:
            prompt = text(0.2)
        first, second = (text(draw.uniform(0.3, 0.5)) for _ in range(2))
        pair = Pair(id=f"p{i}", prompt=prompt, response_a=first, response_b=second)
        for order in ("ab", "ba"):
            rendered = template.render(pair, order)
            key = hashlib.blake2b(rendered.encode(), digest_size=16).digest()
            asks.append(Ask(key=key, pair=pair, order=order, prompt=rendered))
    return asks


def timed(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matmul_peak(device: str, size: int) -> float:
    """Operations a second of a square bfloat16 product; the best of several runs."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    times = 10 if device == "cuda" else 2
    best = min(timed(lambda: [a @ b for _ in range(times)], device) for _ in range(5))
    return 2 * size**3 * times / best


class Count:
    """Counts the tokens that are read."""

    def __init__(self) -> None:
        self.tokens = 0
        inner = Reader.read

        def read(reader: Reader, rows: list[list[int]], **settings: object) -> object:
            self.tokens += sum(map(len, rows))
            return inner(reader, rows, **settings)

        Reader.read = read


def run(folder: Path, args: argparse.Namespace, device: str) -> list[dict[str, object]]:
    shape = TINY if args.quick else BILLION
    weights = make_model(folder, shape, device)
    asks = make_asks(args.pairs or (8 if args.quick else 512))
    peak = matmul_peak(device, 512 if args.quick else 8192)
    count, rows = Count(), []
    for share in (True, False):
        for tokens_per_batch in args.tokens_per_batch or ([8192] if args.quick else [32768, 65536, 131072]):
            model = LocalModel(str(folder), device=device, tokens_per_batch=tokens_per_batch, share=share)
            list(model.answer(asks[: len(asks) // 4], None))  # warm
            count.tokens = 0
            seconds = timed(lambda model=model: list(model.answer(asks, None)), device)
            head = len(asks) * (len(model._rendering.prefix) + 1) * shape["vocab_size"] * shape["hidden_size"]
            operations = 2 * (weights * count.tokens + head)
            rows.append(
                {
                    "shared": share,
                    "tokens_per_batch": tokens_per_batch,
                    "prompts": len(asks),
                    "tokens": round(
                        sum(len(ids) for ids in model._rendering.encode([a.prompt for a in asks])) / len(asks)
                    ),
                    "tokens_read": count.tokens,
                    "seconds": round(seconds, 2),
                    "prompts_per_second": round(len(asks) / seconds, 1),
                    "tflops": round(operations / seconds / 1e12, 3),
                    "peak_tflops": round(peak / 1e12, 3),
                    "share_of_peak": round(operations / seconds / peak, 3),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model, on any device")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--tokens-per-batch", type=int, nargs="+")
    args = parser.parse_args()
    device = best_device()
    if device == "cpu" and not args.quick:
        raise SystemExit("no accelerator here; --quick runs a tiny model on the CPU")
    name = torch.cuda.get_device_name() if device == "cuda" else device
    versions = {"dissensus": __version__}
    versions |= {package: importlib.metadata.version(package) for package in ("torch", "transformers")}
    print(f"{name}, {platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(", ".join(f"{package} {version}" for package, version in versions.items()))
    print("command:", " ".join([Path(sys.executable).name, *sys.argv]))
    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), args, device)
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in rows[0]}, *rows):
        print("  ".join(str(row[key]).rjust(width) for key, width in widths.items()))
    best = max(float(str(row["share_of_peak"])) for row in rows)
    if not args.quick:
        print(f"best: {best:.0%} of the peak (target {TARGET:.0%}): {'met' if best >= TARGET else 'MISSED'}")
    if args.json:
        args.json.write_text(json.dumps([row | {"device": name, "versions": versions} for row in rows], indent=1))


if __name__ == "__main__":
    main()
