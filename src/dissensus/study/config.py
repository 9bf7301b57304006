"""A study's settings: one YAML file, validated as a whole before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from dissensus.errors import ConfigError
from dissensus.evaluation.ceilings import CEILING
from dissensus.evaluation.people import PEOPLE
from dissensus.judges.base import AnyJudge
from dissensus.judges.kinds import CommitteeSettings
from dissensus.plugins import load_plugins
from dissensus.reward.choices import Sweep
from dissensus.reward.config import TrainConfig
from dissensus.settings import Option, Settings
from dissensus.simulate import SimulationConfig
from dissensus.steps.classify import Categories
from dissensus.steps.evaluate import Scoring
from dissensus.steps.split import HoldOut
from dissensus.study.folds import CrossValidation

_PRESETS = Path(__file__).parent / "presets"


class DrawnTest(Settings):
    """Test pairs drawn from every set, in domain and out, as in the paper."""

    per_set: PositiveInt = 25
    """Pairs of each set, no two of one prompt; all of them where a set has fewer prompts."""
    seed: int = 0


class TestSet(Settings):
    """Pairs that are only tested on."""

    __test__ = False  # for pytest: no test case

    pairs: str
    """A public data set by name, a file, a folder of Parquet or a Hub id."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name → the source's, where they differ."""
    split: str | None = None
    """Where the source has several."""


class TrainSet(TestSet):
    """One of several sets that are trained on."""

    test_split: str | None = None
    """The split that test pairs are drawn from; that of training unless given. Their prompts are not trained on."""
    limit: PositiveInt | None = None
    """At most so many training pairs, drawn by the seed of the test pairs; all of them unless given."""


def as_set(value: Any) -> Any:
    """Take a set that is given by its source alone."""
    return {"pairs": value} if isinstance(value, str) else value


class StudySweep(Sweep):
    """A choice of the learning rate, or of other settings, for each model, with its first seed; other seeds take the
    same."""

    rates: Annotated[str | None, Option("--sweep", metavar="RATES")] = None
    """Two ends, or a list: 1e-4,3e-5,1e-5; 1e-4..1e-6 where neither rates nor ``choose`` is given."""

    @model_validator(mode="before")
    @classmethod
    def _rates_unless_others(cls, data: Any) -> Any:
        if isinstance(data, dict) and not (data.get("choose") or data.get("rates")):
            return {**data, "rates": "1e-4..1e-6"}
        return data


class Throughput(Settings):
    """What ``--dry-run`` estimates with; it decides no number of the study."""

    judgments_per_second: PositiveFloat | None = None
    """Choice distributions, or sampled replies, of the judge."""
    pairs_per_second: PositiveFloat | None = None
    """Training pairs of one model."""


class ModelSettings(TrainConfig):
    """One model of a study: how it is trained, and on whose margins."""

    judge: str = ""
    """One of ``judges``; the study's ``judge`` unless given."""
    members: Annotated[int, Field(ge=1, le=100)] = 1
    """Models that are trained one after the other and averaged, each without its own part of the prompts, whose labels
    fit temperature and length. However few labels there are, as many as is said: models are compared at one cost."""

    def training(self) -> TrainConfig:
        """Return how it is trained; what was not said stays unsaid."""
        said = self.model_dump(exclude={"judge"}, exclude_unset=True)
        return TrainConfig(**{**said, "members": self.members})


class StudyConfig(Settings):
    """Everything that decides a study's numbers."""

    title: str = "Reward models and people's preferences"
    """What the report is called."""
    pairs: str = ""
    """A public data set by name, a file, a folder of Parquet, a Hub id, or ``simulated``."""
    in_domain: dict[str, Annotated[TrainSet, BeforeValidator(as_set)]] = Field(default_factory=dict)
    """Several sets that are trained on, instead of ``pairs``: name → source, or its settings."""
    copies: str | None = None
    """Folder with copies of the public data sets that are named; the Hub unless given. ``simulated``: copies are
    written, files of pairs with the simulated population's texts, labels and votes."""
    test: DrawnTest | None = None
    """Draw test pairs from every set; instead of ``hold_out``."""
    annotations: str | None = None
    """Annotations of the test pairs: an export of `dissensus annotations`, a file of pairs with votes, or the
    annotation database itself; joined by id."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name → the source's, where they differ."""
    split: str | None = None
    """Of ``pairs``, where it has several."""
    dataset: str | None = None
    """The name of the data set, for pairs that name none."""
    simulation: SimulationConfig | None = None
    """The population, where ``pairs`` or ``copies`` is ``simulated``."""
    label: Literal["own", "one-vote"] = "own"
    """Of training pairs. ``own``: what the source says; where it says nothing and people voted, one of their votes.
    ``one-vote``: one annotator's vote of each pair with votes, drawn among those for a or b. The other votes stay out
    of training, but for the judge ``votes``, which does not count the one that became the label again."""
    label_seed: int = 0
    """Of the votes that ``one-vote`` draws."""
    hold_out: HoldOut | None = HoldOut(by="group", share=0.2)
    """Which pairs are kept for the comparison, by whole prompts (group), categories or data sets. Pairs of domain
    ``out`` are always held out."""
    cross_validate: CrossValidation | None = None
    """Instead of ``hold_out``: every pair is tested once, by models that saw nothing of its fold. Whole prompts
    (group), categories or data sets are dealt into folds of about as many pairs."""
    out_of_domain: dict[str, Annotated[TestSet, BeforeValidator(as_set)]] = Field(default_factory=dict)
    """Data sets that are only tested on: name → source, or its settings."""
    judge: AnyJudge = CommitteeSettings()
    """Whose judgments the margins are made of."""
    judges: dict[str, AnyJudge] = Field(default_factory=dict)
    """Further judges of the training pairs, by a name that models give as ``judge``."""
    test_judges: tuple[AnyJudge, ...] | None = None
    """Judges that judge the test pairs and are compared with people as the models are. Unless given, the study's own
    judge where that costs nothing: a committee, published or stored verdicts."""
    allow_missing: bool = False
    """Leave out training pairs without a valid judgment (counted) instead of stopping."""
    training: TrainConfig = TrainConfig()
    """Settings shared by all models."""
    sweep: StudySweep | None = None
    """Choose each model's learning rate, or other settings (``choose``), by the labels of its ``validation`` share;
    those of ``training`` unless given."""
    models: dict[str, ModelSettings]
    """Name → what differs from ``training``; validated together with it."""
    pretrained: dict[str, str] = Field(default_factory=dict)
    """Reward models that are only tested: name → folder or Hub id."""
    categories: Categories | None = None
    """Categories of test pairs by machine, where people gave none."""
    baseline: str
    """The model that the others are compared with."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Each model is trained once with each; its numbers are means over them."""
    evaluation: Scoring = Scoring()
    """Resamples of the intervals, swaps of the tests, the intervals' level, and their seed."""
    throughput: Throughput = Throughput()
    """What ``--dry-run`` estimates hours with: judgments_per_second, pairs_per_second."""

    @model_validator(mode="before")
    @classmethod
    def _share_training(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("models"), dict) and isinstance(data.get("training"), dict):
            models = {
                name: {**data["training"], **own} if isinstance(own, dict) else own
                for name, own in data["models"].items()
            }
            return {**data, "models": models}
        return data

    @model_validator(mode="before")
    @classmethod
    def _hold_out_or_folds(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("cross_validate") is None:
            return data
        for other in ("hold_out", "test"):
            if data.get(other) is not None:
                raise ValueError(f"cross_validate stands instead of {other}; leave one of them out")
        return {**data, "hold_out": None}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        predicted = [*self.models, *self.pretrained]
        if self.baseline not in predicted:
            raise ValueError(f"baseline '{self.baseline}' is none of the models ({', '.join(predicted)})")
        self._sets_fit()
        self._judges_fit()
        if any(judge.sees_votes() for judge in self.test_judges or ()):
            raise ValueError("test_judges: people's votes are what judges are compared with; choose another judge")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds repeat")
        if ("simulated" in (self.pairs, self.copies)) != (self.simulation is not None):
            raise ValueError("'simulation' belongs to 'pairs: simulated' or 'copies: simulated', and to them alone")
        if len(set(predicted)) < len(predicted):
            raise ValueError("a model and a pretrained model share a name")
        for name in predicted:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
                raise ValueError(f"model name '{name}' cannot name a folder; use letters, digits, - _ and .")
            if name in (CEILING, PEOPLE):
                raise ValueError(f"model name '{name}' is that of a row in the tables; choose another")
        return self

    def _sets_fit(self) -> None:
        if bool(self.pairs) == bool(self.in_domain):
            raise ValueError("give either pairs or in_domain")
        if self.hold_out is None and self.cross_validate is None:
            raise ValueError("give hold_out or cross_validate")
        if self.in_domain and self.test is None and self.cross_validate is None:
            raise ValueError(
                "in_domain: say how many test pairs are drawn of each set, as in test: {per_set: 25}; or cross_validate"
            )
        split = [name for name, given in self.in_domain.items() if given.test_split is not None]
        if split and self.cross_validate is not None:
            raise ValueError(f"in_domain: set '{split[0]}' names a test_split, and cross_validate tests every pair")
        if self.test is not None and not self.in_domain:
            raise ValueError("test draws from in_domain's sets; with pairs, use hold_out")
        if self.copies == "simulated" and not self.in_domain:
            raise ValueError("copies: simulated stands for in_domain's sets; with pairs, use pairs: simulated")
        if both := sorted(self.in_domain.keys() & self.out_of_domain.keys()):
            raise ValueError(f"set '{both[0]}' is in_domain and out_of_domain; leave it out of one")

    def _judges_fit(self) -> None:
        for name, model in self.models.items():
            if model.judge and model.judge not in self.judges:
                raise ValueError(
                    f"model '{name}': judge '{model.judge}' is none of the judges ({', '.join(self.judges)})"
                )
            if self.sweep is not None and not model.held_share:
                raise ValueError(f"sweep: model '{name}' holds nothing out to choose on; set validation, as in 0.05")
            try:
                _ = self.sweep and self.sweep.among(model.training())
            except ConfigError as error:
                raise ValueError(f"sweep: model '{name}': {error}") from error
        for judging in (self.judge, *self.judges.values()):
            if self.in_domain and judging.lacks_file():
                raise ValueError(f"judge {judging.name}: with in_domain's sets, name the file of its verdicts")
        for judging in self.test_judges or ():
            if getattr(judging, "votes", "drawn") != "drawn":
                raise ValueError(
                    "test_judges: 'votes' is about margins; judges of test pairs are scored by their verdicts"
                )
        for name in self.judges:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ValueError(f"judge name '{name}' cannot name a file; use letters, digits, - _ and .")


def presets() -> list[str]:
    """List the studies that come with the package."""
    return _named_in(_PRESETS)


def scales(preset: str) -> list[str]:
    """List the scales of a preset: other settings for the same study, on smaller machines."""
    start = f"{preset}."
    return [name.removeprefix(start) for name in _named_in(_PRESETS / "scales") if name.startswith(start)]


def preset_text(name: str) -> str:
    """Return the YAML of a preset. Raises ConfigError where there is none of the name."""
    if name not in presets():
        raise ConfigError(f"no preset '{name}'; choose one of: {', '.join(presets())}")
    return (_PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def load_study(
    study: str | Path, *, overrides: Mapping[str, object] | None = None, scale: str | None = None
) -> StudyConfig:
    """Read a study from a YAML file or by the name of a preset.

    Args:
        study: the file or the preset.
        overrides: replace top-level settings, last of all; ``in_domain`` and ``out_of_domain`` by the set.
        scale: of a preset: settings that replace its own, as in ``small``.

    Raises ConfigError naming the file, the setting and what was expected.
    """
    load_plugins()
    place, text = _study_text(study)
    data = _settings_in(text, place)
    if scale is not None:
        if scale not in (known := scales(str(study))):
            has = f"it has: {', '.join(known)}" if known else "only presets that come with the package have some"
            raise ConfigError(f"{place}: no scale '{scale}'; {has}")
        scaled = _PRESETS / "scales" / f"{study}.{scale}.yaml"
        data = _replace(data, _settings_in(scaled.read_text(encoding="utf-8"), scaled.name))
    return StudyConfig.load(_replace(data, overrides or {}), place=place)


def _named_in(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml"))


def _settings_in(text: str, place: str) -> Mapping[str, object]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{place}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{place}: expected settings (key: value), found {type(data).__name__}")
    return data


def _replace(data: Mapping[str, object], changes: Mapping[str, object]) -> Mapping[str, object]:
    """Replace settings; of sets, only those that are named. A null takes a setting away."""
    changed = {**data, **changes}
    for key in ("in_domain", "out_of_domain"):
        known, value = data.get(key), changes.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            changed[key] = {**known, **value}
    return {key: value for key, value in changed.items() if value is not None}


def _study_text(study: str | Path) -> tuple[str, str]:
    path, choices = Path(study), ", ".join(presets())
    if path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            return str(path), path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file or one of: {choices}") from error
    if str(study) not in presets():
        raise ConfigError(f"no study '{study}'; give a YAML file or one of: {choices}")
    return f"preset {study}", preset_text(str(study))
