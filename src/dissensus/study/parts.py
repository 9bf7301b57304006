"""The parts of a study's settings: its sets, sweep, throughput and models."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
)

from dissensus.reward.config import Sweep, TrainConfig
from dissensus.settings import Settings


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
    """A choice of the learning rate for each model, with its first seed; other seeds take the same."""

    rates: str = "1e-4..1e-6"
    """Two ends, or a list: 1e-4,3e-5,1e-5."""


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

    def training(self) -> TrainConfig:
        """Return how it is trained."""
        return TrainConfig(**self.model_dump(exclude={"judge"}))
