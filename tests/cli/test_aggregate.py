import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import ConfigError, OutputError
from dissensus.files import read_records, write_records
from dissensus.judges import JudgmentStore
from dissensus.records import Annotator, Margin, Pair, Vote, Votes
from dissensus.sources import open_source

SETS = Path(__file__).parents[1] / "sources" / "fixtures"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(group, ["aggregate", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def prism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    opened = open_source("prism", root=SETS, notice=lambda _: None)
    write_records("prism.jsonl", [pair for pair, _ in opened])
    write_records("people.jsonl", opened.report.annotators)
    return tmp_path


def test_prisms_people_by_where_they_live(prism: Path):
    (prism / "shares.yaml").write_text("uk: 0.2\nus: 0.8\n")
    told = run(
        "prism.jsonl", "--annotators", "people.jsonl", "--rule", "post-stratified", "--by", "study_locale",
        "--shares", "shares.yaml", "--out", "m.parquet",
    )  # fmt: skip
    assert "votes      5 of 2 voters on 5 pairs" in told
    assert "against uniform, 5 pairs: 0 change sides" in told
    assert len(list(read_records("m.parquet", Margin))) == 5


def test_pairs_that_change_sides_are_named_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    said = tuple(Vote(annotator=who, vote=vote) for who, vote in zip("abcde", "aaabb", strict=True))
    pair = Pair(
        id="flips", prompt="p", response_a="x", response_b="y", votes=Votes(a=3, b=2, annotations=said)
    )  # fmt: skip
    write_records("pairs.jsonl", [pair])
    write_records("people.jsonl", [Annotator(id=i, attributes={"g": g}) for i, g in zip("abcde", "NNNSS", strict=True)])
    (tmp_path / "w.yaml").write_text("N: 1\nS: 4\n")
    common = ["pairs.jsonl", "--annotators", "people.jsonl", "--by", "g", "--out", "m.jsonl"]
    told = run(*common, "--rule", "weighted", "--weights", "w.yaml", "--changed", "c.csv")
    assert "flips: 0.60 → 0.27" in told
    with open("c.csv", newline="") as file:  # noqa: PTH123
        assert list(csv.reader(file))[1] == ["flips", "changed", "0.6", "0.272727"]
    assert "1 become even" in run(*common[:3], "--rule", "quorum", "--quorum", "2/3", "--out", "q.jsonl")


@pytest.mark.slow
def test_personas_of_a_language_model(
    tmp_path: Path, tiny_judge: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    write_records("pairs.jsonl", pairs[:4])
    Path("personas.txt").write_text("You are a nurse.\nYou are a cook.\n")
    judged = CliRunner().invoke(
        group,
        ["judge", "pairs.jsonl", "--judge", "local", "--model", str(tiny_judge), "--n", "8", "--mode", "exact",
         "--persona-file", "personas.txt", "--store", "j.db", "--quiet"],
        catch_exceptions=False,
    )  # fmt: skip
    assert judged.exit_code == 0, judged.output
    told = run("pairs.jsonl", "--store", "j.db", "--rule", "worst-off", "--by", "persona", "--out", "m.jsonl")
    assert "You are a nurse." in told
    assert len(list(read_records("m.jsonl", Margin))) == 4
    assert JudgmentStore("j.db", create=False).judges()


def test_files_that_cannot_be_are_refused(prism: Path):
    (prism / "list.yaml").write_text("- 1\n")
    for options, message in (
        (["--rule", "weighted", "--weights", "none.yaml"], "cannot be read"),
        (["--rule", "weighted", "--weights", "list.yaml"], "expected lines of name: number"),
        (["--changed", "c.txt"], "name a .csv file"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(
                group, ["aggregate", "prism.jsonl", "--out", "m.jsonl", *options],
                standalone_mode=False, catch_exceptions=False,
            )  # fmt: skip


def test_names_in_yaml_stay_as_they_are_and_nothing_is_written_over(in_a_folder):
    said = (Vote(annotator="001", vote="a"), Vote(annotator="no", vote="b"))
    write_records("pairs.jsonl", [Pair(id="1", prompt="p", response_a="x", response_b="y",
                                       votes=Votes(a=1, b=1, annotations=said))])  # fmt: skip
    Path("w.yaml").write_text("001: 3\nno: 1\n")
    run("pairs.jsonl", "--rule", "weighted", "--weights", "w.yaml", "--out", "m.jsonl")
    assert [margin.preference_a for margin in read_records("m.jsonl", Margin)] == [0.75]
    before = Path("pairs.jsonl").read_bytes()
    with pytest.raises(OutputError, match=r"--out pairs\.jsonl: is what PAIRS gives"):
        run("pairs.jsonl", "--out", "pairs.jsonl")
    assert Path("pairs.jsonl").read_bytes() == before
