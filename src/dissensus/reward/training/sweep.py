"""A learning-rate sweep: one resumable run for each rate, the best on validation kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import PartialState
from transformers import TrainerCallback

from dissensus.errors import ConfigError, TrainingError
from dissensus.files import write_json, write_text
from dissensus.files.locks import sole_writer
from dissensus.records import Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import LOG_FILE, TrainSummary, last_validation, read_log
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.text.train_data import divide_targets
from dissensus.reward.training.checkpoints import REPORTS
from dissensus.reward.training.run import train
from dissensus.reward.training.run_identity import RunIdentity

SWEEP_FILE = "sweep.json"
SWEEP_LOGS = "sweep"
"""In a model's folder: the log of each rate."""
Metric = Literal["nll", "accuracy"]


@dataclass(frozen=True)
class SweptRate:
    """What one learning rate came to on validation."""

    learning_rate: float
    nll: float | None
    """Plain Bradley-Terry NLL of the validation labels after the last epoch that was trained: that of the saved model.
    None where the run failed."""
    accuracy: float | None
    epochs: float
    """Epochs trained; fewer than asked for where the run was stopped early."""
    seconds: float
    failed: str | None = None
    """Why the run gave no model."""


@dataclass(frozen=True)
class SweepSummary:
    """All rates, and the one that was kept."""

    metric: Metric
    rates: list[SweptRate]
    best: float
    patience: int = 1


class StopEarly(TrainerCallback):  # type: ignore[misc]
    """Stops a run whose validation NLL has been above its lowest for ``patience`` epochs."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the whole log, which a resumed run brings along."""
        curve = [entry["eval_nll"] for entry in state.log_history if "eval_nll" in entry]
        if curve and len(curve) - 1 - int(np.argmin(curve)) >= self.patience:
            control.should_training_stop = True
            # A checkpoint of this step would go on with the next epoch, if the run were killed before it is saved.
            control.should_save = False


def sweep(
    pairs: Sequence[Pair],
    config: TrainConfig,
    rates: Sequence[float],
    out: str | Path,
    *,
    metric: Metric = "nll",
    patience: int = 1,
    margins: Sequence[Margin] | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> SweepSummary:
    """Train with each learning rate and keep the model that is best on validation as ``out``.

    Runs live in ``out``.sweep, one folder a rate, those of another patience apart: killed anywhere, the same call goes
    on, and no rate is trained twice. A rate is judged by its model as saved, so after its last epoch, and stopped when
    its validation NLL has been above its lowest for ``patience`` epochs. A rate whose loss overflows counts as failed.
    Of equals the lower rate is kept. The other arguments are those of `train`.

    Raises ConfigError where ``config`` holds nothing out for validation, TrainingError where every rate failed,
    OutputError where another process is writing it.
    """
    out = Path(out)
    # A choice needs what it is made on, however little.
    config = config.model_copy(update={"validation": config.held_share})
    if not config.held_share:
        raise ConfigError("a sweep chooses on held-out prompts; set validation, for example --validation 0.1")
    with sole_writer(out):
        folder = out.with_name(out.name + ".sweep")
        learn = partial(train, pairs, margins=margins, allow_missing=allow_missing, progress=progress)
        if (done := _finished(out, metric, rates, patience)) is not None:
            try:
                # Another config or other data is found out, and refused, where a single run would be.
                learn(config.model_copy(update={"learning_rate": done.best}), out)
            except ConfigError:
                if not overwrite:
                    raise
            else:
                shutil.rmtree(folder, ignore_errors=True)
                return done
        if out.exists() and not overwrite:
            raise ConfigError(f"{out} exists, and is not this sweep; choose another --out, or pass --overwrite")
        runs, tried = folder / f"patience-{patience}", []
        targets = divide_targets(build_targets(pairs, margins, config, allow_missing=allow_missing), config).whole
        learn_rate = partial(learn, overwrite=overwrite, callbacks=[StopEarly(patience)])
        for rate in sorted(rates, reverse=True):
            run = config.model_copy(update={"learning_rate": rate})
            # A failure says nothing of other data.
            tried.append(_try(run, runs / f"lr-{rate:.3g}", RunIdentity(targets, run).fingerprint, learn_rate))
        ranked = [
            (row.nll if metric == "nll" else -(row.accuracy or 0.0), row.learning_rate)
            for row in tried
            if row.failed is None and row.nll is not None
        ]
        if not ranked:
            raise TrainingError(f"every learning rate failed; the first: {tried[0].failed}; try lower rates")
        _, best = min(ranked)
        summary = SweepSummary(metric, tried, best, patience)
        _keep(runs / f"lr-{best:.3g}", out, folder, summary)
        return summary


def _try(config: TrainConfig, folder: Path, fingerprint: str, learn: Callable[..., TrainSummary]) -> SweptRate:
    failure = folder.with_suffix(".failed.json")
    if failure.is_file() and (content := json.loads(failure.read_text())).get("fingerprint") == fingerprint:
        return SweptRate(**content["rate"])
    rate = config.learning_rate
    try:
        summary = learn(config, folder)
    except TrainingError as error:
        if not any(folder.with_name(folder.name + suffix).is_dir() for suffix in (".part", ".members")):
            raise  # It never began: what is wrong is not the rate.
        row = SweptRate(rate, None, None, 0.0, 0.0, failed=str(error))
        write_json(failure, {"fingerprint": fingerprint, "rate": asdict(row)})
        return row
    last = last_validation(read_log(folder))
    if last is None:
        raise TrainingError(
            f"{config.held_share:g} of the prompts hold no pair with a label a or b to choose on; raise --validation"
        )
    return SweptRate(rate, last.validation_nll, last.validation_accuracy, last.epoch, summary.seconds)


def _finished(out: Path, metric: Metric, rates: Sequence[float], patience: int) -> SweepSummary | None:
    """Return the summary of the same sweep where it is done: its table is written last."""
    path = out / SWEEP_FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    found = sorted(row["learning_rate"] for row in content["rates"])
    if (content["metric"], content.get("patience", 1), found) != (metric, patience, sorted(rates)):
        return None
    return SweepSummary(metric, [SweptRate(**row) for row in content["rates"]], content["best"], patience)


def _keep(run: Path, out: Path, folder: Path, summary: SweepSummary) -> None:
    """Give the best model its name and the table; then the other runs go."""
    processes, logs = PartialState(), run / SWEEP_LOGS
    if processes.is_main_process:
        if out.exists():
            shutil.rmtree(out)
        for log in run.parent.glob(f"*/{LOG_FILE}"):
            # The curves of all rates stay, their weights do not.
            write_text(logs / f"{log.parent.name}.jsonl", log.read_text(encoding="utf-8"))
        for reports in run.parent.glob(f"*/{REPORTS}"):
            # So do reports, those of rates that failed included; the best one's are where a single run has them.
            if reports.parent != run:
                shutil.copytree(reports, logs / reports.parent.name.removesuffix(".part"), dirs_exist_ok=True)
        write_json(run / SWEEP_FILE, asdict(summary))
        run.rename(out)
        shutil.rmtree(folder)
    processes.wait_for_everyone()
