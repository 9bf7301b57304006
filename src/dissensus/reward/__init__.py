"""Training reward models on preferences, and predicting with them."""

from dissensus.reward.config import Runtime, TrainConfig

__all__ = ["Runtime", "TrainConfig"]
