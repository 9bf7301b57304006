"""Settings under which a tiny model learns within a test."""

from pathlib import Path
from typing import Any

from dissensus.reward.config import TrainConfig


def tiny_config(model: Path, **changes: Any) -> TrainConfig:
    """Train in single precision, for two epochs; ``changes`` are settings instead of these."""
    settings: dict[str, Any] = {
        "model": str(model),
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "max_length": 32,
        "precision": "fp32",
    }
    return TrainConfig(**{**settings, **changes})


def changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Make a config with other settings, those of the run among them."""
    return TrainConfig.model_validate({**config.model_dump(), **changes})
