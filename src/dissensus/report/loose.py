"""What the verbs left in one folder without a study: found by what is in the files, whatever they are called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from dissensus.errors import InputError
from dissensus.files.reading import format_of, read_rows
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction, Record
from dissensus.report.folder import RunFolder
from dissensus.report.load_files import (
    Log,
    read_given_pairs,
    read_judgments,
    read_log,
    read_margins,
    read_metrics,
    read_predictions,
)
from dissensus.report.readonly import is_store

_KINDS: tuple[type[Record], ...] = (Metric, Prediction, Judgment, Margin)


@dataclass(frozen=True)
class Loose:
    """The parts of an evaluation that a folder holds."""

    metrics: Sequence[Metric]
    pairs: Sequence[Pair] = ()
    """The evaluated ones; empty where no file has them."""
    training: Sequence[Pair] = ()
    """Pairs of another file that the margins are of."""
    predictions: Sequence[Prediction] = ()
    margins: Sequence[Margin] = ()
    judgments: Sequence[Judgment] = ()
    store: Path | None = None
    logs: Mapping[str, Mapping[str, Log]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    """What is not there, or is left aside, in words."""


def find_loose(folder: RunFolder) -> Loose | None:
    """Find the scorecard of a folder and what belongs to it; None where there is no scorecard.

    Raises:
        InputError: there are several scorecards and none is called scores.json, or a file of the evaluation cannot be
            read.
    """
    by_kind: dict[type[Record] | None, list[str]] = {}
    stores = []
    for name in folder.names():
        if format_of(name) is None:
            stores += [name] if folder.has_file(name) and is_store(folder.path / name) else []
        elif folder.file(name) is not None:
            by_kind.setdefault(_kind(folder.path / name), []).append(name)
    cards = _usual_first(by_kind.get(Metric, []), "scores")
    if folder.file("scores.json") is not None:
        cards = ["scores.json"]  # whatever is in it: if it is broken, that is to be told
    if not cards:
        return None
    if len(cards) > 1 and not cards[0].startswith("scores."):
        raise InputError(f"{folder.path}: several scorecards ({', '.join(cards)}); name the one to show scores.json")
    metrics = read_metrics(folder.path / cards[0])
    missing = []
    predictions, aside = _predictions(folder, _usual_first(by_kind.get(Prediction, []), "predictions"), metrics)
    missing += aside
    candidates = _read_pairs(folder, by_kind.get(None, [])) if predictions or by_kind.get(Margin) else {}
    chosen = _evaluated(candidates, predictions, metrics)
    if not predictions:
        missing.append("the predictions (no file here has those of a model that was scored)")
    elif chosen is None:
        missing.append("the test pairs (no file here has pairs with votes that all of the predictions are of)")
    pairs = [] if chosen is None else candidates[chosen]
    known = {pair.id for pair in pairs}
    margins = _usual_first(by_kind.get(Margin, []), "margins")
    found = read_margins(folder.path / margins[0]) if margins else []
    stores = _usual_first(stores, "judgments")
    return Loose(
        metrics=metrics,
        pairs=pairs,
        training=_training(candidates, chosen, {margin.pair_id for margin in found}),
        predictions=[row for row in predictions if row.pair_id in known],
        margins=found,
        judgments=[] if stores else read_judgments(folder.path / name for name in by_kind.get(Judgment, [])),
        store=folder.path / stores[0] if stores else None,
        logs={name.split("/")[-2]: {"": read_log(folder.path / name)} for name in folder.find("*/training.jsonl")},
        missing=missing,
    )


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
    """Read the predictions of the models that were scored; a model and seed that comes again is left aside."""
    scored = {row.model for row in metrics if row.kind == "model"}
    whose: dict[tuple[str, int | None], str] = {}
    found, aside = [], []
    for name in names:
        rows = [row for row in read_predictions([folder.path / name]) if row.model in scored]
        repeated = {row.model for row in rows if whose.setdefault((row.model, row.seed), name) != name}
        found += [row for row in rows if whose[row.model, row.seed] == name]
        aside += [f"{name}: left aside, as other files have predictions of {model} too" for model in sorted(repeated)]
    return found, aside


def _read_pairs(folder: RunFolder, names: Iterable[str]) -> dict[str, list[Pair]]:
    """Read each file that holds pairs; what is no pairs is no part of the evaluation."""
    found = {}
    for name in names:
        try:
            found[name] = read_given_pairs(folder.path / name)
        except InputError:
            continue
    return found


def _evaluated(
    candidates: Mapping[str, Sequence[Pair]], predictions: Sequence[Prediction], metrics: Sequence[Metric]
) -> str | None:
    """Choose the pairs that were evaluated: all that have votes are predicted, and as many as were scored."""
    predicted = {row.pair_id for row in predictions}
    scored = next((row.n for row in metrics if row.kind == "model" and row.group == "all"), None)

    def rank(name: str) -> tuple[bool, int, int, bool]:
        voted = [pair for pair in candidates[name] if pair.votes is not None]
        grouped = sum(pair.category is not None or pair.distinct is not None for pair in voted)
        return len(voted) == scored, len(voted), grouped, name.startswith("test")

    fitting = [name for name, pairs in candidates.items() if _fits(pairs, predicted)]
    return max(sorted(fitting), key=rank, default=None)


def _fits(pairs: Sequence[Pair], predicted: Collection[str]) -> bool:
    voted = {pair.id for pair in pairs if pair.votes is not None}
    return bool(voted) and voted <= set(predicted)


def _training(
    candidates: Mapping[str, Sequence[Pair]], evaluated: str | None, margins: Collection[str]
) -> Sequence[Pair]:
    """Choose the pairs that most of the margins are of; empty where those are the evaluated ones."""
    counts = {name: sum(pair.id in margins for pair in pairs) for name, pairs in candidates.items()}
    most = max(counts.values(), default=0)
    if not most or counts.get(evaluated or "") == most:
        return ()
    return next(candidates[name] for name in sorted(counts) if counts[name] == most)
