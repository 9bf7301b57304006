"""What a report shows: everything that a run's folder holds by now, and the names of what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from dissensus.errors import EvaluationError, InputError
from dissensus.evaluation.join import Joined, join
from dissensus.files import read_records
from dissensus.files.database_url import StorePlace
from dissensus.judge_calibration import ENDING, JudgeCalibration, read_calibration
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction
from dissensus.reports.folder.load_files import Log, read_log, read_metrics, read_pairs, read_text
from dissensus.reports.folder.loose_files import find_loose, find_scorecard
from dissensus.reports.folder.safe_folder import RunFolder
from dissensus.reports.judge_data import Judged, load_judged
from dissensus.run_records import (
    NOTHING_NOTED,
    JudgeCounts,
    RunManifest,
    SettingsRecord,
    fold_place,
    read_manifest,
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunData:
    """A run, loaded; each part may be missing while the run is unfinished."""

    name: str
    manifest: RunManifest = NOTHING_NOTED
    """What the study has noted; nothing where the verbs have run by themselves."""
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
    calibrations: Mapping[str, JudgeCalibration] = field(default_factory=dict)
    """What calibrated judges came to, by the name of the margins that are theirs."""
    logs: Mapping[str, Mapping[str, Log]] = field(default_factory=dict)
    """For each model and seed the rows of its training log."""
    missing: Sequence[str] = ()
    """What the folder lacks, in words."""
    refused: Sequence[str] = ()
    """What was not read because it leads out of the folder or is no plain file; in ``missing`` too."""
    folder: str = ""
    """Where it was loaded from."""

    @property
    def settings(self) -> SettingsRecord:
        """The settings that the manifest has noted."""
        return self.manifest.settings

    @property
    def level(self) -> float:
        """The coverage of the intervals: as set, or what is used where nothing is."""
        return self.settings.evaluation.level


def load_run(path: Path, *, store: StorePlace | None = None) -> RunData:
    """Load what a study's folder holds, or one with what the verbs of an evaluation wrote.

    Of the latter, ``scores.json`` and what belongs to it are found by content. Nothing outside of the folder is read,
    whatever its links and settings say, and nothing in it is written.

    Args:
        path: the folder.
        store: the judgments, where they are in another place.

    Raises:
        InputError: the folder is no run folder, or a file in it cannot be read.
    """
    folder = RunFolder(path)
    try:
        run = _of_study(folder, store) if _is_study(folder) else _of_verbs(folder, store)
    except EvaluationError as error:
        raise InputError(f"{path}: {error}") from error
    return replace(run, missing=[*run.missing, *folder.refused], refused=folder.refused, folder=str(path))


def _is_study(folder: RunFolder) -> bool:
    """Tell whether a study has run here, or begun; its YAML alone may lie beside what the verbs wrote."""
    if folder.file("manifest.json") is not None:
        return True
    return folder.file("study.yaml") is not None and (folder.has_folder("pairs") or find_scorecard(folder) is None)


def _of_verbs(folder: RunFolder, store: StorePlace | None) -> RunData:
    found = find_loose(folder)
    if found is None:
        raise InputError(
            f"{folder.path}: neither manifest.json nor study.yaml is here, nor scores.json, so this is not a run"
            f"{''.join(f' ({words})' for words in folder.refused[:1])}; give the folder that 'dissensus study --out' "
            "wrote, or one with what 'dissensus evaluate' wrote"
        )
    return RunData(
        name=folder.path.resolve().name,
        metrics=found.metrics,
        joined=join(found.pairs, found.predictions, calibrated=None if found.calibrated else False, allow_missing=True)
        if found.pairs and found.predictions
        else None,
        predictions=found.predictions,
        training=found.training,
        judged=load_judged(store or found.store, found.judgments, found.training, found.pairs),
        margins=found.margins,
        calibrations=_calibrations(folder.path / name for name in folder.find(f"*{ENDING}")),
        logs=found.logs,
        missing=found.missing,
    )


def _calibrations(files: Iterable[Path]) -> dict[str, JudgeCalibration]:
    return {file.name.removesuffix(ENDING): read_calibration(file) for file in files}


def _of_study(folder: RunFolder, store: StorePlace | None) -> RunData:
    missing: list[str] = []

    def part(name: str, what: str, read: Callable[[Path], _T]) -> _T | None:
        if (path := folder.file(name)) is not None:
            return read(path)
        missing.append(f"{what} ({name})")
        return None

    def own(pattern: str, named: Collection[str] | None) -> list[Path]:
        found = folder.find(pattern)
        # What an earlier run left here is of other models, and maybe of other pairs.
        others = [name for name in found if named is not None and name not in named]
        missing.extend(f"{name}: left aside, as the study does not name it (any more)" for name in others)
        return [folder.path / name for name in found if name not in others]

    manifest = part("manifest.json", "the manifest", read_manifest) or NOTHING_NOTED
    config = part("study.yaml", "the settings", read_text) or ""
    settings = manifest.settings
    numbers = settings.cross_validate.numbers if settings.cross_validate else ()
    places = {fold_place(number): f", fold {number}" for number in numbers} or {"": ""}
    margins: dict[str, Margin] = {}
    for place in places:
        for margin in part(f"{place}margins.parquet", "the margins", _read_margins) or ():
            margins.setdefault(margin.pair_id, margin)  # a pair has one in each fold but its own: the first stands
    # What the settings and stages name is the study's own; where there are none of them, all that is there.
    models = {name: f"predictions/{name}.parquet" for name in settings.models}
    predicted = {*models.values(), *(f"predictions/{name}.parquet" for name in settings.pretrained)} or None
    runs = {
        f"{place}models/{name}/seed-{seed}": (name, f"{seed}{of_fold}")
        for place, of_fold in places.items()
        for name in settings.models
        for seed in settings.seeds
    }
    named_logs = {f"{place}/training.jsonl" for place in runs} or None
    written = None if manifest.config is None else {path for stage in manifest.stages for path in stage.outputs}
    trained = any(folder.has_folder(f"{place}models") for place in places)
    if not trained:
        missing.append("the trained models (models)")
    pairs = part("pairs/test.parquet", "the test pairs", read_pairs)
    if not folder.has_folder("predictions"):
        missing.append("the predictions (predictions)")
    files = own("predictions/*.parquet", predicted)
    predictions = [row for path in files for row in read_records(path, Prediction)]
    if trained:
        absent = {place: run for place, run in runs.items() if not folder.has_folder(place)}
        missing += [f"the model {name}, seed {seed} ({place})" for place, (name, seed) in absent.items()]
    if folder.has_folder("predictions"):
        missing += [f"the predictions of {name} ({path})" for name, path in models.items() if not folder.file(path)]
    metrics = part("scores.json", "the scores", read_metrics) or []
    training = read_pairs(gold) if (gold := folder.file("pairs/train_votes.parquet")) else []
    judged = store or folder.file("judgments.db")
    if judged is None:
        named = settings.judge and settings.judge.store
        elsewhere = f"; the settings name {named}, which is read where --store gives it" if named else ""
        missing.append(f"the judgments (judgments.db{elsewhere})")
    judgments = [row for path in own("judged/*.parquet", written) for row in read_records(path, Judgment)]
    judge = manifest.counts("judge", JudgeCounts).judge
    logs: dict[str, dict[str, Log]] = {}
    calibrations: dict[str, JudgeCalibration] = {}
    for place, of_fold in places.items():
        found = _calibrations([*own(f"{place}margins{ENDING}", written), *own(f"{place}margins/*{ENDING}", written)])
        calibrations |= {name + of_fold: one for name, one in found.items()}
        for path in own(f"{place}models/*/seed-*/training.jsonl", named_logs):
            model, seed_folder = path.relative_to(folder.path).parts[-3:-1]
            logs.setdefault(model, {})[seed_folder.removeprefix("seed-") + of_fold] = read_log(path)
    return RunData(
        name=manifest.name or folder.path.resolve().name,
        manifest=manifest,
        config=config,
        metrics=metrics,
        joined=join(pairs, predictions, allow_missing=True) if pairs and predictions else None,
        predictions=predictions,
        training=training,
        judged=load_judged(judged, judgments, training, pairs or [], judge=judge, level=settings.evaluation.level),
        margins=list(margins.values()),
        calibrations=calibrations,
        logs=logs,
        missing=missing,
    )


def _read_margins(path: Path) -> list[Margin]:
    return list(read_records(path, Margin))
