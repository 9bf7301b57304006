"""A store is checked to the last row, exported and brought up to date."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from store_helpers import PAIRS, VERSION_1, Model, fill, on_both

from dissensus.cli import group
from dissensus.errors import InputError, OutputError
from dissensus.files import read_records
from dissensus.judges.language.plan import LanguageJudge, Planned
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.store.export import RawDistribution, export, export_data_set
from dissensus.judges.store.keys import content_of, judgment_key
from dissensus.judges.store.schema import VERSION
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.records import Judgment


@pytest.fixture(scope="module")
def both_modes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 3,000 judgments and 600 choice distributions."""
    path = tmp_path_factory.mktemp("both") / "judgments.db"
    fill(path)
    fill(path, "exact")
    with JudgmentStore(path) as store:
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def test_a_store_of_version_1_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    path, pair = tmp_path / "old.db", PAIRS[0]
    judgment = Judgment(pair_id=pair.id, judge="committee-12345678", sample=3, choice="b", probability_a=0.25)
    key = judgment_key(judgment.judge, pair, 3, "ab")
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript(VERSION_1)
        row = (key, judgment.judge, pair.id, content_of(pair))
        old.execute("INSERT INTO judgments VALUES (?, ?, ?, ?, 3, 'ab', 'b', 0.25, '')", row)
    with JudgmentStore(path) as store:
        assert list(store.judgments(pairs=PAIRS)) == [judgment]
        assert store.missing([key]) == set()
        assert list(store.rows("PRAGMA user_version")) == [(VERSION,)]


def test_a_whole_store_verifies(both_modes: Path) -> None:
    with JudgmentStore(both_modes) as store:
        found = verify(store)
    assert (found.judgments, found.distributions, found.damaged) == (3000, 600, 0)
    assert found.verified == 3602  # with the two judges
    assert list(found.unverifiable) == ["of attempts and runs, which change and have no checksum"]
    shown = CliRunner().invoke(group, ["judgments", "verify", "--store", str(both_modes)]).stdout
    assert "ok: 3,602 rows verified, " in shown
    assert "not verifiable (3 of attempts and runs, which change and have no checksum)" in shown


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE judgments SET choice = 'b' WHERE pair_id = 'p5' AND sample = 0 AND choice = 'a'", "is not b"),
        ("UPDATE judgments SET content = 'x' WHERE pair_id = 'p5' AND sample = 0", "its key is not that of its row"),
        ("UPDATE readings SET reading = x'00' WHERE pair_id = 'p5' AND shown = 'ab'", "no choice distribution"),
    ],
)
def test_a_row_that_was_tampered_with_is_found(both_modes: Path, tmp_path: Path, change: str, problem: str) -> None:
    path = shutil.copy(both_modes, tmp_path)
    with JudgmentStore(path) as store:
        with store.transaction() as connection:
            changed = connection.execute(change).rowcount
        found = verify(store)
    assert found.damaged == changed == 1
    assert problem in found.problems[0]


def test_judgments_and_readings_are_exported_and_read_back(both_modes: Path, tmp_path: Path) -> None:
    with JudgmentStore(both_modes) as store:
        judge = next(judge for judge in store.judges() if any(store.judgments(judge=judge)))
        assert export(store, tmp_path / "judgments.parquet", judge=judge) == 3000
        assert export(store, tmp_path / "readings.jsonl", distributions=True) == 600
        assert list(read_records(tmp_path / "judgments.parquet", Judgment)) == list(store.judgments())
    reading = next(read_records(tmp_path / "readings.jsonl", RawDistribution))
    assert np.exp(reading.logprobs) == pytest.approx([0.7, 0.3])
    assert (reading.verdicts, reading.tokens, reading.forced) == ("AB", (5, 6), 1.0)


def test_the_folder_for_the_hub_loads_as_a_data_set(both_modes: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    hub = tmp_path / "hub"
    (tmp_path / "README.md").write_text("# mine")
    with JudgmentStore(both_modes) as store:
        for _ in range(2):  # again, over its own
            assert export_data_set(store, hub) == {"judgments": 3000, "readings": 600}
        with pytest.raises(OutputError, match="stays as it is"):
            export_data_set(store, tmp_path)
    assert (tmp_path / "README.md").read_text() == "# mine"
    assert not (tmp_path / "judgments").exists()
    cache = str(tmp_path / "cache")
    assert load_dataset(str(hub), split="train", cache_dir=cache).num_rows == 3000
    assert load_dataset(str(hub), "readings", split="train", cache_dir=cache)[0]["verdicts"] == "AB"
    card = (hub / "README.md").read_text()
    assert "top_p: 0.9" in card
    assert "I am going to give you a prompt and two answers." in card


def test_a_flipped_bit_in_any_byte_of_a_published_verdict_is_found(tmp_path: Path) -> None:
    path, pair = tmp_path / "judgments.db", PAIRS[0]
    said = Judgment(pair_id=pair.id, judge="gpt4-1", sample=1, choice="a", probability_a=0.7, reply="first")
    with JudgmentStore(path) as store:
        store.add([said], {pair.id: pair})
    whole = path.read_bytes()
    stands = whole.index(b"gpt4-1p0" + content_of(pair).encode())  # in the table; its index has another order
    body = range(stands - 16, whole.index(b"first", stands) + 5 + 4)
    missed = []
    for place, bit in ((place, (place + turn) % 8) for place in body for turn in (0, 3)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        if not is_found(path):
            missed.append((place - stands, bit))
    assert not missed
    begins = whole.index(b"CREATE TABLE judgments")
    for place in range(begins, begins + 200, 9):  # no traceback where even the tables' names are no text any more
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        is_found(path)  # or does no harm, in the name of a type


def is_found(path: Path) -> bool:
    try:
        with JudgmentStore(path) as store:
            return verify(store).damaged > 0
    except InputError as error:
        return "the store is damaged" in str(error)


@on_both
def test_rows_without_a_checksum_are_counted_as_such(store) -> None:
    store.add([Judgment(pair_id="p0", judge="gpt4-1", sample=1, choice="a", reply="first")], {"p0": PAIRS[0]})
    with store.transaction() as connection:
        connection.execute("UPDATE judgments SET checksum = NULL")
    found = verify(store)
    assert (found.verified, found.damaged, found.unverifiable.total()) == (0, 0, 1)
    with store.transaction() as connection:
        connection.execute("UPDATE judgments SET sample = 2")
    assert "its key is not that of its row" in verify(store).problems[0]
    shown = CliRunner().invoke(group, ["judgments", "verify", "--store", str(store.path)])
    assert isinstance(shown.exception, InputError)


@pytest.mark.parametrize(
    ("choice", "reply", "problem"),
    [("a", "Choice: A", ""), (None, "both", ""), (None, "Choice: A", "one without a winner"), ("b", "Choice: A", "b")],
)
def test_a_row_without_a_checksum_is_never_verified_and_its_reply_has_its_choice(
    store, choice: str | None, reply: str, problem: str
) -> None:
    judge = LanguageJudge(LanguageSettings(model="fake"), Model.identity)
    said = Judgment(pair_id="p0", judge=judge.name, sample=0, choice=choice, reply=reply)
    content = content_of(PAIRS[0])
    store.register(judge.name, judge.settings())
    with store.transaction() as connection:
        store.insert([(judge.sample_key(content, Planned(0, "ab", "")), content, said)])
        connection.execute("UPDATE judgments SET checksum = NULL")
        connection.execute("UPDATE judges SET checksum = NULL")
    found = verify(store)
    assert (found.verified, found.damaged) == (0, int(problem != ""))
    assert not problem or found.problems[0].endswith(f"the reply {reply!r} is not {problem}")


def test_no_file_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.db").touch()
    with pytest.raises(InputError, match=r"is empty \(0 bytes\), and so no store"):
        CliRunner().invoke(group, ["judgments", "verify", "--store", "empty.db"], catch_exceptions=False)
    assert Path("empty.db").read_bytes() == b""
    for name in (":memory:", "", "."):
        for create in (True, False):
            with pytest.raises(InputError, match="a store of judgments is a file; name one"):
                JudgmentStore(name, create=create)
    for name in ("file:x.db", "file:y.db?mode=memory", "a#b.db", "a?b=c.db", "100%20.db"):
        fill_one(Path(name))
        with JudgmentStore(name, create=False) as store:
            assert len(list(store.judgments())) == 1
        assert Path(name).is_file()


def fill_one(path: Path) -> None:
    with JudgmentStore(path) as store:
        store.add([Judgment(pair_id="p0", judge="gpt4-1", sample=0, choice="a")], {"p0": PAIRS[0]})


def test_a_full_disk_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_one(tmp_path / "judgments.db")
    with JudgmentStore(tmp_path / "judgments.db") as store:
        store.connection.execute("PRAGMA max_page_count = 1")  # SQLite's own limit gives the error of a full disk
        long = Judgment(pair_id="p1", judge="gpt4-1", sample=0, choice="a", reply="x" * 100_000)
        with pytest.raises(OutputError, match="the disk is full"):
            store.add([long], {"p1": PAIRS[1]})
        rows = store.judgments()
        next(rows)
    rows.close()  # a reader that ends after its store says nothing of damage
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert "the disk is full" in str(store.database.explain(error, "cannot be read"))
