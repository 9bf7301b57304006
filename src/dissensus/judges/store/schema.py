"""The tables of a store of judgments, and how older stores become current ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from dissensus.files.sqlite import application_of
from dissensus.judges.language.verdict import parse_choice
from dissensus.records import Order

APPLICATION_ID = 0x64697373  # "diss"
VERSION = 4

_JUDGMENTS = """
CREATE TABLE judgments (
    key BLOB PRIMARY KEY,
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    content TEXT NOT NULL,
    sample INTEGER NOT NULL,
    shown TEXT NOT NULL,
    choice TEXT,
    probability_a REAL,
    reply TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX judgments_by_pair ON judgments (judge, pair_id, sample, shown);
"""

_LANGUAGE_MODELS = """
ALTER TABLE judgments ADD COLUMN persona TEXT NOT NULL DEFAULT '';
CREATE TABLE judges (
    name TEXT PRIMARY KEY,
    settings TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE readings (
    key BLOB PRIMARY KEY,
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    content TEXT NOT NULL,
    shown TEXT NOT NULL,
    persona TEXT NOT NULL,
    reading BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX readings_by_pair ON readings (judge, pair_id, content, persona, shown);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    judge TEXT NOT NULL,
    host TEXT NOT NULL,
    process TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT
);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    judge TEXT NOT NULL,
    pair_id TEXT NOT NULL,
    ask BLOB NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    cost REAL NOT NULL DEFAULT 0,
    seconds REAL
);
CREATE INDEX attempts_in_flight ON attempts (ask) WHERE state = 'sent';
CREATE INDEX attempts_by_judge ON attempts (judge, state);
"""

# Null in rows that are older than this version.
_CHECKSUMS = """
ALTER TABLE judgments ADD COLUMN checksum INTEGER;
ALTER TABLE judges ADD COLUMN checksum INTEGER;
ALTER TABLE readings ADD COLUMN checksum INTEGER;
"""


def is_store(path: Path) -> bool:
    """Tell by its first bytes whether a file is a store of judgments."""
    return application_of(path) == APPLICATION_ID


def _read_again(connection: sqlite3.Connection) -> None:
    """Give ties their own choice, and read the replies of language models by today's rules: they were paid for."""
    judges = connection.execute("SELECT name, settings FROM judges")
    models = {name for name, settings in judges if "config" in json.loads(settings)}
    changed = []
    rows = connection.execute("SELECT key, judge, reply, shown, choice, probability_a FROM judgments")
    for key, judge, reply, shown, choice, probability_a in rows:
        now = choice_of_old(reply, shown, choice, probability_a, by_model=judge in models)
        if now != choice:
            changed.append((now, key))
    connection.executemany("UPDATE judgments SET choice = ? WHERE key = ?", changed)


def choice_of_old(
    reply: str, shown: Order, choice: str | None, probability_a: float | None, *, by_model: bool
) -> str | None:
    """Return what a row from before version 3 chose, by today's rules."""
    if by_model:
        return parse_choice(reply, order=shown)
    return "tie" if choice is None and (reply == "tie" or probability_a == 0.5) else choice


_STEPS: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
    _JUDGMENTS,
    _LANGUAGE_MODELS,
    _read_again,
    _CHECKSUMS,
)
"""What makes version n from version n - 1. A step is never edited once it was released."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store, or an empty file, to the current version in one transaction.

    Another process may do the same at the same time: whoever comes second finds nothing to do.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in _STEPS[version:]:
            if not isinstance(step, str):
                step(connection)
                continue
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(version, VERSION)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
