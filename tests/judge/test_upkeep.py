"""A store is checked to the last row, brought up to date, and saved from damage."""

import itertools
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import InputError, OutputError
from dissensus.files import read_records
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Answer
from dissensus.judges.language.plan import LanguageJudge, Planned
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.store.attempts import State
from dissensus.judges.store.export import RawDistribution, export, export_data_set
from dissensus.judges.store.keys import content_key, content_of, judgment_key
from dissensus.judges.store.schema import VERSION
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import recover, verify
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
                reading = ChoiceDistribution(np.log([0.7, 0.3]), "AB", 2, 2, forced=1.0, tokens=np.array([5, 6]))
                yield Answer(ask, distribution=reading)
            else:
                yield Answer(ask, tuple(f"Choice: {'AB'[sample % 2]}" for sample in ask.samples))


def fill(path: Path, mode: str = "sample") -> LanguageJudge:
    judge = LanguageJudge(LanguageSettings(model="fake", mode=mode), Model.identity)
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
    assert (found.judgments, found.distributions, found.damaged) == (3000, 600, 0)
    assert found.verified == 3602  # with the two judges
    assert list(found.unverifiable) == ["of attempts and runs, which change and have no checksum"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE judgments SET choice = 'b' WHERE pair_id = 'p5' AND sample = 0 AND choice = 'a'", "is not b"),
        ("UPDATE judgments SET content = 'x' WHERE pair_id = 'p5' AND sample = 0", "its key is not that of its row"),
        ("UPDATE readings SET reading = x'00' WHERE pair_id = 'p5' AND shown = 'ab'", "no choice distribution"),
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
    saved = recover(path, tmp_path / "saved.db").saved
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
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE things (key BLOB PRIMARY KEY, a, b, c, d, e, f, g, h, i, j) WITHOUT ROWID")
    other.execute("INSERT INTO things VALUES (?, 'j', 'p', 'c', 0, 'ab', 'a', NULL, '', '', 5)", (b"k" * 16,))
    other.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, a, b)")
    other.commit()
    other.close()
    with pytest.raises(InputError, match="nothing in it can be read"):
        recover(tmp_path / "other.db", tmp_path / "out.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.db", "other.db", "there.db"]


def test_judgments_and_readings_are_exported_and_read_back(tmp_path: Path) -> None:
    judge = fill(tmp_path / "judgments.db")
    fill(tmp_path / "judgments.db", "exact")
    with JudgmentStore(tmp_path / "judgments.db") as store:
        assert export(store, tmp_path / "judgments.parquet", judge=judge.name) == 3000
        assert export(store, tmp_path / "readings.jsonl", distributions=True) == 600
        assert list(read_records(tmp_path / "judgments.parquet", Judgment)) == list(store.judgments())
    reading = next(read_records(tmp_path / "readings.jsonl", RawDistribution))
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
    with JudgmentStore(tmp_path / "judgments.db") as store:
        assert export_data_set(store, tmp_path / "hub") == {"judgments": 3000, "readings": 600}  # again, over its own
        (tmp_path / "README.md").write_text("# mine")
        with pytest.raises(OutputError, match="stays as it is"):
            export_data_set(store, tmp_path)
    assert (tmp_path / "README.md").read_text() == "# mine"
    assert not (tmp_path / "judgments").exists()
    assert "top_p: 0.9" in card
    assert "I am going to give you a prompt and two answers." in card


class Damaged:
    """A store of three kinds of judges as a killed process leaves it: the last fifth is in its log alone."""

    def __init__(self, folder: Path) -> None:
        judge = LanguageJudge(LanguageSettings(model="fake", n=1), Model.identity)
        self.judgments: list[Judgment] = []
        store = JudgmentStore(folder / "growing.db")
        store.register(judge.name, judge.settings())
        for number, pair in enumerate(PAIRS):
            if number == len(PAIRS) * 4 // 5:
                store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            words = f" because {number}" * (number * 40 if number % 50 == 7 else number % 9)  # some go on over pages
            said = Judgment(pair_id=pair.id, judge=judge.name, sample=0, choice="a", reply=f"Choice: A{words}")
            with store.transaction():
                store.insert([(judge.sample_key(content_of(pair), Planned(0, "ab", "")), content_of(pair), said)])
            published = Judgment(pair_id=pair.id, judge="gpt4-1", sample=0, choice="a", probability_a=0.7, reply=words)
            voted = Judgment(pair_id=pair.id, judge="committee-1", sample=0, choice="b", probability_a=number % 2 / 4)
            store.add([published, voted], {pair.id: pair})
            self.judgments += [said, published, voted]
        self.file = store.path.read_bytes()
        self.log = Path(f"{store.path}-wal").read_bytes()
        store.close()
        self.whole = store.path.read_bytes()

    def save(self, folder: Path, file: bytes, log: bytes = b"") -> set[Judgment]:
        """Write a damaged file, recover it, and return what was saved, which is verified and was there before."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path, out = folder / "100 % #1?.db", folder / "saved #2?mode=ro.db"
        path.write_bytes(file)
        if log:
            Path(f"{path}-wal").write_bytes(log)
        before = {one.name: one.read_bytes() for one in folder.iterdir()}
        done = recover(path, out)
        assert {name: (folder / name).read_bytes() for name in before} == before
        assert sorted(one.name for one in folder.iterdir()) == sorted([*before, out.name])
        with JudgmentStore(out, create=False) as store:
            assert verify(store).damaged == 0
            saved = list(store.judgments())
        assert len(saved) == done.saved["judgments"] == len(set(saved))
        assert set(saved) <= set(self.judgments)
        return set(saved)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    return Damaged(tmp_path_factory.mktemp("damaged"))


def readable(damaged: Damaged, file: bytes) -> int:
    """Count the published verdicts that stand in a file as a whole: the search knows nothing of pages."""
    bodies = [
        f"gpt4-1{one.pair_id}{content_of(PAIRS[number // 3])}aba".encode() + struct.pack(">d", 0.7) + one.reply.encode()
        for number, one in enumerate(damaged.judgments)
        if one.judge == "gpt4-1" and len(one.reply) < 900
    ]
    return sum(body in file for body in bodies)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999])
def test_what_is_left_of_a_cut_store_is_saved(damaged: Damaged, tmp_path: Path, share: float) -> None:
    left = damaged.whole[: int(len(damaged.whole) * share)]
    saved = damaged.save(tmp_path / "cut", left)
    short = [one for one in saved if one.judge == "gpt4-1" and len(one.reply) < 900]
    # A row that the cut goes through ends behind what the search looks for.
    assert readable(damaged, left) - 1 <= len(short) <= readable(damaged, left)
    assert len(saved) > len(damaged.judgments) * (share - 0.2)


def test_flipped_bits_and_zeroed_pages_cost_the_rows_that_they_hit(damaged: Damaged, tmp_path: Path) -> None:
    draw, n = random.Random(0), len(damaged.judgments)
    flipped = bytearray(damaged.whole)
    for _ in range(20):
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    assert len(damaged.save(tmp_path / "flipped", bytes(flipped))) > n - 60
    pages = len(damaged.whole) // 4096
    for page in (0, pages // 2):
        zeroed = bytearray(damaged.whole)
        zeroed[page * 4096 : (page + 1) * 4096] = bytes(4096)
        assert len(damaged.save(tmp_path / "zeroed", bytes(zeroed))) > n - 60
    for start, end in ((0, 100), (16, 18), (100, 108)):  # the header; the size of pages; the first page's own
        zeroed = bytearray(damaged.whole)
        zeroed[start:end] = bytes(end - start)
        assert len(damaged.save(tmp_path / "header", bytes(zeroed))) == n


def test_a_whole_store_comes_out_as_it_was_in_every_table(tmp_path: Path) -> None:
    path, out = tmp_path / "judgments.db", tmp_path / "saved.db"
    fill(path)
    fill(path, "exact")
    with JudgmentStore(path) as store, store.transaction() as connection:
        run = "INSERT INTO attempts VALUES (NULL, 1, 'j', 'p1', x'00', ?, ?, 12345, ?, 1, ?, ?)"
        connection.execute(run, ("answered", None, 0, 1.0, 0.25))
        for state in ("sent", "lost", *get_args(State)):
            connection.execute(run, (state, "busy", 1, 0.5, None))
    recover(path, out)
    for table in ("judges", "judgments", "readings", "runs", "attempts"):
        with JudgmentStore(path) as store, JudgmentStore(out) as saved:
            rows = [list(one.rows(f"SELECT * FROM {table} ORDER BY 1")) for one in (store, saved)]
        assert rows[0] == rows[1]
        assert rows[0]


def test_rows_of_older_stores_are_saved(tmp_path: Path) -> None:
    pair, path = PAIRS[0], tmp_path / "old.db"
    key = judgment_key("committee-1", pair, 3, "ab")
    old = sqlite3.connect(path)
    old.executescript(VERSION_1)
    row = (key, "committee-1", pair.id, content_of(pair))
    old.execute("INSERT INTO judgments VALUES (?, ?, ?, ?, 3, 'ab', 'b', 1.0, '')", row)
    old.commit()
    old.close()
    assert recover(path, tmp_path / "saved.db").saved["judgments"] == 1
    with JudgmentStore(tmp_path / "saved.db") as store:
        said = Judgment(pair_id=pair.id, judge="committee-1", sample=3, choice="b", probability_a=1.0)
        assert list(store.judgments(pairs=PAIRS)) == [said]
        assert verify(store).unverifiable.total() == 1


def test_recovered_rows_of_an_older_store_say_what_they_say_in_one_that_is_opened(tmp_path: Path) -> None:
    """Ties had no choice of their own then, and replies of language models were read by other rules."""
    path, pair = tmp_path / "old.db", PAIRS[0]
    model = LanguageJudge(LanguageSettings(model="m", n=2), {})
    content = content_of(pair)
    said = [
        Judgment(pair_id=pair.id, judge="votes-1", sample=i, choice=c, reply=c or "tie")
        for i, c in ((0, "a"), (1, None))
    ]
    said += [Judgment(pair_id=pair.id, judge="gpt-1", sample=0, choice=None, probability_a=0.5, reply="equally good")]
    replies = ("Choice: A tie between the two.", "Choice: A")
    with JudgmentStore(path) as store:
        store.register(model.name, model.settings())
        store.add(said, {pair.id: pair})
        read = [
            Judgment(pair_id=pair.id, judge=model.name, sample=i, choice="a", reply=r) for i, r in enumerate(replies)
        ]
        with store.transaction():
            store.insert((content_key(model.name, content, "ab", "", j.sample), content, j) for j in read)
        for table in ("judgments", "judges", "readings"):
            store.connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        store.connection.execute("PRAGMA user_version = 2")
    assert recover(path, tmp_path / "saved.db").saved["judgments"] == 5
    with JudgmentStore(tmp_path / "saved.db") as saved, JudgmentStore(path) as opened:
        now = list(saved.judgments())
        assert now == list(opened.judgments())
        assert [j.choice for j in now] == ["tie", None, "a", "a", "tie"]


def test_what_is_in_the_log_alone_is_saved_with_the_rest(damaged: Damaged, tmp_path: Path) -> None:
    everything = set(damaged.judgments)
    assert damaged.save(tmp_path / "both", damaged.file, damaged.log) == everything
    without = damaged.save(tmp_path / "dropped", damaged.file)
    assert without == set(damaged.judgments[: len(everything) * 4 // 5])
    half = damaged.save(tmp_path / "half", damaged.file, damaged.log[: len(damaged.log) // 2])
    assert without < half < everything
    assert len(damaged.save(tmp_path / "gone", b"", damaged.log)) > len(everything) / 5


def test_a_store_that_is_gone_is_not_opened_over_its_log(damaged: Damaged, tmp_path: Path) -> None:
    path = tmp_path / "judgments.db"
    Path(f"{path}-wal").write_bytes(damaged.log)
    for is_there in (False, True):
        if is_there:
            path.write_bytes(b"")
        for create in (True, False):
            with pytest.raises(InputError, match="has judgments of it; save them with"):
                JudgmentStore(path, create=create)
    assert Path(f"{path}-wal").read_bytes() == damaged.log
    assert recover(path, tmp_path / "saved.db").saved["judgments"] > 0


def test_recovery_that_is_killed_leaves_nothing_that_passes_for_a_store(damaged: Damaged, tmp_path: Path) -> None:
    path, out = tmp_path / "cut.db", tmp_path / "saved.db"
    path.write_bytes(damaged.whole[: len(damaged.whole) // 2])
    work = (
        "import itertools, os, sys\nfrom pathlib import Path\nfrom dissensus.judges.store import salvage, verify\n"
        "rows = salvage.PageReader.rows\n"
        "def killed(self):\n"
        "    yield from itertools.islice(rows(self), int(sys.argv[3]))\n    os.kill(os.getpid(), 9)\n"
        "salvage.PageReader.rows = killed\nverify.recover(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    for count in (0, 300):
        done = subprocess.run([sys.executable, "-c", work, str(path), str(out), str(count)], check=False)
        assert done.returncode == -9
        assert not out.exists()
    assert recover(path, out).saved["judgments"] > 0


def test_every_flipped_bit_of_a_published_verdict_is_found(tmp_path: Path) -> None:
    path, pair = tmp_path / "judgments.db", PAIRS[0]
    said = Judgment(pair_id=pair.id, judge="gpt4-1", sample=1, choice="a", probability_a=0.7, reply="first")
    with JudgmentStore(path) as store:
        store.add([said], {pair.id: pair})
    whole = path.read_bytes()
    stands = whole.index(b"gpt4-1p0" + content_of(pair).encode())  # in the table; its index has another order
    body = range(stands - 16, whole.index(b"first", stands) + 5 + 4)
    missed = []
    for place, bit in itertools.product(body, range(8)):
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


def test_rows_without_a_checksum_are_counted_as_such(tmp_path: Path) -> None:
    path, pair = tmp_path / "judgments.db", PAIRS[0]
    said = Judgment(pair_id=pair.id, judge="gpt4-1", sample=1, choice="a", reply="first")
    with JudgmentStore(path) as store:
        store.add([said], {pair.id: pair})
        with store.transaction() as connection:
            connection.execute("UPDATE judgments SET checksum = NULL")
        found = verify(store)
        assert (found.verified, found.damaged, found.unverifiable.total()) == (0, 0, 1)
        with store.transaction() as connection:
            connection.execute("UPDATE judgments SET sample = 2")
        assert "its key is not that of its row" in verify(store).problems[0]
    shown = CliRunner().invoke(group, ["judgments", "verify", "--store", str(path)])
    assert isinstance(shown.exception, InputError)


@pytest.mark.parametrize(
    ("choice", "reply", "problem"),
    [("a", "Choice: A", ""), (None, "both", ""), (None, "Choice: A", "one without a winner"), ("b", "Choice: A", "b")],
)
def test_a_row_without_a_checksum_is_never_verified_and_its_reply_has_its_choice(
    tmp_path: Path, choice: str | None, reply: str, problem: str
) -> None:
    judge = LanguageJudge(LanguageSettings(model="fake"), Model.identity)
    said = Judgment(pair_id="p0", judge=judge.name, sample=0, choice=choice, reply=reply)
    content = content_of(PAIRS[0])
    with JudgmentStore(tmp_path / "judgments.db") as store:
        store.register(judge.name, judge.settings())
        with store.transaction() as connection:
            store.insert([(judge.sample_key(content, Planned(0, "ab", "")), content, said)])
            connection.execute("UPDATE judgments SET checksum = NULL")
            connection.execute("UPDATE judges SET checksum = NULL")
        found = verify(store)
    assert (found.verified, found.damaged) == (0, int(problem != ""))
    assert not problem or found.problems[0].endswith(f"the reply {reply!r} is not {problem}")


def test_what_was_verified_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "judgments.db")
    shown = CliRunner().invoke(group, ["judgments", "verify", "--store", str(tmp_path / "judgments.db")]).stdout
    assert "ok: 3,001 rows verified, " in shown
    assert "not verifiable (1 of attempts and runs, which change and have no checksum)" in shown


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
    assert "the disk is full" in str(store._explain(error, "cannot be read"))
