import json
import subprocess
import sys
from pathlib import Path

import pytest

from dissensus.files import read_pairs, read_records
from dissensus.records import Annotator, Margin

ROW = {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "votes_a": 2, "votes_b": 1, "dataset": "d"}


def dissensus(*arguments):
    command = [sys.executable, "-m", "dissensus", "pairs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path):
    source = jsonl(tmp_path / "in.jsonl", ROW, ROW | {"response_b": "!", "label": "a"}, ROW | {"extra": 1})
    done = dissensus(source, "--out", tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'out.parquet'}: 2 pairs",
        "  with votes        2 (6 votes)",
        "  with label        1 (a 1)",
        "  distinct prompts  1",
        "  dataset d: 2",
    ]
    assert "columns left alone, unknown here: extra" in done.stderr
    assert "repeated pairs (same id, same content) dropped: 1" in done.stderr
    assert "pairs/s" in done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "no column prompt"),
        (["--column", "prompt"], "expected OURS=THEIRS, as in --column prompt=question"),
        (["--column", "prompt=none"], "no column 'none' to use as prompt"),
        (["--split", "train"], "a single file has no splits"),
    ],
)
def test_an_error_is_one_line_with_exit_code_2_and_nothing_is_written(tmp_path, options, expected):
    source = jsonl(tmp_path / "in.jsonl", {"question": "Why?", "response_a": "a", "response_b": "b"})
    done = dissensus(source, "--out", tmp_path / "out.jsonl", *options)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("dissensus: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert dissensus(source, "--out", tmp_path / "out.jsonl", "--column", "prompt=question").returncode == 0


def test_bad_rows_are_dropped_on_request(tmp_path):
    source = jsonl(tmp_path / "in.jsonl", ROW, ROW | {"response_a": ""})
    assert dissensus(source, "--out", tmp_path / "out.csv").returncode == 2
    done = dissensus(source, "--out", tmp_path / "out.csv", "--skip-invalid")
    assert done.returncode == 0
    assert f"1 of 2 rows were dropped as invalid; the first: {source}:2: response_a is empty" in done.stderr


def test_the_source_is_never_written_over(tmp_path):
    source = jsonl(tmp_path / "in.jsonl", ROW)
    before = source.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(source)
    for out in (source, tmp_path / "link.jsonl"):
        done = dissensus(source, "--out", out)
        assert done.returncode == 2
        assert "name another file" in done.stderr
    assert dissensus(tmp_path, "--out", tmp_path / "new.parquet").returncode == 2
    assert source.read_bytes() == before


def test_there_and_back_through_trl_with_margins(tmp_path):
    rows = [{"prompt": f"p{i}", "chosen": "x", "rejected": "y", "margin": i / 4} for i in range(4)]
    source = jsonl(tmp_path / "trl.jsonl", *rows)
    done = dissensus(source, "--out", tmp_path / "p.jsonl", "--margins", tmp_path / "m.jsonl")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'm.jsonl'}: 4 margins" in done.stdout
    margins = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [row["margin"] for row in margins] == [0, 0.25, 0.5, 0.75]
    assert dissensus(tmp_path / "p.jsonl", "--out", tmp_path / "back.jsonl", "--format", "trl").returncode == 0
    back = [json.loads(line) for line in (tmp_path / "back.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in back] == [(f"p{i}", "x", "y") for i in range(4)]
    assert [row["id"] for row in back] == [row["pair_id"] for row in margins]


@pytest.mark.parametrize(("name", "expected"), [("o.jsonl", "is also --out"), ("m.xlsx", "unknown extension")])
def test_a_margins_file_that_cannot_be_is_refused_before_anything_is_written(tmp_path, name, expected):
    source = jsonl(tmp_path / "in.jsonl", ROW)
    done = dissensus(source, "--out", tmp_path / "o.jsonl", "--margins", tmp_path / name)
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (tmp_path / "o.jsonl").exists()


def test_margins_of_a_source_without_any(tmp_path):
    done = dissensus(
        jsonl(tmp_path / "in.jsonl", ROW), "--out", tmp_path / "o.jsonl", "--margins", tmp_path / "m.jsonl"
    )
    assert done.returncode == 2
    assert "has no margin column" in done.stderr


SETS = Path(__file__).parents[1] / "sources" / "fixtures"


def test_a_public_data_set_by_name_with_its_margins_and_people(tmp_path):
    out, margins, people = (tmp_path / f"{name}.parquet" for name in ("p", "m", "a"))
    done = dissensus("prism", "--from", SETS, "--out", out, "--margins", margins, "--annotators", people)
    assert done.returncode == 0, done.stderr
    assert f"{out}: 5 pairs" in done.stdout
    assert "with label        5 (a 3, b 1, tie 1)" in done.stdout
    assert f"{people}: 2 annotators" in done.stdout
    assert "prism: 1 turns whose chosen answer was scored below another" in done.stderr
    assert len(list(read_pairs(out))) == len(list(read_records(margins, Margin))) == 5
    assert {one.attributes["study_locale"] for one in read_records(people, Annotator)} == {"uk", "us"}


def test_a_data_card_says_where_the_pairs_are_from(tmp_path):
    card = tmp_path / "README.md"
    assert dissensus("multipref", "--from", SETS, "--out", tmp_path / "p.jsonl", "--card", card).returncode == 0
    text = card.read_text()
    for expected in ("allenai/multipref", "| ODC-By |", "| pairs | 3 |", "- 2 pairs with votes for both sides"):
        assert expected in text


def test_the_list_of_public_data_sets():
    done = dissensus("--list")
    assert done.returncode == 0
    for expected in ("hh-rlhf  (Anthropic/hh-rlhf)", "licence  MIT", "trained on in the paper", "4 people by name"):
        assert expected in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.jsonl", "--from", "."], "--from is for public data sets"),
        (["x.jsonl", "--annotators", "a.jsonl"], "--annotators is for public data sets"),
        (["webgpt", "--from", SETS, "--annotators", "a.jsonl"], "says nothing of who voted"),
        (["shp", "--from", SETS, "--margins", "m.jsonl"], "has no strength of preference"),
        (["webgpt", "--from", SETS, "--split", "test"], "no split 'test'"),
        (["webgpt", "--from", SETS, "--margins", "m.jsonl", "--annotators", "m.jsonl"], "is also --margins"),
    ],
)
def test_what_a_public_data_set_cannot_give_is_said(tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    done = dissensus(*arguments, "--out", "out.jsonl")
    assert done.returncode == 2
    assert expected in done.stderr


def test_one_vote_is_drawn_as_the_label_and_the_votes_stay_whole(tmp_path):
    from dissensus.study.holdout import labelled

    rows = [ROW | {"response_b": f"{i}", "label": "b"} for i in range(30)]
    without = {key: value for key, value in ROW.items() if not key.startswith("votes")} | {"label": "b"}
    source = jsonl(tmp_path / "in.jsonl", *rows, without | {"response_b": "none"})
    done = dissensus(source, "--label", "one-vote", "--label-seed", 4, "--out", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    pairs = list(read_pairs(tmp_path / "out.jsonl"))
    given = list(read_pairs(source))
    assert pairs == [labelled(pair, "one-vote", seed=4, votes_stay_whole=True) for pair in given]
    assert {pair.label for pair in pairs} == {"a", "b"}
    assert [pair.label_is_a_vote for pair in pairs] == [True] * 30 + [None]
    assert [pair.votes for pair in pairs] == [pair.votes for pair in given]
    done = dissensus(jsonl(tmp_path / "in.jsonl", without), "--label", "one-vote", "--out", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert "no pair has votes to draw a label of" in done.stderr


def test_votes_of_people_in_other_words(tmp_path):
    lines = [
        "prompt,response_a,response_b,worker,choice",
        "Why?,So.,No.,ann,1",
        "Why?,So.,No.,bob,2",
        "How?,So.,No.,ann,0",
    ]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    options = ["--annotator", "worker", "--vote", "choice"]
    done = dissensus(tmp_path / "in.csv", "--out", tmp_path / "out.jsonl", *options)
    assert done.returncode == 2
    meaning = ["--value", "choice:0=tie", "--value", "choice:1=a", "--value", "choice:2=b"]
    assert " ".join(meaning) in done.stderr
    done = dissensus(tmp_path / "in.csv", "--out", tmp_path / "out.jsonl", *options, *meaning)
    assert done.returncode == 0, done.stderr
    first, second = read_pairs(tmp_path / "out.jsonl")
    assert (first.votes.a, first.votes.b, first.label) == (1, 1, "tie")
    assert [vote.annotator for vote in first.votes.annotations] == ["ann", "bob"]
    assert (second.votes.tie, second.label) == (1, "tie")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--value", "label"], "expected COLUMN:THEIRS=OURS, as in --value winner:1=a"),
        (["--annotator", "extra", "--vote", "label", "--vote", "votes_a"], "goes with one column of votes"),
        (["--annotator", "nobody"], "no column 'nobody' to read votes from"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, options, expected):
    source = jsonl(tmp_path / "in.jsonl", ROW | {"label": "a", "extra": 1})
    done = dissensus(source, "--out", tmp_path / "out.jsonl", *options)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert expected in done.stderr
