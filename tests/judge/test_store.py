import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from store_helpers import on_both

import dissensus
from dissensus.errors import InputError, OutputError
from dissensus.judges import JudgmentStore, judgment_key
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.records import Judgment, Pair


def pair(name: str, response_a: str = "yes") -> Pair:
    return Pair(id=name, prompt="q", response_a=response_a, response_b="no")


PAIRS = {name: pair(name) for name in ("p0", "p1", "p2")}


def judgment(pair_id: str, sample: int = 0, judge: str = "j-1", **changes) -> Judgment:
    return Judgment(**{"pair_id": pair_id, "judge": judge, "sample": sample, "choice": "a"} | changes)


@on_both
def test_what_goes_in_comes_out(store):
    rows = [
        judgment("p0", 0, choice="b", probability_a=0.25, reply="Choice: B"),
        judgment("p0", 1, choice=None, reply="?"),
        judgment("p1", 0, order="ba", probability_a=1.0),
    ]
    assert store.add(reversed(rows), PAIRS) == 3
    assert list(store.judgments()) == rows


@on_both
def test_a_judgment_is_kept_once_and_the_first_one_stays(store):
    assert store.add([judgment("p0")], PAIRS) == 1
    assert store.add([judgment("p0", choice="b"), judgment("p1")], PAIRS) == 1
    assert [j.choice for j in store.judgments()] == ["a", "a"]


def test_the_key_covers_all_that_decides_the_answer():
    base = judgment_key("j-1", PAIRS["p0"], 0, "ab")
    assert len(base) == 16
    others = {
        judgment_key("j-2", PAIRS["p0"], 0, "ab"),
        judgment_key("j-1", PAIRS["p1"], 0, "ab"),
        judgment_key("j-1", pair("p0", "maybe"), 0, "ab"),
        judgment_key("j-1", PAIRS["p0"], 1, "ab"),
        judgment_key("j-1", PAIRS["p0"], 0, "ba"),
    }
    assert len(others | {base}) == 6
    labelled = PAIRS["p0"].model_copy(update={"label": "a", "dataset": "d"})
    assert judgment_key("j-1", labelled, 0, "ab") == base


@on_both
def test_missing_lists_what_is_not_there(store):
    keys = {judgment_key("j-1", PAIRS[name], sample, "ab"): (name, sample) for name in PAIRS for sample in range(200)}
    store.add([judgment("p1", sample) for sample in range(200)], PAIRS)
    assert {keys[key] for key in store.missing(keys)} == {(n, s) for n in ("p0", "p2") for s in range(200)}


@on_both
def test_judgments_are_chosen_by_judge_pair_and_number(store):
    rows = [judgment(name, sample, judge) for judge in ("j-1", "k-1") for name in PAIRS for sample in range(4)]
    store.add(rows, PAIRS)
    assert store.judges() == {"j-1": 12, "k-1": 12}
    chosen = list(store.judgments(judge="k-1", pairs=[PAIRS["p2"]], n=2))
    assert chosen == [judgment("p2", 0, "k-1"), judgment("p2", 1, "k-1")]


def test_judgments_of_an_earlier_text_are_not_those_of_the_pair(store):
    store.add([judgment("p0")], PAIRS)
    assert list(store.judgments(pairs=[pair("p0", "rewritten")])) == []


_WRITER = """
import sys
from dissensus.judges import JudgmentStore
from dissensus.records import Judgment, Pair

path, judge, count = sys.argv[1:]
pair = Pair(id="p0", prompt="q", response_a="yes", response_b="no")
with JudgmentStore(path) as store:
    for start in range(0, int(count), 10):
        rows = [Judgment(pair_id="p0", judge=judge, sample=start + i, choice="a") for i in range(10)]
        store.add(rows, {"p0": pair})
        print(start + 10, flush=True)
"""


def write(path: Path | str, judge: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path), judge, str(count)]
    environment = os.environ | {"PYTHONPATH": str(Path(dissensus.__file__).parents[1])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_several_processes_write_at_once(place):
    workers = [write(place, judge, 100) for judge in ("j-1", "j-2", "j-2")]
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0] * 3
    with JudgmentStore(place) as store:
        assert store.judges() == {"j-1": 100, "j-2": 100}


@on_both
def test_a_killed_process_leaves_whole_batches_and_all_it_reported(place):
    with write(place, "j-1", 10**9) as child:
        assert child.stdout
        seen = [child.stdout.readline() for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        reported = int("".join([*seen, child.stdout.read()]).split()[-1])
    with JudgmentStore(place) as store:
        kept = sorted(j.sample for j in store.judgments())
        assert kept == list(range(len(kept)))
        assert len(kept) % 10 == 0
        assert len(kept) >= reported
        assert store.add([judgment("p0", len(kept))], PAIRS) == 1


def test_a_store_that_is_not_there_is_not_made_for_reading(tmp_path):
    with pytest.raises(InputError, match="dissensus judge"):
        JudgmentStore(tmp_path / "none.db", create=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"nowhere/judgments\.db.*folder"):
        JudgmentStore(tmp_path / "nowhere" / "judgments.db")


def _other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")


def _newer_store(path: Path) -> None:
    JudgmentStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("id,prompt\n" * 100), "not a store"),
        (_other_database, "not a store"),
        (_newer_store, "upgrade dissensus"),
    ],
)
def test_a_file_that_is_no_store_is_refused_and_left_as_it_was(tmp_path, make, message):
    path = tmp_path / "file.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        JudgmentStore(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_store_gets_the_right_votes_of_what_was_paid_for(tmp_path):
    """Version 2 kept ties without a choice and took first guesses in thoughts for verdicts."""
    path = tmp_path / "judgments.db"
    model = LanguageJudge(LanguageSettings(model="m"), {})
    replies = {
        "Guess:\n\nChoice: B\n</think>\nChoice: A": ("b", "a"),
        "Choice: A tie.": ("a", None),
        "Choice: B": ("b", "b"),
        "Choice: B Explanation: it is shorter": ("b", "b"),
        "tie": (None, None),
    }
    others = {("votes-1", None, "tie"): "tie", ("gpt-1", 0.5, "equally good"): "tie", ("gpt-1", None, ""): None}
    with JudgmentStore(path) as store:
        store.register(model.name, model.settings())
        rows = [(model.name, i, before, None, reply) for i, (reply, (before, _)) in enumerate(replies.items())]
        rows += [(judge, 10 + i, None, probability, reply) for i, (judge, probability, reply) in enumerate(others)]
        for judge, i, choice, probability, reply in rows:
            kept = Judgment(pair_id="p0", judge=judge, sample=i, choice=choice, probability_a=probability, reply=reply)
            store.add([kept], PAIRS)
        for table in ("judgments", "judges", "readings"):
            store.connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        store.connection.execute("PRAGMA user_version = 2")
    with JudgmentStore(path, create=False) as store:
        found = {j.sample: j.choice for j in store.judgments()}
    assert found == dict(enumerate(after for _, after in replies.values())) | dict(enumerate(others.values(), 10))
