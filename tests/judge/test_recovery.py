"""What can be read of a damaged store is saved, and nothing else."""

import random
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from store_helpers import PAIRS, VERSION_1, Model, fill

from dissensus.errors import InputError, OutputError
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.plan import LanguageJudge, Planned
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.store.attempts import State
from dissensus.judges.store.keys import content_key, content_of, judgment_key
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import recover, verify
from dissensus.records import Judgment


class Damaged:
    """A store of three kinds of judges as a killed process leaves it: the last fifth is in its log alone."""

    def __init__(self, folder: Path) -> None:
        judge = LanguageJudge(LanguageSettings(model="fake", n=1), Model.identity)
        self.judgments: list[Judgment] = []
        store = JudgmentStore(folder / "growing.db")
        store.connection.execute("PRAGMA synchronous = OFF")  # nobody kills it, and it commits 600 times
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


@pytest.mark.parametrize("share", [0.05, 0.35, 0.65, 0.9, 0.999])
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
    places = [(0, 4096, n - 60), (pages // 2 * 4096, 4096, n - 60)]
    places += [(0, 100, n), (16, 2, n), (100, 8, n)]  # the header; the size of pages; the first page's own
    for start, size, least in places:
        zeroed = bytearray(damaged.whole)
        zeroed[start : start + size] = bytes(size)
        assert len(damaged.save(tmp_path / "zeroed", bytes(zeroed))) >= least


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


@pytest.mark.parametrize("version", [1, 2])
def test_recovered_rows_of_an_older_store_say_what_they_say_in_one_that_is_opened(tmp_path: Path, version: int) -> None:
    """Ties had no choice of their own then, and replies of language models were read by other rules."""
    path, saved, pair, expected = tmp_path / "old.db", tmp_path / "saved.db", PAIRS[0], ["b", "tie", None]
    content = content_of(pair)
    shared = {"pair_id": pair.id, "probability_a": None}
    said = [
        Judgment(**shared | {"judge": "committee-1", "sample": 3, "choice": "b", "probability_a": 1.0}),
        Judgment(**shared | {"judge": "gpt-1", "sample": 0, "choice": None, "probability_a": 0.5, "reply": "equal"}),
        Judgment(**shared | {"judge": "votes-1", "sample": 1, "choice": None, "reply": "?"}),
    ]
    if version == 1:
        with closing(sqlite3.connect(path)) as old, old:
            old.executescript(VERSION_1)
            for one in said:
                key = judgment_key(one.judge, pair, one.sample, "ab")
                row = (key, one.judge, pair.id, content, one.sample, "ab", one.choice, one.probability_a, one.reply)
                old.execute("INSERT INTO judgments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    else:
        model = LanguageJudge(LanguageSettings(model="m", n=2), {})
        replies = ("Choice: A tie between the two.", "Choice: A")
        expected = ["b", "tie", None, "a", None]
        with JudgmentStore(path) as store:
            store.register(model.name, model.settings())
            store.add(said, {pair.id: pair})
            read = [Judgment(**shared, judge=model.name, sample=i, choice="a", reply=r) for i, r in enumerate(replies)]
            with store.transaction():
                store.insert((content_key(model.name, content, "ab", "", j.sample), content, j) for j in read)
            for table in ("judgments", "judges", "readings"):
                store.connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
            store.connection.execute("PRAGMA user_version = 2")
    assert recover(path, saved).saved["judgments"] == len(expected)
    with JudgmentStore(saved) as recovered, JudgmentStore(path) as opened:
        now = list(recovered.judgments())
        assert now == list(opened.judgments())
        assert sorted(map(str, [j.choice for j in now])) == sorted(map(str, expected))
        assert verify(recovered).unverifiable.total() >= 3


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
    for create in (True, False):
        with pytest.raises(InputError, match=r"is gone, and .* has judgments of it; save them with"):
            JudgmentStore(path, create=create)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"is empty, and .* has judgments of it; save them with"):
        JudgmentStore(path)
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
    done = subprocess.run([sys.executable, "-c", work, str(path), str(out), "300"], check=False)
    assert done.returncode == -9
    assert not out.exists()
    assert recover(path, out).saved["judgments"] > 0


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
