"""The work of a study's stages: each reads and writes files of the run's folder and returns what it has counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dissensus.errors import InputError, JudgeError
from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.files import write_json, write_records
from dissensus.judge_calibration import CALIBRATION
from dissensus.judges.base import JudgeSettings
from dissensus.records import Judgment, Margin, Pair, Prediction
from dissensus.reward.choices import Sweep
from dissensus.run_records import (
    CategoryCounts,
    CopyCounts,
    Counts,
    JudgeCounts,
    MarginCounts,
    PairCounts,
    PredictCounts,
    ScoreCounts,
    TrainCounts,
)
from dissensus.simulate import copies
from dissensus.steps import judge as judge_step
from dissensus.steps.classify import Categories
from dissensus.steps.train import TrainSettings
from dissensus.study.run_folder import (
    CATEGORIES,
    CATEGORY_AGREEMENT,
    COPIES,
    GOLD,
    REPORT,
    SCORES,
    TEST,
    TRAIN,
    Run,
    calibration_file,
    judged_file,
    margin_files,
    model_folder,
    predictions_file,
)
from dissensus.study.sets import Sets, read_sets
from dissensus.versions import stamped


def write_copies(run: Run) -> CopyCounts:
    """Write the simulated copies of the study's sets."""
    study = run.study
    assert study.simulation is not None  # the settings see to it
    annotated = copies.write_copies(run.folder / COPIES, study.in_domain, study.out_of_domain, study.simulation)
    return CopyCounts(sets=len(study.in_domain) + len(study.out_of_domain), annotated=annotated)


def make_pairs(run: Run) -> PairCounts:
    """Read the sets and split them; the votes of training pairs go into a file of their own."""
    sets = read_sets(run.config)
    _write_sets(run, sets)
    for number, fold in run.folds.items():
        _write_sets(fold, sets.of_fold(number))
    unvoted = sum(pair.votes is None for pair in sets.test)
    return PairCounts(
        train=len(sets.train),
        test=len(sets.test),
        folds=sets.fold_sizes() or None,
        rows=sets.rows,
        **sets.counts,
        test_annotated=None if run.config.annotations is None else sets.annotated,
        test_without_votes=unvoted or None,
    )


def _write_sets(run: Run, sets: Sets) -> None:
    write_records(run.path(GOLD), sets.train)
    write_records(run.path(TRAIN), [pair.model_copy(update={"votes": None}) for pair in sets.train])
    write_records(run.path(run.drawn), sets.test)


def classify(run: Run, settings: Categories) -> CategoryCounts:
    """Put test pairs into categories where they have none."""
    from dissensus.steps import classify

    origin = "people" if run.config.annotations else "source"
    pairs = run.load(run.drawn, Pair)
    found = classify.classify(pairs, settings, run.store, origin=origin, progress=run.progress)
    write_records(run.path(TEST), found.pairs)
    write_records(run.path(CATEGORIES), found.classifications)
    write_json(run.path(CATEGORY_AGREEMENT), classify.agreement_rows(found.agreement))
    return CategoryCounts.model_validate(found.counts(origin))


def judge_training_pairs(run: Run, judging: JudgeSettings, read: str) -> JudgeCounts:
    """Have a judge judge the training pairs, with their votes where it reads those."""
    summary = judge_step.run(
        judging,
        run.load(read, Pair),
        run.store,
        sources=[run.config.pairs],
        label_was_drawn=run.config.label == "one-vote",
        progress=run.progress,
    )
    summary.check_complete()
    return JudgeCounts.model_validate(summary.counts())


def has_judged(run: Run, judging: JudgeSettings, counts: Counts) -> bool:
    """Tell whether the store has at least what it had: others may have added to it, but it may have been lost."""
    if not isinstance(counts, JudgeCounts) or counts.judge is None:
        return False
    return judge_step.is_kept(judging, counts.judge, 1 if counts.stored is None else counts.stored, run.store)


def make_margins(run: Run, name: str, judge: str) -> MarginCounts:
    """Make margins of what the store has of a judge, given by its name in the study and its full name."""
    from dissensus.judges import JudgmentStore
    from dissensus.steps import margin

    judging = run.judges[name]
    pairs = run.load(TRAIN, Pair)
    ids = [pair.id for pair in pairs]
    with JudgmentStore(judging.store_path(run.store), create=False) as store:
        recall = judging.recall(store, judge, pairs)
        made = margin.make_margins(recall, ids, votes=judging.vote_kind(), allow_missing=run.config.allow_missing)
        calibration = store.settings(judge)[CALIBRATION] if judging.calibrates() else None
    if calibration is not None:
        write_json(run.path(calibration_file(name)), stamped(calibration))
    margins, found = made.margins, made.recalled
    margins_file, left_out_file = margin_files(name)
    write_records(run.path(margins_file), margins)
    left_out = sorted(set(ids) - {one.pair_id for one in margins})
    write_json(run.path(left_out_file), left_out)
    # The judgments of pairs that are left out count too: no margin tells of them.
    return MarginCounts(
        margins=len(margins),
        judgments=found.judgments,
        invalid=found.invalid,
        left_out=len(left_out),
        readings=len(found.probabilities),
        unfinished=found.unfinished,
        in_one_order=found.in_one_order,
    )


def train(run: Run, name: str, seed: int) -> TrainCounts:
    """Train a model with a seed; with a sweep, seeds after the first take what it has chosen."""
    from dissensus.steps import train

    config = run.config
    margins = run.load(margin_files(config.models[name].judge)[0], Margin)
    settings = training_settings(run, name, seed)
    if settings.sweep.among(settings.training) and seed != config.seeds[0]:
        settings = train.with_choice_of(settings, run.folder / model_folder(name, config.seeds[0]))
    run.path(model_folder(name, seed))
    found = train.run(settings, pairs=trained_pairs(run), margins=margins, progress=run.progress)
    return TrainCounts.model_validate(found.counts())


def trained_pairs(run: Run) -> list[Pair]:
    """List the pairs that models are trained on; with ``allow_missing`` those that every judge has a margin for.

    Every model sees the same, or their data would be compared.
    """
    pairs = run.load(TRAIN, Pair)
    if not run.config.allow_missing:
        return pairs
    usable = set.intersection(*({m.pair_id for m in run.load(margin_files(j)[0], Margin)} for j in run.judges))
    return [pair for pair in pairs if pair.id in usable]


def training_settings(run: Run, name: str, seed: int) -> TrainSettings:
    """Return the settings of the step that trains a model with a seed."""
    return TrainSettings(
        pairs=str(run.folder / TRAIN),
        out=run.folder / model_folder(name, seed),
        training=run.config.models[name].training().model_copy(update={"seed": seed}),
        sweep=run.config.sweep or Sweep(),
        overwrite=True,
    )


def predict(run: Run, name: str, models: Mapping[int, str] | Mapping[None, str]) -> PredictCounts:
    """Predict the test pairs with a model of each seed, or with one that somebody else has trained."""
    from dissensus.reward.serving.reward_model import RewardModel

    test = run.load(TEST, Pair)
    predictions: list[Prediction] = []
    for seed, source in models.items():
        predictions += RewardModel.load(source).predict(test, name=name, seed=seed, progress=run.progress)
    write_records(run.path(predictions_file(name)), predictions)
    return PredictCounts(predictions=len(predictions))


def judge_test(run: Run, name: str) -> JudgeCounts:
    """Have a judge judge the test pairs. Pairs that it says nothing of are left out.

    A committee learns from the labels of the training pairs alone. A judge that nobody asked for by name may say
    nothing at all, or be unable to: a study does not end for want of a row.

    Raises:
        InputError: published verdicts, or a store, have nothing on any test pair; only for judges that were asked for.
        JudgeError: the judge cannot judge them, or was stopped; likewise.
    """
    judging, store = run.test_judges[name], run.store
    unlabelled = [pair.model_copy(update={"label": None}) for pair in run.load(TEST, Pair)]
    learn_from = run.load(TRAIN, Pair) if judging.learns else ()
    try:
        summary = judge_step.run(
            judging, unlabelled, store, sources=run.sources, learn_from=learn_from, progress=run.progress
        )
        summary.check_complete()
        found = judge_step.judgments(judging, summary.judge, unlabelled, store)
        counts = JudgeCounts.model_validate(summary.counts())
        if not found:
            raise InputError(f"test_judges: {name} has judged none of the {len(unlabelled)} test pairs")
    except (InputError, JudgeError):
        if run.config.test_judges is not None:
            raise
        found, counts = [], JudgeCounts()
    write_records(run.path(judged_file(name)), [judgment.model_copy(update={"judge": name}) for judgment in found])
    return counts.model_copy(update={"judged": len({judgment.pair_id for judgment in found})})


def put_together(run: Run, judges: Sequence[str]) -> PredictCounts:
    """Put together what the models of all folds predict, and what the judges that learn in each fold have said."""
    predicted = 0
    for name in run.config.models:
        file = predictions_file(name)
        rows = [row for fold in run.folds.values() for row in fold.load(file, Prediction)]
        write_records(run.path(file), rows)
        predicted += len(rows)
    for name in judges:
        file = judged_file(name)
        write_records(run.path(file), [row for fold in run.folds.values() for row in fold.load(file, Judgment)])
    return PredictCounts(predictions=predicted)


def score(run: Run) -> ScoreCounts:
    """Compare predictions and judgments with votes."""
    settings = run.config.evaluation
    metrics = evaluate_predictions(
        run.load(TEST, Pair),
        [row for name in run.predicted for row in run.load(predictions_file(name), Prediction)],
        baseline=run.config.baseline,
        primary=settings.primary,
        judgments=[row for name in run.test_judges for row in run.load(judged_file(name), Judgment)],
        n_resamples=settings.resamples,
        n_swaps=settings.swaps,
        level=settings.level,
        seed=settings.seed,
        progress=run.progress,
    )
    write_records(run.path(SCORES), metrics)
    return ScoreCounts(metrics=len(metrics))


def report(run: Run) -> Counts:
    """Write the page; it shows the manifest as it stands."""
    from dissensus.reports.page import write_report

    judge = run.config.judge
    store = judge.store_path(run.store) if judge.has_own_store else None
    write_report(run.folder, run.path(REPORT), store=store)
    return Counts()
