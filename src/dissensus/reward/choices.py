"""Choices of settings on held-out labels of the training prompts: learning rates, and others beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from dissensus.errors import ConfigError
from dissensus.reward.config import TrainConfig
from dissensus.settings import Option, Settings, nearest

Value = bool | int | float | str
Chosen = dict[str, Value]
"""Settings of `TrainConfig` to values."""
Metric = Literal["nll", "calibrated-nll", "accuracy"]
_FIXED = {"model", "objective", "validation", "calibration", "seed", "runtime"}
"""What says what is compared, on what, and how it is run."""


class Sweep(Settings):
    """A choice of the learning rate, or of other settings, on validation."""

    rates: Annotated[str | None, Option("--sweep", metavar="RATES")] = None
    """Learning rates to choose from on validation: two ends, 1e-4..1e-6, or a list, 1e-4,3e-5,1e-5. One model is
    trained with each, and the best is kept."""
    points: Annotated[int, Field(ge=2)] = 5
    """Rates between two ends, evenly spaced in the logarithm."""
    choose: Annotated[dict[str, str], Option("--choose", metavar="SETTING=VALUES")] = Field(default_factory=dict)
    """Another setting to choose on validation, as in label_weight=0,0.2,0.5 or epochs=1,2,3; repeat for several. One
    model is trained with each combination. What an objective does not read is not chosen for it."""
    most: Annotated[PositiveInt, Option("--choose-most")] = 16
    """Where there are more combinations, settings are chosen one after the other, the learning rate first, each with
    what was chosen before it."""
    metric: Annotated[Metric | None, Option(default="nll, or calibrated-nll with --choose")] = None
    """What the best is chosen by, on the labels of the held-out prompts: ``calibrated-nll`` is the NLL after a
    temperature fitted to the same labels, so that models of another scale are comparable."""
    patience: Annotated[PositiveInt, Option("--patience")] = 1
    """Epochs without a better NLL after which a run is given up."""

    @field_validator("rates")
    @classmethod
    def _rates_are_rates(cls, rates: str | None) -> str | None:
        if rates is not None:
            parse_rates(rates, points=2)
        return rates

    @field_validator("choose", mode="before")
    @classmethod
    def _lists_as_text(cls, choose: Any) -> Any:
        if not isinstance(choose, Mapping):
            return choose
        return {
            name: ",".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
            for name, given in choose.items()
        }

    @field_validator("choose")
    @classmethod
    def _values_are_settings(cls, choose: dict[str, str]) -> dict[str, str]:
        known = [name for name in TrainConfig.model_fields if name not in _FIXED]
        for name, text in choose.items():
            if name not in known:
                raise ValueError(f"{name} is no setting to choose; {nearest(name, known)}")
            parse_values(name, text)
        return choose

    @property
    def chosen_by(self) -> Metric:
        """What the best is chosen by."""
        return self.metric or ("calibrated-nll" if self.choose else "nll")

    def values(self) -> list[float]:
        """List the rates, highest first; none where there is no sweep."""
        return [] if self.rates is None else parse_rates(self.rates, points=self.points)

    def among(self, config: TrainConfig) -> dict[str, list[Value]]:
        """List what is chosen from for a model: settings that its objective reads to values; nothing where nothing is.

        Raises ConfigError where a setting is given twice, or does not go with those of the model.
        """
        found: dict[str, list[Value]] = {"learning_rate": [*self.values()]} if self.rates is not None else {}
        for name, text in self.choose.items():
            if name in found:
                raise ConfigError("learning_rate is given by rates and by choose; leave one of them out")
            if name not in config.unread:
                found[name] = parse_values(name, text)
        for name, values in found.items():
            for value in values:
                with_chosen(config, {name: value})
        return found

    def runs(self, config: TrainConfig) -> list[Chosen]:
        """List the settings of all runs, as far as they are known before the first."""
        among = self.among(config)
        own: Chosen = {name: getattr(config, name) for name in among}
        return [own | chosen for step in steps_of(among, self.most) for chosen in combinations(step)]


def with_chosen(config: TrainConfig, chosen: Mapping[str, Value]) -> TrainConfig:
    """Return the settings with those that were chosen. Raises ConfigError where they do not go together."""
    return TrainConfig.load({**config.model_dump(exclude_unset=True), **chosen}, place="choose")


def steps_of(among: Mapping[str, Sequence[Value]], most: int) -> list[dict[str, Sequence[Value]]]:
    """List what is chosen together: everything where there are at most so many combinations, else each by itself."""
    together = prod(map(len, among.values())) <= most
    return [dict(among)] if together else [{name: values} for name, values in among.items()]


def combinations(among: Mapping[str, Sequence[Value]]) -> Iterator[Chosen]:
    """Yield every combination of values.

    >>> list(combinations({"epochs": [1, 2], "label_weight": [0.5]}))
    [{'epochs': 1, 'label_weight': 0.5}, {'epochs': 2, 'label_weight': 0.5}]
    """
    return (dict(zip(among, values, strict=True)) for values in product(*among.values()))


def parse_values(name: str, text: str) -> list[Value]:
    """Read the values of a setting of `TrainConfig`, each once.

    Raises ValueError where there are none, or one is none of the setting's.

    >>> parse_values("label_weight", "0,0.2,0.5"), parse_values("epochs", "1,2")
    ([0.0, 0.2, 0.5], [1, 2])
    """
    try:
        found = [getattr(TrainConfig.load({name: part.strip()}), name) for part in text.split(",")]
    except ConfigError as error:
        raise ValueError(f"{text}: {error}; expected a list as in label_weight=0,0.2,0.5") from error
    return list(dict.fromkeys(found))


def parse_rates(text: str, *, points: int) -> list[float]:
    """Read ``1e-4..1e-6`` (so many points, evenly spaced on the log scale) or ``1e-4,3e-5,1e-5``; highest first.

    Raises ValueError for anything else.

    >>> parse_rates("1e-6..1e-4", points=3)
    [0.0001, 1e-05, 1e-06]
    >>> parse_rates("3e-5,1e-4", points=3)
    [0.0001, 3e-05]
    """
    try:
        rates = [float(part) for part in text.replace("..", ",").split(",")]
    except ValueError:
        rates = []
    if not rates or (".." in text and len(rates) != 2) or not all(0 < rate < float("inf") for rate in rates):
        raise ValueError(f"{text}: expected two rates as in 1e-4..1e-6, or a list as in 1e-4,3e-5,1e-5")
    if ".." in text:
        step = (rates[1] / rates[0]) ** (1 / (points - 1))
        rates = [float(f"{rates[0] * step**i:.3g}") for i in range(points)]
    return sorted(set(rates), reverse=True)
