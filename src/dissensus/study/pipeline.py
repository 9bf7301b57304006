"""The stages of a study, in order, in one folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dissensus.errors import OutputError
from dissensus.evaluate.evaluation import evaluate_predictions
from dissensus.files import content_of, read_records, write_json, write_records
from dissensus.files.locks import sole_writer
from dissensus.hashing import fingerprint_of
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction
from dissensus.study.config import StudyConfig
from dissensus.study.judge_stage import (
    CommitteeJudge,
    JudgeSettings,
    ModelJudge,
    StoreJudge,
    VotesJudge,
    deciding,
    make_judgments,
    outside_content,
    recall,
    stored_content,
)
from dissensus.study.manifest import Manifest, Stages
from dissensus.study.parts import Categories
from dissensus.study.run_folder import MANIFEST, SETTINGS, keep_settings, refuse_own_inputs
from dissensus.study.sets import (
    annotations_content,
    label_counts_as_vote,
    named_by_the_study,
    read_sets,
    source_content,
)
from dissensus.study.test_judges import judge_test_pairs, judged_content, judges_of_test_pairs

_TRAIN, _TEST, _GOLD = "pairs/train.parquet", "pairs/test.parquet", "pairs/train_votes.parquet"
_MARGINS, _STORE, _SCORES, _REPORT = "margins.parquet", "judgments.db", "scores.json", "report.html"
_LEFT_OUT = "left_out.json"
_COPIES, _JUDGED, _PREDICTIONS = "copies", "judged", "predictions"
_DRAWN = "pairs/test_as_drawn.parquet"
"""Test pairs before machines put them into categories, where they are to."""
_CATEGORIES, _CATEGORY_AGREEMENT = "categories.parquet", "categories_agreement.json"


def run_study(
    config: StudyConfig,
    out: str | Path,
    *,
    command: str = "",
    study: str = "",
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
    progress: bool = True,
) -> list[Metric]:
    """Run a study into a folder; returns the rows of ``scores.json``.

    Run again, it redoes only the stages whose settings or inputs changed; killed anywhere, it goes on where
    it stopped.

    Args:
        config: the settings.
        out: the folder.
        command: how it was called, for the manifest.
        study: the file that the settings are from, where they are from one.
        say: takes each line of progress.
        progress: whether stages show how far they are.

    Raises:
        OutputError: the folder cannot be made, or the run would write over the study or something that it reads.
    """
    folder = Path(out)
    refuse_own_inputs(study, config, folder, _written(config))
    _make(folder)
    with sole_writer(folder):
        return _Study(config, folder, command=command, say=say, progress=progress).run()


class _Study:
    def __init__(
        self, config: StudyConfig, folder: Path, *, command: str, say: Callable[[str], None], progress: bool
    ) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        settings = config.model_dump(mode="json")
        keep_settings(folder, settings)
        self.manifest = Manifest(folder, config=settings, name=folder.name, command=command)
        self.test_judges = judges_of_test_pairs(config)
        self.judging: dict[str, JudgeSettings] = {"": config.judge, **config.judges}
        trained = len(config.models) * (1 + len(config.seeds)) + len(config.pretrained)
        optional = (config.copies == "simulated") + (config.categories is not None)
        total = 3 + optional + 2 * len(self.judging) + trained + len(self.test_judges)
        self.stages = Stages(self.manifest, total=total, say=say)

    def run(self) -> list[Metric]:
        if self.config.copies == "simulated":
            self._copies()
        pairs = self._pairs()["outputs"]
        if self.config.categories is not None:
            pairs = {**pairs, **self._categories(self.config.categories, pairs[_DRAWN])["outputs"]}
        margins = {name: self._judge(name, pairs)["outputs"] for name in self.judging}
        predictions = [self._model(name, pairs, margins) for name in self.config.models]
        predictions += [self._pretrained(name, source) for name, source in self.config.pretrained.items()]
        judged = [self._judge_test(name, pairs) for name in self.test_judges]
        if self._waits_for_people():
            self._ask_for_people()
            return []
        self._evaluate(pairs[_TEST], predictions, judged)
        self.manifest.keep_only([*self.stages.names, "report"])
        self._report()
        return list(read_records(self.folder / _SCORES, Metric))

    @cached_property
    def _test_texts(self) -> str:
        """Hash what models and judges see of the test pairs: people's votes and categories change nothing of it."""
        seen = {"id", "prompt", "response_a", "response_b"}
        return fingerprint_of([pair.model_dump(mode="json", include=seen) for pair in self._load(_TEST, Pair)])

    def _waits_for_people(self) -> bool:
        """Drawn test pairs are compared with what people say of all of them, not with the few votes some sets bring."""
        config = self._with_annotations()
        voted = [pair.votes is not None for pair in self._load(_TEST, Pair)]
        return not any(voted) or (config.test is not None and config.annotations is None and not all(voted))

    def _ask_for_people(self) -> None:
        test = self.folder / _TEST
        for stale in (_SCORES, _REPORT):  # of an earlier run that had annotations: not this study's any more
            (self.folder / stale).unlink(missing_ok=True)
        self.manifest.keep_only(self.stages.names)
        self.stages.say(
            f"nobody has annotated the test pairs ({test}). Let people do it:\n"
            f"  dissensus annotate {test} --db {self.folder / 'annotations.db'} --annotators 3\n"
            f"then run the same study again with --annotations {self.folder / 'annotations.db'}; nothing is done twice"
        )

    def _copies(self) -> None:
        from dissensus.study.public_schemas import copy_files, write_copies

        config = self.config
        names = {name: given.pairs for name, given in {**config.in_domain, **config.out_of_domain}.items()}
        assert config.simulation is not None  # the settings see to it
        simulation = config.simulation
        self.stages.run(
            "copies",
            lambda: write_copies(self.folder / _COPIES, names, simulation),
            settings=[names, simulation.model_dump(mode="json")],
            inputs=[],
            outputs=[f"{_COPIES}/{file}" for file in copy_files(names)],
        )

    @property
    def _copies_folder(self) -> str | None:
        return str(self.folder / _COPIES) if self.config.copies == "simulated" else self.config.copies

    def _pairs(self) -> dict[str, Any]:
        config = self._with_annotations()
        given = {**config.in_domain, **config.out_of_domain}
        sources = [*([config.pairs] if config.pairs else []), *(one.pairs for one in given.values())]
        contents = [source_content(source, self._copies_folder) for source in sources]
        chosen = {"columns", "split", "dataset", "simulation", "label", "label_seed", "hold_out", "out_of_domain"}
        if config.in_domain:
            chosen |= {"in_domain", "test"}
        settings = config.model_dump(mode="json", include=chosen)
        for one in (*settings["out_of_domain"].values(), *settings.get("in_domain", {}).values()):
            one.pop("pairs")  # its content counts, and its name where that is not known
        if config.pairs:
            settings["named"] = named_by_the_study(config)  # a file of another name gives another data set
        if config.label == "own" and label_counts_as_vote(config):
            settings["votes_stay_whole"] = True  # also of the pairs whose label is one of them
        named = [source for source, sha256 in zip(sources, contents, strict=True) if not sha256]
        annotated = [] if config.annotations is None else [annotations_content(config.annotations)]
        stage = self.stages.run(
            "pairs",
            lambda: self._make_pairs(config),
            settings=[settings, named],
            inputs=[*(sha256 or "" for sha256 in contents), *annotated],
            outputs=[_TRAIN, self._test_file, _GOLD],
        )
        for source, sha256, rows in zip(sources, contents, stage["counts"]["rows"], strict=True):
            self.manifest.add_input(source, sha256, rows)
        return stage

    def _with_annotations(self) -> StudyConfig:
        """Let the simulated population annotate its copies, unless people are named."""
        if self.config.copies != "simulated" or self.config.annotations is not None:
            return self.config
        from dissensus.study.public_schemas import ANNOTATIONS

        return self.config.model_copy(update={"annotations": str(self.folder / _COPIES / ANNOTATIONS)})

    def _make_pairs(self, config: StudyConfig) -> dict[str, Any]:
        sets = read_sets(config, self._copies_folder)
        _make(self.folder / "pairs")
        write_records(self.folder / _GOLD, sets.train)
        write_records(self.folder / _TRAIN, [pair.model_copy(update={"votes": None}) for pair in sets.train])
        write_records(self.folder / self._test_file, sets.test)
        voted = sum(pair.votes is not None for pair in sets.test)
        counts = {"train": len(sets.train), "test": len(sets.test), "rows": sets.rows, **sets.counts}
        if config.annotations is not None:
            counts["test_annotated"] = sets.annotated
        return counts if voted == len(sets.test) else {**counts, "test_without_votes": len(sets.test) - voted}

    @property
    def _test_file(self) -> str:
        return _TEST if self.config.categories is None else _DRAWN

    def _categories(self, settings: Categories, drawn: str) -> dict[str, Any]:
        judge = settings.judge
        # Whoever gave the categories that test pairs have already stands in the file.
        given = {"origin": "people"} if self._with_annotations().annotations else {}
        return self.stages.run(
            "categories",
            lambda: self._classify(settings),
            settings={"name": settings.name, "judge": None if judge is None else deciding(judge), **given},
            inputs=[drawn, *([] if judge is None else outside_content(judge, self.config.pairs))],
            outputs=[_TEST, _CATEGORIES, _CATEGORY_AGREEMENT],
        )

    def _classify(self, settings: Categories) -> dict[str, Any]:
        from dissensus.study.categories import classify_test_pairs

        found = classify_test_pairs(
            self._load(_DRAWN, Pair),
            settings,
            self.folder / _STORE,
            origin="people" if self._with_annotations().annotations else "source",
            progress=self.progress,
        )
        write_records(self.folder / _TEST, found.pairs)
        write_records(self.folder / _CATEGORIES, found.classifications)
        write_json(self.folder / _CATEGORY_AGREEMENT, found.agreement)
        return found.counts

    def _judge(self, name: str, pairs: dict[str, str]) -> dict[str, Any]:
        """Have a judge judge the training pairs, and make margins; returns the stage of the margins."""
        judging = self.judging[name]
        gold = isinstance(judging, VotesJudge)
        margins, left_out = _margin_files(name)
        judged = self.stages.run(
            f"judge {name}".strip(),
            lambda: self._make_judgments(judging),
            settings=[deciding(judging), self.config.label],
            inputs=[pairs[_GOLD if gold else _TRAIN], *outside_content(judging, self.config.pairs)],
            outputs=[],
            holds=lambda counts: isinstance(judging, StoreJudge) or self._has_judged(counts),
        )
        full_name = judged["counts"]["judge"]
        return self.stages.run(
            f"margin {name}".strip(),
            lambda: self._make_margins(judging, full_name, margins, left_out),
            settings=[full_name, deciding(judging), self.config.allow_missing],
            inputs=[
                judged["fingerprint"],
                pairs[_TRAIN],
                *([stored_content(judging)] if isinstance(judging, StoreJudge) else []),
            ],
            outputs=[margins, left_out],
        )

    def _has_judged(self, counts: dict[str, Any]) -> bool:
        """Tell whether the store has at least what it had: others may have added to it, but it may have been lost."""
        from dissensus.judge import JudgmentStore

        path = self.folder / _STORE
        if not path.is_file():
            return False
        with JudgmentStore(path, create=False) as store:
            return store.judges().get(counts["judge"], 0) >= int(counts.get("stored", 1))

    def _make_judgments(self, judging: JudgeSettings) -> dict[str, Any]:
        return make_judgments(
            judging,
            self._load(_GOLD if isinstance(judging, VotesJudge) else _TRAIN, Pair),
            self.folder / _STORE,
            pairs_file=self.config.pairs,
            drawn_label=self.config.label == "one-vote",
            progress=self.progress,
        )

    def _make_margins(
        self, judging: JudgeSettings, judge: str, margins_file: str, left_out_file: str
    ) -> dict[str, Any]:
        from dissensus.judge import JudgmentStore
        from dissensus.study.margin_stage import make_margins

        pairs = self._load(_TRAIN, Pair)
        ids = [pair.id for pair in pairs]
        votes = judging.votes if isinstance(judging, StoreJudge | ModelJudge) else "drawn"
        path = Path(judging.store) if isinstance(judging, StoreJudge) else self.folder / _STORE
        with JudgmentStore(path, create=False) as store:
            recalled = recall(judging, store, judge, pairs)
            margins = make_margins(recalled, ids, votes=votes, allow_missing=self.config.allow_missing)
        _make((self.folder / margins_file).parent)
        write_records(self.folder / margins_file, margins)
        left_out = sorted(set(ids) - {margin.pair_id for margin in margins})
        write_json(self.folder / left_out_file, left_out)
        # The judgments of pairs that are left out count too: no margin tells of them.
        found = recalled.found
        counts = {"judgments": found.judgments, "invalid": found.invalid, "left_out": len(left_out)}
        parts = {"unfinished": found.unfinished, "in_one_order": found.in_one_order}
        return {"margins": len(margins), **counts, "readings": found.readings, **parts}

    def _model(self, name: str, pairs: dict[str, str], margins: dict[str, dict[str, str]]) -> str:
        """Train a model with every seed and predict; returns the hash of its predictions."""
        config = self.config.models[name]
        # Without margins of its own, the baseline still trains on the pairs that the others can use.
        judged = [margins[judge][_margin_files(judge)[1]] for judge in margins]
        if config.reads_margins:
            judged.append(margins[config.judge][_margin_files(config.judge)[0]])
        backbone = _model_content(config.model)
        weights: list[str] = []
        folders = [(seed, f"{self.folder}/models/{name}/seed-{seed}") for seed in self.config.seeds]
        for seed in self.config.seeds:
            folder = f"models/{name}/seed-{seed}"
            settings: Any = config.training().model_copy(update={"seed": seed}).model_dump(mode="json")
            if self.config.sweep is not None:
                # Seeds after the first take its rate, so that they depend on it.
                settings = [settings, self.config.sweep.model_dump(mode="json"), weights[:1]]
            stage = self.stages.run(
                f"train {name} seed {seed}",
                lambda folder=folder, seed=seed: self._train(name, seed, folder),  # type: ignore[misc]
                settings=settings,
                inputs=[pairs[_TRAIN], backbone, *judged],
                outputs=[f"{folder}/model*.safetensors*", f"{folder}/dissensus.json"],
            )
            weights.append(_weights_of(stage))
        predicted = self.stages.run(
            f"predict {name}",
            lambda: self._predict(name, dict(folders)),
            settings=[name, list(self.config.seeds), config.max_length],
            inputs=[self._test_texts, *weights],
            outputs=[f"{_PREDICTIONS}/{name}.parquet"],
        )
        sha256: str = predicted["outputs"][f"{_PREDICTIONS}/{name}.parquet"]
        return sha256

    def _pretrained(self, name: str, source: str) -> str:
        """Predict with a model that somebody else has trained; returns the hash of its predictions."""
        content = _model_content(source)
        predicted = self.stages.run(
            f"predict {name}",
            lambda: self._predict(name, {None: source}),
            settings=[name, "" if content else source],
            inputs=[self._test_texts, content],
            outputs=[f"{_PREDICTIONS}/{name}.parquet"],
        )
        sha256: str = predicted["outputs"][f"{_PREDICTIONS}/{name}.parquet"]
        return sha256

    def _train(self, name: str, seed: int, folder: str) -> dict[str, Any]:
        from dissensus.study.train_stage import train_model, usable_pairs

        settings = self.config.models[name]
        margins = {judge: self._load(_margin_files(judge)[0], Margin) for judge in self.judging}
        pairs = self._load(_TRAIN, Pair)
        _make((self.folder / folder).parent)
        return train_model(
            usable_pairs(pairs, margins) if self.config.allow_missing else pairs,
            settings.training().model_copy(update={"seed": seed}),
            self.folder / folder,
            margins=margins[settings.judge],
            sweep=self.config.sweep,
            first=self.folder / f"models/{name}/seed-{self.config.seeds[0]}",
            progress=self.progress,
        )

    def _predict(self, name: str, models: Mapping[Any, str]) -> dict[str, Any]:
        from dissensus.reward.serving.reward_model import RewardModel

        test = self._load(_TEST, Pair)
        predictions: list[Prediction] = []
        for seed, source in models.items():
            model = RewardModel.load(source)
            predictions += model.predict(test, name=name, seed=seed, progress=self.progress)
        _make(self.folder / _PREDICTIONS)
        write_records(self.folder / f"{_PREDICTIONS}/{name}.parquet", predictions)
        return {"predictions": len(predictions)}

    def _judge_test(self, name: str, pairs: dict[str, str]) -> str:
        """Have a judge judge the test pairs; returns the hash of its judgments."""
        judging = self.test_judges[name]
        out = f"{_JUDGED}/{name}.parquet"
        learns = [pairs[_TRAIN]] if isinstance(judging, CommitteeJudge) else []
        stage = self.stages.run(
            f"judge the test pairs: {name}",
            lambda: judge_test_pairs(
                name,
                judging,
                self.config,
                self._load(_TRAIN, Pair),
                self._load(_TEST, Pair),
                store=self.folder / _STORE,
                out=self.folder / out,
                progress=self.progress,
            ),
            # Whether it was asked for decides whether having nothing to say is an error.
            settings=[name, deciding(judging), self.config.test_judges is not None],
            inputs=[self._test_texts, *learns, *judged_content(judging, self.config)],
            outputs=[out],
        )
        sha256: str = stage["outputs"][out]
        return sha256

    @property
    def _predicted(self) -> list[str]:
        return [*self.config.models, *self.config.pretrained]

    def _evaluate(self, test: str, predictions: list[str], judged: list[str]) -> None:
        self.stages.run(
            "evaluate",
            self._score,
            settings=[self.config.evaluation.model_dump(), self.config.baseline, self._predicted],
            inputs=[test, *predictions, *judged],
            outputs=[_SCORES],
        )

    def _score(self) -> dict[str, Any]:
        settings = self.config.evaluation
        predictions = [
            row for name in self._predicted for row in self._load(f"{_PREDICTIONS}/{name}.parquet", Prediction)
        ]
        judgments = [row for name in self.test_judges for row in self._load(f"{_JUDGED}/{name}.parquet", Judgment)]
        metrics = evaluate_predictions(
            self._load(_TEST, Pair),
            predictions,
            baseline=self.config.baseline,
            primary=settings.primary,
            judgments=judgments,
            n_resamples=settings.resamples,
            n_swaps=settings.swaps,
            level=settings.level,
            seed=settings.seed,
            progress=self.progress,
        )
        write_records(self.folder / _SCORES, metrics)
        return {"metrics": len(metrics)}

    def _report(self) -> None:
        from dissensus.report.page import write_report

        def work() -> dict[str, Any]:
            # The page shows the manifest, so it must be on disk as it stands.
            self.manifest.write()
            judge = self.config.judge
            store = Path(judge.store) if isinstance(judge, StoreJudge) else None
            write_report(self.folder, self.folder / _REPORT, store=store)
            return {}

        made_from = [
            fingerprint_of([stage["fingerprint"], stage["outputs"]])
            for stage in self.manifest.stages.values()
            if stage["name"] != "report"
        ]
        self.stages.run("report", work, settings=self.config.title, inputs=made_from, outputs=[_REPORT])

    def _load(self, relative: str, record_type: type[Any]) -> list[Any]:
        return list(read_records(self.folder / relative, record_type))


def _written(config: StudyConfig) -> list[str]:
    """List the files and folders that a run writes anew; stores of judgments are added to."""
    files = [SETTINGS, MANIFEST, _TRAIN, _TEST, _GOLD, _DRAWN, _MARGINS, _LEFT_OUT, _SCORES, _REPORT]
    folders = ["margins", _PREDICTIONS, _JUDGED, *([_COPIES] if config.copies == "simulated" else [])]
    return [*files, _CATEGORIES, _CATEGORY_AGREEMENT, *folders, *(f"models/{name}" for name in config.models)]


def _margin_files(judge: str) -> tuple[str, str]:
    """Name the files of a judge's margins and of the pairs it left out."""
    return (f"margins/{judge}.parquet", f"margins/{judge}.left_out.json") if judge else (_MARGINS, _LEFT_OUT)


def _weights_of(stage: Mapping[str, Any]) -> str:
    """Hash the weights that a stage trained: one file, or the parts of a large model and their index."""
    files = {path: sha256 for path, sha256 in stage["outputs"].items() if ".safetensors" in path}
    return next(iter(files.values())) if len(files) == 1 else fingerprint_of(files)


def _model_content(name: str) -> str:
    """Hash the weights and settings of a model in a folder; nothing for an id of the Hub."""
    from dissensus.text.encoder import resolve_model

    return content_of(resolve_model(name)) or ""


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
