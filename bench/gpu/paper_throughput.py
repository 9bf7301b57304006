"""What `dissensus study paper --dry-run` reckons with: training pairs a second of its reward model on this device.

    python bench/gpu/paper_throughput.py [--quick] [--json FILE] [--pairs N]

DeBERTa-v3-large's architecture with random weights, bfloat16, trained with the paper's objective through `dissensus
train`'s own engine on the preset's settings (32 pairs a step, 512 tokens at most) and simulated texts, responses three
times over; the table says how many tokens that is. ``--quick`` is a tiny model on any device, as a trial.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, DebertaV2Config

from dissensus import __version__
from dissensus.judges.local.tiny import make_tokenizer
from dissensus.records import Margin, plain_text
from dissensus.reward.config import Runtime, TrainConfig
from dissensus.reward.training.run import train
from dissensus.simulate import SimulationConfig, simulate

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
DEBERTA = {
    "num_labels": 1, "type_vocab_size": 0, "relative_attention": True, "max_relative_positions": -1,
    "position_buckets": 256, "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
    "position_biased_input": False, "pooler_hidden_act": "gelu", "max_position_embeddings": 512,
}  # fmt: skip


def make_model(folder: Path, shape: dict[str, int]) -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.add_special_tokens({"sep_token": "<|end|>", "cls_token": "<|begin|>"})
    config = DebertaV2Config(
        **DEBERTA, **shape, vocab_size=128_100 if shape is LARGE else 700, pooler_hidden_size=shape["hidden_size"],
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--pairs", type=int, default=1600)
    given = arguments.parse_args()
    n = 64 if given.quick else given.pairs
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    pairs = simulate(SimulationConfig(prompts=max(n // 2, 40), responses_per_prompt=3, single_share=0.1)).pairs[:n]
    pairs = [
        p.model_copy(
            update={
                "label": "a",
                "votes": None,
                "response_a": f"{p.response_a} " * 3,
                "response_b": f"{p.response_b} " * 3,
            }
        )
        for p in pairs
    ]
    margins = [Margin(pair_id=p.id, margin=0.4, preference_a=0.7, n_judgments=10) for p in pairs]
    rows = []
    versions = f"dissensus {__version__}, torch {torch.__version__}"
    print(f"{versions}, {device}; python bench/gpu/paper_throughput.py --pairs {n}")
    print("| objective | pairs | texts | tokens a text | seconds | pairs/s | GPU memory, GiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder) / "backbone", SMALL if given.quick else LARGE)
        tokenizer = make_tokenizer(chat=False)
        ids = tokenizer([f"{plain_text(p.prompt)} {plain_text(p.response_a)}" for p in pairs])["input_ids"]
        tokens = sum(min(len(one), 512) for one in ids) / len(ids)
        for objective in ("margin", "bradley-terry"):
            config = TrainConfig(
                model=f"{folder}/backbone", objective=objective, epochs=1, batch_size=32, max_length=512,
                learning_rate=1e-5, validation=0, runtime=Runtime(checkpoint_steps=10_000),
            )  # fmt: skip
            started = time.perf_counter()
            summary = train(pairs, config, f"{folder}/{objective}", margins=margins, progress=False)
            whole = time.perf_counter() - started
            memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
            rate = summary.pairs / summary.seconds
            seconds = f"{summary.seconds:.1f} ({whole:.1f} with loading and saving)"
            counts = f"{summary.pairs} | {summary.texts} | {tokens:.0f}"
            print(f"| {objective} | {counts} | {seconds} | {rate:.1f} | {memory:.1f} |")
            rows.append({"objective": objective, "device": device, "pairs_per_second": rate, "layout": summary.layout})
    print(rows[0]["layout"])
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
