"""The public functions: each takes records, rows, a file's name, a DataFrame, an Arrow table or a ``datasets.Dataset``.

What comes back is a list of records that shows itself as a table and turns into those of other libraries.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dissensus.errors import ConfigError
from dissensus.files.database_url import place_of
from dissensus.parts import Part, PartOf
from dissensus.places.addresses import path_of
from dissensus.plugins import load_plugins
from dissensus.record_lists import Records, Scorecard
from dissensus.records import Judgment, Margin, Pair, Prediction, Record

if TYPE_CHECKING:
    from dissensus.judge_calibration import JudgeCalibration
    from dissensus.reward.config import TrainConfig
    from dissensus.reward.serving.reward_model import RewardModel
    from dissensus.steps.train import TrainResult

R = TypeVar("R", bound=Record)


def read_pairs(
    source: Any, *, label: str | None = None, label_seed: int = 0, part: str | None = None, **options: Any
) -> Records[Pair]:
    """Read pairs: a public data set by name, a file, a folder of Parquet, a Hub id, a DataFrame, a Dataset, a list.

    Args:
        source: what to read.
        label: ``one-vote`` draws one of each pair's votes as its label, which training and the committee need.
        label_seed: of the draw.
        part: of the prompts only some, such as ``3/8``, by their hash: the same pairs in whatever order or format.
        **options: ``root`` (where copies of public data sets lie) and those of `dissensus.files.source.ReadOptions`:
            ``columns`` (our name → the source's), ``split``, ``values``, ``annotator``, ``votes``, ``skip_invalid``.

    Raises:
        InputError: it cannot be read; names the file, the line and the remedy.
    """
    from dissensus.sources import read_pairs as read
    from dissensus.sources.label_votes import draw_labels

    load_plugins()
    if label not in (None, "one-vote"):
        raise ConfigError(f"label: 'one-vote' or nothing (found {label!r})")
    if isinstance(source, list | tuple) and all(isinstance(one, Pair) for one in source) and not options:
        rows = iter(source)
    else:
        rows = read(source, **options)
    chosen = rows if part is None else filter(_part(part).has, rows)
    return Records(chosen if label is None else draw_labels(chosen, seed=label_seed))


def split(
    pairs: Any,
    *,
    by: Literal["group", "category", "dataset"] = "group",
    share: float | None = None,
    count: int | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[Records[Pair], Records[Pair]]:
    """Split pairs into those to train on and those to test with, by whole prompts; domain ``out`` is tested always.

    Args:
        pairs: the pairs.
        by: what is held out whole; a group is a prompt, unless the pairs name another.
        share: of the values of ``by``, drawn by the seed; 0.2 unless ``count`` or ``names`` is given.
        count: how many values are drawn, instead.
        names: the values themselves, instead.
        seed: of the draw.

    Raises:
        ConfigError: a part would be empty, a group on both sides, or no pair has such a value.
    """
    from dissensus.steps import split as step

    given = {"by": by, "share": share, "count": count, "names": names, "seed": seed}
    hold_out = step.HoldOut.load(step.with_share({name: one for name, one in given.items() if one is not None}))
    train, test = step.split(read_pairs(pairs), hold_out)
    return Records(train), Records(test)


def judge(
    pairs: Any,
    judge: str | Mapping[str, Any] = "committee",
    *,
    store: str | Path | None = None,
    part: str | None = None,
    **settings: Any,
) -> Records[Judgment]:
    """Have a judge give n judgments of each pair; what the store has already is not made again.

    Args:
        pairs: the pairs.
        judge: a kind of judge (``committee``, ``votes``, ``published``, ``graph``, ``store``, ``local``, …), or
            its settings as in a study, with the kind as ``name``.
        store: a file, or a postgresql:// URL, that keeps the judgments, so that a run that was stopped goes on; none
            unless given.
        part: of the prompts only some, such as ``3/8``: the judge learns from all pairs and judges these. Their
            judgments are kept in the folder STORE.parts, which ``dissensus judgments merge`` merges.
        **settings: of the judge: ``n``, ``seed``, ``model``, …; ``progress=False`` shows no bar.

    Raises:
        ConfigError: there is no such judge or setting.
        JudgeError: it cannot judge these pairs. What was answered is kept in ``store``.
    """
    from dissensus.judges.base import AnyJudge
    from dissensus.settings import Settings
    from dissensus.steps import judge as step

    class Chosen(Settings):
        judge: AnyJudge

    load_plugins()
    progress = bool(settings.pop("progress", True))
    given = {"name": judge, **settings} if isinstance(judge, str) else {**judge, **settings}
    chosen = Chosen.load({"judge": given}).judge
    rows = read_pairs(pairs)
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(store) if store is not None else Path(folder) / "judgments.db"
        asked = rows if part is None else PartOf(rows, _part(part))
        done = step.run(chosen, asked, place, progress=progress)
        own = _part(part).place(place) if part is not None and isinstance(place, Path) else place
        found = step.judgments(chosen, done.judge, list(asked), own)
    at = {pair.id: number for number, pair in enumerate(rows)}
    return Records(sorted(found, key=lambda one: (at[one.pair_id], one.sample, one.order)))


class CalibratedMargins(Records[Margin]):
    """Margins of judges that were corrected and combined."""

    calibration: JudgeCalibration
    """What each judge counts, and how far they were off before and after."""


def margins(
    judgments: Any,
    pairs: Any = None,
    *,
    votes: Literal["drawn", "limit"] = "drawn",
    calibrate: Literal["labels", "votes"] | None = None,
    covariates: Literal["length", "none"] = "length",
    rewards: str | Path | None = None,
    allow_missing: bool = False,
) -> Records[Margin]:
    """Turn judgments into margins m = |Σj − n/2| / (n/2) and preferences (the paper's equation 3).

    Args:
        judgments: of one judge; of several in one list or in a list of lists, with ``calibrate``.
        pairs: which pairs get a margin, in which order; those that were judged, as they first come, unless given.
        votes: ``limit``: of a judge that says how probable it is (graph, shares, committee), |2q − 1| of its mean q.
        calibrate: correct and combine the judges by a logistic stack that is fitted to the pairs' labels, or to their
            votes, for each pair on other prompts than its own. What comes back has a ``calibration``.
        covariates: beside the judges the log ratio of the responses' lengths, or nothing.
        rewards: a file of predictions of a reward model that was not trained on these pairs, as a further column.
        allow_missing: leave pairs without a valid judgment out.

    Raises:
        ConfigError: judges are to be calibrated without pairs.
        JudgeError: a pair has no valid judgment, or the judges cannot be combined.
    """
    from dissensus.judgment_margins import margins_from_judgments, margins_from_stated_probabilities

    several = isinstance(judgments, list | tuple) and judgments and all(isinstance(j, list | tuple) for j in judgments)
    rows = [row for part in (judgments if several else [judgments]) for row in _records(part, Judgment)]
    if calibrate is not None:
        if pairs is None:
            raise ConfigError("calibrate: people's labels correct the judges; give the pairs that they judged")
        from dissensus.judges.combined import combine

        given = read_pairs(pairs)
        combined = combine(rows, given, calibrate=calibrate, covariates=covariates, rewards=rewards)
        found = CalibratedMargins(combined.margins([pair.id for pair in given], allow_missing=allow_missing))
        found.calibration = combined.calibration
        return found
    ids = [pair.id for pair in read_pairs(pairs)] if pairs is not None else list(dict.fromkeys(r.pair_id for r in rows))
    make = margins_from_judgments if votes == "drawn" else margins_from_stated_probabilities
    return Records(make(rows, ids, allow_missing=allow_missing))


def train(
    pairs: Any,
    out: str | Path,
    *,
    margins: Any = None,
    config: TrainConfig | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> TrainResult:
    """Train a reward model into a folder; killed anywhere, the same call goes on.

    Args:
        pairs: with labels, or votes where the objective reads them.
        out: the folder: a plain ``from_pretrained`` model with our record beside it.
        margins: for the objectives that read them.
        config: the settings; or give them one by one: ``objective="blend"``, ``learning_rate=2e-5``, …
        allow_missing: leave out the pairs that have no margin.
        overwrite: replace a model of another config, backbone or data.
        progress: show it.
        **settings: those of `TrainConfig`.

    Raises:
        ConfigError: a setting is unknown or wrong, or the folder holds another run.
        TrainingError: the objective cannot use these pairs.
    """
    from dissensus.reward.config import TrainConfig
    from dissensus.steps import train as step

    if config is not None and settings:
        raise ConfigError("give config or its settings one by one, not both")
    given = {
        "pairs": "",
        "out": out,
        "training": config if config is not None else TrainConfig.load(settings),
        "allow_missing": allow_missing,
        "overwrite": overwrite,
    }
    chosen = step.TrainSettings.load(given)
    rows = None if margins is None else _records(margins, Margin)
    return step.run(chosen, pairs=read_pairs(pairs), margins=rows, progress=progress)


def load_model(source: str | Path, **options: Any) -> RewardModel:
    """Load a reward model: a folder that `train` wrote, or any sequence classifier of one output, by folder or Hub id.

    Args:
        source: the folder or id.
        **options: ``max_length``, ``device``, ``precision`` of `RewardModel.load`.

    Raises:
        InputError: there is no such model, or it is none that gives one reward.
    """
    from dissensus.reward.serving.reward_model import RewardModel

    return RewardModel.load(source, **options)


def predict(
    model: RewardModel | str | Path,
    pairs: Any,
    *,
    name: str = "",
    seed: int | None = None,
    part: str | None = None,
    **options: Any,
) -> Records[Prediction]:
    """Predict each pair: its two rewards, and the share of people who prefer response a.

    Args:
        model: a loaded one, or what `load_model` takes.
        pairs: the pairs.
        name: what the model is called in tables; the folder's name unless given.
        seed: that it was trained with, where several of one name are compared.
        part: of the prompts only some, such as ``3/8``.
        **options: ``calibrated``, ``debias``, ``progress`` of `RewardModel.predict`.
    """
    called = name or (Path(model).name if isinstance(model, str | Path) else "model")
    loaded = load_model(model) if isinstance(model, str | Path) else model
    return Records(loaded.predict(read_pairs(pairs, part=part), name=called, seed=seed, **options))


def evaluate(
    pairs: Any,
    predictions: Any,
    *,
    baseline: str | None = None,
    primary: Sequence[str] | None = None,
    judgments: Any = (),
    resamples: int = 2000,
    swaps: int = 9999,
    level: float = 0.95,
    seed: int = 0,
    calibrated: bool | None = None,
    allow_missing: bool = False,
    progress: bool = False,
) -> Scorecard:
    """Compare predictions with the votes that pairs carry: Pearson r, L1 and more, with intervals and tests.

    Args:
        pairs: with votes.
        predictions: of one model or several, and of one seed or several.
        baseline: the model that the others are compared with.
        primary: the metrics that the comparison is about, r within data sets and L1 unless given; all else is
            exploratory.
        judgments: of judges that are compared with people as the models are.
        resamples: of the bootstrap; 0 for no intervals.
        swaps: of each test of a difference; 0 for no tests.
        level: coverage of the intervals.
        seed: of the resamples.
        calibrated: True insists on calibrated preferences and False takes raw ones; unless given, a model is scored by
            calibrated ones where its predictions have them, and a note says so.
        allow_missing: leave out the pairs that a model or seed has no prediction for, and count them in a note.
        progress: show bars.

    Raises:
        EvaluationError: predictions and votes do not fit together.
    """
    from dissensus.evaluation.evaluate_predictions import evaluate_predictions
    from dissensus.evaluation.primary import PRIMARY

    rows = evaluate_predictions(
        read_pairs(pairs),
        _records(predictions, Prediction),
        baseline=baseline,
        primary=PRIMARY if primary is None else primary,
        judgments=_records(judgments, Judgment),
        n_resamples=resamples,
        n_swaps=swaps,
        level=level,
        seed=seed,
        calibrated=calibrated,
        allow_missing=allow_missing,
        progress=progress,
    )
    return Scorecard(rows)


def report(run: str | Path | Sequence[str | Path], out: str | Path) -> Path:
    """Write the page of a run's folder, or of several runs that are compared; returns its path.

    Args:
        run: a study's folder, or one that holds what the verbs wrote.
        out: the page.

    Raises:
        InputError: a folder is no run.
        OutputError: the page cannot be written.
    """
    from dissensus.reports.page import write_report

    load_plugins()
    write_report(Path(run) if isinstance(run, str | Path) else [Path(one) for one in run], path_of(out))
    return path_of(out)


def _part(text: str) -> Part:
    try:
        return Part.parse(text)
    except ValueError as error:
        raise ConfigError(f"part: {error}") from error


def _records(source: Any, kind: type[R]) -> Records[R]:
    from dissensus.files import read_records

    return Records(read_records(source, kind))
