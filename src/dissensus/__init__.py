"""Reward models that know when people disagree."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dissensus.evaluate.evaluation import evaluate_predictions
    from dissensus.files import read_pairs, read_records, to_frame, write_records
    from dissensus.margins import margins_from_judgments
    from dissensus.records import Judgment, Margin, Metric, Pair, Prediction, Votes
    from dissensus.reward.config import TrainConfig
    from dissensus.reward.serving.reward_model import RewardModel
    from dissensus.reward.training.run import train

__version__ = "0.1.0"

_HOME = {
    "Judgment": "records",
    "Margin": "records",
    "Metric": "records",
    "Pair": "records",
    "Prediction": "records",
    "RewardModel": "reward.serving.reward_model",
    "TrainConfig": "reward.config",
    "Votes": "records",
    "evaluate_predictions": "evaluate.evaluation",
    "margins_from_judgments": "margins",
    "read_pairs": "files",
    "read_records": "files",
    "to_frame": "files",
    "train": "reward.training.run",
    "write_records": "files",
}

__all__ = [
    "Judgment",
    "Margin",
    "Metric",
    "Pair",
    "Prediction",
    "RewardModel",
    "TrainConfig",
    "Votes",
    "evaluate_predictions",
    "margins_from_judgments",
    "read_pairs",
    "read_records",
    "to_frame",
    "train",
    "write_records",
]


_SUBMODULES = (
    "aggregation",
    "annotate",
    "errors",
    "evaluate",
    "files",
    "judge",
    "integrations",
    "margins",
    "records",
    "report",
    "reward",
    "simulate",
    "sources",
    "stats",
    "study",
    "taxonomy",
    "text",
)


_TRAIN = ("torch", "transformers", "accelerate")
_NEEDS = {"RewardModel": _TRAIN, "train": _TRAIN}
"""Packages of extras without which a name cannot be imported."""


def __getattr__(name: str) -> Any:
    """Import a public name or a submodule when it is first used, so that the command line starts without torch."""
    if name in _SUBMODULES:
        return importlib.import_module(f"dissensus.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'dissensus' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dissensus.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List what is public: the names and the submodules, and not what the package itself imports.

    What needs an extra that is not installed is left out: ``help`` and ``inspect`` get everything that stands here.
    Asked for by name, it raises an error that names the package: of an AttributeError, ``from dissensus import`` would
    drop the words.
    """
    lacking = [name for name, needs in _NEEDS.items() if not all(map(importlib.util.find_spec, needs))]
    return sorted({*__all__, *_SUBMODULES, "__version__"} - {*lacking})
