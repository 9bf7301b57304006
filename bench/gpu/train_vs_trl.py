"""Reward training against TRL on a GPU: DeBERTa-v3-large's architecture and a Llama architecture of about 1 B, bf16.

    python bench/gpu/train_vs_trl.py [--quick] [--json FILE] [--rounds 5]

The same contenders, units and figures as bench/train_vs_trl.py, with random weights and sequences of HH-RLHF. With
``--quick`` both models are made tiny, which shows on any machine that the script works and says nothing of speed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DebertaV2Config,
    LlamaConfig,
    PreTrainedConfig,
)

from dissensus.text.encoder import resolve_model

TINY = "DISSENSUS_BENCH_TINY"
"""Set for the contenders of a quick run, which are processes of their own."""


def parent() -> object:
    path = Path(__file__).resolve().parents[1] / "train_vs_trl.py"
    spec = importlib.util.spec_from_file_location("train_vs_trl", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save(config: PreTrainedConfig, folder: Path) -> Path:
    if not folder.is_dir():
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(resolve_model("minilm")).save_pretrained(folder)
    return folder


def deberta_v3_large(folder: Path) -> Path:
    width, layers = (64, 2) if TINY in os.environ else (1024, 24)
    config = DebertaV2Config(
        vocab_size=128_100,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        max_position_embeddings=512,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=256,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        pooler_hidden_size=width,
        pad_token_id=0,
        num_labels=1,
    )
    return save(config, folder)


def llama_1b(folder: Path) -> Path:
    width, layers = (64, 2) if TINY in os.environ else (2048, 16)
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(width // 256, 1),
        intermediate_size=4 * width,
        max_position_embeddings=2048,
        pad_token_id=0,
        num_labels=1,
    )
    return save(config, folder)


if __name__ == "__main__":
    if "--quick" in sys.argv:
        os.environ[TINY] = "1"
    bench = parent()
    bench.MODELS = {"deberta-large": deberta_v3_large, "llama-1b": llama_1b}
    bench.CASES = {
        "deberta-large-32": ("deberta-large", "hh_harmless", 32, 512),
        "llama-1b-32": ("llama-1b", "hh_harmless", 32, 512),
    }
    bench.QUICK_CASES = list(bench.CASES)
    bench.main()
