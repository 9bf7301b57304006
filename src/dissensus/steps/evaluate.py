"""Comparing predictions with the votes of people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from dissensus.errors import ConfigError, EvaluationError
from dissensus.files.database_url import DatabaseUrl, StorePlace
from dissensus.settings import Argument, Option, Reads, Settings, Writes
from dissensus.steps.tables import TableOptions

if TYPE_CHECKING:
    from dissensus.records import Judgment, Metric, Pair


class Scoring(Settings):
    """How predictions are compared with votes."""

    primary: Annotated[tuple[str, ...], Option(metavar="METRIC")] = ("pearson_within", "l1")
    """A metric that the comparison with the baseline is about; all others are exploratory."""
    resamples: Annotated[int, Field(ge=0)] = 2000
    """Bootstrap resamples; 0 for no intervals."""
    swaps: Annotated[int, Field(ge=0)] = 9999
    """Of each test of a difference; 0 for no tests."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the intervals."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the resamples and swaps."""

    @field_validator("primary", mode="before")
    @classmethod
    def _primary_is_tested(cls, names: Any) -> Any:
        from dissensus.evaluation.primary import check_primary

        if not isinstance(names, str | list | tuple) or not all(isinstance(name, str) for name in names):
            return names  # which is refused as no list of names
        try:
            return check_primary(names)
        except EvaluationError as error:
            raise ValueError(str(error)) from error


class EvaluateSettings(Scoring, TableOptions):
    """Compare predictions with the votes that PAIRS carry: a file, or the database of "dissensus annotate".

    PAIRS may be some of those that were predicted: predictions for others are passed over and counted.

    Prints Pearson r and L1 by data set, domain and category, with intervals from a bootstrap over prompts, and trivial
    baselines. "dissensus tables" prints all tables; so does any other format.
    """

    groups: ClassVar = {
        "Statistics": ("primary", "resamples", "swaps", "level", "seed"),
        "Tables": ("format", "against"),
    }
    pairs: Annotated[str, Reads(), Argument()]
    """With votes: a data set's name, a file, a Hub id or an annotation database."""
    predictions: Annotated[tuple[Path, ...], Field(min_length=1), Reads("file")]
    """Of one or more models."""
    out: Annotated[Path, Writes()]
    """scores.json: one row per model, group and metric."""
    judgments: Annotated[tuple[StorePlace, ...], Reads("store")] = ()
    """Of judges on PAIRS, as rows beside the models: a store, or a file that it was exported to."""
    target: Annotated[tuple[Path, ...], Reads("file")] = ()
    """Preferences under another rule, as aggregate wrote them, that models are compared with as well."""
    baseline: str | None = None
    """The model that the others are compared with."""
    calibrated: Annotated[bool | None, Option("--calibrated/--raw", default="calibrated where predictions are")] = None
    """Insist on calibrated preferences, or score the raw ones."""
    allow_missing: Annotated[bool, Option("--allow-missing")] = False
    """Leave out (and count) pairs that a model or seed has no prediction for, instead of stopping."""


@dataclass(frozen=True)
class EvaluateResult:
    """The rows of a scorecard, and how they are shown."""

    metrics: Sequence[Metric]
    tables: TableOptions

    def lines(self) -> Iterator[str]:
        """Yield the tables; of those for a terminal what one looks at first."""
        from dissensus.evaluation.tables.render import render, render_brief

        against = self.tables.against
        if self.tables.format == "terminal":
            yield render_brief(self.metrics, against=against)
        else:
            yield render(self.metrics, self.tables.format, against=against)


def run(settings: EvaluateSettings, *, progress: bool = True) -> EvaluateResult:
    """Score every model, and write the rows."""
    from dissensus.evaluation.evaluate_predictions import evaluate_predictions
    from dissensus.files import read_records, write_json
    from dissensus.records import Margin, Prediction

    rules = {target.name.split(".")[0]: target for target in settings.target}
    if len(rules) < len(settings.target):
        raise ConfigError("--target: the files' names name the rules in the tables, and two are the same; rename one")
    contents: dict[str, str] = {}
    pairs = _read_pairs(settings.pairs)
    if settings.judgments:
        pairs = _noting_contents(pairs, contents)
    metrics = evaluate_predictions(
        pairs,
        chain.from_iterable(read_records(file, Prediction) for file in settings.predictions),
        baseline=settings.baseline,
        primary=settings.primary,
        calibrated=settings.calibrated,
        judgments=chain.from_iterable(_read_judgments(file, contents) for file in settings.judgments),
        targets={name: read_records(file, Margin) for name, file in rules.items()},
        n_resamples=settings.resamples,
        n_swaps=settings.swaps,
        level=settings.level,
        seed=settings.seed,
        allow_missing=settings.allow_missing,
        progress=progress,
    )
    write_json(settings.out, [metric.model_dump() for metric in metrics])
    return EvaluateResult(metrics, settings)


def _read_pairs(source: str) -> Iterator[Pair]:
    from dissensus.annotate.exchange.annotated_pairs import is_database, read_database
    from dissensus.sources import read_pairs

    return iter(read_database(source)) if is_database(source) else read_pairs(source)


def _noting_contents(pairs: Iterable[Pair], contents: dict[str, str]) -> Iterator[Pair]:
    """Pass pairs on, and note what their texts hash to, by which a store knows what was judged."""
    from dissensus.judges.store.keys import content_of

    for pair in pairs:
        contents[pair.id] = content_of(pair)
        yield pair


def _read_judgments(file: StorePlace, contents: Mapping[str, str]) -> Iterator[Judgment]:
    """Read what judges said of the pairs with these ids and texts, from a store or a file of judgments."""
    from dissensus.files import read_records
    from dissensus.files.sqlite import application_of
    from dissensus.judges import JudgmentStore
    from dissensus.judges.store.query import Recall, without_twins
    from dissensus.records import Judgment

    if not isinstance(file, DatabaseUrl) and application_of(file) is None:
        yield from read_records(file, Judgment)
        return
    with JudgmentStore(file, create=False) as store:
        for judge in without_twins(store, store.judges()):
            yield from Recall(store, judge, contents).judgments()
