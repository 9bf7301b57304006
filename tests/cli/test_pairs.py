"""``dissensus pairs``: sources, columns and values into pairs, with margins, people and a data card."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.cli.argument_names import as_options
from dissensus.files import read_pairs, read_records
from dissensus.records import Annotator, Margin
from dissensus.steps.pairs import PairsSettings
from dissensus.steps.pairs import run as run_step

ROW = {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "votes_a": 2, "votes_b": 1, "dataset": "d"}
SETS = Path(__file__).parents[1] / "sources" / "fixtures"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def dissensus(*arguments):
    return CliRunner().invoke(group, ["pairs", *map(str, arguments)])


def refused(*arguments):
    """The one line that says why."""
    done = dissensus(*arguments)
    assert done.exit_code != 0
    message = as_options(str(done.exception)) if done.exit_code == 1 else done.stderr.splitlines()[-1]
    assert "\n" not in message
    assert done.stdout == ""
    return message


def jsonl(name, *rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def test_results_go_to_stdout_and_progress_to_stderr(run):
    jsonl("in.jsonl", ROW, ROW | {"response_b": "!", "label": "a"}, ROW | {"extra": 1})
    code, printed, progress = run("pairs", "in.jsonl", "--out", "out.parquet")
    assert code == 0, progress
    assert printed.splitlines() == [
        "out.parquet: 2 pairs",
        "  with votes        2 (6 votes)",
        "  with label        1 (a 1)",
        "  distinct prompts  1",
        "  dataset d: 2",
    ]
    assert "columns left alone, unknown here: extra" in progress
    assert "repeated pairs (same id, same content) dropped: 1" in progress
    assert "pairs/s" in progress
    code, printed, progress = run("pairs", "in.jsonl", "--out", "out.parquet", "--split", "train")
    assert (code, printed) == (2, "")
    lines = [line for line in progress.splitlines() if line.startswith("dissensus: ")]
    assert lines == ["dissensus: in.jsonl: a single file has no splits; leave out --split train"]


def test_the_step_gives_what_the_command_prints(tmp_path):
    jsonl("in.jsonl", ROW, ROW | {"response_a": ""})
    notices = []
    settings = {"source": "in.jsonl", "out": tmp_path / "out.jsonl", "skip_invalid": True}
    result = run_step(PairsSettings(**settings), notice=notices.append)
    assert result.lines()[0] == f"{tmp_path / 'out.jsonl'}: 1 pairs"
    assert (result.counts.votes, result.report.pairs, list(result.report.notices)) == (3, 1, notices)
    assert notices == ["1 of 2 rows were dropped as invalid; the first: in.jsonl:2: response_a is empty"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "no column prompt"),
        (["--column", "prompt"], "prompt: expected OURS=THEIRS"),
        (["--value", "label"], "expected COLUMN:THEIRS=OURS, as in --value winner:1=a"),
        (["--margins", "m.xlsx"], "unknown extension"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_written(options, expected):
    jsonl("in.jsonl", {"question": "Why?", "response_a": "a", "response_b": "b"})
    assert expected in refused("in.jsonl", "--out", "out.jsonl", *options)
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]
    assert dissensus("in.jsonl", "--out", "out.jsonl", "--column", "prompt=question").exit_code == 0


def test_there_and_back_through_trl_with_margins():
    jsonl("trl.jsonl", *({"prompt": f"p{i}", "chosen": "x", "rejected": "y", "margin": i / 4} for i in range(4)))
    done = dissensus("trl.jsonl", "--out", "p.jsonl", "--margins", "m.jsonl")
    assert "m.jsonl: 4 margins" in done.stdout
    margins = list(read_records("m.jsonl", Margin))
    assert [margin.margin for margin in margins] == [0, 0.25, 0.5, 0.75]
    assert dissensus("p.jsonl", "--out", "back.jsonl", "--format", "trl").exit_code == 0
    back = [json.loads(line) for line in Path("back.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in back] == [(f"p{i}", "x", "y") for i in range(4)]
    assert [row["id"] for row in back] == [margin.pair_id for margin in margins]
    jsonl("in.jsonl", ROW)
    assert "has no margin column" in refused("in.jsonl", "--out", "o.jsonl", "--margins", "m.jsonl")


def test_a_public_data_set_by_name_with_its_margins_people_and_card():
    given = ("prism", "--from", SETS, "--out", "p.parquet", "--margins", "m.parquet", "--annotators", "a.parquet")
    done = dissensus(*given, "--card", "README.md")
    assert done.exit_code == 0, done.output
    assert "p.parquet: 5 pairs" in done.stdout
    assert "with label        5 (a 3, b 1, tie 1)" in done.stdout
    assert "a.parquet: 2 annotators" in done.stdout
    assert "prism: 1 turns whose chosen answer was scored below another" in done.stderr
    assert len(list(read_pairs("p.parquet"))) == len(list(read_records("m.parquet", Margin))) == 5
    assert {one.attributes["study_locale"] for one in read_records("a.parquet", Annotator)} == {"uk", "us"}
    card = Path("README.md").read_text()
    for expected in ("HannahRoseKirk/prism-alignment", "| pairs | 5 |", "- 3 dropped: an empty response"):
        assert expected in card


def test_the_list_of_public_data_sets():
    done = dissensus("--list")
    assert done.exit_code == 0
    for expected in ("hh-rlhf  (Anthropic/hh-rlhf)", "licence  MIT", "trained on in the paper", "4 people by name"):
        assert expected in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.jsonl", "--from", "."], "--from is for public data sets"),
        (["x.jsonl", "--annotators", "a.jsonl"], "--annotators is for public data sets"),
        (["webgpt", "--from", SETS, "--annotators", "a.jsonl"], "says nothing of who voted"),
        (["shp", "--from", SETS, "--margins", "m.jsonl"], "has no strength of preference"),
    ],
)
def test_what_a_public_data_set_cannot_give_is_said(arguments, expected):
    assert expected in refused(*arguments, "--out", "out.jsonl")


def test_one_vote_is_drawn_as_the_label_and_the_votes_stay_whole():
    from dissensus.study.sets import labelled

    rows = [ROW | {"response_b": f"{i}", "label": "b"} for i in range(30)]
    without = {key: value for key, value in ROW.items() if not key.startswith("votes")} | {"label": "b"}
    jsonl("in.jsonl", *rows, without | {"response_b": "none"})
    assert dissensus("in.jsonl", "--label", "one-vote", "--label-seed", 4, "--out", "out.jsonl").exit_code == 0
    pairs, given = list(read_pairs("out.jsonl")), list(read_pairs("in.jsonl"))
    assert pairs == [labelled(pair, "one-vote", seed=4, votes_stay_whole=True) for pair in given]
    assert {pair.label for pair in pairs} == {"a", "b"}
    assert [pair.label_is_a_vote for pair in pairs] == [True] * 30 + [None]
    assert [pair.votes for pair in pairs] == [pair.votes for pair in given]
    jsonl("in.jsonl", without)
    assert "no pair has votes to draw a label of" in refused("in.jsonl", "--label", "one-vote", "--out", "out.jsonl")


def test_votes_of_people_in_other_words():
    Path("in.csv").write_text(
        "prompt,response_a,response_b,worker,choice\nWhy?,So.,No.,ann,1\nWhy?,So.,No.,bob,2\nHow?,So.,No.,ann,0\n"
    )
    options = ["in.csv", "--out", "out.jsonl", "--annotator", "worker", "--vote", "choice"]
    meaning = ["--value", "choice:0=tie", "--value", "choice:1=a", "--value", "choice:2=b"]
    assert " ".join(meaning) in refused(*options)
    assert dissensus(*options, *meaning).exit_code == 0
    first, second = read_pairs("out.jsonl")
    assert (first.votes.a, first.votes.b, first.label) == (1, 1, "tie")
    assert [vote.annotator for vote in first.votes.annotations] == ["ann", "bob"]
    assert (second.votes.tie, second.label) == (1, "tie")
    values = {"choice": {"0": "tie", "1": "a", "2": "b"}}  # as a study's YAML has them
    assert PairsSettings(source="x", out="y", values=values).meanings() == values
