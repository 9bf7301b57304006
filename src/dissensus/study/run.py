"""The stages of a study, in order, in one folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from dissensus.errors import OutputError
from dissensus.evaluate.evaluation import evaluate_predictions
from dissensus.files import content_of, read_records, write_json, write_records, write_text
from dissensus.records import Judgment, Margin, Metric, Pair, Prediction
from dissensus.study.config import StudyConfig
from dissensus.study.judges import (
    CommitteeJudge,
    ModelJudge,
    StoreJudge,
    VotesJudge,
    make_judgments,
    outside_content,
)
from dissensus.study.manifest import Manifest, Stages, fingerprint_of
from dissensus.study.sets import read_sets
from dissensus.study.testing import judge_test_pairs, judged_content, judges_of_test_pairs

_TRAIN, _TEST, _GOLD = "pairs/train.parquet", "pairs/test.parquet", "pairs/train_votes.parquet"
_MARGINS, _STORE, _SCORES, _REPORT = "margins.parquet", "judgments.db", "scores.json", "report.html"
_LEFT_OUT = "left_out.json"


def run_study(
    config: StudyConfig,
    out: str | Path,
    *,
    command: str = "",
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
    progress: bool = True,
) -> list[Metric]:
    """Run a study into a folder; returns the rows of ``scores.json``.

    Run again, it redoes only the stages whose settings or inputs changed; killed anywhere, it goes on where
    it stopped.
    """
    folder = Path(out)
    _make(folder)
    with _only_one(folder):
        return _Study(config, folder, command=command, say=say, progress=progress).run()


class _Study:
    def __init__(
        self, config: StudyConfig, folder: Path, *, command: str, say: Callable[[str], None], progress: bool
    ) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        settings = config.model_dump(mode="json")
        write_text(folder / "study.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        self.manifest = Manifest(folder, config=settings, name=folder.name, command=command)
        self.test_judges = judges_of_test_pairs(config)
        total = 5 + len(config.models) * (1 + len(config.seeds)) + len(self.test_judges)
        self.stages = Stages(self.manifest, total=total, say=say)

    def run(self) -> list[Metric]:
        pairs = self._pairs()["outputs"]
        margins = self._judge(pairs)["outputs"]
        predictions = [self._model(name, pairs, margins) for name in self.config.models]
        judged = [self._judge_test(name, pairs) for name in self.test_judges]
        self._evaluate(pairs[_TEST], predictions, judged)
        self.manifest.keep_only([*self.stages.names, "report"])
        self._report()
        return list(read_records(self.folder / _SCORES, Metric))

    def _pairs(self) -> dict[str, Any]:
        config = self.config
        sources = [config.pairs, *(given.pairs for given in config.out_of_domain.values())]
        contents = [content_of(source) for source in sources]
        chosen = {"columns", "split", "dataset", "simulation", "label", "label_seed", "hold_out", "out_of_domain"}
        settings = config.model_dump(mode="json", include=chosen)
        for given in settings["out_of_domain"].values():
            given.pop("pairs")  # its content counts, and its name where that is not known
        named = [source for source, sha256 in zip(sources, contents, strict=True) if not sha256]
        stage = self.stages.run(
            "pairs",
            self._make_pairs,
            settings=[settings, named],
            inputs=[sha256 or "" for sha256 in contents],
            outputs=[_TRAIN, _TEST, _GOLD],
        )
        for source, sha256, rows in zip(sources, contents, stage["counts"]["rows"], strict=True):
            self.manifest.add_input(source, sha256, rows)
        return stage

    def _make_pairs(self) -> dict[str, Any]:
        sets = read_sets(self.config)
        _make(self.folder / "pairs")
        write_records(self.folder / _GOLD, sets.train)
        write_records(self.folder / _TRAIN, [pair.model_copy(update={"votes": None}) for pair in sets.train])
        write_records(self.folder / _TEST, sets.test)
        return {"train": len(sets.train), "test": len(sets.test), "rows": sets.rows}

    def _judge(self, pairs: dict[str, str]) -> dict[str, Any]:
        judging = self.config.judge
        gold = isinstance(judging, VotesJudge)
        judged = self.stages.run(
            "judge",
            self._make_judgments,
            settings=[judging.model_dump(mode="json"), self.config.label],
            inputs=[pairs[_GOLD if gold else _TRAIN], *outside_content(judging, self.config.pairs)],
            outputs=[],
            unhashed=[] if isinstance(judging, StoreJudge) else [_STORE],
        )
        return self.stages.run(
            "margin",
            lambda: self._make_margins(judged["counts"]["judge"]),
            settings=[judged["counts"]["judge"], judging.model_dump(mode="json"), self.config.allow_missing],
            inputs=[judged["fingerprint"], pairs[_TRAIN], self._stored_content(judged["counts"]["judge"])],
            outputs=[_MARGINS, _LEFT_OUT],
        )

    def _make_judgments(self) -> dict[str, Any]:
        judging = self.config.judge
        return make_judgments(
            judging,
            self._load(_GOLD if isinstance(judging, VotesJudge) else _TRAIN, Pair),
            self.folder / _STORE,
            pairs_file=self.config.pairs,
            drawn_label=self.config.label == "one-vote",
            progress=self.progress,
        )

    def _make_margins(self, judge: str) -> dict[str, Any]:
        from dissensus.judge import JudgmentStore
        from dissensus.study.margins import make_margins

        pairs = self._load(_TRAIN, Pair)
        ids = [pair.id for pair in pairs]
        judging = self.config.judge
        votes = judging.votes if isinstance(judging, StoreJudge | ModelJudge) else "drawn"
        with JudgmentStore(self._store_path(), create=False) as store:
            recall = self._recall(store, judge, pairs)
            margins = make_margins(recall, ids, votes=votes, allow_missing=self.config.allow_missing)
        write_records(self.folder / _MARGINS, margins)
        left_out = sorted(set(ids) - {margin.pair_id for margin in margins})
        write_json(self.folder / _LEFT_OUT, left_out)
        # The judgments of pairs that are left out count too: no margin tells of them.
        counts = {"judgments": recall.found.judgments, "invalid": recall.found.invalid, "left_out": len(left_out)}
        return {"margins": len(margins), **counts, "readings": recall.found.readings}

    def _recall(self, store: Any, judge: str, pairs: list[Pair]) -> Any:
        from dissensus.judge.recall import Recall

        judging = self.config.judge
        if isinstance(judging, StoreJudge):
            names = ("n", "order", "temperature", "top_p", "seed")
            return Recall(store, judge, pairs, **{name: getattr(judging, name) for name in names})
        return Recall(store, judge, pairs, n=judging.n if isinstance(judging, CommitteeJudge) else None)

    def _store_path(self) -> Path:
        judging = self.config.judge
        return Path(judging.store) if isinstance(judging, StoreJudge) else self.folder / _STORE

    def _stored_content(self, judge: str) -> str:
        """Digest what a store that is not the study's own has of the judge: others may add to it."""
        if not isinstance(self.config.judge, StoreJudge):
            return ""
        from dissensus.judge import JudgmentStore

        with JudgmentStore(self._store_path(), create=False) as store:
            return store.digest(judge)

    def _model(self, name: str, pairs: dict[str, str], margins: dict[str, str]) -> str:
        """Train a model with every seed and predict; returns the hash of its predictions."""
        config = self.config.models[name]
        # Without margins of its own, the baseline still trains on the pairs that the others can use.
        judged = [margins[_LEFT_OUT], *([] if config.objective == "bradley-terry" else [margins[_MARGINS]])]
        backbone = _model_content(config.model)
        weights: list[str] = []
        for seed in self.config.seeds:
            folder = f"models/{name}/seed-{seed}"
            stage = self.stages.run(
                f"train {name} seed {seed}",
                lambda folder=folder, seed=seed: self._train(name, seed, folder),  # type: ignore[misc]
                settings=config.model_copy(update={"seed": seed}).model_dump(mode="json"),
                inputs=[pairs[_TRAIN], backbone, *judged],
                outputs=[f"{folder}/model.safetensors", f"{folder}/dissensus.json"],
            )
            weights.append(stage["outputs"][f"{folder}/model.safetensors"])
        predicted = self.stages.run(
            f"predict {name}",
            lambda: self._predict(name),
            settings=[name, list(self.config.seeds)],
            inputs=[pairs[_TEST], *weights],
            outputs=[f"predictions/{name}.parquet"],
        )
        sha256: str = predicted["outputs"][f"predictions/{name}.parquet"]
        return sha256

    def _train(self, name: str, seed: int, folder: str) -> dict[str, Any]:
        from dissensus.reward.run import train

        config = self.config.models[name].model_copy(update={"seed": seed})
        margins = self._load(_MARGINS, Margin)
        judged = {margin.pair_id for margin in margins}
        pairs = self._load(_TRAIN, Pair)
        if self.config.allow_missing:
            # Every model sees the same pairs, or their comparison would be one of data.
            pairs = [pair for pair in pairs if pair.id in judged]
        _make((self.folder / folder).parent)
        summary = train(pairs, config, self.folder / folder, margins=margins, overwrite=True, progress=self.progress)
        counts = {**asdict(summary), "nll": None if summary.nll is None else round(summary.nll, 4)}
        shown = ("pairs", "ties_dropped", "texts", "texts_truncated", "steps", "resumed_from", "nll")
        return {key: value for key, value in counts.items() if key in shown}

    def _predict(self, name: str) -> dict[str, Any]:
        from dissensus.reward.model import RewardModel

        test = self._load(_TEST, Pair)
        predictions: list[Prediction] = []
        for seed in self.config.seeds:
            model = RewardModel.load(self.folder / f"models/{name}/seed-{seed}")
            predictions += model.predict(test, name=name, seed=seed, progress=self.progress)
        _make(self.folder / "predictions")
        write_records(self.folder / f"predictions/{name}.parquet", predictions)
        return {"predictions": len(predictions)}

    def _judge_test(self, name: str, pairs: dict[str, str]) -> str:
        """Have a judge judge the test pairs; returns the hash of its judgments."""
        judging = self.test_judges[name]
        out = f"judged/{name}.parquet"
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
            settings=[name, judging.model_dump(mode="json"), self.config.test_judges is not None],
            inputs=[pairs[_TEST], *learns, *judged_content(judging, self.config)],
            outputs=[out],
        )
        sha256: str = stage["outputs"][out]
        return sha256

    def _evaluate(self, test: str, predictions: list[str], judged: list[str]) -> None:
        self.stages.run(
            "evaluate",
            self._score,
            settings=[self.config.evaluation.model_dump(), self.config.baseline, list(self.config.models)],
            inputs=[test, *predictions, *judged],
            outputs=[_SCORES],
        )

    def _score(self) -> dict[str, Any]:
        settings = self.config.evaluation
        predictions = [
            row for name in self.config.models for row in self._load(f"predictions/{name}.parquet", Prediction)
        ]
        judgments = [row for name in self.test_judges for row in self._load(f"judged/{name}.parquet", Judgment)]
        metrics = evaluate_predictions(
            self._load(_TEST, Pair),
            predictions,
            baseline=self.config.baseline,
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
            write_report(self.folder, self.folder / _REPORT)
            return {}

        made_from = [
            fingerprint_of([stage["fingerprint"], stage["outputs"]])
            for stage in self.manifest.stages.values()
            if stage["name"] != "report"
        ]
        self.stages.run("report", work, settings=self.config.title, inputs=made_from, outputs=[_REPORT])

    def _load(self, relative: str, record_type: type[Any]) -> list[Any]:
        return list(read_records(self.folder / relative, record_type))


def _model_content(name: str) -> str:
    """Hash the weights and settings of a model in a folder; nothing for an id of the Hub."""
    from dissensus.encoder import resolve_model

    return content_of(resolve_model(name)) or ""


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error


@contextmanager
def _only_one(folder: Path) -> Any:
    """Keep a second process out of the run folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{folder}: another process runs this study; wait for it or choose another --out") from error
    try:
        yield
    finally:
        lock.release()
