"""A study's settings: one YAML file, validated as a whole before anything runs."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from dissensus.errors import ConfigError
from dissensus.evaluate.ceilings import CEILING
from dissensus.evaluate.people import PEOPLE
from dissensus.reward.config import OBJECTIVES, TrainConfig
from dissensus.simulate import SimulationConfig
from dissensus.study.judges import JUDGES, CommitteeJudge, JudgeSettings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HoldOut(_Settings):
    """Which pairs are kept for evaluation: whole groups, never single rows."""

    by: Literal["group", "category", "dataset"] = "group"
    count: PositiveInt | None = None
    """How many values of ``by`` are drawn by the seed."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of the values of ``by`` that is drawn instead."""
    names: tuple[str, ...] | None = None
    """The values themselves, instead."""
    seed: int = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.count, self.share, self.names)) != 1:
            raise ValueError("give one of count, share and names")
        return self


class TestSet(_Settings):
    """Pairs that are only tested on."""

    __test__ = False  # for pytest: no test case

    pairs: str
    """A file, a folder of Parquet or a Hub id."""
    columns: dict[str, str] = Field(default_factory=dict)
    split: str | None = None


def _as_test_set(value: Any) -> Any:
    return {"pairs": value} if isinstance(value, str) else value


class Evaluation(_Settings):
    """How predictions are compared with votes."""

    resamples: PositiveInt = 2000
    swaps: NonNegativeInt = 9999
    """Of each test of a difference; 0 for no tests."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: int = 0


class StudyConfig(_Settings):
    """Everything that decides a study's numbers."""

    title: str = "Reward models and people's preferences"
    pairs: str
    """A file, a folder of Parquet, a Hub id, or ``simulated``."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name → the source's, where they differ."""
    split: str | None = None
    dataset: str | None = None
    """The name of the data set, for pairs that name none."""
    simulation: SimulationConfig | None = None
    """The population, where ``pairs`` is ``simulated``."""
    label: Literal["own", "one-vote"] = "own"
    """``one-vote`` draws one annotator's vote per pair as the binary label, among the votes for a or b; the
    other votes stay out of training, but for the judge ``votes``."""
    label_seed: int = 0
    hold_out: HoldOut = HoldOut(by="group", share=0.2)
    """Pairs of domain ``out`` are always held out."""
    out_of_domain: dict[str, Annotated[TestSet, BeforeValidator(_as_test_set)]] = Field(default_factory=dict)
    """Data sets that are only tested on: name → source, or its settings."""
    judge: JudgeSettings = CommitteeJudge()
    test_judges: tuple[JudgeSettings, ...] | None = None
    """Judges that judge the test pairs and are compared with people as the models are. Unless given, the study's own
    judge where that costs nothing: a committee, published or stored verdicts."""
    allow_missing: bool = False
    """Leave out training pairs without a valid judgment (counted) instead of stopping."""
    training: TrainConfig = TrainConfig()
    """Settings shared by all models."""
    models: dict[str, TrainConfig]
    """Name → what differs from ``training``; validated together with it."""
    baseline: str
    """The model that the others are compared with."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    evaluation: Evaluation = Evaluation()

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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.baseline not in self.models:
            raise ValueError(f"baseline '{self.baseline}' is none of the models ({', '.join(self.models)})")
        if any(judge.name == "votes" for judge in self.test_judges or ()):
            raise ValueError("test_judges: people's votes are what judges are compared with; choose another judge")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds repeat")
        if (self.pairs == "simulated") != (self.simulation is not None):
            raise ValueError("'simulation' belongs to 'pairs: simulated', and to that alone")
        for name in self.models:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
                raise ValueError(f"model name '{name}' cannot name a folder; use letters, digits, - _ and .")
            if name in (CEILING, PEOPLE):
                raise ValueError(f"model name '{name}' is that of a row in the tables; choose another")
        return self


def presets() -> list[str]:
    """List the studies that come with the package."""
    return sorted(
        file.name.removesuffix(".yaml") for file in _presets_folder().iterdir() if file.name.endswith(".yaml")
    )


def load_study(study: str | Path, *, overrides: dict[str, Any] | None = None) -> StudyConfig:
    """Read a study from a YAML file or by the name of a preset; ``overrides`` replace top-level settings.

    Raises ConfigError naming the file, the setting and what was expected.
    """
    place, text = _study_text(study)
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{place}: not YAML ({reason})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{place}: expected settings (key: value), found {type(data).__name__}")
    data = {**data, **(overrides or {})}
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{place}: {_first_problem(error)}") from error


def _study_text(study: str | Path) -> tuple[str, str]:
    path = Path(study)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            return str(path), path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file or one of: {_choices()}") from error
    if str(study) not in presets():
        raise ConfigError(f"no study '{study}'; give a YAML file or one of: {_choices()}")
    return f"preset {study}", (_presets_folder() / f"{study}.yaml").read_text(encoding="utf-8")


def _presets_folder() -> Any:
    return resources.files("dissensus.study") / "presets"


def _choices() -> str:
    return ", ".join(presets())


def _first_problem(error: ValidationError) -> str:
    """One line for the first problem: which setting, what is wrong, what would be right."""
    problem = error.errors()[0]
    # A discriminated union puts its tag into the path; it is no setting.
    where = ".".join(str(part) for part in problem["loc"] if part not in JUDGES)
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        known = _known_keys(tuple(problem["loc"][:-1]))
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        return f"{where}: unknown setting; {hint}"
    if problem["type"] == "missing":
        return f"{where}: missing; add it"
    if key == "objective":
        return f"{where}: unknown objective {problem['input']!r}; choose one of {', '.join(OBJECTIVES)}"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if problem["type"] == "value_error" else f" (found {problem['input']!r})"
    return f"{where + ': ' if where else ''}{message}{found}"


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = StudyConfig
    sections: dict[str, type[BaseModel]] = {
        "training": TrainConfig,
        "models": TrainConfig,
        "hold_out": HoldOut,
        "out_of_domain": TestSet,
        "evaluation": Evaluation,
        "simulation": SimulationConfig,
    }
    if path:
        model = (
            JUDGES.get(str(path[-1]), CommitteeJudge)
            if path[0] in ("judge", "test_judges")
            else sections.get(str(path[0]), StudyConfig)
        )
    return list(model.model_fields)
