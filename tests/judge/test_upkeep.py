"""A store is checked to the last row, brought up to date, and saved from damage."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from dissensus.errors import InputError, OutputError
from dissensus.files import read_records
from dissensus.judge.ask import Answer
from dissensus.judge.asking import ask_model
from dissensus.judge.export import RawReading, export, export_data_set
from dissensus.judge.job import AskingOptions
from dissensus.judge.language import LanguageConfig, LanguageJudge
from dissensus.judge.reading import Reading
from dissensus.judge.schema import VERSION
from dissensus.judge.store import JudgmentStore, judgment_key
from dissensus.judge.upkeep import recover, verify
from dissensus.records import Judgment, Pair

PAIRS = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"yes {i} " * 40, response_b=f"no {i}") for i in range(300)]
VERSION_1 = """
CREATE TABLE judgments (
    key BLOB PRIMARY KEY, judge TEXT NOT NULL, pair_id TEXT NOT NULL, content TEXT NOT NULL, sample INTEGER NOT NULL,
    shown TEXT NOT NULL, choice TEXT, probability_a REAL, reply TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX judgments_by_pair ON judgments (judge, pair_id, sample, shown);
PRAGMA application_id = 0x64697373;
PRAGMA user_version = 1;
"""


class Model:
    identity = {"model": "fake"}  # noqa: RUF012
    context = None

    def answer(self, asks, sampling):
        for ask in asks:
            if sampling is None:
                reading = Reading(np.log([0.7, 0.3]), "AB", 2, 2, forced=1.0, tokens=np.array([5, 6]))
                yield Answer(ask, reading=reading)
            else:
                yield Answer(ask, tuple(f"Choice: {'AB'[sample % 2]}" for sample in ask.samples))


def fill(path: Path, mode: str = "sample") -> LanguageJudge:
    judge = LanguageJudge(LanguageConfig(model="fake", mode=mode), Model.identity)
    with JudgmentStore(path) as store:
        ask_model(PAIRS, judge, Model(), store, AskingOptions(progress=False))
    return judge


def test_a_store_of_version_1_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    old.executescript(VERSION_1)
    pair = PAIRS[0]
    judgment = Judgment(pair_id=pair.id, judge="committee-12345678", sample=3, choice="b", probability_a=0.25)
    with JudgmentStore(tmp_path / "content.db") as other:
        other.add([judgment], {pair.id: pair})
        ((content,),) = other.rows("SELECT content FROM judgments")
    key = judgment_key(judgment.judge, pair, 3, "ab")
    old.execute(
        "INSERT INTO judgments VALUES (?, ?, ?, ?, 3, 'ab', 'b', 0.25, '')", (key, judgment.judge, pair.id, content)
    )
    old.commit()
    old.close()
    with JudgmentStore(path) as store:
        assert list(store.judgments(pairs=PAIRS)) == [judgment]
        assert store.missing([key]) == set()
        assert list(store.rows("PRAGMA user_version")) == [(VERSION,)]


def test_a_whole_store_verifies(tmp_path: Path) -> None:
    fill(tmp_path / "judgments.db")
    fill(tmp_path / "judgments.db", "exact")
    with JudgmentStore(tmp_path / "judgments.db") as store:
        found = verify(store)
    assert (found.judgments, found.readings, found.damaged) == (3000, 600, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE judgments SET choice = 'b' WHERE pair_id = 'p5' AND sample = 0 AND choice = 'a'", "is not b"),
        ("UPDATE judgments SET content = 'x' WHERE pair_id = 'p5' AND sample = 0", "its key is not that of its row"),
        ("UPDATE readings SET reading = x'00' WHERE pair_id = 'p5' AND shown = 'ab'", "no reading"),
    ],
)
def test_a_row_that_was_tampered_with_is_found(tmp_path: Path, change: str, problem: str) -> None:
    fill(tmp_path / "judgments.db")
    fill(tmp_path / "judgments.db", "exact")
    with JudgmentStore(tmp_path / "judgments.db") as store:
        with store.transaction() as connection:
            assert connection.execute("UPDATE judgments SET choice = 'a', reply = 'Choice: A' WHERE 0").rowcount == 0
            changed = connection.execute(change).rowcount
        found = verify(store)
    assert found.damaged == changed == 1
    assert problem in found.problems[0]


def test_a_damaged_store_is_detected_kept_and_mostly_saved(tmp_path: Path) -> None:
    path = tmp_path / "judgments.db"
    judge = fill(path)
    with JudgmentStore(path) as store:
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((pages,),) = store.rows("PRAGMA page_count")
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // pages * (pages // 3)
    damaged[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(damaged)
    with JudgmentStore(path) as store, pytest.raises(InputError, match="dissensus judgments recover"):
        list(store.judgments())
    with JudgmentStore(path) as store, pytest.raises(InputError, match="dissensus judgments recover"):
        verify(store)
    saved = recover(path, tmp_path / "saved.db")
    assert path.read_bytes() == bytes(damaged)
    assert saved["judgments"] > 1500
    with JudgmentStore(tmp_path / "saved.db") as store:
        assert verify(store).damaged == 0
        again = ask_model(PAIRS, judge, Model(), store, AskingOptions(progress=False))
        assert (again.tally.reused, again.tally.made) == (saved["judgments"], 3000 - saved["judgments"])


def test_recovery_overwrites_nothing_and_does_not_invent(tmp_path: Path) -> None:
    (tmp_path / "noise.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(InputError, match="nothing in it can be read"):
        recover(tmp_path / "noise.db", tmp_path / "out.db")
    assert not (tmp_path / "out.db").exists()
    (tmp_path / "there.db").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        recover(tmp_path / "noise.db", tmp_path / "there.db")
    with pytest.raises(InputError, match="the store is damaged"), JudgmentStore(tmp_path / "noise.db"):
        pass


def test_judgments_and_readings_are_exported_and_read_back(tmp_path: Path) -> None:
    judge = fill(tmp_path / "judgments.db")
    fill(tmp_path / "judgments.db", "exact")
    with JudgmentStore(tmp_path / "judgments.db") as store:
        assert export(store, tmp_path / "judgments.parquet", judge=judge.name) == 3000
        assert export(store, tmp_path / "readings.jsonl", readings=True) == 600
        assert list(read_records(tmp_path / "judgments.parquet", Judgment)) == list(store.judgments())
    reading = next(read_records(tmp_path / "readings.jsonl", RawReading))
    assert np.exp(reading.logprobs) == pytest.approx([0.7, 0.3])
    assert (reading.verdicts, reading.tokens, reading.forced) == ("AB", (5, 6), 1.0)


def test_the_folder_for_the_hub_loads_as_a_data_set(tmp_path: Path) -> None:
    from datasets import load_dataset

    fill(tmp_path / "judgments.db")
    fill(tmp_path / "judgments.db", "exact")
    with JudgmentStore(tmp_path / "judgments.db") as store:
        assert export_data_set(store, tmp_path / "hub") == {"judgments": 3000, "readings": 600}
    folder, cache = str(tmp_path / "hub"), str(tmp_path / "cache")
    assert load_dataset(folder, split="train", cache_dir=cache).num_rows == 3000
    assert load_dataset(folder, "readings", split="train", cache_dir=cache)[0]["verdicts"] == "AB"
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "top_p: 0.9" in card
    assert "I am going to give you a prompt and two answers." in card
