"""The stages of a study: what decides each, what it reads and writes, its work and its estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from dissensus.files import content_of
from dissensus.hashing import fingerprint_of
from dissensus.judges.base import JudgeSettings
from dissensus.run_records import JudgeCounts, StageRecord, TrainCounts, fold_place
from dissensus.simulate.copies import ANNOTATIONS, copy_file
from dissensus.steps import train
from dissensus.study import work
from dissensus.study.config import StudyConfig, Throughput
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
from dissensus.study.sets import Sizes, annotations_content, label_counts_as_vote, named_by_the_study
from dissensus.study.stage import Estimate, Input, Made, Stage, of_fold


def plan(run: Run) -> list[Stage]:
    """List the stages of a study in the order in which they run. Nothing is read or written for it."""
    stages = [*_copies(run), _pairs(run), *_categories(run)]
    # A judge that learns from labels learns in each fold anew; any other says the same of a pair in all of them.
    learning = [name for name, judging in run.test_judges.items() if judging.learns]
    for number, fold in run.folds.items():
        judged = [_judge_test(fold, name) for name in learning]
        stages += [of_fold(stage, number) for stage in (*_judged_and_trained(fold), *judged)]
    if not run.folds:
        stages += _judged_and_trained(run)
    stages += [_pretrained(run, name, source) for name, source in run.config.pretrained.items()]
    stages += [_judge_test(run, name) for name in run.test_judges if not (run.folds and name in learning)]
    if run.folds:
        stages.append(_put_together(run, learning))
    return [*stages, _evaluate(run), _report(run)]


def _judged_and_trained(run: Run) -> Iterator[Stage]:
    """List the stages from judging the training pairs to predicting the test pairs."""
    for name in run.judges:
        yield from (_judge(run, name), _margin(run, name))
    for name in run.config.models:
        yield from (*_train(run, name), _predict(run, name))


def _copies(run: Run) -> Iterator[Stage]:
    study = run.study
    if study.copies != "simulated":
        return
    assert study.simulation is not None  # the settings see to it
    names = [*study.in_domain, *study.out_of_domain]
    yield Stage(
        "copies",
        lambda _: work.write_copies(run),
        settings=[list(study.in_domain), list(study.out_of_domain), study.simulation.model_dump(mode="json")],
        outputs=[f"{COPIES}/{file}" for file in (*map(copy_file, names), ANNOTATIONS)],
    )


def _pairs(run: Run) -> Stage:
    config = run.config
    chosen = {"columns", "split", "dataset", "simulation", "label", "label_seed", "hold_out", "out_of_domain"}
    if config.in_domain:
        chosen |= {"in_domain", "test"}
    if config.cross_validate is not None:
        chosen.add("cross_validate")
    settings = config.model_dump(mode="json", include=chosen)
    for one in (*settings["out_of_domain"].values(), *settings.get("in_domain", {}).values()):
        one.pop("pairs")  # its content counts, and its name where that is not known
    if config.pairs:
        settings["named"] = named_by_the_study(config)  # a file of another name gives another data set
    if config.label == "own" and label_counts_as_vote(config):
        settings["votes_stay_whole"] = True  # also of the pairs whose label is one of them

    def contents(_: Made) -> list[str]:
        annotated = [] if config.annotations is None else [annotations_content(config.annotations)]
        found = zip(run.contents, run.sources, strict=True)
        return [*(sha256 or f"named {source}" for sha256, source in found), *annotated]

    outputs = [TRAIN, run.drawn, GOLD]
    outputs += [fold_place(number) + file for number in run.folds for file in (TRAIN, TEST, GOLD)]
    return Stage("pairs", lambda _: work.make_pairs(run), settings, [contents], outputs)


def _categories(run: Run) -> Iterator[Stage]:
    settings = run.config.categories
    if settings is None:
        return
    judge = settings.judge
    # Whoever gave the categories that test pairs have already stands in the file.
    given = {"origin": "people"} if run.config.annotations else {}
    beside = () if judge is None else [_outside(partial(judge.content, [run.config.pairs]))]
    yield Stage(
        "categories",
        lambda _: work.classify(run, settings),
        settings={"name": settings.name, "judge": None if judge is None else judge.deciding(), **given},
        inputs=[_file(run.drawn), *beside],
        outputs=[TEST, CATEGORIES, CATEGORY_AGREEMENT],
        estimate=partial(_estimate_categories, run, judge),
    )


def _estimate_categories(run: Run, judge: JudgeSettings | None, sizes: Sizes) -> Estimate:
    if judge is None:
        return Estimate()
    # Options stand in a fixed order; whether several answers are correct is asked once for each prompt.
    judging, asked = judge.model_copy(update={"order": "ab"}), sizes.test + sizes.prompts
    return estimate_judge("categories of prompts, and of pairs", judging, asked, sizes, run.config.throughput)


def _judge(run: Run, name: str) -> Stage:
    """Have a judge judge the training pairs."""
    judging = run.judges[name]
    read = GOLD if judging.sees_votes() else TRAIN
    return Stage(
        f"judge {name}".strip(),
        lambda _: work.judge_training_pairs(run, judging, read),
        settings=[judging.deciding(), run.config.label],
        inputs=[_file(read), _outside(partial(judging.content, [run.config.pairs]))],
        holds=partial(work.has_judged, run, judging),
        estimate=lambda sizes: estimate_judge(
            f"judge {name}".strip(), judging, sizes.judged or sizes.train, sizes, run.config.throughput
        ),
    )


def _margin(run: Run, name: str) -> Stage:
    """Make the margins of a judge's judgments."""
    judging, judged = run.judges[name], f"judge {name}".strip()

    def said(made: Made) -> list[str]:
        stage = made[judged]
        return [_full_name(stage), stage.fingerprint, *_file(TRAIN)(made), *judging.stored_content()]

    return Stage(
        f"margin {name}".strip(),
        lambda made: work.make_margins(run, name, _full_name(made[judged])),
        settings=[judging.deciding(), run.config.allow_missing],
        inputs=[said],
        outputs=[*margin_files(name), *([calibration_file(name)] if judging.calibrates() else [])],
    )


def _train(run: Run, name: str) -> Iterator[Stage]:
    """Train a model, once with each seed; with a sweep, seeds after the first take its learning rate."""
    config, seeds = run.config.models[name], run.config.seeds
    swept = run.config.sweep is not None and run.config.sweep.among(config.training())
    # Without margins of its own, the baseline still trains on the pairs that the others can use.
    judged = [margin_files(judge)[1] for judge in run.judges]
    if config.reads_margins:
        judged.append(margin_files(config.judge)[0])
    read = [*map(_file, (TRAIN, *judged)), _outside(lambda: [_model_content(config.model)])]
    members = "member-*/" if config.keeps_members else ""
    for seed in seeds:
        folder = model_folder(name, seed)
        first = [] if not swept or seed == seeds[0] else [_weights(_trained(name, seeds[0]))]
        yield Stage(
            _trained(name, seed),
            lambda _, seed=seed: work.train(run, name, seed),  # type: ignore[misc]
            settings=train.fingerprint(work.training_settings(run, name, seed)),
            inputs=[*read, *first],
            outputs=[f"{folder}/{members}model*.safetensors*", f"{folder}/dissensus.json"],
            estimate=partial(estimate_training, run.config, name, seed),
        )


def _predict(run: Run, name: str) -> Stage:
    seeds = run.config.seeds
    models = {seed: str(run.folder / model_folder(name, seed)) for seed in seeds}
    trained = [_trained(name, seed) for seed in seeds]
    return Stage(
        f"predict {name}",
        lambda _: work.predict(run, name, models),
        settings=[name, list(seeds), run.config.models[name].max_length],
        inputs=[_test_texts(run), *map(_weights, trained), *map(_temperature, trained)],
        outputs=[predictions_file(name)],
    )


def _pretrained(run: Run, name: str, source: str) -> Stage:
    """Predict with a model that somebody else has trained."""
    return Stage(
        f"predict {name}",
        lambda _: work.predict(run, name, {None: source}),
        settings=[name],
        inputs=[_test_texts(run), _outside(lambda: [_model_content(source) or f"named {source}"])],
        outputs=[predictions_file(name)],
        estimate=lambda _: Estimate([f"predict {name}: {source}, not trained"]),
    )


def _judge_test(run: Run, name: str) -> Stage:
    """Have a judge judge the test pairs."""
    judging = run.test_judges[name]
    learns = [_file(TRAIN)] if judging.learns else []
    asked = run.config.test_judges is not None

    def estimate(sizes: Sizes) -> Estimate:
        return estimate_judge("judge of the test pairs", judging, sizes.test, sizes, run.config.throughput)

    return Stage(
        f"judge the test pairs: {name}",
        lambda _: work.judge_test(run, name),
        # Whether it was asked for decides whether having nothing to say is an error.
        settings=[name, judging.deciding(), asked],
        inputs=[_test_texts(run), *learns, _outside(lambda: judging.content(run.sources) + judging.stored_content())],
        outputs=[judged_file(name)],
        estimate=estimate if asked else lambda _: Estimate(),
    )


def _put_together(run: Run, judges: Sequence[str]) -> Stage:
    """Put together what was predicted and judged in the folds."""
    files = [*map(predictions_file, run.config.models), *map(judged_file, judges)]
    return Stage(
        "predictions of all folds",
        lambda _: work.put_together(run, judges),
        settings=files,
        inputs=[_file(fold_place(number) + file) for number in run.folds for file in files],
        outputs=files,
    )


def _evaluate(run: Run) -> Stage:
    read = [TEST, *map(predictions_file, run.predicted), *map(judged_file, run.test_judges)]
    return Stage(
        "evaluate",
        lambda _: work.score(run),
        settings=[run.config.evaluation.model_dump(mode="json"), run.config.baseline, run.predicted],
        inputs=[*map(_file, read)],
        outputs=[SCORES],
        needs_votes=True,
    )


def _report(run: Run) -> Stage:
    def stages(made: Made) -> list[str]:
        return [fingerprint_of([stage.fingerprint, stage.outputs]) for stage in made.values()]

    return Stage(
        "report",
        lambda _: work.report(run),
        settings=run.config.title,
        inputs=[stages],
        outputs=[REPORT],
        needs_votes=True,
    )


def _file(path: str) -> Input:
    """Read a file that an earlier stage has written."""
    return lambda made: [next(stage.outputs[path] for stage in made.values() if path in stage.outputs)]


def _outside(find: Callable[[], Iterable[str]]) -> Input:
    """Read what no stage has written."""
    return lambda _: find()


def _test_texts(run: Run) -> Input:
    """Read what models and judges see of the test pairs: people's votes and categories change nothing of it."""
    return lambda _: [run.test_texts]


def _weights(stage: str) -> Input:
    """Read the weights that a stage trained: one file, or the parts of a large model and their index."""

    def weights(made: Made) -> list[str]:
        files = {path: sha256 for path, sha256 in made[stage].outputs.items() if ".safetensors" in path}
        return [next(iter(files.values())) if len(files) == 1 else fingerprint_of(files)]

    return weights


def _temperature(stage: str) -> Input:
    """Read the temperature that a stage fitted, which the weights do not have."""

    def temperature(made: Made) -> list[str]:
        counts = made[stage].counts
        fitted = counts.temperature if isinstance(counts, TrainCounts) else None
        return [] if fitted is None else [f"temperature {fitted}"]

    return temperature


def _trained(name: str, seed: int) -> str:
    return f"train {name} seed {seed}"


def _full_name(stage: StageRecord) -> str:
    """Name the judge of a stage as the store calls it."""
    assert isinstance(stage.counts, JudgeCounts)
    assert stage.counts.judge is not None
    return stage.counts.judge


def _model_content(name: str) -> str:
    """Hash the weights and settings of a model in a folder; nothing for an id of the Hub."""
    from dissensus.text.encoder import resolve_model

    return content_of(resolve_model(name)) or ""


def estimate_judge(title: str, judging: JudgeSettings, pairs: int, sizes: Sizes, throughput: Throughput) -> Estimate:
    """Estimate what a judge of so many pairs would be asked, and what that costs."""
    found = judging.estimate(pairs, sizes.tokens)
    lines = [f"{title}: {found.what}", *(f"  {detail}" for detail in found.details)]
    if found.asked:
        lines.append(hours(found.asked, throughput.judgments_per_second, "judgments_per_second"))
    return Estimate(lines)


def estimate_training(config: StudyConfig, name: str, seed: int, sizes: Sizes) -> Estimate:
    """Estimate the training of a model with a seed; the first seed speaks for all of them."""
    model = config.models[name]
    among = config.sweep.among(model.training()) if config.sweep else {}
    settings = config.sweep.runs(model.training()) if config.sweep and seed == config.seeds[0] else [{}]
    # Members leave out prompts in turn where nobody says how many are held out.
    in_turn = model.members > 1 and model.validation is None
    pairs = round(sizes.train * (1 - (1 / model.members if in_turn else model.held_share)))
    passes = model.passes(sizes.train)
    trained = pairs * sum(int(one.get("epochs", passes)) for one in settings) * model.members
    if seed != config.seeds[0]:
        return Estimate([], trained)
    steps = -(-pairs // model.batch_size) * passes
    swept = ", ".join(f"{len(values)} {name.replace('_', ' ')}s" for name, values in among.items()) or "1 learning rate"
    others = len(config.seeds) - 1
    more = f" and {others} more seeds" if others else ""
    more += f", {model.members} members each" if model.members > 1 else ""
    runs = f"{(len(settings) + others) * model.members} runs of {steps:,} steps"
    return Estimate([f"train {name}: {model.model}, {model.objective}, {swept}{more}: {runs}"], trained)


def hours(count: float, per_second: float | None, setting: str) -> str:
    """Say how many hours something takes."""
    if per_second is None:
        return f"  hours: give throughput.{setting}, as measured on your machine"
    return f"  about {count / per_second / 3600:,.1f} hours at {per_second:g} a second (throughput.{setting})"
