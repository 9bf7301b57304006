"""What the verbs left in one folder without a study: found by what is in the files, whatever they are called."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from dissensus.errors import EvaluationError, InputError
from dissensus.evaluation.groups import ALL
from dissensus.evaluation.join import join
from dissensus.files import read_records
from dissensus.files.readers import format_of, read_rows
from dissensus.judge_calibration import ENDING
from dissensus.judges.store.schema import is_store
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction, Record
from dissensus.reports.folder.load_files import Log, read_given_pairs, read_log, read_metrics
from dissensus.reports.folder.safe_folder import RunFolder

_R = TypeVar("_R")
_ROUNDING = 1e-6
_KINDS: tuple[type[Record], ...] = (Metric, Prediction, Judgment, Margin)


@dataclass(frozen=True)
class Loose:
    """The parts of an evaluation that a folder holds."""

    metrics: Sequence[Metric]
    pairs: Sequence[Pair] = ()
    """The evaluated ones; empty where no file has them."""
    calibrated: bool = False
    """Whether calibrated preferences were evaluated, of models that have them."""
    training: Sequence[Pair] = ()
    """Pairs of another file that the margins are of."""
    predictions: Sequence[Prediction] = ()
    margins: Sequence[Margin] = ()
    judgments: Sequence[Judgment] = ()
    store: Path | None = None
    logs: Mapping[str, Mapping[str, Log]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    """What is not there, or is left aside, in words."""


def find_scorecard(folder: RunFolder) -> str | None:
    """Name the scorecard of a folder: what is called ``scores``, or the only one there is; None where there is none.

    Raises:
        InputError: there are several scorecards and none is called scores.
    """
    return next(iter(_scorecards(folder, _by_kind(folder).get(Metric, []))), None)


def find_loose(folder: RunFolder) -> Loose | None:
    """Find the scorecard of a folder and what belongs to it; None where there is no scorecard.

    Raises:
        InputError: there are several scorecards and none is called scores, or a file of the evaluation cannot be
            read.
    """
    by_kind = _by_kind(folder)
    cards = _scorecards(folder, by_kind.get(Metric, []))
    if not cards:
        return None
    metrics = read_metrics(folder.path / cards[0])
    predictions, missing = _predictions(folder, _usual_first(by_kind.get(Prediction, []), "predictions"), metrics)
    candidates, unreadable = _read_pairs(folder, by_kind.get(None, []))
    calibrated = {name: _is_calibrated(own, predictions, metrics) for name, own in candidates.items()}
    others = [name for name, found in calibrated.items() if found is None]
    chosen = _evaluated({name: own for name, own in candidates.items() if name not in others}, predictions, metrics)
    if not predictions:
        missing.append("the predictions (no file here has those of a model that was scored)")
    elif chosen is None:
        why = "no file here has pairs with votes that predictions here are of"
        if others:
            why = (
                f"with the predictions here, the votes of {', '.join(others)} do not give the scorecard's L1, so one "
                "or the other is not what was evaluated"
            )
        missing.append(f"the test pairs ({why})")
    if chosen is None:
        missing += unreadable
    pairs = [] if chosen is None else candidates[chosen]
    known = {pair.id for pair in pairs}
    missing += [
        f"{name}: left aside, as its votes on the same pairs do not give the scorecard's L1, and those of {chosen} do"
        for name in others
        if {pair.id for pair in candidates[name]} == known
    ]
    margins = _usual_first(by_kind.get(Margin, []), "margins")
    found = list(read_records(folder.path / margins[0], Margin)) if margins else []
    others_of = [name for name in folder.names() if format_of(name) is None and folder.has_file(name)]
    stores = _usual_first([name for name in others_of if is_store(folder.path / name)], "judgments")
    judged = by_kind.get(Judgment, [])
    judgments, aside = _judgments(folder, [] if stores else judged)
    missing += aside + _aside(cards, "a scorecard") + _aside(margins, "margins")
    missing += _aside([*stores, *judged] if stores else [], "judgments")
    return Loose(
        metrics=metrics,
        pairs=pairs,
        calibrated=bool(calibrated.get(chosen or "")),
        training=_training(candidates, chosen, {margin.pair_id for margin in found}),
        predictions=[row for row in predictions if row.pair_id in known],
        margins=found,
        judgments=judgments,
        store=folder.path / stores[0] if stores else None,
        logs={name.split("/")[-2]: {"": read_log(folder.path / name)} for name in folder.find("*/training.jsonl")},
        missing=missing,
    )


def _by_kind(folder: RunFolder) -> dict[type[Record] | None, list[str]]:
    """Sort the files of records by what their first row is; None for anything else."""
    found: dict[type[Record] | None, list[str]] = {}
    for name in folder.names():
        if format_of(name) is not None and not name.endswith(ENDING) and folder.file(name) is not None:
            found.setdefault(_kind(folder.path / name), []).append(name)
    return found


def _scorecards(folder: RunFolder, names: Collection[str]) -> list[str]:
    """List the scorecards, the one to show first."""
    if folder.file("scores.json") is not None:
        # Whatever is in it: if it is broken, that is to be reported.
        return ["scores.json", *(name for name in names if name != "scores.json")]
    cards = _usual_first(names, "scores")
    if len(cards) > 1 and not cards[0].startswith("scores."):
        raise InputError(f"{folder.path}: several scorecards ({', '.join(cards)}); name the one to show scores.json")
    return cards


def _aside(names: Sequence[str], what: str) -> list[str]:
    """Say of all files but the first that they are left aside."""
    return [f"{name}: left aside, as {names[0]} has {what} too" for name in names[1:]]


def _kind(path: Path) -> type[Record] | None:
    """Tell what a file's first row is, by its columns; None for anything else."""
    try:
        row = next(read_rows(path, _refuse), None)
    except InputError:
        return None
    names = set() if row is None else row.values.keys()
    required = {kind: {name for name, own in kind.model_fields.items() if own.is_required()} for kind in _KINDS}
    return next((kind for kind in _KINDS if required[kind] <= names), None)


def _refuse(place: str, reason: str) -> NoReturn:
    raise InputError(f"{place}: {reason}")


def _usual_first(names: Collection[str], usual: str) -> list[str]:
    """Sort names, those first that begin with the usual one, the shortest of them first."""
    return sorted(names, key=lambda name: (not name.startswith(usual), len(name), name))


def _predictions(
    folder: RunFolder, names: Iterable[str], metrics: Sequence[Metric]
) -> tuple[list[Prediction], list[str]]:
    """Read the predictions of the models that were scored; what several files have is left aside in all but one."""
    scored = {row.model for row in metrics if row.kind == "model"}
    read = {name: [r for r in read_records(folder.path / name, Prediction) if r.model in scored] for name in names}
    return _once(read, lambda row: (row.model, row.seed, row.pair_id), lambda row: f"predictions of {row.model}")


def _judgments(folder: RunFolder, names: Iterable[str]) -> tuple[list[Judgment], list[str]]:
    """Read judgments; what several files have is left aside in all but one."""
    read = {name: list(read_records(folder.path / name, Judgment)) for name in names}
    key = attrgetter("judge", "pair_id", "order", "sample", "persona")
    return _once(read, key, lambda row: f"judgments by {row.judge}")


def _once(
    read: Mapping[str, Sequence[_R]], key: Callable[[_R], Hashable], what: Callable[[_R], str]
) -> tuple[list[_R], list[str]]:
    """Take from each file what no earlier one has, and say of what it is left aside."""
    whose: dict[Hashable, str] = {}
    found, aside = [], []
    for name, rows in read.items():
        repeated = {what(row) for row in rows if whose.setdefault(key(row), name) != name}
        found += [row for row in rows if whose[key(row)] == name]
        aside += [f"{name}: {words} that other files have too are left aside" for words in sorted(repeated)]
    return found, aside


def _read_pairs(folder: RunFolder, names: Iterable[str]) -> tuple[dict[str, list[Pair]], list[str]]:
    """Read each file that holds pairs; returns also why the others were not read, in words."""
    found, unreadable = {}, []
    for name in names:
        try:
            found[name] = read_given_pairs(folder.path / name)
        except InputError as error:
            unreadable.append(f"not read: {str(error).removeprefix(f'{folder.path}/')}")
    return found, unreadable


def _evaluated(
    candidates: Mapping[str, Sequence[Pair]], predictions: Sequence[Prediction], metrics: Sequence[Metric]
) -> str | None:
    """Choose the pairs that were evaluated: those with votes and predictions are as many as were scored, or most.

    Of several files with as many, the one with the fewest others is it: a split stands beside what it was drawn from.
    """
    by_run: dict[tuple[str, int | None], set[str]] = {}
    for row in predictions:
        by_run.setdefault((row.model, row.seed), set()).add(row.pair_id)
    scored = next((row.n for row in metrics if row.kind == "model" and row.group == "all"), None)
    compared = {name: _compared(pairs, by_run.values()) for name, pairs in candidates.items()}

    def rank(name: str) -> tuple[bool, int, int, int, bool]:
        own = compared[name]
        grouped = sum(pair.category is not None or pair.distinct is not None for pair in own)
        return len(own) == scored, len(own), -len(candidates[name]), grouped, name.startswith("test")

    return max(sorted(name for name, own in compared.items() if own), key=rank, default=None)


def _compared(pairs: Sequence[Pair], predicted: Iterable[Collection[str]]) -> list[Pair]:
    """List the pairs with votes that every model and seed has predicted, of those with a prediction of any pair here.

    These are what ``evaluate --allow-missing`` compares.
    """
    ids = {pair.id for pair in pairs}
    of_these = [own for own in predicted if not ids.isdisjoint(own)]
    return [pair for pair in pairs if pair.votes is not None and of_these and all(pair.id in own for own in of_these)]


def _training(
    candidates: Mapping[str, Sequence[Pair]], evaluated: str | None, margins: Collection[str]
) -> Sequence[Pair]:
    """Choose the pairs that most of the margins are of, with the fewest others; empty where those are the evaluated."""
    counts = {name: sum(pair.id in margins for pair in pairs) for name, pairs in candidates.items()}
    most = max(counts.values(), default=0)
    if not most or counts.get(evaluated or "") == most:
        return ()
    return min((candidates[name] for name in sorted(counts) if counts[name] == most), key=len)


def _is_calibrated(pairs: Sequence[Pair], predictions: Sequence[Prediction], metrics: Sequence[Metric]) -> bool | None:
    """Tell whether calibrated or raw preferences give the L1 of a scorecard on all pairs; None where neither do.

    What cannot be compared, as there are no votes or no L1, is taken for raw.
    """
    of_l1 = ("model", ALL, "l1", "votes", None)
    known = {
        row.model: row.value
        for row in metrics
        if (row.kind, row.group, row.metric, row.target, row.baseline) == of_l1 and row.value is not None
    }
    ids = {pair.id for pair in pairs}
    own = [row for row in predictions if row.pair_id in ids]
    raw = _l1(pairs, own, calibrated=False)
    if not raw.keys() & known.keys():
        return False
    for calibrated, found in ((False, raw), (True, _l1(pairs, own, calibrated=None))):
        both = found.keys() & known.keys()
        if both and all(math.isclose(found[model], known[model], abs_tol=_ROUNDING) for model in both):
            return calibrated
    return None


def _l1(pairs: Sequence[Pair], predictions: Sequence[Prediction], *, calibrated: bool | None) -> dict[str, float]:
    """Compute each model's L1, the mean over its seeds; empty where pairs and predictions do not fit together."""
    try:
        joined = join(pairs, predictions, calibrated=calibrated, allow_missing=True)
    except EvaluationError:
        return {}
    return {model: float(np.abs(rows - joined.human).mean()) for model, rows in joined.predicted.items()}
