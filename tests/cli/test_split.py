import pytest
from click.testing import CliRunner

import dissensus as ds
from dissensus.cli.options import command_of_step
from dissensus.errors import ConfigError, OutputError
from dissensus.files import read_pairs, write_records
from dissensus.records import Message, Pair, Vote, Votes
from dissensus.steps.split import HoldOut, split_pairs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    votes = Votes(a=1, b=1, annotations=(Vote(vote="a", annotator="w1"), Vote(vote="b", annotator="w2")))
    pairs = [
        Pair(id=f"p{i}", prompt=(Message(role="user", content=f"q{i // 3}"),), response_a="x", response_b=f"y{i}",
             label="a" if i % 2 else "b", votes=votes, category=f"c{i // 3 % 4}")
        for i in range(60)
    ]  # fmt: skip
    write_records(tmp_path / "pairs.jsonl", pairs)
    return tmp_path


def split(*options, pairs="pairs.jsonl", train="train.parquet", test="test.jsonl"):
    return CliRunner().invoke(
        command_of_step("split"), [pairs, "--out-train", train, "--out-test", test, *map(str, options)]
    )


def parts(folder, train="train.parquet", test="test.jsonl"):
    return [list(read_pairs(folder / name)) for name in (train, test)]


@pytest.mark.parametrize(
    ("options", "hold_out"),
    [
        ((), {"share": 0.2}),
        (("--share", 0.5, "--seed", 3), {"share": 0.5, "seed": 3}),
        (("--count", 7), {"count": 7}),
        (("--by", "category", "--count", 2), {"by": "category", "count": 2}),
        (("--by", "category", "--name", "c1", "--name", "c3"), {"by": "category", "names": ("c1", "c3")}),
    ],
)
def test_a_split_is_that_of_a_study_and_loses_nothing(folder, options, hold_out):
    result = split(*options)
    assert result.exit_code == 0, result.output
    train, test = parts(folder)
    original = list(read_pairs(folder / "pairs.jsonl"))
    assert ds.split("pairs.jsonl", **hold_out) == (train, test) == ds.split(ds.read_pairs("pairs.jsonl"), **hold_out)
    assert (train, test) == split_pairs(original, HoldOut(**hold_out))
    assert {pair.group for pair in train}.isdisjoint({pair.group for pair in test})
    assert sorted([*train, *test], key=lambda pair: pair.id) == sorted(original, key=lambda pair: pair.id)
    write_records(folder / "pairs.jsonl", original[::-1])
    assert split(*options).exit_code == 0
    assert {pair.id for pair in parts(folder)[1]} == {pair.id for pair in test}


def test_it_says_what_went_where(folder):
    lines = split("--by", "category", "--name", "c2").stdout.splitlines()
    assert lines == [
        "train.parquet: 45 pairs, 15 groups",
        "  with label  45 (a 25, b 20)",
        "  with votes  45",
        "  category c0: 15",
        "  category c1: 15",
        "  category c3: 15",
        "test.jsonl: 15 pairs, 5 groups",
        "  with label  15 (a 5, b 10)",
        "  with votes  15",
        "  category c2: 15",
    ]


def test_prompts_that_only_their_groups_tell_apart_are_named(folder):
    pairs = [Pair(id=f"{i}", prompt="q" if i < 2 else f"q{i}", response_a="x", response_b="y", group=f"g{i}")
             for i in range(4)]  # fmt: skip
    write_records("pairs.jsonl", pairs)
    write_records("p.jsonl", pairs)
    result = split("--name", "g0")
    assert "1 pairs to train on have the text of a prompt that is held out, under another group" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", 20), "20 of 20 values of group leave nothing to train on"),
        (("--by", "dataset"), "pair 'p0' has no dataset; hold out by group"),
        (("--by", "category", "--name", "c9"), "no category 'c9'; the data has: c0, c1, c2, c3"),
    ],
)
def test_what_cannot_be_split_is_said_and_nothing_is_written(folder, options, message):
    result = split(*options)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert [path.name for path in folder.iterdir()] == ["pairs.jsonl"]


def test_a_group_is_never_split(folder):
    pairs = list(read_pairs("pairs.jsonl"))
    write_records("pairs.jsonl", [pairs[0].model_copy(update={"category": "c1"}), *pairs[1:]])
    result = split("--by", "category", "--name", "c1")
    assert "leaves 1 prompts (groups) on both sides" in str(result.exception)
    write_records("pairs.jsonl", [pairs[0].model_copy(update={"domain": "out"}), *pairs[1:]])
    held = {pair.group for pair in split_pairs(pairs, HoldOut(count=1))[1]}
    assert pairs[0].group not in held
    result = split("--count", 1)
    assert "1 groups have pairs of domain out" in str(result.exception)
    assert not (folder / "train.parquet").exists()


def test_names_and_ways_are_checked_first(folder):
    assert isinstance(split(train="x.doc").exception, OutputError)
    assert "give one of count, share and names" in str(split("--share", 0.5, "--count", 3).exception)
