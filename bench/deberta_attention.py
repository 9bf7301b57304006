"""Our DeBERTa against transformers' own: tokens a second, forward and backward.

    python bench/deberta_attention.py [--quick] [--json FILE] [--device cuda] [--size small]

A model of random weights with DeBERTa-v3's architecture (small unless told: 6 layers, hidden size 768, 12 heads,
128,100 words), no dropout. Texts of log-normal length, 30 to 512 tokens (median 180). Micro-batches under a budget of
padded tokens, cut from texts sorted by length as in training, so that both contenders get batches that are trimmed
alike; and one row of unsorted batches. Each micro-batch goes through both, in turn; the ratio is the median of theirs.
The claim: at least twice the tokens a second in bfloat16 at 2,000 and 4,000 tokens.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from dissensus.reward.fast.deberta import use_fast_attention

TARGET = 2.0
SIZES = {"xsmall": (12, 384, 6), "small": (6, 768, 12), "base": (12, 768, 12), "large": (24, 1024, 16)}
Batch = dict[str, Tensor]


def make_model(size: str) -> DebertaV2ForSequenceClassification:
    layers, hidden, heads = SIZES[size]
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=128_100,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=1,
    )
    return DebertaV2ForSequenceClassification(config).train()


def make_batches(tokens: int, count: int, *, sort: bool, device: str) -> list[Batch]:
    """Cut ``count`` micro-batches of at most ``tokens`` padded tokens from texts of log-normal length."""
    draw = random.Random(0)
    lengths = [min(max(round(draw.lognormvariate(5.2, 0.6)), 30), 512) for _ in range(50 * 64)]
    if sort:
        lengths.sort(reverse=True)
    groups: list[list[int]] = [[]]
    for length in lengths:
        if max([length, *groups[-1]]) * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(length)
    # Evenly spread over the lengths.
    chosen = [groups[(2 * i + 1) * len(groups) // (2 * count)] for i in range(count)]
    return [pad(group, device) for group in chosen]


def pad(lengths: list[int], device: str) -> Batch:
    ids = torch.randint(5, 128_100, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": (ids * mask).to(device), "attention_mask": mask.to(device)}


def step(model: DebertaV2ForSequenceClassification, batch: Batch, *, bf16: bool) -> tuple[float, Tensor]:
    device = batch["input_ids"].device
    model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits = model(**batch).logits
    logits.float().square().sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, logits.detach().float()


def compare(
    ours: DebertaV2ForSequenceClassification,
    stock: DebertaV2ForSequenceClassification,
    batches: list[Batch],
    *,
    bf16: bool,
    rounds: int,
) -> dict[str, object]:
    for model in (ours, stock):
        step(model, batches[0], bf16=bf16)  # warm
    mine: list[float] = []
    theirs: list[float] = []
    gap = 0.0
    for _ in range(rounds):
        for batch in batches:
            seconds, logits = step(stock, batch, bf16=bf16)
            theirs.append(seconds)
            seconds, other = step(ours, batch, bf16=bf16)
            mine.append(seconds)
            gap = max(gap, float((logits - other).abs().max()))
    real = sum(int(batch["attention_mask"].sum()) for batch in batches) * rounds
    padded = sum(batch["attention_mask"].numel() for batch in batches) * rounds
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {
        "micro_batches": len(batches) * rounds,
        "padded_over_real": round(padded / real, 2),
        "seconds_stock": round(statistics.median(theirs), 3),
        "seconds_ours": round(statistics.median(mine), 3),
        "tokens_per_second": round(real / sum(mine)),
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "largest_gap": f"{gap:.1e}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer micro-batches")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--tokens", type=int, nargs="+", help="budgets of micro-batches; 2000 4000 unless given")
    parser.add_argument("--precision", choices=("bf16", "fp32"), nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args()
    versions = {name: importlib.metadata.version(name) for name in ("dissensus", "torch", "transformers")}
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, device {args.device}, "
        f"Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print("command:", " ".join([Path(sys.executable).name, *sys.argv]))
    ours, stock = make_model(args.size).to(args.device), make_model(args.size).to(args.device)
    reason = use_fast_attention(ours)
    if reason is not None:
        sys.exit(f"the fast path is off: {reason}")
    budgets = args.tokens or ([2000] if args.quick else [2000, 4000])
    cases = [(precision, tokens, True) for precision in args.precision for tokens in budgets]
    cases.append((args.precision[0], budgets[-1], False))
    count, rounds = (2, 1) if args.quick else (6, args.rounds or 2)
    rows = []
    for precision, tokens, sort in cases:
        batches = make_batches(tokens, count, sort=sort, device=args.device)
        row = {"size": args.size, "precision": precision, "tokens": tokens, "sorted": sort}
        rows.append(row | compare(ours, stock, batches, bf16=precision == "bf16", rounds=rounds))
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in rows[0]}, *rows):
        print("  ".join(str(row[key]).rjust(width) for key, width in widths.items()))
    worst = min((row["ratio"] for row in rows if row["precision"] == "bf16" and row["sorted"]), default=None)
    if worst is not None:
        print(f"bf16: {worst} times stock's speed (target {TARGET}): {'met' if worst >= TARGET else 'MISSED'}")
    if args.json:
        args.json.write_text(json.dumps([row | {"versions": versions} for row in rows], indent=1))


if __name__ == "__main__":
    main()
