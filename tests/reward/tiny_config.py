"""Settings under which a tiny model learns within a test, and runs that are killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from dissensus.records import Pair
from dissensus.reward.config import TrainConfig


def tiny_config(model: Path, **changes: Any) -> TrainConfig:
    """Train one model in single precision, for two epochs, without a length covariate; or as ``changes`` say."""
    settings: dict[str, Any] = {
        "model": str(model),
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "max_length": 32,
        "precision": "fp32",
        "length_covariate": False,
        "members": 1,
    }
    return TrainConfig(**{**settings, **changes})


def changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Make a config with other settings, those of the run among them."""
    return TrainConfig.model_validate({**config.model_dump(), **changes})


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def train_until_killed(
    pairs: list[Pair], config: TrainConfig, out: Path, *, step: int = 0, within: str = "training_step", **options: Any
) -> None:
    """Train to a step and stop within a method of the trainer; the checkpoints before it are kept."""
    from dissensus.reward.training.run import train
    from dissensus.reward.training.trainer import PairTrainer

    inner = getattr(PairTrainer, within)

    def dies(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step >= step:
            raise KeyboardInterrupt
        return inner(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairTrainer, within, dies)
        with pytest.raises(KeyboardInterrupt):
            train(pairs, config, out, progress=False, **options)
    assert not out.exists()
