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
from dissensus.records import Margin, Metric, Pair, Prediction

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
    margins: Sequence[Margin] = ()
    logs: Mapping[str, Mapping[str, Log]] = field(default_factory=dict)
    """For each model and seed the rows of its training log."""
    missing: Sequence[str] = ()
    """What the folder lacks, in words."""


def load_run(folder: Path) -> RunData:
    """Load what a study's folder holds.

    Raises:
        InputError: the folder is no run folder, or a file in it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that 'dissensus study --out' wrote")
    if not (folder / "manifest.json").is_file() and not (folder / "study.yaml").is_file():
        raise InputError(
            f"{folder}: neither manifest.json nor study.yaml is here, so this is not a run; "
            "give the folder that 'dissensus study --out' wrote"
        )
    missing: list[str] = []

    def part(path: Path, what: str, read: Callable[[Path], _T]) -> _T | None:
        if path.exists():
            return read(path)
        missing.append(f"{what} ({path.relative_to(folder)})")
        return None

    manifest = part(folder / "manifest.json", "the manifest", _read_object) or {}
    config = part(folder / "study.yaml", "the settings", lambda path: path.read_text(encoding="utf-8")) or ""
    margins = part(folder / "margins.parquet", "the margins", _read_margins) or []
    logs = part(folder / "models", "the trained models", _read_logs) or {}
    pairs = part(folder / "pairs" / "test.parquet", "the test pairs", _read_pairs)
    predictions = part(folder / "predictions", "the predictions", _read_predictions)
    metrics = part(folder / "scores.json", "the scores", _read_metrics) or []
    joined = _join(folder, pairs, predictions) if pairs and predictions else None
    name = str(manifest.get("name") or folder.resolve().name)
    return RunData(name, manifest, config, metrics, joined, margins, logs, missing)


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


def _read_predictions(folder: Path) -> list[Prediction]:
    from dissensus.files import read_records

    return [row for path in sorted(folder.glob("*.parquet")) for row in read_records(path, Prediction)]


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
