"""Training reward models on preferences, and predicting with them."""

from dissensus.reward.config import Objective, TrainConfig

__all__ = ["Objective", "TrainConfig"]
