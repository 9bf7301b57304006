"""Reward training against TRL's ``RewardTrainer``: pairs a second of the same model on the same pairs.

    python bench/train_vs_trl.py [--quick] [--json FILE] [--rounds 5] [--only NAME] [--precision fp32|bf16]

Contenders, each a process that keeps its trainer and is told in turn to train one more unit of the same pairs:

- ours: ``dissensus.reward.training.run.train`` as it comes;
- stock: TRL as it comes (gradient checkpointing, micro-batches of 8 in random order);
- tuned: TRL by hand (no checkpointing, grouped by length through a sampler of our own because
  ``group_by_length`` crashes, the best micro-batch of 4, 8, 16 and 32 in a trial run).

TRL needs two things to run a BERT or DeBERTa at all: an end-of-text token (the separator) and a forward pass that lets
go of ``use_cache`` and ``margin``. All pairs fit the window of 512 tokens, since TRL drops those that do not. Dropout
is off everywhere: TRL switches it off. A timed unit is one epoch of some pairs, or of `arguments`, whose pairs share
texts as no sample of them would, so many pairs' steps through all 10,860 with a majority (769 texts). The first unit is
not counted; tokenising and loading are outside it. All train in one precision: bf16 where the processor has it, float32
elsewhere. The peak is that of square products in it, measured before each round; the work is counted as the model's
matrix products per real token, three times the forward pass, whoever does how many of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DebertaV2Config, TrainerCallback

from dissensus.files import read_pairs
from dissensus.records import Pair, plain_text
from dissensus.reward.config import Runtime, TrainConfig
from dissensus.reward.text.encode import Encoding
from dissensus.reward.training.run import precision_is_bf16, train
from dissensus.text.encoder import quiet_transformers, resolve_model

WINDOW = 512
CASES = {
    "minilm-32": ("minilm", "hh_harmless", 32, 192),
    "minilm-8": ("minilm", "hh_harmless", 8, 96),
    "deberta-32": ("deberta", "hh_harmless", 32, 64),
    "deberta-8": ("deberta", "hh_harmless", 8, 32),
    "arguments-32": ("minilm", "arguments", 32, 768),
}
"""Backbone, data, pairs per optimiser step, pairs in a timed unit."""
QUICK_CASES = ["minilm-8"]


def real_data_dir() -> Path:
    path = Path(__file__).resolve().parents[1] / "tests" / "real_data.py"
    spec = importlib.util.spec_from_file_location("real_data", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = module.real_data_dir()
    if folder is None:
        sys.exit("no real votes here; set DISSENSUS_REAL_DATA to their folder")
    return folder


def deberta_v3_small(folder: Path) -> Path:
    """Random weights in exactly DeBERTa-v3-small's architecture, with MiniLM's tokenizer (which has fewer words)."""
    if folder.is_dir():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("minilm"))
    config = DebertaV2Config(
        vocab_size=128_100,
        hidden_size=768,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        type_vocab_size=0,
        relative_attention=True,
        max_relative_positions=-1,
        position_buckets=256,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        layer_norm_eps=1e-7,
        pooler_hidden_size=768,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def choose_pairs(data: str, count: int) -> list[Pair]:
    """Pairs with a winner that fit the window, drawn evenly; of `arguments` all, a majority being the label."""
    source = real_data_dir() / f"{data}.jsonl.gz"
    pairs = list(read_pairs(source, notice=lambda _: None))
    if data == "arguments":
        return [
            p.model_copy(update={"label": "a" if p.votes.a > p.votes.b else "b"})
            for p in pairs
            if p.votes.a != p.votes.b
        ]
    encoding = Encoding(AutoTokenizer.from_pretrained(resolve_model("minilm")), 100_000)
    rows = np.random.default_rng(0).permutation(len(pairs))[: 2 * count]
    chosen = [pairs[i] for i in rows if pairs[i].label in ("a", "b")]
    texts = [(p.prompt, r) for p in chosen for r in (p.response_a, p.response_b)]
    longest = encoding.encode(texts).lengths.reshape(-1, 2).max(axis=1)
    return [p for p, n in zip(chosen, longest, strict=True) if n <= WINDOW][:count]


class Turns(TrainerCallback):
    """Trains a unit of so many steps when told to, and tells the seconds; the first one is for warming up."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.losses = steps, 0, []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.wait()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.done += 1
        if self.done % self.steps == 0:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            tell({"seconds": time.perf_counter() - self.started, "peak_mb": peak_memory()})
            if not self.wait():
                tell({"losses": self.losses})
                os._exit(0)

    def wait(self) -> bool:
        go = sys.stdin.readline().strip() == "go"
        self.started = time.perf_counter()
        return go


def peak_memory() -> float:
    """The most memory that this process has held, in MB: the device's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tell(row: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(row) + "\n")
    sys.__stdout__.flush()


def child_ours(
    model: str, pairs: list[Pair], batch: int, count: int, rounds: int, folder: Path, by_prompt: bool, precision: str
) -> None:
    steps = -(-count // batch)
    config = TrainConfig(
        model=model,
        batch_size=batch,
        epochs=epochs_for(len(pairs), count, rounds),
        max_length=WINDOW,
        precision=precision,
        validation=0,
        runtime=Runtime(logging_steps=steps, checkpoint_steps=10**6),
        batching="prompt" if by_prompt else "length",
    )
    tell({"imports_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    train(pairs, config, folder / "ours", callbacks=[Turns(steps)], progress=False)


def epochs_for(pairs: int, count: int, rounds: int) -> int:
    """So many that the run is not over before its last unit."""
    return -(-count * (rounds + 2) // pairs)


def child_trl(
    model: str,
    pairs: list[Pair],
    batch: int,
    count: int,
    rounds: int,
    folder: Path,
    micro: int,
    tuned: bool,
    precision: str,
) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    steps, epochs = -(-count // batch), epochs_for(len(pairs), count, rounds)

    class Grouped(RewardTrainer):
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            from transformers.trainer_pt_utils import LengthGroupedSampler

            rows = self.train_dataset
            lengths = [max(len(a), len(b)) for a, b in zip(rows["chosen_ids"], rows["rejected_ids"], strict=True)]
            return LengthGroupedSampler(batch_size=batch, lengths=lengths)

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    with quiet_transformers():
        network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    inner = network.forward
    network.forward = lambda input_ids, attention_mask, **_: inner(input_ids=input_ids, attention_mask=attention_mask)
    rows = []
    for pair in pairs:
        a, b = plain_text(pair.response_a), plain_text(pair.response_b)
        chosen, rejected = (a, b) if pair.label == "a" else (b, a)
        rows.append({"prompt": plain_text(pair.prompt) + " ", "chosen": chosen, "rejected": rejected})
    settings: dict[str, Any] = {"gradient_checkpointing": False} if tuned else {}
    arguments = RewardConfig(
        output_dir=str(folder / "trl"),
        max_length=WINDOW,
        num_train_epochs=epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        learning_rate=2e-5,
        lr_scheduler_type="linear",
        warmup_steps=round(0.1 * -(-len(pairs) // batch) * epochs),
        weight_decay=0.01,
        logging_steps=steps,
        save_strategy="no",
        report_to="none",
        bf16=precision == "bf16",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        **settings,
    )
    tell({"imports_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    trainer = (Grouped if tuned else RewardTrainer)(
        model=network,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        callbacks=[Turns(steps)],
    )
    if len(trainer.train_dataset) != len(pairs):
        sys.exit(f"TRL dropped {len(pairs) - len(trainer.train_dataset)} pairs as too long")
    trainer.train()


class Contender:
    """A child process that trains a unit on each ``go``."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name, self.seconds, self.peak_mb, self.losses = name, [], 0.0, []
        environment = {
            **os.environ,
            "TRL_EXPERIMENTAL_SILENCE": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, sys.argv[0], "--child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if "--loud" not in sys.argv else None,
            text=True,
            env=environment,
        )
        self.imports_mb = self._hear()["imports_mb"]

    def _hear(self) -> dict[str, Any]:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        sys.exit(f"{self.name} ended with {self.process.wait()}; run again with --loud")

    def unit(self) -> float:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        heard = self._hear()
        self.peak_mb = heard["peak_mb"]
        return heard["seconds"]

    def close(self) -> None:
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        heard = self._hear()
        self.losses = heard.get("losses", [])
        self.process.wait()


def matmul_peak(precision: str) -> float:
    """GFLOP/s of square products in that precision, the best of a few."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 8192 if device == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    best = 1e9
    for _ in range(8):
        started = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9


def work_per_pair(model: str, pairs: list[Pair]) -> float:
    """GFLOP of one forward and backward pass over each response of a pair, padding apart; the mean over the pairs."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    encoding = Encoding(AutoTokenizer.from_pretrained(model), WINDOW)
    lengths = encoding.encode([(p.prompt, r) for p in pairs for r in (p.response_a, p.response_b)]).lengths
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    linear = layers * (4 * hidden**2 + 2 * hidden * inner) * 2 * lengths.sum()
    attention = layers * 4 * hidden * (lengths.astype(float) ** 2).sum()
    return 3 * (linear + attention) / len(pairs) / 1e9


def best_micro_batch(case: str, batch: int, pairs: int, folder: Path, precision: str) -> int:
    sizes = [size for size in (4, 8, 16, 32) if batch % size == 0]
    seconds = {}
    for size in sizes:
        trial = Contender(f"trl {size}", [case, "tuned", "1", str(size), str(pairs), str(folder), precision])
        trial.unit()
        seconds[size] = trial.unit()
        trial.close()
    return min(seconds, key=seconds.get)


def run_case(case: str, rounds: int, pairs_per_unit: int | None, precision: str) -> Iterator[dict[str, Any]]:
    backbone, data, batch, count = CASES[case]
    count = pairs_per_unit or count
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = model_of(backbone, folder)
        pairs = choose_pairs(data, count)
        micro = best_micro_batch(case, batch, max(count // 3, batch), folder, precision)
        names = {"ours": 0, "stock": 8, "tuned": micro}
        contenders = [
            Contender(name, [case, name, str(rounds), str(size), str(count), str(folder / name), precision])
            for name, size in names.items()
        ]
        for contender in contenders:
            contender.unit()
        peaks = []
        for _ in range(rounds):
            peaks.append(matmul_peak(precision))
            for contender in contenders:
                contender.seconds.append(contender.unit())
        for contender in contenders:
            contender.close()
        work, peak = count * work_per_pair(model, pairs), statistics.median(peaks)
        seconds = {c.name: statistics.median(c.seconds) for c in contenders}
        for c in contenders:
            yield {
                "case": case,
                "contender": c.name,
                "precision": precision,
                "pairs_per_step": batch,
                "micro_batch": names[c.name] or "by tokens",
                "pairs_per_second": count / seconds[c.name],
                "ratio_over_stock_trl": seconds["stock"] / seconds[c.name],
                "ratio_over_tuned_trl": seconds["tuned"] / seconds[c.name],
                "share_of_peak": work / seconds[c.name] / peak,
                "peak_gflops": peak,
                "peak_memory_mb": c.peak_mb,
                "imports_mb": c.imports_mb,
                "seconds": c.seconds,
                "loss_by_unit": c.losses,
            }


def model_of(backbone: str, folder: Path) -> str:
    # Beside the contenders' own folders, made once.
    return str(resolve_model("minilm")) if backbone == "minilm" else str(MODELS[backbone](folder / backbone))


MODELS = {"deberta": deberta_v3_small}
"""Architectures with random weights, made on the spot."""


def child(arguments: list[str]) -> None:
    case, name, rounds, micro, count, folder, precision = arguments
    backbone, data, batch, _ = CASES[case]
    path = Path(folder)
    model = model_of(backbone, path if (path / backbone).is_dir() else path.parent)
    pairs = choose_pairs(data, int(count))
    path.mkdir(exist_ok=True, parents=True)
    sys.stdout = sys.stderr
    if name == "ours":
        child_ours(model, pairs, batch, int(count), int(rounds), path, data == "arguments", precision)
    else:
        child_trl(model, pairs, batch, int(count), int(rounds), path, int(micro), name == "tuned", precision)


def main() -> None:
    if "--child" in sys.argv:
        child([a for a in sys.argv[2:] if a != "--loud"])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="MiniLM at 8 pairs, two rounds of 24 pairs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--pairs", type=int, help="pairs in a timed unit")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: as in training on this machine")
    parser.add_argument("--loud", action="store_true", help="show what the contenders write")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cases = options.only or (QUICK_CASES if options.quick else list(CASES))
    rounds, count = (2, 24) if options.quick else (options.rounds, options.pairs)
    precision = options.precision or ("bf16" if precision_is_bf16(TrainConfig()) else "fp32")
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl")}
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {precision}; {versions}")
    print(f"command: python {' '.join(sys.argv)}")
    head = f"{'case':<18}{'contender':<11}{'micro-batch':>12}{'pairs/s':>9}{'x stock':>9}{'x tuned':>9}"
    print(head + f"{'% of peak':>11}{'memory MB':>11}   loss by unit")
    rows = []
    for case in cases:
        for row in run_case(case, rounds, count, precision):
            rows.append(row)
            losses = " ".join(f"{loss:.3f}" for loss in row["loss_by_unit"])
            print(
                f"{case:<18}{row['contender']:<11}{row['micro_batch']!s:>12}{row['pairs_per_second']:>9.2f}"
                f"{row['ratio_over_stock_trl']:>9.2f}{row['ratio_over_tuned_trl']:>9.2f}"
                f"{100 * row['share_of_peak']:>11.0f}{row['peak_memory_mb']:>11.0f}   {losses}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
