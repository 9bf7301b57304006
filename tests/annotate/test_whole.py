"""Whole or not at all: projects killed while they are made, files that go away, bad rows, connections that idle."""

import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project import access, verify
from dissensus.annotate.project.database import locate
from dissensus.annotate.project.store import AnnotationStore
from dissensus.annotate.web import serve
from dissensus.cli import group
from dissensus.errors import InputError
from dissensus.files import write_records
from dissensus.records import Pair

from .people import annotations, make_pairs
from .web import saying

_KILLED = """
import os, signal, sys
from dissensus.annotate.practice import practice_pairs
from dissensus.annotate.project.items import add_items
from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.store import AnnotationStore

def fill(c):
    add_items(c, *practice_pairs())
    os.kill(os.getpid(), signal.SIGKILL)

AnnotationStore.create(sys.argv[1], AnnotationConfig(), fill=fill)
"""


def test_a_project_that_is_killed_while_it_is_made_is_not_there(tmp_path):
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "a.db")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.db").exists()
    AnnotationStore.create(tmp_path / "a.db", AnnotationConfig()).close()


def test_a_project_that_is_refused_while_it_is_made_leaves_nothing(database, tmp_path):
    def fill(c):
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        AnnotationStore.create(database, AnnotationConfig(), secret=tmp_path / "secret", fill=fill)
    assert not AnnotationStore.exists(database)
    assert list(tmp_path.iterdir()) == []
    AnnotationStore.create(database, AnnotationConfig(), secret=tmp_path / "secret").close()


def test_a_first_annotate_that_is_refused_leaves_no_project(tmp_path):
    hostile = Pair(id="\0", prompt="a", response_a="b", response_b="c")
    write_records(tmp_path / "pairs.jsonl", [*make_pairs(3), hostile])
    arguments = ["annotate", str(tmp_path / "pairs.jsonl"), "--db", str(tmp_path / "a.db"), "--port", "0"]
    done = CliRunner().invoke(group, arguments)
    assert "zero character" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_project_takes_nobodys_name(tmp_path):
    for name in ("plain", "link"):
        path = tmp_path / name
        path.symlink_to(tmp_path / "nowhere") if name == "link" else path.write_text("mine")
        with pytest.raises(InputError, match="there is a file of that name already"):
            AnnotationStore.create(path, AnnotationConfig())
    assert (tmp_path / "plain").read_text() == "mine"


@pytest.mark.parametrize("name", ["a b.db", "a#b?c%20d.db", "é'\".db"])
def test_any_name_will_do(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with AnnotationStore.create(name, AnnotationConfig()) as store:
        store.write(lambda c: access.add_person(c, "Ada", "annotator", 1))
    with AnnotationStore(name) as store:
        assert [person.name for person in store.read(access.people)] == ["Ada"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.secret"])


def _replace(path):
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)


GOING = {
    "moved": lambda path: path.rename(path.with_name("elsewhere.db")),
    "deleted": lambda path: path.unlink(),
    "replaced": _replace,
}


@pytest.mark.parametrize("how", GOING)
def test_nothing_is_acknowledged_once_the_file_is_gone(how, open_site, tmp_path, caplog):
    path = tmp_path / "there" / "a.db"
    path.parent.mkdir()
    site = open_site(path, pairs=5)
    ada, olga = site.browser("Ada"), site.browser("Olga")
    first, second = ada.more(want=2)
    assert ada.save(first["key"]).status_code == 200
    GOING[how](path)
    said = saying()
    for reply in (
        ada.post(f"/api/tasks/{second['key']}/revisions", json=said),
        ada.put(f"/api/tasks/{second['key']}/draft", json={"base": 0, "body": {"left": 3}}),
        ada.get("/api/tasks"),
        ada.get("/work"),
        olga.get("/api/overview"),
        olga.post("/api/people", json={"name": "Mei"}),
        site.nobody.get("/healthz"),
    ):
        assert reply.status_code == 503
        assert reply.headers["retry-after"]
        assert "a.db is no longer where it was" in reply.text
        assert str(path) not in reply.text  # that is for the organiser's terminal
    assert f"{path}: the database was moved, deleted or replaced while it was open" in caplog.text
    assert path.exists() == (how == "replaced")  # no empty one was made in its place
    if how == "moved":
        path.with_name("elsewhere.db").rename(path)
        assert ada.post(f"/api/tasks/{second['key']}/revisions", json=said).json()["repeated"] is False
        assert verify.check(site.project.store) == []


BAD_DRAFTS = [
    '{"note": "\\ud83d"}',
    '{"note": ' + "[" * 300 + "]" * 300 + "}",
    "[" * 100_000,
    '{"more": 1}',
    '{"left": 11}',
    '{"correct": "perhaps"}',
    '{"note": "' + "x" * 4001 + '"}',
    '{"seconds": 1e999}',
    "7",
]


def test_a_draft_is_checked_as_an_answer_is_and_a_bad_one_that_is_there_keeps_nobody_from_their_pairs(open_site):
    site = open_site(pairs=3)
    ada = site.browser("Ada")
    [task] = ada.more()
    address, headers = f"/api/tasks/{task['key']}", {"content-type": "application/json"}
    for body in BAD_DRAFTS:
        reply = ada.put(f"{address}/draft", content=f'{{"base": 0, "body": {body}}}', headers=headers)
        assert reply.status_code in (400, 422)
        assert ada.get(address).json()["draft"] is None
    replace = "INSERT OR REPLACE INTO drafts SELECT id, 0, ?, 1 FROM assignments"
    for body in (*BAD_DRAFTS, "", "{", "null"):
        site.project.write(lambda c, body=body: c.exec_driver_sql(replace, (body,)))
        assert ada.get(address).json()["draft"] is None
        assert ada.more(want=5)[0]["key"] == task["key"]
    assert ada.save(task["key"]).status_code == 200


def test_a_pair_that_cannot_be_shown_can_be_skipped_and_the_others_answered(open_site):
    site = open_site(pairs=5)
    for item, row in enumerate(("{}", "", '{"id": "x", "prompt": 7, "response_a": "a", "response_b": "b"}'), 2):
        site.project.write(lambda c, v=(row, item): c.exec_driver_sql("UPDATE items SET pair = ? WHERE id = ?", v))
    ada = site.browser("Ada")
    tasks = ada.more(want=5)
    bad = [task for task in tasks if "cannot be shown" in task["prompt"][0]["html"]]
    assert len(bad) == 3
    for task in tasks:
        changes = {"kind": "skip", "answer": None, "reason": "broken"} if task in bad else {}
        assert ada.save(task["key"], **changes).status_code == 200


def _drip(connection):
    for _ in range(100):
        connection.sendall(b"G")
        time.sleep(0.02)


def test_connections_that_say_nothing_are_closed_and_work_is_not(open_project, monkeypatch):
    from .live import served

    monkeypatch.setattr(serve, "PATIENCE_SECONDS", 0.1)
    with served(open_project()) as origin:
        address = ("127.0.0.1", int(origin.rsplit(":", 1)[1]))
        head = f"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\nOrigin: {origin}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        for said in ("", "GET / HT", head, f"{head}{{"):
            with socket.create_connection(address, timeout=5) as idle:
                idle.sendall(said.encode())
                assert idle.recv(100) == b"", said
        with socket.create_connection(address, timeout=5) as slow, pytest.raises(OSError):  # a byte at a time is no
            _drip(slow)  # request either
        monkeypatch.setattr(serve, "PATIENCE_SECONDS", 0.5)
        with socket.create_connection(address, timeout=5) as busy:
            for _ in range(4):  # longer than the patience, but each request is whole
                busy.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\n\r\n".encode())
                assert b"200 OK" in busy.recv(10_000)
                time.sleep(0.2)


def test_a_link_made_beside_the_app_names_where_it_was_started_last(open_project):
    project = open_project()
    project.write(lambda c: c.exec_driver_sql("DROP TABLE served"))  # as in projects of older versions

    def invite(*more):
        done = annotations("invite", project.database, "Ada", "--secret-file", project.secret, *more)
        return done.stdout.split("/join#")[0], done.stderr

    origin, told = invite()
    assert origin == "http://127.0.0.1:8700"
    assert "was not started" in told
    for origin in ("http://127.0.0.1:54321", "https://lab.example"):
        project.write(lambda c, origin=origin: access.note_origin(c, origin, 1))
        assert invite() == (origin, "")
    assert invite("--origin", "https://lab.example/") == ("https://lab.example", "")
    for wrong in ("", " ", "lab.example", "ftp://lab.example", "https://", "https://lab.example/x"):
        with pytest.raises(InputError, match="is no address; expected one such as https://HOST"):
            invite("--origin", wrong)


@pytest.mark.parametrize("name", ["", ":memory:"])
def test_a_project_is_a_file(name):
    with pytest.raises(InputError, match="a project is a file; name one"):
        locate(name)
