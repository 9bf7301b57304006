"""Checking a store, and saving what can be read of a damaged one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissensus.errors import InputError, OutputError
from dissensus.judge.language import LanguageJudge, Planned
from dissensus.judge.reading import Reading
from dissensus.judge.store import JudgmentStore
from dissensus.judge.verdict import parse_choice

_TABLES = ("judges", "judgments", "readings", "runs", "attempts")
_NAMED = 5


@dataclass
class Findings:
    """What a check of a store found."""

    judgments: int = 0
    readings: int = 0
    problems: list[str] = field(default_factory=list)
    """The first of each kind of problem, in words."""
    damaged: int = 0
    """Rows with a problem."""

    def note(self, problem: str) -> None:
        """Count a problem, and keep the first few."""
        self.damaged += 1
        if self.damaged <= _NAMED:
            self.problems.append(problem)


def verify(store: JudgmentStore) -> Findings:
    """Check a store: SQLite's own pages, every key against its row, every reading, every choice against its reply."""
    findings = Findings()
    for (message,) in store.rows("PRAGMA integrity_check"):
        if message != "ok":
            findings.note(f"SQLite: {message}")
    judges = {name: _language(store, name) for (name,) in store.rows("SELECT name FROM judges")}
    query = "SELECT key, judge, pair_id, content, sample, shown, choice, reply, persona FROM judgments"
    for key, judge, pair_id, content, sample, shown, choice, reply, persona in store.rows(query):
        findings.judgments += 1
        language = judges.get(judge)
        if language is None:
            continue
        if key != language.sample_key(content, Planned(sample, shown, persona)):
            findings.note(f"judgment {sample} of pair {pair_id!r} by {judge}: its key is not that of its row")
        if choice != parse_choice(reply, order=shown):
            findings.note(f"judgment {sample} of pair {pair_id!r} by {judge}: the reply {reply[:40]!r} is not {choice}")
    query = "SELECT key, judge, pair_id, content, shown, persona, reading FROM readings"
    for key, judge, pair_id, content, shown, persona, blob in store.rows(query):
        findings.readings += 1
        language = judges.get(judge)
        if language is not None and key != language.reading_key(content, shown, persona):
            findings.note(f"reading of pair {pair_id!r} by {judge}: its key is not that of its row")
        try:
            Reading.from_bytes(blob)
        except ValueError as error:
            findings.note(f"reading of pair {pair_id!r} by {judge}: {error}")
    return findings


def recover(damaged: Path, out: Path) -> dict[str, int]:
    """Copy every row that can still be read into a new store; the damaged file is only read.

    Returns:
        The rows saved of each table.

    Raises:
        InputError: there is no such file, or nothing in it can be read.
        OutputError: ``out`` exists already or cannot be written.
    """
    if not damaged.is_file():
        raise InputError(f"{damaged}: no such file; name the store that is damaged")
    if out.exists():
        raise OutputError(f"{out}: exists already; name a new file with --out")
    saved: dict[str, int] = {}
    with JudgmentStore(out) as store:
        for table in _TABLES:
            with closing(sqlite3.connect(f"file:{damaged}?mode=ro", uri=True)) as source, store.transaction():
                columns = [name for _, name, *_ in store.rows(f"PRAGMA table_info({table})")]
                saved[table] = sum(_copy(store, table, columns, row) for row in _readable(source, table, columns))
    if not any(saved.values()):
        out.unlink()
        raise InputError(f"{damaged}: nothing in it can be read as a store of judgments; {out} was not made")
    return saved


def _copy(store: JudgmentStore, table: str, columns: list[str], row: tuple[Any, ...]) -> int:
    marks = ", ".join("?" * len(columns))
    try:
        done = store.connection.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)
    except sqlite3.IntegrityError:  # a row whose cells are damaged
        return 0
    return done.rowcount


def _readable(source: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows from the front until a damaged page, then from the back until one."""
    try:
        there = [name for _, name, *_ in source.execute(f"PRAGMA table_info({table})")]
    except sqlite3.DatabaseError:
        return
    known = [name if name in there else "''" for name in columns]  # an older store has fewer columns
    first = columns[0]
    for direction in ("ASC", "DESC"):
        try:
            if there:
                yield from source.execute(f"SELECT {', '.join(known)} FROM {table} ORDER BY {first} {direction}")
        except sqlite3.DatabaseError:
            continue
        return


def _language(store: JudgmentStore, judge: str) -> LanguageJudge | None:
    settings = store.settings(judge)
    return LanguageJudge.from_settings(settings) if "config" in settings else None
