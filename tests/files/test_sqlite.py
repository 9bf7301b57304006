"""Databases, known by their first bytes."""

import sqlite3
from pathlib import Path

import pytest

from dissensus.files.sqlite import application_of
from dissensus.judges import JudgmentStore
from dissensus.judges.store.schema import is_store


@pytest.mark.parametrize(("number", "known"), [(None, 0), (7, 7), (2**31 - 1, 2**31 - 1)])
def test_a_database_says_what_application_it_is_of(number: int | None, known: int, tmp_path: Path):
    with sqlite3.connect(tmp_path / "x") as connection:
        if number is not None:
            connection.execute(f"PRAGMA application_id = {number}")
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert application_of(tmp_path / "x") == known
    assert not is_store(tmp_path / "x")


def test_other_files_are_no_databases_and_one_that_was_cut_is_one_still(tmp_path: Path):
    JudgmentStore(tmp_path / "store").close()
    assert is_store(tmp_path / "store")
    (tmp_path / "cut").write_bytes((tmp_path / "store").read_bytes()[:20])
    (tmp_path / "empty").write_bytes(b"")
    assert application_of(tmp_path / "cut") == 0
    assert [application_of(tmp_path / name) for name in ("empty", "nowhere", ".")] == [None, None, None]
