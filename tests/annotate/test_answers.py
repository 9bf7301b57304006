"""What people say is saved once, in order, and never lost."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project import access, answers, verify
from dissensus.annotate.project.answers import Submission
from dissensus.annotate.project.database import StorageFull
from dissensus.annotate.project.errors import DuplicateRequest, EditConflict, InvalidAnswer, SlotTaken
from dissensus.annotate.project.schema import assignments, items, revisions
from dissensus.annotate.project.sides import Said, Shown
from dissensus.annotate.project.store import AnnotationStore

from .people import make_project, said


def _count(project, table=revisions):
    return project.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


def test_fifty_copies_of_one_submission_are_one_answer(database, open_project):
    project = open_project(database)
    [task] = project.lease("Ada").tasks
    start = threading.Barrier(50)

    def send(_):
        start.wait()
        return project.answer("Ada", task.key, 7, id="the-same-act")

    with ThreadPoolExecutor(50) as pool:
        saved = list(pool.map(send, range(50)))
    assert [one.repeated for one in saved].count(False) == 1
    assert {(one.revision, one.saved_at, one.state) for one in saved} == {(1, project.now, "answered")}
    assert _count(project) == 1
    assert project.read(lambda c: c.execute(select(items.c.taken).where(items.c.id == task.item_id)).scalar_one()) == 1
    assert verify.check(project.store) == []


def test_of_two_tabs_the_second_is_told_what_the_first_saved_and_no_key_means_two_things(database, open_project):
    project = open_project(database)
    [task] = project.lease("Ada").tasks
    project.answer("Ada", task.key, 7, id="the-same-act")
    for refusal, id in ((EditConflict, None), (DuplicateRequest, "the-same-act")):
        with pytest.raises(refusal) as refused:
            project.answer("Ada", task.key, 2, id=id)
        assert (refused.value.current.revision, refused.value.current.answer.estimate) == (1, 7)
    assert _count(project) == 1
    zero = Said(correct="single", distinct="no", estimate=2, note="a\0b")  # which PostgreSQL does not keep
    assert project.submit("Ada", task.key, zero, base=1).revision == 2
    assert project.read(lambda c: answers.newest(c, task.id)).note == "ab"


def test_of_two_answers_whose_senders_have_gone_the_begun_one_is_saved_and_both_can_be_sent_again(open_project):
    project = open_project()
    [task] = project.lease("Ada").tasks
    begun, go_on = threading.Event(), threading.Event()

    async def send(act, base):
        def work(c):
            begun.set()
            go_on.wait(10)
            submission = Submission(act, base, "answer", said(7))
            return answers.submit(c, project.people["Ada"], task.key, submission, project.now, project.config)

        await project.store.write_async(work)

    async def send_both_and_go():
        first = asyncio.create_task(send("first", 0))
        await asyncio.to_thread(begun.wait)
        second = asyncio.create_task(send("second", 1))
        await asyncio.sleep(0.01)
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.cancelled()
        go_on.set()

    asyncio.run(send_both_and_go())
    assert project.answer("Ada", task.key, 7, id="first").repeated
    assert _count(project) == 1
    again = project.answer("Ada", task.key, 7, id="second", base=1)
    assert (again.revision, again.repeated) == (2, False)
    assert verify.check(project.store) == []


def test_answers_are_only_ever_added_to(open_project):
    project = open_project()
    [task] = project.lease("Ada").tasks
    for base, (kind, answer) in enumerate(
        [("answer", said(7)), ("withdraw", None), ("skip", None), ("withdraw", None), ("answer", said(1))]
    ):
        state = project.submit("Ada", task.key, answer, base=base, kind=kind, reason="broken").state
    assert state == "answered"
    kinds = project.read(lambda c: c.execute(select(revisions.c.kind).order_by(revisions.c.revision)).scalars().all())
    assert kinds == ["answer", "withdraw", "skip", "withdraw", "answer"]
    assert verify.check(project.store) == []


def test_an_answer_lacks_nothing_that_is_asked_and_a_skip_says_why(open_project):
    project = open_project(own_choice=True)
    [task] = project.lease("Ada").tasks
    whole = said(choice="a")
    for lacks in ("correct", "distinct", "estimate", "choice"):
        with pytest.raises(InvalidAnswer, match="not answered yet: "):
            project.submit("Ada", task.key, whole.model_copy(update={lacks: None}))
    with pytest.raises(InvalidAnswer, match="comes with a reason"):
        project.submit("Ada", task.key, kind="skip", reason=" ")
    assert project.submit("Ada", task.key, whole).revision == 1


def test_an_answer_that_comes_too_late_waits_for_a_place(open_project):
    project = open_project(pairs=1, annotators=1)
    [late] = project.lease("Ada").tasks
    project.now += 31 * 60_000
    [quick] = project.lease("Grace").tasks
    project.answer("Grace", quick.key)
    assert project.answer("Ada", late.key, 9).state == "surplus"
    assert verify.check(project.store) == []
    project.submit("Grace", quick.key, kind="skip", base=1, reason="on second thoughts")
    state = project.read(lambda c: c.execute(select(assignments.c.state).where(assignments.c.key == late.key)).scalar())
    assert state == "answered"
    with pytest.raises(SlotTaken):
        project.submit("Grace", quick.key, kind="withdraw", base=2)
    assert verify.check(project.store) == []


def test_a_draft_is_kept_until_the_answer_takes_its_place(open_project):
    project = open_project()
    [task] = project.lease("Ada").tasks

    def draft():
        return project.read(lambda c: answers.drafts_of(c, [task.id])).get(task.id)

    ada = project.people["Ada"]
    project.write(lambda c: answers.save_draft(c, ada, task.key, Shown(note="half a thou"), 0, project.now))
    assert draft() == (0, Shown(note="half a thou"))
    project.answer("Ada", task.key)
    assert draft() is None
    with pytest.raises(EditConflict):
        project.write(lambda c: answers.save_draft(c, ada, task.key, Shown(), 0, project.now))


@pytest.mark.skipif(os.getuid() != 0 or not sys.platform.startswith("linux"), reason="mounts a small disk, as root")
def test_a_really_full_disk_is_told_and_got_over(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    with contextlib.ExitStack() as undone:
        undone.callback(subprocess.run, ["umount", disk], check=True)
        project = make_project(disk / "a.db", tmp_path, pairs=100)
        undone.callback(project.store.close)
        tasks = project.lease("Ada", want=50).tasks
        room = disk / "room"
        room.write_bytes(b"x" * (shutil.disk_usage(disk).free - 60_000))

        def fill_up():
            for task in tasks:
                project.submit("Ada", task.key, said(note="x" * 4000))

        with pytest.raises(StorageFull):
            fill_up()
        saved = _count(project)
        room.unlink()
        assert verify.check(project.store) == []
        project.submit("Ada", tasks[-1].key, said())
        assert _count(project) == saved + 1

        room.write_bytes(b"x" * shutil.disk_usage(disk).free)
        with pytest.raises(StorageFull, match="disk is full"):
            AnnotationStore.create(disk / "b.db", AnnotationConfig(), secret=tmp_path / "secret")
        assert not (disk / "b.db").exists()


_WRITER = """
import sys
from dissensus.annotate.project import answers, assignment
from dissensus.annotate.project.answers import Submission
from dissensus.annotate.project.store import AnnotationStore, now
from dissensus.annotate.project.sides import Said
from pathlib import Path
store = AnnotationStore(sys.argv[1], secret=Path(sys.argv[2]))
given = store.write(lambda c: assignment.lease(c, store.config, store.seed, 1, want=50, have=[], now=now())).tasks
for n, task in enumerate(given):
    act = Submission(f"act-{n:06}", 0, "answer", Said(correct="single", distinct="yes", estimate=n % 11))
    store.write(lambda c: answers.submit(c, 1, task.key, act, now(), store.config))
    print(task.key, n % 11, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path, open_project):
    project = open_project(pairs=60, prefetch=50)
    command = [sys.executable, "-c", _WRITER, project.database, str(project.secret)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        acknowledged = [writer.stdout.readline().split() for _ in range(17)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.split() for line in writer.stdout.read().splitlines() if len(line.split()) == 2]
    with AnnotationStore(project.database, secret=project.secret) as store:
        rows = store.read(
            lambda c: c.execute(select(assignments.c.key, revisions.c.estimate).join_from(revisions, assignments)).all()
        )
        assert verify.check(store) == []
    stored = {row.key: row.estimate for row in rows}
    assert len(acknowledged) >= 17
    assert all(stored[key] == int(estimate) for key, estimate in acknowledged)


@pytest.mark.parametrize(("name", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_settings_of_sqlite_are_those_of_careful_people(name, value, open_project):
    with open_project().store.engine.connect() as c:
        assert c.exec_driver_sql(f"PRAGMA {name}").scalar() == value


def test_a_write_waits_for_another_process_and_is_done_then(open_project):
    project = open_project()
    [task] = project.lease("Ada").tasks
    other = sqlite3.connect(project.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(project.answer, "Ada", task.key, 4)
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert waiting.result(timeout=10).revision == 1
    other.close()


def test_revoked_people_keep_what_they_said_and_give_back_what_they_hold(open_project):
    project = open_project(pairs=2, annotators=1)
    first, second = project.lease("Ada", want=2).tasks
    project.answer("Ada", first.key)
    project.write(lambda c: access.revoke(c, project.people["Ada"], project.now))
    [again] = project.lease("Grace", want=5).tasks
    assert again.item_id == second.item_id
    assert verify.check(project.store) == []
