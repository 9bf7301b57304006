"""Stores in PostgreSQL: several machines' judges at once, copies without a loss, and what may be wrong with a database.

What both databases do alike is in the other files, whose tests are marked with ``on_both``. Of SQLite alone are the
tests of damaged, older, empty and replaced files: a server looks after its own pages, and has no store that is older.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from judge_helpers import PAIRS, QUIET, FakeServer, a_judge, judge_many
from pydantic import TypeAdapter

import dissensus as ds
from dissensus.cli import group
from dissensus.errors import DissensusError, InputError, MissingDependencyError, OutputError
from dissensus.files import write_records
from dissensus.files.database_url import DatabaseUrl, StorePlace
from dissensus.judges.base import AnyJudge
from dissensus.judges.language.messages import Usage
from dissensus.judges.runner import ask_model
from dissensus.judges.store.attempts import Attempt, Ledger, Price, open_runs, spent
from dissensus.judges.store.copying import copy
from dissensus.judges.store.schema import COLUMNS
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.records import Judgment
from dissensus.reports.folder.readonly_store import ReadOnlyStore

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.xdist_group("postgresql")
ODD = "zero \0, mark \ufdd0 \ufdd00 and \ufdd01, emoji 🙂, 'quoted' \\ \"twice\"\r\n\ttab"


def rows(store: JudgmentStore) -> dict[str, list[bytes]]:
    """Every value of every row with its type."""
    return {
        table: sorted(repr(tuple(row)).encode() for row in store.rows(f"SELECT {', '.join(columns)} FROM {table}"))
        for table, columns in COLUMNS.items()
    }


def fill(place: Path | str) -> None:
    """Both modes, odd texts and numbers, a price, a failure, and a run that was killed."""
    personas = ("You are a nurse.", ODD)
    with JudgmentStore(place) as store:
        for judge in (a_judge(), a_judge(mode="exact"), a_judge(personas=personas)):
            ask_model(PAIRS[:9], judge, FakeServer(), store, QUIET)
        said = Judgment(pair_id="p0", judge="gpt4-1", sample=2**40, choice="tie", probability_a=0.1 + 0.2, reply=ODD)
        store.add([said], {"p0": PAIRS[0]})
        ledger = Ledger(store, "gpt4-1")
        with ledger.running(), store.transaction() as connection:
            ask = next(a_judge().asks(PAIRS[20], set(a_judge().keys(PAIRS[20]))))
            dear = Price(0.1, 0.7).of(Usage(3, 1))
            ids = ledger.claim([(ask, Usage(3, 1, estimated=True), dear), (ask, Usage(5, 1, estimated=True), 1 / 3)])
            ledger.settle([Attempt(ids[0], "failed", Usage(2**33, 1), dear, 1 / 7, error=ODD)])
        with store.transaction() as connection:  # as a kill leaves it
            connection.execute("UPDATE attempts SET state = 'sent' WHERE state = 'lost'")
            connection.execute("UPDATE runs SET ended = NULL WHERE judge = 'gpt4-1'")
            connection.execute("UPDATE judgments SET checksum = NULL WHERE sample = 3")


def test_a_store_goes_to_postgresql_and_back_without_a_loss(new_schema: Callable[[], str], tmp_path: Path) -> None:
    fill(tmp_path / "here.db")
    there, elsewhere = new_schema(), new_schema()
    for source, to in [("here.db", there), (there, elsewhere), (elsewhere, "back.db")]:
        named = [one if "://" in one else str(tmp_path / one) for one in (source, to)]
        said = CliRunner().invoke(group, ["judgments", "copy", *named], catch_exceptions=False).stdout
        assert "each row equal to that of" in said
        assert "unfinished run of gpt4-1" in said
    with JudgmentStore(tmp_path / "here.db") as here, JudgmentStore(there) as moved:
        before = rows(here)
        assert all(before.values())
        assert rows(moved) == before
        assert spent(moved, "gpt4-1") == spent(here, "gpt4-1")
        assert list(moved.judgments()) == list(here.judgments())
        assert verify(moved).verified == verify(here).verified
        assert len(open_runs(moved)) == 1
        with Ledger(moved, "gpt4-1").running():  # it is dead, and ids go on behind those that were copied
            assert spent(moved, "gpt4-1").lost == 1
    with JudgmentStore(tmp_path / "back.db") as back:
        assert rows(back) == before
    for to, why in [(elsewhere, "has judges already; name a new store"), (str(tmp_path / "back.db"), "exists already")]:
        with pytest.raises(OutputError, match=why):
            CliRunner().invoke(group, ["judgments", "copy", str(tmp_path / "here.db"), to], catch_exceptions=False)


def test_a_copy_that_fails_leaves_nothing(new_schema: Callable[[], str], tmp_path: Path) -> None:
    place = new_schema()
    with JudgmentStore(tmp_path / "j.db") as store:
        store.add([Judgment(pair_id="p0", judge="j-1", sample=0, choice="a")], {"p0": PAIRS[0]})
        store.connection.execute("UPDATE judgments SET sample = 'many'")
        with pytest.raises(InputError, match="a value does not fit its column"):
            copy(store, TypeAdapter(StorePlace).validate_python(place))
    with JudgmentStore(place) as target:
        assert rows(target) == {table: [] for table in COLUMNS}


_WORKER = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from judge_helpers import judge_many
from dissensus.judges.store.store import JudgmentStore

with JudgmentStore(sys.argv[2]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    judge_many(store, Path(sys.argv[3]))
"""


def test_judges_of_several_processes_ask_nothing_twice_and_outlive_a_kill(
    new_schema: Callable[[], str], tmp_path: Path
) -> None:
    place, log = new_schema(), tmp_path / "asked.log"
    log.touch()
    JudgmentStore(place).close()
    command = [sys.executable, "-c", _WORKER, str(Path(__file__).parent), place, str(log)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    while len(log.read_text().splitlines()) < 60:
        time.sleep(0.002)
    workers[0].send_signal(signal.SIGKILL)
    for worker in workers:
        worker.communicate(timeout=300)
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0]
    with JudgmentStore(place) as store:
        judge_many(store, log)
        places = Counter((j.pair_id, j.sample, j.order) for j in store.judgments())
        assert len(places) == 1600
        assert set(places.values()) == {1}
        assert verify(store).damaged == 0
        lost = spent(store, a_judge().name).lost
        assert open_runs(store) == []
    asked = Counter(log.read_text().splitlines())
    assert len(asked) == 320
    assert asked.total() - len(asked) <= lost <= 8, "asked twice is what the killed process had in flight alone"


def test_a_run_is_alive_as_long_as_its_session_wherever_it_is(new_schema: Callable[[], str]) -> None:
    place = new_schema()
    with JudgmentStore(place) as here, JudgmentStore(place) as elsewhere:
        elsewhere.database.hold_run(7)
        assert not here.database.is_dead(7, "elsewhere", "1:2")
        assert here.database.is_dead(8, "elsewhere", "1:2")
        elsewhere.close()
        deadline = time.monotonic() + 60
        while not here.database.is_dead(7, "elsewhere", "1:2"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_rows_that_are_read_bit_by_bit_stay_there_whatever_comes_between(
    new_schema: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dissensus.judges.store.postgres._AT_ONCE", 2)
    said = [Judgment(pair_id="p0", judge="j-1", sample=i, choice="a") for i in range(9)]
    with JudgmentStore(new_schema()) as store:
        store.add(said[:7], {"p0": PAIRS[0]})
        first, second, left = store.judgments(), store.judgments(), store.judgments()
        pairs = [(next(first), next(second), next(left))]
        store.add(said[7:], {"p0": PAIRS[0]})
        left.close()
        pairs += [(a, b, a) for a, b in zip(first, second, strict=True)]
        assert [a for a, _, _ in pairs] == [b for _, b, _ in pairs] == said[:7]
        assert list(store.judgments()) == said
        assert list(store.rows("SELECT name FROM pg_cursors")) == []
        rest = store.judgments()
        next(rest)
    rest.close()


def test_a_password_is_in_no_message_record_or_fingerprint(tmp_path: Path) -> None:
    url = DatabaseUrl.parse("postgresql://me:hunter2@127.0.0.1:9/none?schema=s&sslpassword=hunter2")
    assert "hunter2" not in f"{url} {url!r}"
    assert str(url) == "postgresql://me@127.0.0.1:9/none?schema=s"
    assert url.schema == "s"
    judge = TypeAdapter(AnyJudge).validate_python({"name": "store", "store": "postgresql://me:hunter2@h/db"})
    assert judge.deciding()["store"] == "postgresql://me@h/db"
    assert "hunter2" not in judge.model_dump_json() + repr(judge) + repr(judge.model_dump())
    write_records(tmp_path / "pairs.jsonl", PAIRS[:2])
    pairs, place = str(tmp_path / "pairs.jsonl"), "postgresql://me:hunter2@127.0.0.1:9/none"
    verbs = [["judgments", verb, "--store", place] for verb in ("list", "verify")]
    verbs += [["judge", "votes", pairs, "--store", place], ["judgments", "compare", pairs, "--store", place]]
    verbs += [["margin", pairs, "--store", place, "--out", str(tmp_path / "m.jsonl")]]
    for verb in verbs:
        with pytest.raises(DissensusError) as caught:
            CliRunner().invoke(group, verb, catch_exceptions=False)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://{where}/d"
        for where in ("me:a/b@h", "me:1/b@h", "me:a#b@h", "me:1?b@h", "me:a@b@h", "h:port", "[::1")
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as caught:
        JudgmentStore(url)
    assert str(caught.value).startswith("the database's address cannot be read; expected postgresql://USER@HOST/NAME")


def test_what_is_wrong_with_a_database_is_said_in_one_line(
    new_schema: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_schema()
    base = place.partition("&schema=")[0]
    newer, taken = new_schema(), new_schema()
    JudgmentStore(newer).close()
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"UPDATE {newer.rpartition('=')[2]}.judgment_store SET version = 99")
        connection.execute(f"CREATE SCHEMA {(schema := taken.rpartition('=')[2])}")
        connection.execute(f"CREATE TABLE {schema}.runs (miles INTEGER)")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        connection.execute("CREATE DATABASE locked")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    name = base.partition("@/")[2].partition("?")[0]
    guest = base.replace("tester@", "guest@")
    locked = guest.replace(f"/{name}?", "/locked?")
    wrong: list[tuple[str, str, type[DissensusError]]] = [
        ("postgresql://me@127.0.0.1:9/d", "no connection to the server .* check host, port and user", OutputError),
        (
            base.replace(f"/{name}?", "/nowhere?"),
            "no database of that name; make it with: createdb nowhere",
            InputError,
        ),
        (locked, "the password is wrong or missing; give it in PGPASSWORD", InputError),
        (locked.replace("guest@", "guest:wrong@"), "the password is wrong or missing", InputError),
        (guest, "the role has no right to do that .* name a schema of your own", OutputError),
        (f"{guest}&schema=new", "the role has no right to do that", OutputError),
        (newer, "a store of version 99, .* upgrade dissensus", InputError),
        (taken, "has other tables of these names .* name another with .schema=", InputError),
        (base.replace(f"/{name}?", "/latin?"), "encoded as LATIN1; expected UTF8", InputError),
        (f"{base}&colour=red", "an option that PostgreSQL does not know", InputError),
        ("mysql://me@h/d", "a database of type mysql is not supported; give a file or a postgresql:// URL", InputError),
    ]
    for url, message, kind in wrong:
        with pytest.raises(kind, match=message) as caught:
            JudgmentStore(url)
        assert "\n" not in str(caught.value)
        assert "wrong@" not in str(caught.value)
    for url, message in [(place, "there is no schema"), (base, "no such store of judgments; make one")]:
        with pytest.raises(InputError, match=message):
            JudgmentStore(url, create=False)
    arguments = ["judgments", "recover", "--store", place, "--out", "x.db"]
    with pytest.raises(InputError, match="restore a database from its backup"):
        CliRunner().invoke(group, arguments, catch_exceptions=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dissensus\[postgres\]'"):
        JudgmentStore(place)


def test_a_server_that_goes_away_and_rows_that_were_changed_are_noticed(new_schema: Callable[[], str]) -> None:
    place = new_schema()
    with JudgmentStore(place) as store, JudgmentStore(place) as other:
        said = [Judgment(pair_id="p0", judge="j-1", sample=i, choice="a") for i in range(3)]
        store.add(said, {"p0": PAIRS[0]})
        for change in ("choice = 'b'", "content = 'x'", "reply = 'y'"):
            store.connection.execute(f"UPDATE judgments SET {change} WHERE sample = 0")
            assert verify(store).damaged == 1
        (pid,) = store.connection.execute("SELECT pg_backend_pid()").fetchone()
        other.connection.execute("SELECT pg_terminate_backend(?)", (pid,))
        with pytest.raises(OutputError, match=r"the connection to the server was lost .* run again"):
            store.add(said, {"p0": PAIRS[0]})
        with pytest.raises(OutputError, match="the connection to the server was lost"):
            store.judges()
        assert other.judges() == {"j-1": 3}


def test_every_verb_takes_a_url(new_schema: Callable[[], str], tmp_path: Path) -> None:
    place = new_schema()
    pairs = [p.model_copy(update={"label": "ab"[i % 2]}) for i, p in enumerate(PAIRS[:8])]
    judged = ds.judge(pairs, "graph", store=place, progress=False)
    write_records(tmp_path / "pairs.jsonl", pairs)
    write_records(tmp_path / "judged.jsonl", judged)
    file, out = str(tmp_path / "pairs.jsonl"), tmp_path / "m.jsonl"
    done = [
        CliRunner().invoke(group, words, catch_exceptions=False)
        for words in (
            ["judge", "graph", file, "--store", place],
            ["judgments", "list", "--store", place],
            ["judgments", "export", "--store", place, "--out", str(tmp_path / "hub"), "--hub"],
            ["margin", file, "--store", place, "--out", str(out)],
        )
    ]
    assert [one.exit_code for one in done] == [0] * len(done)
    assert f"nothing new: {place} has all" in done[0].stdout
    assert {json.loads(line)["pair_id"] for line in out.read_text().splitlines()} == {pair.id for pair in pairs}
    with ReadOnlyStore(DatabaseUrl.parse(place)) as store:
        assert sum(1 for _ in store.judgments()) == len(judged)
        with pytest.raises(OutputError, match="cannot execute"):
            store.add([Judgment(pair_id="p0", judge="j", sample=0, choice="a")], {"p0": PAIRS[0]})
