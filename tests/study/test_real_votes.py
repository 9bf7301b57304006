"""The study of real votes, small: the file as people's votes come, a tiny backbone."""

from pathlib import Path

import pytest

from dissensus.files import read_pairs, read_records, write_records
from dissensus.records import Metric, Pair
from dissensus.sources.label_votes import one_vote_label
from dissensus.steps.split import split_pairs
from dissensus.study import load_study, run_study

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def arguments(real_data_dir: Path) -> list[Pair]:
    return list(read_pairs(real_data_dir / "arguments.jsonl.gz", notice=lambda _: None))


def test_three_debates_are_held_out_and_labels_follow_the_votes(arguments: list[Pair]):
    config = load_study("real-votes")
    train, test = split_pairs(arguments, config.hold_out)
    assert len({pair.category for pair in test}) == 3
    assert {pair.category for pair in train}.isdisjoint({pair.category for pair in test})
    assert len(train) + len(test) == len(arguments) == 12063
    expected = drawn = 0.0
    for pair in arguments:
        if pair.votes is not None and pair.votes.a + pair.votes.b:
            expected += pair.votes.a / (pair.votes.a + pair.votes.b)
            drawn += one_vote_label(pair, seed=0) == "a"
    # The standard error of the sum is below sqrt(n)/2 = 55.
    assert abs(drawn - expected) < 4 * 55


@pytest.mark.slow
@pytest.mark.usefixtures("real_stages")
def test_real_votes_in_report_out(arguments: list[Pair], tiny_bert: Path, tmp_path: Path):
    write_records(tmp_path / "pairs.jsonl.gz", arguments[::40])
    small = {"model": str(tiny_bert), "epochs": 1, "max_length": 32, "batch_size": 32}
    config = load_study(
        "real-votes",
        overrides={
            "pairs": str(tmp_path / "pairs.jsonl.gz"),
            "judge": {"name": "votes"},
            "training": small,
            "evaluation": {"resamples": 50, "swaps": 99},
        },
    )
    run_study(config, tmp_path / "run", say=lambda _: None, progress=False)
    metrics = list(read_records(tmp_path / "run/scores.json", Metric))
    assert {m.model for m in metrics if m.kind == "model"} == set(config.models)
    assert all(-1 <= m.value <= 1 for m in metrics if m.metric == "pearson" and m.value is not None)
