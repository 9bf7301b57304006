"""The files of a run's folder, read; each raises InputError with the file and what is wrong in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dissensus.errors import InputError
from dissensus.files import read_pairs as read_any_pairs
from dissensus.files import read_records
from dissensus.records import Metric, Pair

Log = Sequence[Mapping[str, Any]]
"""The rows of one training.jsonl."""

_DRAWN = ("step", "epoch", "nll", "accuracy", "validation_nll", "validation_accuracy")
_MOST_VOTES = 2**53
_LARGEST = 1e9
"""No metric of a preference comes near; what is larger breaks drawings and says nothing."""


def read_text(path: Path) -> str:
    """Read a text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); write the file again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error


def read_metrics(path: Path) -> list[Metric]:
    """Read a scorecard."""
    if path.suffix == ".json":
        try:
            rows = json.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else error
            raise InputError(f"{path}: not valid JSON ({why}); run the study again") from error
        if not isinstance(rows, list):
            raise InputError(f"{path}: expected a list of metrics; run 'dissensus evaluate' again")
        try:
            metrics = TypeAdapter(list[Metric]).validate_python(rows)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{path}: not a metric: {where}: {first['msg']}; run 'dissensus evaluate' again"
            ) from error
    else:
        metrics = list(read_records(path, Metric))
    for number, row in enumerate(metrics):
        if any(abs(end or 0) > _LARGEST for end in (row.value, row.low, row.high, row.seed_sd, row.data_se)):
            raise InputError(f"{path}: not a metric: {number}: a number beyond all measure; evaluate again")
    return metrics


def read_log(path: Path) -> Log:
    """Read a training log; what it has of a step that is no number is nothing."""
    rows = []
    lines = read_text(path).splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break  # A training that is still running, or was killed, may leave half a line.
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "a value that cannot be read"
            raise InputError(f"{path}:{number}: not a JSON object ({reason}); train the model again") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: not a JSON object ({type(row).__name__}); train the model again")
        rows.append(row | {key: _number(row[key]) for key in _DRAWN if key in row})
    return rows


def _number(value: Any) -> int | float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) <= _LARGEST else None


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs as this package writes them."""
    return _countable(path, read_records(path, Pair))


def read_given_pairs(path: Path) -> list[Pair]:
    """Read pairs as ``dissensus evaluate`` takes them, in whichever layout."""
    return _countable(path, read_any_pairs(path, notice=lambda _: None))


def _countable(path: Path, pairs: Iterable[Pair]) -> list[Pair]:
    """Refuse more votes than a floating-point number counts."""
    listed = list(pairs)
    for pair in listed:
        if pair.votes is not None and pair.votes.n > _MOST_VOTES:
            raise InputError(f"{path}: pair {pair.id!r:.60} has more votes than can be counted; look at the file")
    return listed
