"""Records of a study's run: its manifest, the stages in it, and what each stage has counted.

A study writes them and a report reads them. A manifest may also be a stranger's: what is not as described here is
refused, and settings beside those that are described are carried along and never shown.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from dissensus import __version__
from dissensus.errors import InputError
from dissensus.versions import unreadable

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "scipy", "pyarrow", "pydantic")
_Count = Annotated[int, Field(ge=0, le=10**15)]
_Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
_Whole = Annotated[int, Field(ge=-(10**15), le=10**15)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Counts(_Part):
    """What a stage has counted; None for what it has not."""

    def shown(self) -> Iterator[tuple[str, object]]:
        """List what was counted, by name."""
        return ((name, value) for name, value in self if value is not None)


class CopyCounts(Counts):
    """Simulated copies of data sets."""

    sets: _Count | None = None
    annotated: _Count | None = None


class PairCounts(Counts):
    """Pairs read and split."""

    train: _Count | None = None
    test: _Count | None = None
    folds: list[_Count] | None = None
    """Test pairs of each fold."""
    rows: list[_Count] | None = None
    """Pairs of each source."""
    held_out_with_a_test_prompt: _Count | None = None
    in_two_sets: _Count | None = None
    over_the_limit: _Count | None = None
    test_annotated: _Count | None = None
    test_without_votes: _Count | None = None


class CategoryCounts(Counts):
    """Test pairs put into categories by machine, and the agreement with those that had one."""

    set: _Count | None = None
    by_people: _Count | None = None
    by_source: _Count | None = None
    kappa_correct: _Number | None = None
    kappa_distinct: _Number | None = None


class JudgeCounts(Counts):
    """One judge's judgments of training or test pairs."""

    judge: str | None = None
    """Its full name in the store."""
    mode: str | None = None
    made: _Count | None = None
    reused: _Count | None = None
    too_long: _Count | None = None
    refused: _Count | None = None
    cut: _Count | None = None
    cut_short: _Count | None = None
    invalid: _Count | None = None
    cost: _Number | None = None
    """Dollars."""
    stored: _Count | None = None
    """All that the store has of the judge, of whatever pairs."""
    judged: _Count | None = None
    """Test pairs with a judgment."""


class MarginCounts(Counts):
    """Margins made of one judge's judgments; of pairs without a margin the judgments count too."""

    margins: _Count | None = None
    judgments: _Count | None = None
    invalid: _Count | None = None
    left_out: _Count | None = None
    readings: _Count | None = None
    """Choice distributions."""
    unfinished: _Count | None = None
    in_one_order: _Count | None = None


class TrainCounts(Counts):
    """One model trained with one seed."""

    pairs: _Count | None = None
    ties_dropped: _Count | None = None
    texts: _Count | None = None
    texts_truncated: _Count | None = None
    steps: _Count | None = None
    resumed_from: _Count | None = None
    nll: _Number | None = None
    """Of the labels, on the training pairs."""
    length_slope: _Number | None = None
    """Times the log of a response's length: added to the reward."""
    rates: _Count | None = None
    """Learning rates that were tried."""
    learning_rate: _Number | None = None
    """The best of them, or the one that was used."""
    epochs: _Count | None = None
    """Where nothing was tried."""
    chosen: dict[str, bool | int | float | str] | None = None
    """What else was chosen."""
    temperature: _Number | None = None
    """Fitted on held-out prompts."""


class PredictCounts(Counts):
    """Predictions of one model."""

    predictions: _Count | None = None


class ScoreCounts(Counts):
    """Rows of the scorecard."""

    metrics: _Count | None = None


_KINDS: dict[str, type[Counts]] = {
    "copies": CopyCounts,
    "pairs": PairCounts,
    "categories": CategoryCounts,
    "judge": JudgeCounts,
    "margin": MarginCounts,
    "train": TrainCounts,
    "predict": PredictCounts,
    "predictions": PredictCounts,
    "evaluate": ScoreCounts,
}
"""The first word of a stage's name, after that of its fold, to what it counts."""
C = TypeVar("C", bound=Counts)


def fold_place(number: int) -> str:
    """Name the folder of a fold, counted from 1, in that of its study."""
    return f"folds/{number}/"


def in_fold(stage: str, number: int) -> str:
    """Name a stage that is done in each fold.

    >>> in_fold("train soft seed 0", 2)
    'fold 2: train soft seed 0'
    """
    return f"fold {number}: {stage}"


def without_fold(stage: str) -> str:
    """Name a stage as in a study without folds.

    >>> without_fold("fold 12: judge the test pairs: committee")
    'judge the test pairs: committee'
    """
    return re.sub(r"^fold \d+: ", "", stage)


class StageRecord(_Part):
    """One stage of a run, and what made it: later runs may be of other versions and keep it."""

    name: str
    fingerprint: str = ""
    """Of its settings and of what it has read."""
    seconds: Annotated[float, Field(ge=0, le=1e12)] | None = None
    finished: str | None = None
    command: str | None = None
    git_commit: str | None = None
    environment: dict[str, str] | None = None
    counts: SerializeAsAny[Counts] = Counts()
    outputs: dict[str, str] = Field(default_factory=dict)
    """Files that it has written, relative to the run's folder, to their SHA-256."""

    @field_validator("counts", mode="before")
    @classmethod
    def _of_its_kind(cls, value: object, info: ValidationInfo) -> Counts:
        if isinstance(value, Counts):
            return value
        try:
            name = without_fold(str(info.data.get("name")))
            return _KINDS.get(name.partition(" ")[0], Counts).model_validate(value)
        except ValidationError as error:
            raise ValueError(_first_line(error)) from error


class InputRecord(_Part):
    """A source of pairs by its content."""

    path: str
    sha256: str | None = None
    """None for a data set on the Hub."""
    rows: _Count | None = None


class _Settings(_Part):
    model_config = ConfigDict(extra="allow")


class JudgeRecord(_Settings):
    """A judge among the settings."""

    name: str | None = None
    model: str | None = None
    store: str | None = None


class ModelRecord(_Settings):
    """A reward model among the settings."""

    objective: str = "bradley-terry"
    model: str | None = None
    learning_rate: _Number | None = None
    epochs: _Count | _Number | None = None
    batch_size: _Count | None = None
    max_length: _Count | None = None
    judge: str = ""
    members: _Count = 1
    average: str = "preferences"


class SweepRecord(_Settings):
    """The choice of learning rates, or of other settings, among the settings."""

    rates: str | None = None
    choose: dict[str, str] = Field(default_factory=dict)
    metric: str | None = None


class CategoriesRecord(_Settings):
    """The way to categories among the settings."""

    judge: JudgeRecord | None = None


class EvaluationRecord(_Settings):
    """The evaluation among the settings."""

    resamples: _Count | None = None
    level: Annotated[float, Field(gt=1e-6, lt=1 - 1e-6)] = 0.95


class FoldsRecord(_Settings):
    """The cross-validation among the settings."""

    by: str
    folds: Annotated[int, Field(ge=1, le=1000)]

    @property
    def numbers(self) -> range:
        """The folds, from 1."""
        return range(1, self.folds + 1)


class SettingsRecord(_Settings):
    """The settings of a study, as far as a report tells of them; a study's own have more."""

    models: dict[str, ModelRecord] = Field(default_factory=dict)
    pretrained: dict[str, str] = Field(default_factory=dict)
    seeds: list[_Whole] = Field(default_factory=list)
    judge: JudgeRecord | None = None
    sweep: SweepRecord | None = None
    categories: CategoriesRecord | None = None
    cross_validate: FoldsRecord | None = None
    evaluation: EvaluationRecord = EvaluationRecord()


def _joined(command: object) -> object:
    return " ".join(map(str, command)) if isinstance(command, list) else command


class RunManifest(_Part):
    """A run: how it was called, its settings, what it has read, and its stages."""

    name: str
    title: str | None = None
    created: str | None = None
    command: Annotated[str | None, BeforeValidator(_joined)] = None
    """Of the last run in the folder, as are the commit and the versions; each stage has its own."""
    config: SettingsRecord | None = None
    environment: dict[str, str] | None = None
    git_commit: str | None = None
    inputs: list[InputRecord] = Field(default_factory=list)
    stages: list[StageRecord]

    @property
    def settings(self) -> SettingsRecord:
        """The settings; empty where it has noted none."""
        return self.config or SettingsRecord()

    def dump(self) -> dict[str, object]:
        """Return what is to be written: everything that was noted, as it was noted."""
        return self.model_dump(mode="json", exclude_unset=True)

    def counts(self, stage: str, kind: type[C]) -> C:
        """Find what a stage has counted, of folds in the first; nothing where it has not run."""
        return next(iter(self.counts_of_folds(stage, kind)), kind())

    def counts_of_folds(self, stage: str, kind: type[C]) -> list[C]:
        """Find what a stage has counted in each fold; once where there are none."""
        found = [one.counts for one in self.stages if without_fold(one.name) == stage]
        return [counts for counts in found if isinstance(counts, kind)]


NOTHING_NOTED = RunManifest(name="", stages=[])
"""The manifest of what no study has run."""


def read_manifest(path: Path) -> RunManifest:
    """Read a manifest of this or an earlier version.

    Raises:
        InputError: it is none; names what is wrong in it, in one line.
    """
    try:
        content = path.read_bytes()
        return RunManifest.model_validate_json(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    except ValidationError as error:
        otherwise = f"not a manifest ({_first_line(error)}); remove it and run every stage of the study again"
        raise unreadable(path, content, otherwise) from error


def environment() -> dict[str, str]:
    """List the versions of what decides the numbers."""
    versions = {"dissensus": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Name the commit of the package's own checkout, marked where files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        top = _git(here, "rev-parse", "--show-toplevel")
        if not (Path(top) / "src" / "dissensus").is_dir():
            return None
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + (" with uncommitted changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _first_line(error: ValidationError) -> str:
    """Name the first place that is wrong and what is wrong there, on one line of moderate length."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    words = " ".join(f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}".split())
    return words[:300]
