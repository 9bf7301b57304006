"""Verification of a store, and recovery of what can be read of a damaged one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from dissensus.errors import InputError, OutputError
from dissensus.files.atomic import atomic_path
from dissensus.hashing import framed_digest
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.store.attempts import State
from dissensus.judges.store.keys import checksum, content_key, judgment_checksum
from dissensus.judges.store.salvage import PageReader
from dissensus.judges.store.schema import COLUMNS, choice_of_old
from dissensus.judges.store.store import JudgmentStore, judgment_of

_NAMED = 5
_BATCH = 1000
_OLD = "from before rows had checksums: their keys are right"
_COSTS = "of attempts and runs, which change and have no checksum"


@dataclass
class Findings:
    """What a check of a store found."""

    judgments: int = 0
    distributions: int = 0
    verified: int = 0
    """Judgments, choice distributions and judges that are as they were written."""
    unverifiable: Counter[str] = field(default_factory=Counter)
    """Why rows cannot be verified, with how many."""
    problems: list[str] = field(default_factory=list)
    """The first of each kind of problem, in words."""
    damaged: int = 0
    """Rows with a problem."""

    def note(self, problem: str) -> None:
        """Count a problem, and keep the first few."""
        self.damaged += 1
        if self.damaged <= _NAMED:
            self.problems.append(problem)

    def count(self, name: str, problem: str | None, *, is_proved: bool) -> None:
        """Count a row that was checked; without a checksum nothing proves that it is as it was written."""
        if problem is not None:
            self.note(f"{name}: {problem}")
        elif is_proved:
            self.verified += 1
        else:
            self.unverifiable[_OLD] += 1


def verify(store: JudgmentStore) -> Findings:
    """Check a store: a file's pages, every row against its checksum and its key, every reply against its choice."""
    findings = Findings()
    for fault in store.database.faults():
        findings.note(fault)
    judges = {}
    for name, settings, found in store.rows("SELECT name, settings, checksum FROM judges"):
        judges[name], problem = _check_judge(name, settings, found)
        findings.count(f"judge {name}", problem, is_proved=found is not None)
    for row in store.rows(f"SELECT {', '.join(COLUMNS['judgments'])} FROM judgments", many=True):
        findings.judgments += 1
        problem = _check_judgment(row, judges.get(row[1]))
        findings.count(f"judgment {row[4]} of pair {row[2]!r} by {row[1]}", problem, is_proved=row[-1] is not None)
    for row in store.rows(f"SELECT {', '.join(COLUMNS['readings'])} FROM readings", many=True):
        findings.distributions += 1
        problem = _check_distribution(row)
        name = f"choice distribution of pair {row[2]!r} by {row[1]}"
        findings.count(name, problem, is_proved=row[-1] is not None)
    for table in ("attempts", "runs"):
        for (count,) in store.rows(f"SELECT COUNT(*) FROM {table}"):
            findings.unverifiable.update({_COSTS: count} if count else {})
    return findings


def _check_judge(name: Any, settings: Any, found: Any) -> tuple[LanguageJudge | None, str | None]:
    """Return the language model that a row of judges describes, if it does, and what is wrong with the row."""
    try:
        content = json.loads(settings)
        judge = LanguageJudge.from_settings(content) if "config" in content else None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return None, f"its settings cannot be read ({type(error).__name__})"
    if (judge is not None and judge.name != name) or (found is not None and found != checksum(name, settings.encode())):
        return judge, "its settings are not those that it was stored with"
    return judge, None


def _check_judgment(row: tuple[Any, ...], language: LanguageJudge | None = None) -> str | None:
    """Say what is wrong with a row of judgments, if anything is."""
    key, judge, pair_id, content, sample, shown, choice, probability, reply, persona, found = row
    try:
        judgment_of([pair_id, judge, sample, shown, choice, probability, reply, persona])
        of_texts = content_key(judge, content, shown, persona, sample)
        of_pair = framed_digest(judge, pair_id, content, str(sample), shown)
    except (ValueError, TypeError, AttributeError) as error:
        return f"no judgment ({str(error).splitlines()[0]})"
    if key not in ((of_texts,) if language is not None else (of_texts, of_pair)):
        return "its key is not that of its row"
    if language is not None:
        # A reply that was cut may name a winner on the way and be no vote; before rows had checksums none was known as
        # cut.
        allowed = {language.template.read(reply, shown)} | ({(None, None)} if found is not None else set())
        if (choice, probability) not in allowed:
            return f"the reply {reply[:40]!r} is not {choice or 'one without a winner'}"
    if found is not None and found != judgment_checksum(pair_id, choice, probability, persona, reply):
        return "the row is not as it was stored"
    return None


def _check_distribution(row: tuple[Any, ...]) -> str | None:
    """Say what is wrong with a row of choice distributions, if anything is."""
    key, judge, pair_id, content, shown, persona, blob, found = row
    try:
        if key != content_key(judge, content, shown, persona):
            return "its key is not that of its row"
        ChoiceDistribution.from_bytes(blob)
        if found is not None and found != checksum(pair_id, blob):
            return "the row is not as it was stored"
    except (ValueError, TypeError, AttributeError) as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Recovered:
    """What was saved of a damaged store."""

    saved: dict[str, int]
    """Rows of each table."""
    damaged: int
    """Rows that could be read and are not as they were stored: left out."""


def recover(damaged: Path, out: Path) -> Recovered:
    """Copy every row that can still be read, and is right, into a new store; the damaged file is only read.

    Its pages are read one by one, and those of the log beside it (``-wal``), so it does not matter what SQLite makes of
    the file. ``out`` is there when it is whole, or not at all.

    Raises:
        InputError: there is no such file, or nothing in it can be read.
        OutputError: ``out`` exists already or cannot be written.
    """
    if not damaged.is_file() and not damaged.with_name(damaged.name + "-wal").is_file():
        raise InputError(f"{damaged}: no such file; name the store that is damaged")
    if out.exists():
        raise OutputError(f"{out}: exists already; name a new file with --out")
    with atomic_path(out) as temporary:
        with JudgmentStore(temporary) as store:
            # It is copied anew if it is lost: one sync in the end will do.
            store.connection.execute("PRAGMA journal_mode = MEMORY")
            store.connection.execute("PRAGMA synchronous = OFF")
            with store.transaction():
                found = _copy(store, PageReader(damaged))
        if not any(found.saved.values()):
            raise InputError(f"{damaged}: nothing in it can be read as a store of judgments; {out} was not made")
    return found


_DEFAULTS: dict[str, tuple[Any, ...]] = {"persona": ("", None), "checksum": (None,)}
"""What a row of an older version lacks, from the column that its record ends before."""
_SHAPES = {
    **{("index", columns): "judgments" for columns in (11, 10, 9)},
    **{("index", columns): "readings" for columns in (8, 7)},
    **{("index", columns): "judges" for columns in (3, 2)},
    ("table", 6): "runs",
    ("table", 12): "attempts",
}
"""Tables by the kind of b-tree and how many values a record has, in stores of all versions."""
_TYPES: dict[str, tuple[type, ...]] = {
    "runs": (NoneType, str, str, str, str),
    "attempts": (NoneType, int, str, str, bytes, str, object, int, int, int),
}
_STATES = {"sent", "lost", *get_args(State)}


def _copy(store: JudgmentStore, pages: PageReader) -> Recovered:
    saved = dict.fromkeys(COLUMNS, 0)
    batches: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
    bad: set[tuple[str, Any]] = set()
    good: set[tuple[str, Any]] = set()
    for table, row, is_right in _recognised(pages, good):
        (good if is_right else bad).add((table, row[0]))
        if not is_right:
            continue
        batches[table].append(row)
        if len(batches[table]) >= _BATCH:
            saved[table] += _insert(store, table, batches[table])
    for table, rows in batches.items():
        saved[table] += _insert(store, table, rows)
    return Recovered(saved, len(bad - good))


def _insert(store: JudgmentStore, table: str, rows: list[tuple[Any, ...]]) -> int:
    marks = ", ".join("?" * len(COLUMNS[table]))
    added = store.connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows).rowcount
    rows.clear()
    return int(added)


def _recognised(pages: PageReader, good: Container[tuple[str, Any]]) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
    """Yield the rows of the tables: which table, the values, and whether they are right.

    Old states of a page (a log has many) are looked at for what is not among ``good`` (table, name) yet.
    """
    for row in pages.rows():
        table = _SHAPES.get((row.kind, len(row.values)))
        if table is None or (not row.is_current and (table, row.values[0]) in good):
            continue
        if table in ("judges", "judgments", "readings"):
            yield from _answer(table, row.values)
        elif row.is_current and _is_bookkeeping(table, row.values):
            yield table, (row.rowid, *row.values[1:]), True


def _answer(table: str, values: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
    """Complete a row as a store of today would have it, and check it; nothing where it is of another table."""
    columns = COLUMNS[table]
    if len(values) < len(columns):
        values += _DEFAULTS[columns[len(values)]]
    if table == "judges":
        name, settings, found = values
        if isinstance(name, str) and isinstance(settings, str) and settings.startswith("{"):
            yield table, values, _check_judge(name, settings, found)[1] is None
    elif isinstance(values[0], bytes):
        if table == "readings":
            yield table, values, _check_distribution(values) is None
            return
        if isinstance(values[7], int):  # SQLite stores 1.0 as 1
            values = (*values[:7], float(values[7]), *values[8:])
        is_right = _check_judgment(values) is None
        if is_right and values[-1] is None:  # it gets the choice that it has in a store that is brought up to date
            key, judge, _, content, sample, shown, choice, probability, reply, persona, _ = values
            # Its settings may be lost, or come later; only what a language model said has a key without the pair's id.
            by_model = key == content_key(judge, content, shown, persona, sample)
            now = choice_of_old(reply, shown, choice, probability, by_model=by_model)
            values = (*values[:6], now, *values[7:])
        yield table, values, is_right


def _is_bookkeeping(table: str, values: tuple[Any, ...]) -> bool:
    """Tell rows of runs and attempts, whose ids are not in their records, from those of other tables."""
    return all(map(isinstance, values, _TYPES[table])) and (table == "runs" or values[5] in _STATES)


def problem_of(kind: str, row: tuple[Any, ...], language: LanguageJudge | None = None) -> str | None:
    """Say what is wrong with a row of answers (``judgment`` or ``distribution``), if anything is.

    ``language`` is the judge, where it is a language model: then a judgment's choice must be what its reply says.
    """
    return _check_judgment(row, language) if kind == "judgment" else _check_distribution(row)
