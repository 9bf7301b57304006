"""Scoring responses against ``transformers.pipeline("text-classification")`` at its best batch size.

    python bench/predict.py [--quick] [--json FILE] [--rounds 5] [--precision fp32|bf16]

MiniLM with a fresh head scores (prompt, response) texts cut to 512 tokens, in float32 on both sides and in bfloat16
on both sides, in turn; medians. The pipeline pads each batch in the order given, scores a text as often as it stands
there, and is run at batch sizes 1, 8, 32 and 64 first; the best goes into the race. Two files: ``hh_harmless``, where
every response is its own, and ``arguments``, where many pairs share texts and ours scores each once.
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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils import logging

from dissensus.files import read_pairs
from dissensus.records import plain_text
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.text.encoder import quiet_transformers, resolve_model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WINDOW, BATCH_SIZES, TARGET = 512, (1, 8, 32, 64), 3


def real_data_dir() -> Path:
    path = Path(__file__).resolve().parents[1] / "tests" / "real_data.py"
    spec = importlib.util.spec_from_file_location("real_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = module.real_data_dir()
    if folder is None:
        sys.exit("no real votes here; set DISSENSUS_REAL_DATA to their folder")
    return folder


def texts_of(data: str, pairs: int) -> list[tuple[str, str]]:
    found = list(read_pairs(real_data_dir() / f"{data}.jsonl.gz", notice=lambda _: None))
    rows = np.random.default_rng(0).permutation(len(found))[:pairs] if data == "hh_harmless" else range(pairs)
    return [
        (plain_text(found[i].prompt), plain_text(r)) for i in rows for r in (found[i].response_a, found[i].response_b)
    ]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def by_pipeline(classify: Any, texts: list[tuple[str, str]], size: int) -> np.ndarray:
    rows = [{"text": prompt, "text_pair": response} for prompt, response in texts]
    # Cut as ours are: the prompt loses its left end.
    scores = classify(
        rows, batch_size=size, truncation="only_first", max_length=WINDOW, function_to_apply="none", top_k=1
    )
    return np.array([row[0]["score"] if isinstance(row, list) else row["score"] for row in scores])


def race(folder: str, data: str, precision: str, pairs: int, rounds: int) -> list[dict[str, Any]]:
    texts = texts_of(data, pairs)
    model = RewardModel.load(folder, max_length=WINDOW, precision=precision)
    with quiet_transformers():
        network = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=DTYPES[precision])
    tokenizer = AutoTokenizer.from_pretrained(folder, truncation_side="left")
    classify = pipeline("text-classification", model=network, tokenizer=tokenizer, device=-1)
    few = texts[: max(len(texts) // 4, 64)]
    best = min(BATCH_SIZES, key=lambda size: timed(lambda: by_pipeline(classify, few, size))[0])
    seconds: dict[str, list[float]] = {"pipeline": [], "ours": []}
    scored: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, work in (
            ("pipeline", lambda: by_pipeline(classify, texts, best)),
            ("ours", lambda: model.rewards(texts)),
        ):
            taken, scored[name] = timed(work)
            seconds[name].append(taken)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    agree = float(np.median(np.abs(scored["pipeline"] - scored["ours"])))
    return [
        {
            "data": data,
            "precision": precision,
            "contender": name,
            "batch_size": best if name == "pipeline" else "by tokens",
            "texts": len(texts),
            "distinct": len(set(texts)),
            "texts_per_second": len(texts) / median[name],
            "ratio_over_pipeline": median["pipeline"] / median[name],
            "median_difference": agree,
            "seconds": seconds[name],
        }
        for name in seconds
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 pairs, two rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=DTYPES, help="one of them alone; default: both")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {versions}")
    print(f"command: python {' '.join(sys.argv)}")
    head = f"{'data':<14}{'precision':<11}{'contender':<11}{'batch':>10}{'texts':>8}{'distinct':>10}"
    print(f"{head}{'texts/s':>10}{'x pipeline':>12}")
    logging.set_verbosity_error()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        with quiet_transformers():
            AutoModelForSequenceClassification.from_pretrained(resolve_model("minilm"), num_labels=1).save_pretrained(
                scratch
            )
            AutoTokenizer.from_pretrained(resolve_model("minilm")).save_pretrained(scratch)
        precisions = [options.precision] if options.precision else list(DTYPES)
        sets = (("hh_harmless", 256), ("arguments", 512))
        cases = [(data, n, precision) for data, n in sets for precision in precisions]
        for data, pairs, precision in cases:
            for row in race(scratch, data, precision, 64 if options.quick else pairs, rounds):
                rows.append(row)
                print(
                    f"{data:<14}{precision:<11}{row['contender']:<11}{row['batch_size']!s:>10}{row['texts']:>8}{row['distinct']:>10}"
                    f"{row['texts_per_second']:>10.1f}{row['ratio_over_pipeline']:>12.2f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
