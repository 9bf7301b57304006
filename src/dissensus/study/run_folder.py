"""The folder of a run: its files, the settings that are kept in it, and what stages must not write over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dissensus.errors import OutputError
from dissensus.files import read_records, write_text
from dissensus.files.overwrite import is_same, lies_in
from dissensus.hashing import fingerprint_of
from dissensus.judge_calibration import ENDING
from dissensus.judges.base import JudgeSettings
from dissensus.records import Pair, Record
from dissensus.run_records import fold_place
from dissensus.simulate.copies import ANNOTATIONS, copy_file
from dissensus.study.config import StudyConfig, TestSet
from dissensus.study.sets import source_content

SETTINGS, MANIFEST = "study.yaml", "manifest.json"
TRAIN, TEST, GOLD = "pairs/train.parquet", "pairs/test.parquet", "pairs/train_votes.parquet"
STORE, SCORES, REPORT = "judgments.db", "scores.json", "report.html"
COPIES = "copies"
DRAWN = "pairs/test_as_drawn.parquet"
"""Test pairs before machines put them into categories, where they are to."""
CATEGORIES, CATEGORY_AGREEMENT = "categories.parquet", "categories_agreement.json"

_R = TypeVar("_R", bound=Record)


def margin_files(judge: str) -> tuple[str, str]:
    """Name the files of a judge's margins and of the pairs that it left out."""
    return (
        (f"margins/{judge}.parquet", f"margins/{judge}.left_out.json")
        if judge
        else ("margins.parquet", "left_out.json")
    )


def calibration_file(judge: str) -> str:
    """Name the file of what combined judges came to, beside their margins."""
    return margin_files(judge)[0].removesuffix(".parquet") + ENDING


def model_folder(name: str, seed: int) -> str:
    """Name the folder of a model that was trained with a seed."""
    return f"models/{name}/seed-{seed}"


def predictions_file(name: str) -> str:
    """Name the file of a model's predictions."""
    return f"predictions/{name}.parquet"


def judged_file(name: str) -> str:
    """Name the file of a judge's judgments of the test pairs."""
    return f"judged/{name}.parquet"


@dataclass(frozen=True)
class Run:
    """A study in a folder."""

    study: StudyConfig
    folder: Path
    progress: bool = False
    """Whether stages show how far they are."""
    whole: Path | None = None
    """Of a fold: the study's folder, where the store of all folds is."""

    @property
    def store(self) -> Path:
        """The store of judgments: a judge that was asked about a pair in one fold is not asked in another."""
        return (self.whole or self.folder) / STORE

    @cached_property
    def folds(self) -> dict[int, Run]:
        """The folds by number, each a run of the same models and judges in a folder of its own; none where pairs are
        held out once.
        """
        cross = self.config.cross_validate
        if cross is None:
            return {}
        study = self.config.model_copy(update={"cross_validate": None, "categories": None})
        numbers = range(1, cross.folds + 1)
        return {n: Run(study, self.folder / fold_place(n), self.progress, self.folder) for n in numbers}

    @cached_property
    def config(self) -> StudyConfig:
        """The study, with simulated copies and what their annotators say in place of the sets that are named."""
        study = self.study
        if study.copies != "simulated":
            return study

        def copied(sets: Mapping[str, TestSet]) -> dict[str, TestSet]:
            return {
                name: type(given)(**given.model_dump(include={"limit"}), pairs=self._copy(copy_file(name)))
                for name, given in sets.items()
            }

        changes: dict[str, object] = {
            "copies": None,
            "in_domain": copied(study.in_domain),
            "out_of_domain": copied(study.out_of_domain),
        }
        return study.model_copy(update={**changes, "annotations": study.annotations or self._copy(ANNOTATIONS)})

    def _copy(self, file: str) -> str:
        return str(self.folder / COPIES / file)

    @property
    def sources(self) -> list[str]:
        """The sources of the pairs: the study's own first, then the sets'."""
        config = self.config
        sets = {**config.in_domain, **config.out_of_domain}
        return [*([config.pairs] if config.pairs else []), *(given.pairs for given in sets.values())]

    @cached_property
    def contents(self) -> list[str | None]:
        """The sources' hashes; None for what is on the Hub."""
        return [source_content(source, self.config.copies) for source in self.sources]

    @property
    def drawn(self) -> str:
        """The file of the test pairs as they were drawn."""
        return TEST if self.config.categories is None else DRAWN

    @property
    def judges(self) -> dict[str, JudgeSettings]:
        """The judges of the training pairs; the study's own is called ''."""
        return {"": self.config.judge, **self.config.judges}

    @cached_property
    def test_judges(self) -> dict[str, JudgeSettings]:
        """The judges of the test pairs by name: those asked for, or the study's own where that costs nothing.

        Names are short: ``committee``, ``gpt4``, ``Llama-3-70B-Instruct``. A second one of a name is called
        ``gpt4-2``, as is one whose name a model has.
        """
        judges, own = self.config.test_judges, self.config.judge
        if judges is None:
            judges = () if own.asks_for_money() or own.sees_votes() else (own,)
        named: dict[str, JudgeSettings] = {}
        for judging in judges:
            name, count = judging.short_name(), 1
            while name in named or name in self.predicted:
                count += 1
                name = f"{judging.short_name()}-{count}"
            named[name] = judging
        return named

    @property
    def predicted(self) -> list[str]:
        """The models that predict."""
        return [*self.config.models, *self.config.pretrained]

    def load(self, file: str, record_type: type[_R]) -> list[_R]:
        """Read a file of the folder."""
        return list(read_records(self.folder / file, record_type))

    @cached_property
    def test_texts(self) -> str:
        """Hash what models and judges see of the test pairs."""
        seen = {"id", "prompt", "response_a", "response_b"}
        return fingerprint_of([pair.model_dump(mode="json", include=seen) for pair in self.load(TEST, Pair)])

    def path(self, file: str) -> Path:
        """Give the path of a file that is to be written, and make the folder that it lies in."""
        path = self.folder / file
        make_folder(path.parent)
        return path

    def waits_for_people(self) -> bool:
        """Tell whether test pairs lack votes.

        Drawn ones are compared with what people say of all of them, not with the few votes that some sets bring.
        """
        voted = [pair.votes is not None for pair in self.load(TEST, Pair)]
        return not any(voted) or (self.config.test is not None and self.config.annotations is None and not all(voted))


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error


def keep_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Write the run's ``study.yaml``, unless it says that already.

    Raises:
        OutputError: the file that is there was written by no run: it is somebody's own.
    """
    path, text = folder / SETTINGS, _text_of(settings)
    if path.exists():
        if path.read_bytes() == text.encode():
            return
        if not (folder / MANIFEST).exists() and not _is_whole(path, settings):
            raise OutputError(f"{path}: no run has written it, so it stays as it is; choose another --out")
    write_text(path, text)


def refuse_own_inputs(study: str, config: StudyConfig, folder: Path, written: Iterable[str]) -> None:
    """Look whether a run of ``study`` in ``folder`` would write over what it reads, or over the study itself.

    Args:
        study: the file that the settings are from; empty where they are from none.
        config: the settings, whose texts may be paths.
        folder: of the run.
        written: the files and folders in it that the run writes.

    Raises:
        OutputError: it would; names the file and who gives it.
    """
    settings = config.model_dump(mode="json")
    there = [place for name in written if (place := folder / name).exists()]
    for text in (study, *_texts(settings)):
        if not _is_there(text) or not any(lies_in(Path(text), place) for place in there):
            continue
        kept = folder / SETTINGS
        if is_same(Path(text), kept) and kept.read_bytes() == _text_of(settings).encode():
            continue  # the same run once more: nothing of it is written
        what = "the study" if text == study else "the study reads it, and it"
        raise OutputError(f"{text}: {what} would be written over by the run in {folder}; choose another --out")


def _is_whole(path: Path, settings: Mapping[str, object]) -> bool:
    """Tell whether a run that was killed early has written a file: every setting, and nothing but settings."""
    try:
        found = yaml.safe_load(path.read_bytes())
    except (UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and found.keys() == settings.keys() and path.read_bytes() == _text_of(found).encode()


def _text_of(settings: Mapping[str, object]) -> str:
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def _is_there(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # a text that is no path
        return False


def _texts(value: Any) -> Iterator[str]:
    """List the texts among settings, whichever are paths."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)
