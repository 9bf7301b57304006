"""What decides a model is kept apart from how it is run: changes of the latter make no other run."""

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest

from dissensus.errors import ConfigError
from dissensus.records import Margin, Pair
from dissensus.reward.config import Runtime, TrainConfig
from dissensus.reward.model_record import RECORD_FILE, read_record
from dissensus.reward.objectives import OBJECTIVES
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train
from dissensus.reward.training.run_identity import RunIdentity, find_finished

from .tiny_config import changed, tiny_config, train_until_killed

RUN = {"tokens_per_batch": 64, "logging_steps": 3, "checkpoint_steps": 100, "fast": False}

_config = functools.partial(tiny_config, logging_steps=1, checkpoint_steps=2)


def _identity(pairs: list[Pair], margins: list[Margin] | None, config: TrainConfig) -> RunIdentity:
    return RunIdentity(build_targets(pairs, margins, config), config)


def _rewards(folder: Path, pairs: list[Pair]) -> Any:
    return RewardModel.load(folder).rewards([(pair.prompt, pair.response_a) for pair in pairs])


def test_a_killed_run_goes_on_under_other_run_settings(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    config = _config(tiny_bert)
    train(pairs, config, tmp_path / "whole", progress=False)
    train_until_killed(pairs, config, tmp_path / "m", step=3)
    moved = Path(shutil.copytree(tiny_bert, tmp_path / "elsewhere"))
    other = changed(config, **RUN, model=str(moved), label_weight=0.1)
    assert train(pairs, other, tmp_path / "m", progress=False).resumed_from == 2
    assert _rewards(tmp_path / "m", pairs) == pytest.approx(_rewards(tmp_path / "whole", pairs), abs=1e-3)
    # Finished, it is known again under the first settings and the second.
    for known in (config, other):
        assert train(pairs, known, tmp_path / "m", progress=False).resumed_from == 2


CHANGES: dict[str, Any] = {
    "learning_rate": 1e-3, "batch_size": 4, "batching": "prompt", "max_length": 16, "epochs": 3, "seed": 1,
    "dropout": 0.1, "precision": "auto", "center": 0.1, "validation": 0.2, "lora_rank": 2, "objective": "mean-variance",
}  # fmt: skip


def test_what_decides_weights_makes_another_run(tiny_bert: Path, pairs: list[Pair]):
    configs = [_config(tiny_bert), *(changed(_config(tiny_bert), **{name: CHANGES[name]}) for name in CHANGES)]
    assert len({_identity(pairs, None, config).fingerprint for config in configs}) == 1 + len(CHANGES)


def test_only_what_the_objective_reads_counts(tiny_bert: Path, pairs: list[Pair], margins: list[Margin]):
    others = [margin.model_copy(update={"margin": 0.5}) for margin in margins]
    unread = {"label_weight": 0.9, "margin_scale": 2.0, "margin_sign": "signed"}
    plain, margin = _config(tiny_bert), _config(tiny_bert, objective="margin")
    known = _identity(pairs, None, plain).fingerprint
    for config in (plain, plain.model_copy(update=unread)):
        for given in (None, margins, others):
            assert _identity(pairs, given, config).fingerprint == known
    prints = {
        _identity(pairs, given, margin.model_copy(update=change)).fingerprint
        for given in (margins, others)
        for change in ({}, {"margin_scale": 2.0}, {"label_weight": 0.9})
    }
    assert len(prints) == 4
    readers = {name for name in OBJECTIVES if TrainConfig(objective=name).reads_margins}
    assert readers == {"margin", "soft", "blend", "brier"}
    assert TrainConfig(objective="mean-variance", soft_targets=True).reads_margins


def test_a_model_of_before_is_known(tiny_bert: Path, tmp_path: Path):
    """Its record had the settings of the run among the others, and two that are gone (compile, atoms)."""
    record = Path(__file__).with_name("model_of_0_1.json")
    pairs = [
        Pair(id=f"p{i}", prompt=f"prompt {i // 2}", response_a="yes", response_b="no", label="ab"[i % 2])
        for i in range(4)
    ]
    margins = [Margin(pair_id=pair.id, margin=0.5, preference_a=0.75) for pair in pairs]
    config = read_record(record).config
    assert config.runtime == Runtime(
        tokens_per_batch=512, gradient_checkpointing=True, fast=False, logging_steps=3, checkpoint_steps=7
    )
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "m"))
    shutil.copy(record, folder / RECORD_FILE)
    found = find_finished(folder, _identity(pairs, margins, config), overwrite=False)
    assert found is not None
    assert (found.steps, found.temperature) == (2, 1.2)
    assert RewardModel.load(folder).layout.reason == "switched off"


def test_a_message_names_what_changed(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    config = _config(tiny_bert, validation=0.34)
    train_until_killed(pairs, config, tmp_path / "m", step=3)
    other = changed(config, learning_rate=1e-3, logging_steps=2)
    expected = r"or pass --overwrite \(learning_rate was 0.003, is 0.001\)$"
    with pytest.raises(ConfigError, match=r"checkpoint-2 is a checkpoint of another config.*" + expected):
        train(pairs, other, tmp_path / "m", progress=False)
    train(pairs, config, tmp_path / "m", progress=False)
    with pytest.raises(ConfigError, match="m holds a model of another config.*" + expected):
        train(pairs, other, tmp_path / "m", progress=False)
    calibrated = config.model_copy(update={"calibration": "platt"})
    with pytest.raises(ConfigError, match="with calibration 'temperature'; fit another with 'dissensus calibrate'"):
        train(pairs, calibrated, tmp_path / "m", progress=False)


@pytest.mark.parametrize("left", ["{", "[]", '{"config": []}', "3"])
def test_settings_that_are_damaged_are_those_of_another_run(tiny_bert, pairs, tmp_path, left):
    identity = _identity(pairs, None, _config(tiny_bert))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / RECORD_FILE).write_text(left)
    with pytest.raises(ConfigError, match=r"holds a model of another config.* or pass --overwrite"):
        find_finished(tmp_path / "m", identity, overwrite=False)
    assert find_finished(tmp_path / "m", identity, overwrite=True) is None
    assert not (tmp_path / "m").exists()
