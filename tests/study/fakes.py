"""Pairs of a set, and pretended stages: models of a few bytes that hold what decides them, and their predictions."""

import contextlib
import json
from typing import Any

import pytest

from dissensus.files import write_records
from dissensus.hashing import fingerprint_of, number_of
from dissensus.records import Margin, Pair, Prediction
from dissensus.run_records import Counts, PredictCounts, TrainCounts
from dissensus.study import work
from dissensus.study.run_folder import MANIFEST, REPORT, TEST, margin_files, model_folder, predictions_file


def train(run, name, seed):
    """Write what would decide the model in place of its weights."""
    config, pairs = run.config.models[name], work.trained_pairs(run)
    settings = work.training_settings(run, name, seed)
    margins = run.load(margin_files(config.judge)[0], Margin) if config.reads_margins else []
    decided = [[pair.id for pair in pairs], [str(margin) for margin in margins], settings.training.deciding()]
    folder = run.folder / model_folder(name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(fingerprint_of(decided))
    (folder / "dissensus.json").write_text(json.dumps({"summary": {"pairs": len(pairs)}}))
    sweeps = run.config.sweep is not None and seed == run.config.seeds[0]
    return TrainCounts(pairs=len(pairs), steps=1, learning_rate=0.001 if sweeps else None)


def predict(run, name, models):
    """Draw predictions by the weights and the pair."""
    rows = []
    for seed, source in models.items():
        weights = (run.folder / source / "model.safetensors").read_bytes()
        for pair in run.load(TEST, Pair):
            share = (number_of(f"{weights!r} {pair.id}") % 99 + 1) / 100
            rows.append(
                Prediction(pair_id=pair.id, model=name, seed=seed, reward_a=share, reward_b=0, preference_a=share)
            )
    write_records(run.path(predictions_file(name)), rows)
    return PredictCounts(predictions=len(rows))


def report(run):
    """Write a page that shows the manifest, as the real one does."""
    run.path(REPORT).write_text((run.folder / MANIFEST).read_text())
    return Counts()


@contextlib.contextmanager
def fake_stages():
    """Pretend to train, to predict and to write the page."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in (train, predict, report):
            patch.setattr(work, stage.__name__, stage)
        yield


def some(name: str, prompts: int, per_prompt: int = 3, **fields: Any) -> list[Pair]:
    """Make labelled pairs of a set."""
    return [
        Pair(id=f"{name}-{i}-{j}", prompt=f"{name} {i}", response_a="a", response_b=f"b{j}", label="a", **fields)
        for i in range(prompts)
        for j in range(per_prompt)
    ]
