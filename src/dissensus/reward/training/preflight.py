"""Checks before torch is loaded, which takes seconds: faults of settings and data, or a finished result."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from dissensus.errors import ConfigError, InputError, MissingDependencyError, OutputError
from dissensus.records import Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.length_covariate import no_covariate
from dissensus.reward.model_record import TrainSummary, ensemble_on_hub, find_record, model_folders
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.serving.calibration import load_calibration, not_calibrated
from dissensus.reward.text.train_data import divide_targets, fill_in
from dissensus.reward.training.run_identity import RunIdentity, find_finished
from dissensus.text.encoder import resolve_model
from dissensus.text.pretrained import check_folder, explained

REPORTERS = (
    "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "mlflow", "neptune", "swanlab",
    "tensorboard", "trackio", "wandb",
)  # fmt: skip
"""Reporters that transformers knows; ``all`` and ``none`` are names as well."""
_PACKAGES = {"azure_ml": ("azureml",), "flyte": ("flytekit",), "tensorboard": ("tensorboard", "tensorboardX")}
"""What a reporter needs, one of them, where that is not called as it is."""
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def check_reporters(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is unknown, or whose package is not installed."""
    for name in sorted({*names} - {"all", "none"}):
        if name not in REPORTERS:
            raise ConfigError(f"--report-to {name}: expected one of {', '.join(REPORTERS)}, all or none")
        packages = _PACKAGES.get(name, (name,))
        if not any(map(importlib.util.find_spec, packages)):
            missing = packages[0]
            raise ConfigError(f"--report-to {name}: the package {missing} is not installed; run: pip install {missing}")


def check_settings(config: TrainConfig, out: Path) -> None:
    """Look at what needs no data: reporters, backbone, packages and the place to write to.

    Raises ConfigError, InputError, MissingDependencyError or OutputError.
    """
    check_reporters(config.runtime.report_to)
    check_model(config.model)
    if len(members := model_folders(Path(resolve_model(config.model)))) > 1:
        raise InputError(f"{config.model} is the mean of {len(members)} models; train one of them on: {members[0]}")
    if config.lora_rank is not None and importlib.util.find_spec("peft") is None:
        raise MissingDependencyError("peft", extra="lora", need="training low-rank adapters")
    if (file := next((parent for parent in out.parents if parent.is_file()), None)) is not None:
        raise OutputError(f"{out}: {file} is a file and no folder; choose another --out")


def refuse_ensemble_on_hub(model: str) -> None:
    """Raise InputError where a model that could not be loaded from the Hub is an ensemble that keeps its members."""
    if (record := ensemble_on_hub(model)) is not None:
        raise InputError(
            f"{model} is the mean of {record.config.members} models; fetch it with 'hf download {model} --local-dir "
            "DIR' and train one of them on: DIR/member-1"
        )


def check_data(
    pairs: Sequence[Pair],
    margins: Sequence[Margin] | None,
    config: TrainConfig,
    out: Path,
    *,
    allow_missing: bool = False,
    overwrite: bool = False,
) -> TrainSummary | None:
    """Build the targets and look for the result: return its summary where the run is finished already.

    Raises TrainingError for data that the objective cannot use, ConfigError where ``out`` holds another run.
    """
    targets = build_targets(pairs, margins, config, allow_missing=allow_missing)
    config = fill_in(targets, config)
    division = divide_targets(targets, config)
    return None if overwrite else find_finished(out, RunIdentity(division.whole, config), overwrite=False)


def check_calibrated(model: str, name: str) -> None:
    """Raise InputError for the folder of a model that has no calibration; a model on the Hub is not looked at."""
    folder = Path(resolve_model(model))
    if folder.is_dir() and load_calibration(folder) is None:
        raise InputError(not_calibrated(name))


def check_debiased(model: str, name: str) -> None:
    """Raise InputError for the folder of a model without a length covariate; one on the Hub is not looked at."""
    folder = Path(resolve_model(model))
    if folder.is_dir():
        record = find_record(folder)
        if record is None or record.summary is None or record.summary.length_slope is None:
            raise InputError(no_covariate(name))


def check_model(model: str) -> None:
    """Raise InputError for the name of a model that is no folder of one, nor could be an id on the Hub."""
    remedy = "give a folder, a Hub id or 'minilm'"
    with explained(f"cannot load model '{model}'", remedy):
        folder = Path(resolve_model(model))
        if folder.is_dir():
            for one in model_folders(folder):
                check_folder(one)
        elif folder.exists() or not _HUB_ID.fullmatch(model):
            raise InputError(f"{'it is a file' if folder.exists() else 'no such folder'}; {remedy}")
