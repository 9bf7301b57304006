"""What a report shows: everything that a run's folder holds by now, and the names of what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dissensus.errors import EvaluationError, InputError
from dissensus.evaluate.join import Joined, join
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction
from dissensus.report.judged import Judged, Sources, load_judged

Log = Sequence[Mapping[str, Any]]
"""The rows of one training.jsonl."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunData:
    """A run, loaded; each part may be missing while the run is unfinished."""

    name: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    """The resolved settings, as YAML."""
    metrics: Sequence[Metric] = ()
    joined: Joined | None = None
    """Votes and predictions of the test pairs."""
    predictions: Sequence[Prediction] = ()
    """What ``joined`` was made from, with the rewards."""
    training: Sequence[Pair] = ()
    """The training pairs, with the votes that training did not see."""
    judged: Judged = field(default_factory=Judged)
    margins: Sequence[Margin] = ()
    logs: Mapping[str, Mapping[str, Log]] = field(default_factory=dict)
    """For each model and seed the rows of its training log."""
    missing: Sequence[str] = ()
    """What the folder lacks, in words."""
    folder: str = ""
    """Where it was loaded from."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the manifest has noted; empty where it has none."""
        config = self.manifest.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """The reward models of the settings, with their own settings."""
        models = self.settings.get("models")
        return {name: own for name, own in models.items() if isinstance(own, dict)} if isinstance(models, dict) else {}

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The settings of the evaluation."""
        found = self.settings.get("evaluation")
        return found if isinstance(found, dict) else {}

    @property
    def level(self) -> float:
        """The coverage of the intervals: as set, or what is used where nothing is."""
        level = self.evaluation.get("level")
        return level if isinstance(level, float) and 0 < level < 1 else 0.95

    def counts(self, stage: str) -> Mapping[str, Any]:
        """What a stage has counted; empty where it has not run."""
        found = (row.get("counts") for row in self.manifest.get("stages") or [] if row.get("name") == stage)
        return next((counts for counts in found if isinstance(counts, dict)), {})


def load_run(folder: Path) -> RunData:
    """Load what a study's folder holds, or one with the files of an evaluation alone.

    Such a folder has ``scores.json``, and beside it pairs and predictions where single pairs are to be shown.

    Raises:
        InputError: the folder is no run folder, or a file in it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that 'dissensus study --out' wrote")
    is_study = (folder / "manifest.json").is_file() or (folder / "study.yaml").is_file()
    if not is_study and not (folder / "scores.json").is_file():
        raise InputError(
            f"{folder}: neither manifest.json nor study.yaml is here, nor scores.json, so this is not a run; "
            "give the folder that 'dissensus study --out' wrote"
        )
    missing: list[str] = []

    def part(path: Path, what: str, read: Callable[[Path], _T], *, of_study: bool = True) -> _T | None:
        if path.exists():
            return read(path)
        if is_study or not of_study:
            missing.append(f"{what} ({path.relative_to(folder)})")
        return None

    manifest = part(folder / "manifest.json", "the manifest", _read_object) or {}
    config = part(folder / "study.yaml", "the settings", lambda path: path.read_text(encoding="utf-8")) or ""
    margins = part(folder / "margins.parquet", "the margins", _read_margins) or []
    logs = part(folder / "models", "the trained models", _read_logs) or {}
    pairs = part(_first_of(folder, _PAIRS), "the test pairs", _read_pairs, of_study=False)
    predictions = part(_first_of(folder, _PREDICTIONS), "the predictions", _read_predictions, of_study=False)
    noted = RunData(name="", manifest=manifest)
    missing += _untrained(folder, noted)
    metrics = part(folder / "scores.json", "the scores", _read_metrics, of_study=False) or []
    gold = folder / "pairs" / "train_votes.parquet"
    training = _read_pairs(gold) if gold.exists() else []
    store = _store(folder, manifest)
    if store is None and is_study:
        missing.append("the judgments (judgments.db)")
    judgments = _read_judgments(folder / "judged")
    known = noted.counts("judge").get("judge")
    sources = Sources(store, judgments, None if known is None else str(known))
    judged = load_judged(sources, training, pairs or [], level=noted.level)
    return RunData(
        name=str(manifest.get("name") or folder.resolve().name),
        manifest=manifest,
        config=config,
        metrics=metrics,
        joined=_join(folder, pairs, predictions) if pairs and predictions else None,
        predictions=predictions or [],
        training=training,
        judged=judged,
        margins=margins,
        logs=logs,
        missing=missing,
        folder=str(folder),
    )


_PAIRS = ("pairs/test.parquet", "pairs.parquet", "pairs.jsonl", "pairs.csv")
_PREDICTIONS = ("predictions", "predictions.parquet", "predictions.jsonl")


def _first_of(folder: Path, names: Sequence[str]) -> Path:
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def _store(folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """The run's own store of judgments, or the one that its settings name; None where neither is there."""
    judge = (manifest.get("config") or {}).get("judge") or {}
    named = [judge["store"]] if isinstance(judge, dict) and isinstance(judge.get("store"), str) else []
    return next((path for path in (folder / "judgments.db", *map(Path, named)) if path.is_file()), None)


def _untrained(folder: Path, run: RunData) -> list[str]:
    """Name the models of the settings that are not trained, or have not predicted, by now."""
    seeds = run.settings.get("seeds")
    wanted = [
        (f"the model {name}, seed {seed}", f"models/{name}/seed-{seed}")
        for name in run.models
        for seed in (seeds if isinstance(seeds, list) else [])
        if (folder / "models").is_dir()
    ]
    if (folder / "predictions").is_dir():
        wanted += [(f"the predictions of {name}", f"predictions/{name}.parquet") for name in run.models]
    return [f"{what} ({path})" for what, path in wanted if not (folder / path).exists()]


def _join(folder: Path, pairs: list[Pair], predictions: list[Prediction]) -> Joined:
    try:
        return join(pairs, predictions)
    except EvaluationError as error:
        raise InputError(f"{folder}: {error}") from error


def _read_pairs(path: Path) -> list[Pair]:
    from dissensus.files import read_records

    return list(read_records(path, Pair))


def _read_margins(path: Path) -> list[Margin]:
    from dissensus.files import read_records

    return list(read_records(path, Margin))


def _read_predictions(path: Path) -> list[Prediction]:
    from dissensus.files import read_records

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return [row for file in files for row in read_records(file, Prediction)]


def _read_judgments(folder: Path) -> list[Judgment]:
    from dissensus.files import read_records

    return [row for file in sorted(folder.glob("*.parquet")) for row in read_records(file, Judgment)]


def _read_logs(folder: Path) -> dict[str, dict[str, Log]]:
    logs: dict[str, dict[str, Log]] = {}
    for path in sorted(folder.glob("*/seed-*/training.jsonl")):
        logs.setdefault(path.parts[-3], {})[path.parts[-2].removeprefix("seed-")] = _read_log(path)
    return logs


def _read_log(path: Path) -> Log:
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break  # A training that is still running, or was killed, may leave half a line.
            raise InputError(f"{path}:{number}: not a JSON object ({error.msg}); train the model again") from error
    return rows


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); run the study again") from error


def _read_object(path: Path) -> dict[str, Any]:
    value = _read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object, found a {type(value).__name__}; run the study again")
    return value


def _read_metrics(path: Path) -> list[Metric]:
    rows = _read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of metrics; run 'dissensus evaluate' again")
    try:
        return TypeAdapter(list[Metric]).validate_python(rows)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: not a metric: {where}: {first['msg']}; run 'dissensus evaluate' again") from error
