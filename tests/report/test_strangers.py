"""A folder of somebody else's: it gives a page or one line, and nothing outside of it is read or written."""

import json
import os
import random
import shutil
import sqlite3

import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.errors import DissensusError, InputError, OutputError
from dissensus.files import read_records, write_json
from dissensus.judges.store.schema import APPLICATION_ID
from dissensus.records import Pair
from dissensus.reports.folder.readonly_store import ReadOnlyStore
from dissensus.reports.folder.run_reader import load_run
from dissensus.reports.page import render, write_report

from . import odd_folders

command = command_of_step("report")


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def page_or_line(folder, *, drawn=True):
    """Load and perhaps draw a folder; gives the page, or the one line that it ended with."""
    said = []
    try:
        loaded = load_run(folder)
        return render(loaded) if drawn else ""
    except DissensusError as error:
        said.append(str(error))
    assert "\n" not in said[0]
    assert str(folder) in said[0]
    return said[0]


@pytest.mark.parametrize("which", ["run", "loose"])
@pytest.mark.parametrize("change", odd_folders.FILES)
def test_a_file_that_is_not_what_its_name_says(made, tmp_path, which, change):
    """Half of the files for one change, the other half for the next: every file meets every kind of change."""
    names = sorted(str(path.relative_to(made / which)) for path in (made / which).rglob("*") if path.is_file())
    assert len(names) in (10, 5)
    for name in names[list(odd_folders.FILES).index(change) % 2 :: 2]:
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(made / which, folder)
        odd_folders.FILES[change](folder / name)
        page_or_line(folder, drawn=False)


@pytest.mark.parametrize("name", ["manifest.json", "scores.json"])
def test_any_value_may_be_another_one(made, tmp_path, name):
    rng, drawn, refused = random.Random(0), 0, 0
    whole = (made / "run" / name).read_text()
    shutil.copytree(made / "run", tmp_path / "run")
    for _ in range(24):
        (tmp_path / "run" / name).write_text(odd_folders.change_json(whole, rng))
        said = page_or_line(tmp_path / "run", drawn=drawn < 1)
        drawn += said.startswith("<!doctype")
        refused += bool(said) and not said.startswith("<!doctype")
    assert drawn
    assert refused > 3


def test_logs_of_other_things_than_numbers_are_drawn_without_them(run):
    log = run / "models" / "base" / "seed-0" / "training.jsonl"
    log.write_text('{"step": 1, "nll": "low"}\n{"step": [], "nll": 1e308}\n{"step": 3, "nll": NaN}\n{"nll": true}\n')
    (rows,) = load_run(run).logs["base"].values()
    assert [row.get("nll") for row in rows] == [None] * 4
    assert "Bradley-Terry NLL" not in render(load_run(run))


def test_links_that_lead_out_are_not_followed(run, tmp_path):
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: of somebody\n")
    for name in ("study.yaml", "judgments.db", "pairs/train_votes.parquet", "predictions/base.parquet"):
        outside = tmp_path / name.replace("/", "-")
        (run / name).rename(outside)
        (run / name).symlink_to(secret if name == "study.yaml" else outside)
    shutil.move(run / "models", tmp_path / "models")
    (run / "models").symlink_to(tmp_path / "models")
    out = tmp_path / "page.html"
    told = write_report(run, out)
    assert "password" not in out.read_text()
    loaded = load_run(run)
    assert (loaded.joined, loaded.training, loaded.logs) == (None, [], {})
    for name in ("study.yaml", "judgments.db", "predictions/base.parquet"):
        assert f"{run}/{name}: leads out of the folder, so it is not read" in told
        assert f"{name}: leads out of the folder" in out.read_text()


def test_links_inside_are_followed_and_the_folder_may_be_one(run, tmp_path):
    (run / "scores.json").rename(run / "card.json")
    (run / "scores.json").symlink_to("card.json")
    (tmp_path / "latest").symlink_to(run)
    assert load_run(tmp_path / "latest").metrics
    result = CliRunner().invoke(command, [str(tmp_path / "latest")])
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_store_that_the_settings_name_is_not_opened(run, tmp_path, monkeypatch):
    (run / "judgments.db").rename(tmp_path / "elsewhere.db")
    shutil.rmtree(run / "judged")
    monkeypatch.chdir(tmp_path)
    (missing,) = [words for words in load_run(run).missing if "judgments" in words]
    assert (
        missing == "the judgments (judgments.db; the settings name elsewhere.db, which is read where --store gives it)"
    )
    assert not load_run(run).judged.judges
    result = CliRunner().invoke(command, [str(run), "--store", "elsewhere.db"])
    assert result.exit_code == 0, result.output
    assert "prefers the first" in (run / "report.html").read_text().lower()


def test_a_store_is_left_as_it_is(run):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert load_run(run).judged.judges
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_store_of_an_older_version_is_read_and_not_brought_up_to_date(run):
    (run / "judgments.db").unlink()
    with sqlite3.connect(run / "judgments.db") as old:
        old.execute(
            "CREATE TABLE judgments (key BLOB PRIMARY KEY, judge TEXT NOT NULL, pair_id TEXT NOT NULL, "
            "content TEXT NOT NULL, sample INTEGER NOT NULL, shown TEXT NOT NULL, choice TEXT, probability_a REAL, "
            "reply TEXT NOT NULL) WITHOUT ROWID"
        )
        old.execute("INSERT INTO judgments VALUES (x'00', 'j', 'p0', 'c', 0, 'ab', 'a', NULL, '')")
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    before = (run / "judgments.db").read_bytes()
    with ReadOnlyStore(run / "judgments.db") as store:
        assert [judgment.pair_id for judgment in store.judgments()] == ["p0"]
    assert (run / "judgments.db").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE judgments SET choice = 'x'",
        "UPDATE judgments SET sample = -1",
        "UPDATE judgments SET judge = x'00'",
        "UPDATE judgments SET shown = 'aa'",
        "INSERT INTO judges VALUES ('j', '[]', NULL)",
        "INSERT INTO judges VALUES ('j', '{', NULL)",
        "INSERT INTO readings VALUES (x'00', 'j', 'p0', 'c', 'ab', '', 'text', NULL)",
        "INSERT INTO readings VALUES (x'00', 'j', 'p0', 'c', 'ab', '', x'00', NULL)",
        "DROP TABLE readings",
    ],
)
def test_rows_of_a_store_that_are_none_are_one_line(run, change):
    shutil.rmtree(run / "judged")
    with sqlite3.connect(run / "judgments.db") as store:
        store.execute(change)
    store.close()
    assert "judgments.db: " in page_or_line(run, drawn=False)


def test_a_store_under_an_odd_name_is_opened(run, tmp_path):
    odd = tmp_path / "50% of ?them#1"
    run.rename(odd)
    assert load_run(odd).judged.judges


def test_nothing_but_an_earlier_page_is_replaced(run, tmp_path):
    target = tmp_path / "own.html"
    target.write_text("mine")
    page = run / "report.html"
    page.symlink_to(target)
    with pytest.raises(OutputError, match=r"report\.html: is a link"):
        write_report(run, page)
    assert target.read_text() == "mine"
    page.unlink()
    page.symlink_to("/nowhere/at/all")
    with pytest.raises(OutputError, match="is a link"):
        write_report(run, page)
    page.unlink()
    page.mkdir()
    with pytest.raises(OutputError, match="is not a plain file"):
        write_report(run, page)
    for other in ("scores.json", "judgments.db"):
        before = (run / other).read_bytes()
        with pytest.raises(OutputError, match="is there already and is no report"):
            write_report(run, run / other)
        assert (run / other).read_bytes() == before


def test_an_earlier_page_is_replaced_and_its_other_name_keeps_it(run):
    write_report(run, run / "report.html")
    os.link(run / "report.html", run / "kept.html")
    kept = (run / "kept.html").read_bytes()
    (run / "scores.json").unlink()
    write_report(run, run / "report.html")
    assert (run / "kept.html").read_bytes() == kept
    assert "This run has no scores yet." in (run / "report.html").read_text()


def test_what_is_no_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    neither = r"neither manifest\.json nor study\.yaml"
    for name, said in (
        ("file", "a file; give the folder that it lies in"),
        ("loop", "cannot be looked into"),
        ("none", "no such folder"),
        ("empty", neither),
    ):
        with pytest.raises(InputError, match=said):
            load_run(tmp_path / name)


def test_numbers_beyond_all_measure_are_refused(run):
    row = {"model": "m", "group": "all", "metric": "l1", "value": 1e300, "n": 9}
    write_json(run / "scores.json", [row])
    with pytest.raises(InputError, match="beyond all measure"):
        load_run(run)


@pytest.mark.parametrize("votes", [10**12, 2**62, 10**400])
def test_votes_beyond_counting(made, tmp_path, votes):
    shutil.copytree(made / "loose", tmp_path / "loose")
    rows = [row.model_dump(exclude={"votes", "group"}) for row in read_records(tmp_path / "loose/asked.parquet", Pair)]
    (tmp_path / "loose" / "asked.parquet").unlink()
    texts = [json.dumps(row | {"votes_a": votes, "votes_b": 3}) for row in rows]
    (tmp_path / "loose" / "asked.jsonl").write_text("\n".join(texts))
    card = tmp_path / "loose" / "card.json"
    write_json(card, [row for row in json.loads(card.read_text()) if row["metric"] != "l1"])  # which are not of these
    loaded = load_run(tmp_path / "loose")
    assert (loaded.joined is not None) == (votes < 2**53)
    assert render(loaded)
