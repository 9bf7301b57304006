"""Reporters of training: the names that transformers knows, and the package that each needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from dissensus.errors import ConfigError

REPORTERS = {
    "azure_ml": "azureml",
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "dvclive": "dvclive",
    "flyte": "flytekit",
    "mlflow": "mlflow",
    "neptune": "neptune",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Names to packages; ``all`` and ``none`` are names as well."""
_INSTEAD = {"tensorboard": ("tensorboardX",)}


def check_reporters(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is unknown, or whose package is not installed."""
    for name in names:
        if name in ("all", "none"):
            continue
        if name not in REPORTERS:
            raise ConfigError(f"--report-to {name}: expected one of {', '.join(REPORTERS)}, all or none")
        packages = (REPORTERS[name], *_INSTEAD.get(name, ()))
        if not any(importlib.util.find_spec(package) for package in packages):
            raise ConfigError(
                f"--report-to {name}: the package {packages[0]} is not installed; run: pip install {packages[0]}"
            )
