import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import ConfigError, OutputError
from dissensus.files import read_records, write_records
from dissensus.judges import JudgmentStore
from dissensus.records import Annotator, Judgment, Margin, Pair, Vote, Votes
from dissensus.sources import open_source

SETS = Path(__file__).parents[1] / "sources" / "fixtures"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(group, ["aggregate", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pair_of(name: str, voters: str, votes: str) -> Pair:
    said = tuple(Vote(annotator=who, vote=vote) for who, vote in zip(voters.split(), votes, strict=True))
    counts = Votes(a=votes.count("a"), b=votes.count("b"), annotations=said)
    return Pair(id=name, prompt="p", response_a="x", response_b="y", votes=counts)


@pytest.fixture
def prism(folder: Path) -> Path:
    opened = open_source("prism", root=SETS, notice=lambda _: None)
    write_records("prism.jsonl", [pair for pair, _ in opened])
    write_records("people.jsonl", opened.report.annotators)
    return folder


def test_prisms_people_by_where_they_live(prism: Path):
    (prism / "shares.yaml").write_text("uk: 0.2\nus: 0.8\n")
    told = run(
        "prism.jsonl", "--annotators", "people.jsonl", "--rule", "post-stratified", "--by", "study_locale",
        "--shares", "shares.yaml", "--out", "m.parquet",
    )  # fmt: skip
    assert "votes      5 of 2 voters on 5 pairs" in told
    assert "against uniform, 5 pairs: 0 change sides" in told
    assert len(list(read_records("m.parquet", Margin))) == 5


def test_pairs_that_change_sides_are_named_and_written(folder: Path):
    write_records("pairs.jsonl", [pair_of("flips", "a b c d e", "aaabb")])
    write_records("people.jsonl", [Annotator(id=i, attributes={"g": g}) for i, g in zip("abcde", "NNNSS", strict=True)])
    Path("w.yaml").write_text("N: 1\nS: 4\n")
    common = ["pairs.jsonl", "--annotators", "people.jsonl", "--by", "g", "--out", "m.jsonl"]
    told = run(*common, "--rule", "weighted", "--weights", "w.yaml", "--changed", "c.csv")
    assert "flips: 0.60 → 0.27" in told
    with open("c.csv", newline="") as file:  # noqa: PTH123
        assert list(csv.reader(file))[1] == ["flips", "changed", "0.6", "0.272727"]
    assert "1 become even" in run(*common[:3], "--rule", "quorum", "--quorum", "2/3", "--out", "q.jsonl")


def test_personas_of_a_judge(folder: Path, pairs: list[Pair]):
    write_records("pairs.jsonl", pairs[:4])
    said = [
        Judgment(pair_id=pair.id, judge="j-1", sample=sample, order="ab", choice=choice, persona=persona)
        for pair in pairs[:4]
        for sample, (persona, choice) in enumerate([("You are a nurse.", "a"), ("You are a cook.", "b")])
    ]
    with JudgmentStore("j.db") as store:
        store.add(said, {pair.id: pair for pair in pairs})
    told = run("pairs.jsonl", "--store", "j.db", "--rule", "worst-off", "--by", "persona", "--out", "m.jsonl")
    assert "You are a nurse." in told
    assert [margin.preference_a for margin in read_records("m.jsonl", Margin)] == [0.5] * 4


def test_files_that_cannot_be_are_refused(prism: Path):
    (prism / "list.yaml").write_text("- 1\n")
    (prism / "words.yaml").write_text("uk: much\n")
    for options, message in (
        (["--rule", "weighted", "--weights", "words.yaml"], "weights.uk"),
        (["--rule", "weighted", "--weights", "none.yaml"], "cannot be read"),
        (["--rule", "weighted", "--weights", "list.yaml"], "expected lines of name: number"),
        (["--changed", "c.txt"], "name a .csv file"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(
                group, ["aggregate", "prism.jsonl", "--out", "m.jsonl", *options],
                standalone_mode=False, catch_exceptions=False,
            )  # fmt: skip


def test_names_in_yaml_stay_as_they_are_and_nothing_is_written_over(folder: Path):
    write_records("pairs.jsonl", [pair_of("1", "001 no", "ab")])
    Path("w.yaml").write_text("001: 3\nno: 1\n")
    run("pairs.jsonl", "--rule", "weighted", "--weights", "w.yaml", "--out", "m.jsonl")
    assert [margin.preference_a for margin in read_records("m.jsonl", Margin)] == [0.75]
    before = Path("pairs.jsonl").read_bytes()
    with pytest.raises(OutputError, match=r"--out pairs\.jsonl: is what PAIRS gives"):
        run("pairs.jsonl", "--out", "pairs.jsonl")
    assert Path("pairs.jsonl").read_bytes() == before
