"""How much memory one device needs to train a model: arithmetic on its configuration, nothing measured.

    python bench/memory.py [--model FOLDER_OR_ID] [--devices 8] [--tokens 16384] [--lora-rank 16] [--json FILE]

Without a model, the sizes of an 8 B Llama 3. Weights are float32 (4 bytes), as are gradients (4) and AdamW's two
moments (8). In bfloat16 a pass reads 2-byte copies. Activations, with --gradient-checkpointing: what enters each
layer, and all that one layer keeps; without it, what every layer keeps. A token keeps about 8 times the hidden size
and 3 times the inner one in a layer (attention without its matrix of scores), 2 bytes each. Left out: what the
allocator loses, buffers of exchanges, CUDA.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, LlamaConfig

GB = 1e9
WHOLE, ADAPTED = "all weights", "LoRA"


def sizes(config: Any, rank: int) -> tuple[int, int, int]:
    """Count the weights of a model, of its largest layer or table, and of adapters of all its linear layers."""
    config.num_labels = 1
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    layers = [part for part in model.modules() if type(part).__name__ in (model._no_split_modules or ())]
    tables = [part for part in model.modules() if isinstance(part, torch.nn.Embedding)]
    linear = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features > 1]
    largest = max(sum(weight.numel() for weight in part.parameters()) for part in [*layers, *tables])
    adapters = sum(rank * (part.in_features + part.out_features) for part in linear)
    return sum(weight.numel() for weight in model.parameters()), largest, adapters


def activations(config: Any, tokens: int, *, checkpointed: bool) -> float:
    """Bytes that so many tokens keep until the backward pass."""
    kept = 2 * tokens * (8 * config.hidden_size + 3 * config.intermediate_size)
    layers: int = config.num_hidden_layers
    return 2 * tokens * config.hidden_size * layers + kept if checkpointed else kept * layers


def rows(config: Any, devices: int, tokens: int, rank: int) -> list[dict[str, Any]]:
    """One row a way to train: gigabytes on each device."""
    weights, largest, adapters = sizes(config, rank)
    ways = [(WHOLE, "FSDP2", devices), (WHOLE, "one device", 1), (ADAPTED, "one device", 1)]
    found = []
    for what, how, number in ways:
        trained = weights if what == WHOLE else adapters
        parts = {
            "weights": 4 * weights / number,
            "gradients": 4 * trained / number,
            "moments": 8 * trained / number,
            # In shards two layers are there whole at once; whole weights that are trained keep all their copies.
            "copies": 2 * (2 * largest if number > 1 else weights if what == WHOLE else largest),
        }
        for checkpointed in (True, False):
            all_parts = {**parts, "activations": activations(config, tokens, checkpointed=checkpointed)}
            total = sum(all_parts.values())
            found.append(
                {"trained": what, "how": f"{how} x {number}" if number > 1 else how, "checkpointed": checkpointed}
                | {name: round(size / GB, 1) for name, size in {**all_parts, "total": total}.items()}
            )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16384, help="of one forward pass (--tokens-per-batch)")
    parser.add_argument("--lora-rank", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="does nothing here, where nothing is measured")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    # The sizes of Llama 3 8 B.
    large = LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    config = AutoConfig.from_pretrained(asked.model) if asked.model else large
    weights, _, adapters = sizes(config, asked.lora_rank)
    table = rows(config, asked.devices, asked.tokens, asked.lora_rank)
    print(f"{weights / 1e9:.2f} B weights, {adapters / 1e6:.0f} M in adapters of rank {asked.lora_rank}")
    print(f"{asked.tokens} tokens a pass; GB on each device, by arithmetic")
    print(" | ".join(table[0]))
    for row in table:
        print(" | ".join(str(value) for value in row.values()))
    if asked.json:
        asked.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
