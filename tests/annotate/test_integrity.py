"""The check finds every fault that is put in by hand, and none in a project that was only used."""

import pytest

from dissensus.annotate.project import verify
from dissensus.annotate.project.sides import Said

from .people import fill


@pytest.fixture
def used(open_project):
    project = open_project(pairs=8)
    fill(project)
    project.add("Judith", "adjudicator")
    project.decide("Judith", project.sql("SELECT key FROM items WHERE id = 1")[0].key, Said(correct="single"))
    return project


_FIRST_ANSWER = "(SELECT min(id) FROM assignments WHERE state = 'answered')"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("UPDATE items SET taken = taken - 1 WHERE id = 1", "slots are counted as taken"),
        ("DELETE FROM revisions WHERE id = 3", "revision"),
        (f"UPDATE assignments SET state = 'skipped' WHERE id = {_FIRST_ANSWER}", "is skipped, but"),
        ("UPDATE assignments SET leased_until = 1 WHERE id = 1", "its lease ends at 1"),
        ("UPDATE assignments SET revision = 9 WHERE id = 2", "is at revision 9"),
        ("UPDATE adjudications SET revision = 4", "has 1 decisions, from 4 to 4"),
        ("INSERT INTO drafts VALUES (99999, 0, '{}', 0)", "names no row"),
    ],
)
def test_each_fault_is_found(used, harm, told):
    assert verify.check(used.store) == []
    with used.store.engine.connect() as c:
        c.exec_driver_sql("ROLLBACK")  # foreign keys are switched outside a transaction
        c.exec_driver_sql("PRAGMA foreign_keys = OFF")
        c.exec_driver_sql(harm)
        c.exec_driver_sql("PRAGMA foreign_keys = ON")
        c.exec_driver_sql("BEGIN")
    assert any(told in fault for fault in verify.check(used.store))
