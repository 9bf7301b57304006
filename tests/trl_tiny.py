"""Rows of tokens and a trainer for the tests of TRL's integration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def token_rows(n: int = 6, seed: int = 1, **columns: Any) -> list[dict[str, Any]]:
    """Draw pairs of texts of random length."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        texts = {
            name: [2, *draw.integers(4, 20, draw.integers(1, 20)).tolist(), 3]
            for name in ("chosen_ids", "rejected_ids")
        }
        rows.append(texts | {name: values[i] for name, values in columns.items()})
    return rows


def make_trainer(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], out: Path, kind: Any = None, **options: Any
) -> Any:
    """Make our trainer, or one of another kind, on the CPU; ``settings`` are TRL's arguments."""
    from datasets import Dataset
    from trl import RewardConfig

    from dissensus.integrations.trl import RewardTrainer

    settings = {
        "output_dir": str(out),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "logging_steps": 1,
        "learning_rate": 3e-3,
        "save_strategy": "no",
    } | options.pop("settings", {})
    kind = kind or RewardTrainer
    data = Dataset.from_list(rows)
    with pytest.MonkeyPatch.context() as patch:
        # Made, it would tell that it was.
        patch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *_, **__: None)
        return kind(model, RewardConfig(**settings), processing_class=tokenizer, train_dataset=data, **options)


def exact(model: Any, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Reckon the metrics of rows from each text's own reward."""
    model.eval()
    with torch.no_grad():
        rewards = np.array(
            [
                [model(input_ids=torch.tensor([row[name]])).logits.item() for name in ("chosen_ids", "rejected_ids")]
                for row in rows
            ]
        )
    gap = rewards[:, 0] - rewards[:, 1]
    return {
        "accuracy": float(np.mean((1 + np.sign(gap)) / 2)),
        "margin": float(gap.mean()),
        "mean_reward": float(rewards.mean()),
        "min_reward": float(rewards.min()),
        "max_reward": float(rewards.max()),
        "loss": float(np.mean(np.logaddexp(0, -gap))),
    }


def evaluate_everywhere(folder: str, out: str) -> None:
    """Evaluate and predict in this process, one of several; the first writes what was found."""
    from datasets import Dataset

    from dissensus.reward.text.backbone import load_backbone

    model, tokenizer = load_backbone(folder, new_head=False)
    rows = token_rows(11)
    expected = {n: exact(model, rows[:n]) for n in (3, 5, 8, 11)}
    trainer = make_trainer(model, tokenizer, rows, Path(out), settings={"per_device_eval_batch_size": 2})
    found = {n: trainer.evaluate(Dataset.from_list(rows[:n])) for n in expected}
    shape = list(trainer.predict(trainer.train_dataset).predictions.shape)
    if trainer.args.process_index == 0:
        content = {"expected": expected, "found": found, "processes": trainer.args.world_size, "shape": shape}
        Path(out).with_suffix(".json").write_text(json.dumps(content))
