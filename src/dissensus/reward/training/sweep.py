"""A sweep: one resumable run for each learning rate, or combination of settings, the best on validation kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import TrainerCallback

from dissensus.errors import ConfigError, TrainingError
from dissensus.files import write_json, write_text
from dissensus.files.locks import sole_writer
from dissensus.records import Margin, Pair
from dissensus.reward.choices import Chosen, Metric, Value, combinations, steps_of, with_chosen
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import LOG_FILE, TrainSummary, last_validation, read_log
from dissensus.reward.notices import said_once
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.text.train_data import divide_targets
from dissensus.reward.training.checkpoints import REPORTS
from dissensus.reward.training.run import train
from dissensus.reward.training.run_identity import RunIdentity
from dissensus.versions import stamped, unreadable, without_stamp

SWEEP_FILE = "sweep.json"
SWEEP_LOGS = "sweep"
"""In a model's folder: the log of each run."""


@dataclass(frozen=True)
class SweptRun:
    """What one learning rate, or one combination of settings, came to on validation."""

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
    calibrated_nll: float | None = None
    """``nll`` after a temperature that was fitted to the same labels."""
    settings: Chosen = field(default_factory=dict)
    """Those that are chosen, the learning rate among them where it is."""

    def value(self, metric: Metric) -> float | None:
        """Return what it is chosen by, lower being better; None where it failed."""
        found = {"nll": self.nll, "calibrated-nll": self.calibrated_nll, "accuracy": self.accuracy}[metric]
        return found if found is None or metric != "accuracy" else -found


@dataclass(frozen=True)
class SweepSummary:
    """All runs, and the one that was kept."""

    metric: Metric
    rates: list[SweptRun]
    best: float
    """Its learning rate."""
    patience: int = 1
    chosen: Chosen = field(default_factory=dict)
    """Its settings among those that are chosen."""
    among: dict[str, list[Value]] = field(default_factory=dict)
    """What was chosen from."""
    most: int = 16


class StopEarly(TrainerCallback):  # type: ignore[misc]
    """Stops a run whose validation NLL has been above its lowest for ``patience`` epochs; with ``calibrated`` that
    after a fitted temperature."""

    def __init__(self, patience: int, *, calibrated: bool = False) -> None:
        self.patience, self.key = patience, "eval_calibrated_nll" if calibrated else "eval_nll"

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the whole log, which a resumed run brings along."""
        curve = [entry[self.key] for entry in state.log_history if self.key in entry]
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
    choose: Mapping[str, Sequence[Value]] | None = None,
    most: int = 16,
    metric: Metric = "nll",
    patience: int = 1,
    margins: Sequence[Margin] | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> SweepSummary:
    """Train with each learning rate, or combination of settings, and keep the best on validation as ``out``.

    Runs live in ``out``.sweep, one folder each, those of another patience apart: killed anywhere, the same call goes
    on, and nothing is trained twice. A run is judged by its model as saved, so after its last epoch, and stopped when
    its validation NLL has been above its lowest for ``patience`` epochs. A run whose loss overflows, or whose targets
    its objective cannot take, counts as failed. Of equals that with the lower rate is kept, then the first.

    Args:
        pairs: those of `train`, as are the arguments that are not named here.
        config: what all runs share.
        rates: learning rates; may be empty where something else is chosen.
        out: the model's folder.
        choose: other settings of `TrainConfig` to the values that are tried.
        most: with more combinations, settings are chosen one after the other, each with what was chosen before it, and
            with those of ``config`` for what is chosen after it.
        metric: what the best is chosen by. All are of the held-out labels: votes choose nothing. ``calibrated-nll`` is
            after a temperature fitted to the same labels; one number fitted to n labels lowers their NLL by about
            1/(2n), alike for all runs.
        patience: epochs.

    Raises ConfigError where ``config`` holds nothing out for validation, TrainingError where every run failed,
    OutputError where another process is writing it.
    """
    out = Path(out)
    # A choice needs what it is made on, however little.
    config = config.model_copy(update={"validation": config.held_share})
    if not config.held_share:
        raise ConfigError("a sweep chooses on held-out prompts; set validation, for example --validation 0.1")
    among: dict[str, list[Value]] = {"learning_rate": sorted(rates, reverse=True)} if rates else {}
    among |= {name: list(values) for name, values in (choose or {}).items()}
    asked = SweepSummary(metric, [], config.rate, patience, among=among, most=most)
    with sole_writer(out), said_once():
        folder = out.with_name(out.name + ".sweep")
        learn = partial(train, pairs, margins=margins, allow_missing=allow_missing, progress=progress)
        if (done := _finished(out, asked)) is not None:
            try:
                # Another config or other data is found out, and refused, where a single run would be.
                learn(with_chosen(config, done.chosen), out)
            except ConfigError:
                if not overwrite:
                    raise
            else:
                shutil.rmtree(folder, ignore_errors=True)
                return done
        if out.exists() and not overwrite:
            raise ConfigError(f"{out} exists, and is not this sweep; choose another --out, or pass --overwrite")
        calibrated = metric == "calibrated-nll"
        runs = folder / f"patience-{patience}{'-calibrated' if calibrated else ''}"
        trainer = partial(learn, overwrite=overwrite, callbacks=[StopEarly(patience, calibrated=calibrated)])

        def learn_one(config: TrainConfig, place: Path) -> SweptRun:
            try:
                every = build_targets(pairs, margins, config, allow_missing=allow_missing)
                targets = divide_targets(every, config).whole
            except TrainingError as error:
                if among.keys() <= {"learning_rate"}:
                    raise  # What is wrong is not the rate.
                return SweptRun(config.rate, None, None, 0.0, 0.0, failed=str(error))
            # A failure says nothing of other data.
            return _try(config, place, RunIdentity(targets, config).fingerprint, trainer)

        tried, best = _choose(config, asked, runs, learn_one)
        summary = replace(asked, rates=tried, best=best.learning_rate, chosen=best.settings)
        _keep(runs / _folder_of(best.settings), out, folder, summary)
        return summary


def _choose(
    config: TrainConfig, asked: SweepSummary, runs: Path, learn: Callable[[TrainConfig, Path], SweptRun]
) -> tuple[list[SweptRun], SweptRun]:
    """Train every combination, or one setting's values after the other's; returns all runs and the best."""
    tried: dict[str, SweptRun] = {}
    chosen: Chosen = {name: getattr(config, name) for name in asked.among}
    for step in steps_of(asked.among, asked.most):
        names = {_folder_of(chosen | one): chosen | one for one in combinations(step)}
        for name, settings in names.items():
            if name not in tried:
                tried[name] = replace(learn(with_chosen(config, settings), runs / name), settings=settings)
        ranked = [
            (value, row.learning_rate, place)
            for place, row in enumerate(map(tried.__getitem__, names))
            if row.failed is None and (value := row.value(asked.metric)) is not None
        ]
        if not ranked:
            first = tried[next(iter(names))].failed or f"it has no validation {asked.metric}"
            if list(asked.among) == ["learning_rate"]:
                raise TrainingError(f"every learning rate failed; the first: {first}; try lower rates")
            raise TrainingError(f"every run failed; the first: {first}")
        best = tried[list(names)[min(ranked)[2]]]
        chosen = best.settings
    return list(tried.values()), best


def _folder_of(settings: Chosen) -> str:
    """Name the folder of a run.

    >>> _folder_of({"learning_rate": 1e-4, "label_weight": 0.2})
    'lr-0.0001_label_weight-0.2'
    """
    return "_".join(
        f"lr-{value:.3g}" if name == "learning_rate" else f"{name}-{value}" for name, value in settings.items()
    )


def _try(config: TrainConfig, folder: Path, fingerprint: str, learn: Callable[..., TrainSummary]) -> SweptRun:
    failure = folder.with_name(folder.name + ".failed.json")
    if (failed := _failed(failure, fingerprint)) is not None:
        return failed
    rate = config.rate
    try:
        summary = learn(config, folder)
    except TrainingError as error:
        if not any(folder.with_name(folder.name + suffix).is_dir() for suffix in (".part", ".members")):
            raise  # It never began: what is wrong is not what is chosen.
        row = SweptRun(rate, None, None, 0.0, 0.0, failed=str(error))
        write_json(failure, {"fingerprint": fingerprint, "rate": asdict(row)})
        return row
    last = last_validation(read_log(folder))
    if last is None:
        raise TrainingError(
            f"{config.held_share:g} of the prompts hold no pair with a label a or b to choose on; raise --validation"
        )
    return SweptRun(
        rate,
        last.validation_nll,
        last.validation_accuracy,
        last.epoch,
        summary.seconds,
        calibrated_nll=last.validation_calibrated_nll,
    )


def _failed(file: Path, fingerprint: str) -> SweptRun | None:
    """Read the failure of the same run; None where there is none, or one that this version cannot read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return SweptRun(**content["rate"]) if content["fingerprint"] == fingerprint else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _finished(out: Path, asked: SweepSummary) -> SweepSummary | None:
    """Return the summary of the same sweep where it is done: its table is written last."""
    path = out / SWEEP_FILE
    if not path.is_file():
        return None
    found = read_sweep(path)
    same = (found.metric, found.patience, found.among) == (asked.metric, asked.patience, asked.among)
    return found if same and (found.most == asked.most or len(asked.among) < 2) else None


def read_sweep(path: Path) -> SweepSummary:
    """Read the table of a sweep; one of an earlier version has learning rates alone.

    Raises InputError for a damaged or a newer one.
    """
    content: Any = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _table_of(without_stamp(content))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, content, "not the table of a sweep; sweep again with --overwrite") from error


def _table_of(content: dict[str, Any]) -> SweepSummary:
    rows = [SweptRun(**row) for row in content.pop("rates")]
    rows = [row if row.settings else replace(row, settings={"learning_rate": row.learning_rate}) for row in rows]
    content.setdefault("chosen", {"learning_rate": content["best"]})
    content.setdefault("among", {"learning_rate": sorted((row.learning_rate for row in rows), reverse=True)})
    return SweepSummary(rates=rows, **content)


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
        write_json(run / SWEEP_FILE, stamped(asdict(summary)))
        run.rename(out)
        shutil.rmtree(folder)
    processes.wait_for_everyone()
