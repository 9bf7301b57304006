"""Packed texts against padded ones: seconds of a forward and backward pass of a causal reward model.

    python bench/packing.py [--quick] [--json FILE] [--precision fp32|bf16]

A Llama-architecture sequence classifier of random weights (4 layers of 512, grouped queries) reads pairs of
responses to a prompt, as long as those of HH-RLHF: the real texts where they are (DISSENSUS_REAL_DATA), drawn from
log-normal lengths otherwise, 512 tokens at most, eight pairs to a micro-batch. Contenders, in turn within each round:
random batches padded to their longest text, as TRL does it; batches of like length, padded; the same batches
packed, each prompt once. All give the same rewards. Then one layer's attention alone, over one of those batches:
padded, a prompt at a time under a mask, and by trunk and branch as the package does it, forward and backward;
FlexAttention forward alone, since it has no gradients on a CPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from dissensus.files import read_pairs
from dissensus.records import plain_text
from dissensus.reward.config import TrainConfig
from dissensus.reward.fast.packed_attention import Packing, _by_piece, _plain
from dissensus.reward.fast.packed_model import packed_inputs, use_packing
from dissensus.reward.fast.packing import pack_texts
from dissensus.reward.text.batches import move
from dissensus.reward.training.run import precision_is_bf16
from dissensus.text.encoder import resolve_model

PAIRS_PER_BATCH, LIMIT, VOCABULARY = 8, 512, 30_522
HEADS, KEY_HEADS, DIM = 8, 4, 64
Texts = list[list[int]]
Row = dict[str, object]


def real_data_dir() -> Path | None:
    path = Path(__file__).resolve().parents[1] / "tests" / "real_data.py"
    spec = importlib.util.spec_from_file_location("real_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.real_data_dir()


def real_pairs(file: Path, n: int) -> list[Texts]:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("minilm"))
    pairs = list(read_pairs(file, notice=lambda _: None))
    chosen = np.random.default_rng(0).choice(len(pairs), n, replace=False)

    def ids(text: object) -> list[int]:
        return tokenizer(plain_text(text), add_special_tokens=False, verbose=False)["input_ids"]

    def text(prompt: list[int], response: list[int]) -> list[int]:
        response = response[: LIMIT - 1]
        return prompt[max(len(prompt) + len(response) - LIMIT, 0) :] + response

    rows = ((ids(p.prompt), ids(p.response_a), ids(p.response_b)) for p in (pairs[i] for i in chosen))
    return [[text(prompt, a), text(prompt, b)] for prompt, a, b in rows]


def drawn_pairs(n: int) -> list[Texts]:
    draw = np.random.default_rng(0)

    def ids(median: float, spread: float) -> list[int]:
        length = int(np.clip(draw.lognormal(np.log(median), spread), 2, LIMIT // 2 - 1))
        return draw.integers(1, VOCABULARY, length).tolist()

    prompts = [ids(110, 0.9) for _ in range(n)]
    return [[prompt + ids(45, 0.9), prompt + ids(45, 0.9)] for prompt in prompts]


def in_batches(pairs: list[Texts], order: np.ndarray) -> list[Texts]:
    batches = [order[i : i + PAIRS_PER_BATCH] for i in range(0, len(order), PAIRS_PER_BATCH)]
    return [[text for i in batch for text in pairs[i]] for batch in batches]


def pad(texts: Texts) -> dict[str, Tensor]:
    ids = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def loss_of(rewards: Tensor) -> Tensor:
    return -F.logsigmoid(rewards[0::2] - rewards[1::2]).sum()


def train(model: torch.nn.Module, batches: list[Texts], forward: Callable[[Texts], Tensor], bf16: bool) -> float:
    """Accumulate the gradients of all batches; returns the sum of the losses, which all contenders share."""
    total = 0.0
    for texts in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(forward(texts))
        loss.backward()
        total += loss.item()
    model.zero_grad()
    return total


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, called in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def training_rows(pairs: list[Texts], *, rounds: int, bf16: bool, layers: int) -> list[Row]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HEADS * DIM,
        intermediate_size=1408,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        num_labels=1,
        pad_token_id=0,
    )
    model = LlamaForSequenceClassification(config)
    reason = use_packing(model)
    if reason is not None:
        raise SystemExit(f"packing is off: {reason}")
    longest = np.array([max(map(len, pair)) for pair in pairs])
    random = in_batches(pairs, np.random.default_rng(0).permutation(len(pairs)))
    alike = in_batches(pairs, np.argsort(longest, kind="stable"))

    def padded(texts: Texts) -> Tensor:
        return model(**pad(texts)).logits[:, 0].float()

    def packed(texts: Texts) -> Tensor:
        return model(**move(packed_inputs(pack_texts(texts, pad_id=0)), model.device)).logits[:, 0]

    def padded_tokens(batches: list[Texts]) -> int:
        return sum(len(texts) * max(map(len, texts)) for texts in batches)

    work = {
        "padded, random order": (random, padded, padded_tokens(random)),
        "padded, like lengths": (alike, padded, padded_tokens(alike)),
        "packed, prompts once": (alike, packed, sum(pack_texts(texts).tokens for texts in alike)),
    }
    losses = {name: train(model, batches, forward, bf16) for name, (batches, forward, _) in work.items()}
    seconds = medians({name: partial(train, model, *w[:2], bf16) for name, w in work.items()}, rounds)
    base = seconds["padded, random order"]
    return [
        {
            "contender": name,
            "precision": "bf16" if bf16 else "fp32",
            "pairs": len(pairs),
            "tokens": tokens,
            "seconds": round(seconds[name], 2),
            "pairs_per_second": round(len(pairs) / seconds[name], 2),
            "times_random": round(base / seconds[name], 2),
            "times_like_lengths": round(seconds["padded, like lengths"] / seconds[name], 2),
            "loss": round(losses[name] / len(pairs), 5),
        }
        for name, (_, _, tokens) in work.items()
    ]


def attention_rows(texts: Texts, *, rounds: int) -> list[Row]:
    """One layer's attention over one batch in float32, all routes from the same random queries, keys and values."""
    plan = pack_texts(texts, pad_id=0)
    packing, (n, longest) = Packing(plan), (len(texts), max(map(len, texts)))
    sees = packing.visibility(None, "cpu")
    groups = [trunk + sum(branches) for trunk, branches in plan.groups]
    index = torch.arange(plan.tokens)
    masks = [sees(None, None, part[:, None], part[None]) for part in index.split(groups)]
    blocks = create_block_mask(sees, None, None, plan.tokens, plan.tokens, device="cpu")
    compiled = torch.compile(flex_attention)
    torch.manual_seed(0)
    draw = partial(torch.randn, requires_grad=True)
    row = [draw(1, heads, plan.tokens, DIM) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    square = [draw(n, heads, longest, DIM) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]

    def padded() -> Tensor:
        return F.scaled_dot_product_attention(*square, is_causal=True, enable_gqa=True)

    def by_group() -> Tensor:
        pieces = zip(*(x.split(groups, dim=2) for x in row), masks, strict=True)
        return torch.cat(
            [F.scaled_dot_product_attention(*qkv, attn_mask=m, enable_gqa=True) for *qkv, m in pieces], dim=2
        )

    def by_piece() -> Tensor:
        return _by_piece(*row, packing, None, partial(_plain, scaling=DIM**-0.5, dropout=0.0)).transpose(1, 2)

    fixed = [x.detach() for x in row]

    def flex() -> Tensor:
        return compiled(*fixed, block_mask=blocks, enable_gqa=True)

    routes = {"padded": padded, "a prompt at a time": by_group, "by trunk and branch": by_piece, "FlexAttention": flex}
    exact = by_group().detach()
    for name, route in routes.items():
        if name != "padded" and not torch.allclose(route(), exact, atol=1e-5):
            raise SystemExit(f"attention '{name}' gives something else")
    forward = medians(routes, rounds)
    backward = medians({name: lambda r=r: r().sum().backward() for name, r in routes.items() if r != flex}, rounds)
    return [
        {
            "attention": name,
            "tokens": n * longest if name == "padded" else plan.tokens,
            "forward_ms": round(1e3 * forward[name], 1),
            "forward_backward_ms": round(1e3 * backward[name], 1) if name in backward else None,
        }
        for name in routes
    ]


def show(rows: list[Row]) -> None:
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in rows[0]}, *rows):
        print("  ".join(str(row[key]).rjust(width) for key, width in widths.items()))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs, layers and rounds; no FlexAttention")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: as in training on this machine")
    args = parser.parse_args()
    n, rounds = args.pairs or (16 if args.quick else 64), args.rounds or (1 if args.quick else 5)
    bf16 = args.precision == "bf16" if args.precision else precision_is_bf16(TrainConfig())
    versions = {name: importlib.metadata.version(name) for name in ("dissensus", "torch", "transformers")}
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print("command:", " ".join([Path(sys.executable).name, *sys.argv]))
    file = (real_data_dir() or Path()) / "hh_harmless.jsonl.gz"
    pairs = real_pairs(file, n) if file.is_file() else drawn_pairs(n)
    print("texts:", "HH-RLHF harmless, test split" if file.is_file() else "random tokens of HH-RLHF's lengths", "\n")
    rows = training_rows(pairs, rounds=rounds, bf16=bf16, layers=2 if args.quick else 4)
    show(rows)
    if not args.quick:
        middle = sorted(pairs, key=lambda pair: max(map(len, pair)))[len(pairs) // 2 :][:PAIRS_PER_BATCH]
        rows += (attention := attention_rows([text for pair in middle for text in pair], rounds=2 * rounds))
        show(attention)
    if args.json:
        args.json.write_text(json.dumps([row | {"versions": versions} for row in rows], indent=1))


if __name__ == "__main__":
    main()
