"""Cross-validation: every pair is tested once, and nothing of a fold's test pairs reaches its models."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dissensus.errors import ConfigError
from dissensus.evaluation.scores import Scores
from dissensus.files import read_records, write_records
from dissensus.records import Judgment, Metric, Pair, Prediction, Votes
from dissensus.reports.folder.run_reader import load_run
from dissensus.reports.methods import methods_paragraph
from dissensus.stats.resampling.clusters import deal_folds
from dissensus.study import StudyConfig, load_study, run_study
from dissensus.study.dry_run import estimate_study
from dissensus.study.folds import CrossValidation, fold_of_pairs
from dissensus.study.sets import read_sets

from .fakes import fake_stages, some

MARK = "zebra"
"""Stands in the texts of one category alone."""


def _voted(name: str, prompts: int, **fields: Any) -> list[Pair]:
    rng = np.random.default_rng(len(name))
    return [
        pair.model_copy(update={"votes": Votes(a=int(k), b=5 - int(k)), "label": None})
        for pair, k in zip(some(name, prompts, 2, **fields), rng.integers(0, 6, 2 * prompts), strict=True)
    ]


PAIRS = [pair for name in ("tea", "sea", "lea", "pea", MARK) for pair in _voted(name, 6, category=name)]


def _study(tmp_path: Path, tiny_bert: Path, **changes: Any) -> StudyConfig:
    write_records(tmp_path / "pairs.jsonl", PAIRS)
    settings = {
        "pairs": str(tmp_path / "pairs.jsonl"),
        "label": "one-vote",
        "cross_validate": {"by": "category", "folds": 3},
        "judge": {"name": "committee", "n": 2, "encoder": str(tiny_bert), "max_length": 32},
        "training": {"model": str(tiny_bert), "epochs": 1, "batch_size": 8, "max_length": 32, "learning_rate": 0.001},
        "models": {"plain": {}, "margin": {"objective": "margin"}},
        "baseline": "plain",
        "seeds": [0, 1],
        "evaluation": {"resamples": 20, "swaps": 19},
    }
    return StudyConfig.model_validate({**settings, **changes})


def _run(config: StudyConfig, out: Path) -> set[str]:
    """Run it, and name the stages that were not kept."""
    said: list[str] = []
    run_study(config, out, say=said.append, progress=False)
    return {line.split("] ")[1].removesuffix(" …") for line in said if line.endswith(" …")}


def test_groups_are_dealt_into_parts_of_about_equal_size():
    rng = np.random.default_rng(0)
    for n_folds in (2, 3, 7):
        sizes = rng.integers(1, 100, 40)
        for mixed in (False, True):
            totals = np.bincount(deal_folds(sizes, n_folds, seed=0, mixed=mixed), weights=sizes)
            assert np.ptp(totals) <= sizes.max()
            assert totals.sum() == sizes.sum()


@pytest.mark.parametrize("by", ["group", "category"])
def test_folds_are_whole_and_alike_and_dealt_by_the_seed(by: Any):
    cross = CrossValidation(by=by, folds=3)
    folds = fold_of_pairs(PAIRS, cross)
    assert folds.keys() == {pair.id for pair in PAIRS}
    parts = {(getattr(pair, by), folds[pair.id]) for pair in PAIRS}
    assert len(parts) == len({value for value, _ in parts})
    sizes = Counter(folds.values())
    assert set(sizes) == {1, 2, 3}
    assert max(sizes.values()) - min(sizes.values()) <= (12 if by == "category" else 2)
    assert folds == fold_of_pairs(PAIRS[::-1], cross)
    assert any(folds != fold_of_pairs(PAIRS, cross.model_copy(update={"seed": seed})) for seed in (1, 2, 3))


def test_pairs_out_of_domain_are_dealt_too_and_never_trained_on(tmp_path: Path, tiny_bert: Path):
    other = [pair.model_copy(update={"id": f"other-{pair.id}"}) for pair in _voted("tea", 9)]
    write_records(tmp_path / "other.jsonl", other)  # some of its prompts are the study's as well
    sets = read_sets(_study(tmp_path, tiny_bert, out_of_domain={"other": str(tmp_path / "other.jsonl")}))
    assert Counter(sets.folds[pair.id] for pair in other) == {1: 6, 2: 6, 3: 6}
    assert not {pair.prompt for pair in sets.train} & {pair.prompt for pair in other}
    assert [len(sets.of_fold(n).test) for n in (1, 2, 3)] == sets.fold_sizes()


def test_sets_that_are_trained_on_are_left_out_one_by_one(tmp_path: Path, tiny_bert: Path):
    for name in ("tea", "sea", "pea"):
        write_records(tmp_path / f"{name}.jsonl", _voted(name, 5))
    sources = {name: str(tmp_path / f"{name}.jsonl") for name in ("tea", "sea", "pea")}
    cross = {"by": "dataset", "folds": 3}
    sets = read_sets(_study(tmp_path, tiny_bert, pairs="", in_domain=sources, cross_validate=cross))
    for number in (1, 2, 3):
        fold = sets.of_fold(number)
        assert len({pair.dataset for pair in fold.test}) == 1
        assert len({pair.dataset for pair in fold.train}) == 2


@pytest.fixture(scope="module")
def finished(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Path]:
    folder = tmp_path_factory.mktemp("folds")
    config = _study(folder, tiny_bert)
    with pytest.MonkeyPatch.context() as patch, fake_stages():
        patch.setenv("DISSENSUS_CACHE", str(folder / "cache"))
        _run(config, folder / "run")
    return config, folder / "run"


def _fold_of(out: Path, category: str) -> int:
    return next(n for n in (1, 2, 3) if category in {p.category for p in _read(out, f"folds/{n}/pairs/test.parquet")})


def _read(out: Path, file: str, kind: Any = Pair) -> list[Any]:
    return list(read_records(out / file, kind))


def test_every_pair_is_predicted_once_by_the_models_of_its_fold(finished: tuple[StudyConfig, Path]):
    _, out = finished
    for name in ("plain", "margin"):
        rows = _read(out, f"predictions/{name}.parquet", Prediction)
        assert Counter((row.pair_id, row.seed) for row in rows) == {(p.id, s): 1 for p in PAIRS for s in (0, 1)}
        for number in (1, 2, 3):
            tested = {pair.id for pair in _read(out, f"folds/{number}/pairs/test.parquet")}
            own = _read(out, f"folds/{number}/predictions/{name}.parquet", Prediction)
            assert own == [row for row in rows if row.pair_id in tested]
    assert {row.pair_id for row in _read(out, "judged/committee.parquet", Judgment)} == {pair.id for pair in PAIRS}
    metrics = _read(out, "scores.json", Metric)
    assert {row.n for row in metrics if row.group == "all" and row.kind == "model"} == {len(PAIRS)}
    assert {row.group for row in metrics} >= {f"category={pair.category}" for pair in PAIRS}


def test_nothing_of_a_folds_test_pairs_reaches_its_judges_and_models(
    finished: tuple[StudyConfig, Path], tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another text, other votes and so other labels of what is tested leave all that is trained as it was."""
    _, out = finished
    number, copy = _fold_of(out, MARK), Path(shutil.copytree(out, tmp_path / "run"))
    place = copy / f"folds/{number}"
    for file in place.rglob("*"):
        seen = "train" in file.name or "models" in file.parts or "margins" in file.name
        assert not (file.is_file() and seen and MARK.encode() in file.read_bytes())
    monkeypatch.setenv("DISSENSUS_CACHE", str(out.parent / "cache"))
    monkeypatch.setattr("tests.study.test_folds.PAIRS", [_turned(pair) for pair in PAIRS])
    redone = _run(_study(tmp_path, tiny_bert), copy)
    assert redone >= {"pairs", f"fold {number}: predict plain", "evaluate"}
    assert not {f"fold {number}: judge", f"fold {number}: margin"} & redone
    assert not [name for name in redone if name.startswith(f"fold {number}: train ")]
    assert all(any(name.startswith(f"fold {n}: train") for name in redone) for n in {1, 2, 3} - {number})


def _turned(pair: Pair) -> Pair:
    if pair.category != MARK or pair.votes is None:
        return pair
    votes = Votes(a=pair.votes.b, b=pair.votes.a)
    return pair.model_copy(update={"votes": votes, "response_b": f"{pair.response_b} at last"})


def test_a_study_goes_on_where_it_was(finished: tuple[StudyConfig, Path], tmp_path: Path, tiny_bert: Path):
    config, out = finished
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSENSUS_CACHE", str(out.parent / "cache"))
        again = load_study(out / "study.yaml")
        assert again == config
        assert _run(again, out) == set()
        shutil.rmtree(out / "folds/2/models/margin")
        assert _run(config, out) == {f"fold 2: train margin seed {seed}" for seed in (0, 1)}


def test_a_report_tells_of_the_folds(finished: tuple[StudyConfig, Path]):
    run = load_run(finished[1])
    # The models are pretended, and have no curves; all else is there.
    assert not [words for words in run.missing if "log" not in words]
    assert {margin.pair_id for margin in run.margins} == {pair.id for pair in run.training} == {p.id for p in PAIRS}
    said = methods_paragraph(run, Scores(run.metrics))
    assert "3-fold cross-validation by category: whole categories were dealt into 3 folds of 12 to 24 test" in said
    assert "by a model that was trained on 36 to 48 pairs of the other folds" in said


def test_a_dry_run_counts_each_fold(tmp_path: Path, tiny_bert: Path):
    said = estimate_study(_study(tmp_path, tiny_bert))
    assert "train in each of 3 folds by category on about 40 pairs (counted)" in said
    assert "test on 60 pairs" in said
    assert "judge: a committee, 60 pairs" in said
    assert "pairs through a model in training 432" in said  # 36 (a tenth is held out), 3 folds, 2 models, 2 seeds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_validate": {"by": "category", "folds": 9}}, "9 folds are more than the 5 values .* set folds: 5"),
        ({"cross_validate": {"by": "dataset"}}, "pair 'tea-0-0' has no dataset; set by: group"),
        ({"hold_out": {"by": "group", "share": 0.2}}, "cross_validate stands instead of hold_out"),
        ({"test": {"per_set": 5}}, "cross_validate stands instead of test"),
    ],
)
def test_folds_that_cannot_be_say_so(tmp_path: Path, tiny_bert: Path, changes: dict[str, Any], message: str):
    with pytest.raises((ConfigError, ValueError), match=message):
        read_sets(_study(tmp_path, tiny_bert, **changes))


def test_a_prompt_of_two_folds_is_refused():
    pairs = [pair.model_copy(update={"group": "g"}) if pair.id.endswith("0-0") else pair for pair in PAIRS]
    with pytest.raises(ConfigError, match=r"1 prompts \(groups\) have pairs in several folds; set by: group"):
        fold_of_pairs(pairs, CrossValidation(by="category", folds=3))
