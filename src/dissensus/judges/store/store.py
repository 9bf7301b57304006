"""Judgments on disk, in an SQLite file or in PostgreSQL: several processes write at once, and may be killed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dissensus.errors import InputError
from dissensus.files.database_url import DatabaseUrl
from dissensus.hashing import digest_of, framed_digest
from dissensus.judges.base import JsonObject
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.store.database import Connection, Database, open_database
from dissensus.judges.store.keys import Contents, checksum, content_of, contents_of, judgment_checksum
from dissensus.records import Judgment, Order, Pair

_COLUMNS = "pair_id, judge, sample, shown, choice, probability_a, reply, persona"


@dataclass(frozen=True)
class StoredDistribution:
    """A choice distribution with what it is of."""

    pair_id: str
    judge: str
    content: str
    order: Order
    persona: str
    distribution: ChoiceDistribution


class JudgmentStore:
    """Judgments, each kept once: in a file of SQLite, or in PostgreSQL where ``path`` is a postgresql:// URL.

    Several processes may add at the same time, every batch is one transaction that is on disk when it returns, and a
    process that is killed leaves whole batches behind. A file is not for network file systems; a database is for
    several machines. Use it in a ``with`` block.
    """

    def __init__(self, path: str | Path | DatabaseUrl, *, create: bool = True) -> None:
        """Open the store at ``path``; make it first where there is none and ``create`` is true.

        A file of an older version is brought up to date, in one transaction.

        Raises:
            InputError: the file or database is missing (with ``create=False``), is no store of judgments, is damaged or
                comes from a newer version; it is left as it was.
            OutputError: it cannot be made or reached.
            MissingDependencyError: the driver of PostgreSQL is not installed.
        """
        self._use(open_database(path, create=create))

    def _use(self, database: Database) -> None:
        self.database, self.connection, self.path = database, database.connection, database.place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, or the connection."""
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write all or nothing.

        Raises:
            InputError: the file is damaged.
            OutputError: the disk is full, or the file or database cannot be written; nothing of the block is there.
        """
        database = self.database
        try:
            database.begin()
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as error:
            database.roll_back()
            if isinstance(error, database.error):
                raise database.explain(error, "judgments cannot be written") from error
            raise

    def add(self, judgments: Iterable[Judgment], pairs: Mapping[str, Pair]) -> int:
        """Add judgments in one transaction and return how many were new; ``pairs`` maps their pair ids to the pairs.

        Raises:
            OutputError: the disk is full or the file cannot be written; the batch is not there in part.
        """
        contents = {pair_id: content_of(pair) for pair_id, pair in pairs.items()}
        rows = []
        for j in judgments:
            content = contents[j.pair_id]
            rows.append((framed_digest(j.judge, j.pair_id, content, str(j.sample), j.order), content, j))
        with self.transaction():
            return self.insert(rows)

    def insert(self, rows: Iterable[tuple[bytes, str, Judgment]]) -> int:
        """Insert (key, content, judgment) rows that are not there yet, within a transaction; returns how many."""
        values = [_row(key, content, judgment) for key, content, judgment in rows]
        query = "INSERT INTO judgments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        return max(0, int(self.connection.executemany(query, values).rowcount))

    def insert_distributions(self, rows: Iterable[tuple[bytes, StoredDistribution]]) -> None:
        """Insert (key, choice distribution) rows that are not there yet, within a transaction."""
        self.connection.executemany(
            "INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (key, r.judge, r.pair_id, r.content, r.order, r.persona, blob, checksum(r.pair_id, blob))
                for key, r in rows
                for blob in (r.distribution.to_bytes(),)
            ],
        )

    def missing(self, keys: Collection[bytes]) -> set[bytes]:
        """Return those of ``keys`` (see `judgment_key`, `content_key`) that nothing is there of."""
        found: set[bytes] = set()
        remaining = iter(keys)
        while batch := list(itertools.islice(remaining, 500)):
            marks = ", ".join("?" * len(batch))
            query = f"SELECT key FROM judgments WHERE key IN ({marks}) UNION ALL "
            query += f"SELECT key FROM readings WHERE key IN ({marks})"
            found.update(key for (key,) in self.rows(query, [*batch, *batch]))
        return set(keys) - found

    def judgments(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | Contents | None = None, n: int | None = None
    ) -> Iterator[Judgment]:
        """Iterate over judgments by judge, pair and sample.

        Args:
            judge: the full name of a judge; every judge's by default.
            pairs: only judgments of these pairs as they read now, not of an earlier text under the same id. What a
                judge that sees texts alone said of a text holds for every pair that has it.
            n: only the first ``n`` samples of each pair.
        """
        wanted = None if pairs is None else _Wanted(pairs, self.text_judges())
        query = f"SELECT content, {_COLUMNS} FROM judgments WHERE sample < ?"
        arguments: list[object] = [n if n is not None else 2**62]
        if judge is not None:
            query += " AND judge = ?"
            arguments.append(judge)
        for content, *row in self.rows(f"{query} ORDER BY judge, pair_id, sample, shown", arguments, many=True):
            judgment = judgment_of(row)
            for pair_id in wanted.ids(judgment.judge, judgment.pair_id, content) if wanted else (judgment.pair_id,):
                yield judgment if pair_id == judgment.pair_id else judgment.model_copy(update={"pair_id": pair_id})

    def distributions(
        self, *, judge: str | None = None, pairs: Iterable[Pair] | Contents | None = None
    ) -> Iterator[StoredDistribution]:
        """Iterate over choice distributions by judge and pair; ``pairs`` as for `judgments`.

        Raises:
            InputError: a choice distribution is damaged.
        """
        wanted = None if pairs is None else _Wanted(pairs, self.text_judges())
        query = "SELECT pair_id, judge, content, shown, persona, reading FROM readings"
        if judge is not None:
            query += " WHERE judge = ?"
        arguments = () if judge is None else (judge,)
        query += " ORDER BY judge, pair_id, content, persona, shown"
        for pair_id, name, content, order, persona, blob in self.rows(query, arguments, many=True):
            try:
                distribution = ChoiceDistribution.from_bytes(blob)
            except ValueError as error:
                raise InputError(
                    f"{self.path}: the choice distribution {pair_id} is damaged ({error}); "
                    f"find out more with: dissensus judgments verify --store {self.path}"
                ) from error
            for asked in wanted.ids(name, pair_id, content) if wanted else (pair_id,):
                yield StoredDistribution(asked, name, content, order, persona, distribution)

    def judges(self) -> dict[str, int]:
        """Count the judgments and choice distributions of each judge."""
        return dict(
            self.rows(
                "SELECT judge, CAST(SUM(n) AS BIGINT) FROM (SELECT judge, COUNT(*) AS n FROM judgments GROUP BY judge "
                "UNION ALL SELECT judge, COUNT(*) FROM readings GROUP BY judge) AS counts GROUP BY judge ORDER BY judge"
            )
        )

    def has_verdict(self, judge: str) -> bool:
        """Whether there is a verdict of a judge: a judgment with a choice, or a choice distribution."""
        queries = (
            "SELECT 1 FROM judgments WHERE judge = ? AND choice IS NOT NULL LIMIT 1",
            "SELECT 1 FROM readings WHERE judge = ? LIMIT 1",
        )
        return any(any(self.rows(query, (judge,))) for query in queries)

    def digest(self, judge: str) -> str:
        """Hash the keys of all that the store has of a judge; 16 hex digits."""
        query = "SELECT key FROM {} WHERE judge = ? ORDER BY key"
        tables = ("judgments", "readings")
        keys = (key for table in tables for (key,) in self.rows(query.format(table), (judge,), many=True))
        return digest_of(keys, size=8)

    def settings(self, judge: str) -> JsonObject:
        """Return what a judge was registered with; empty for one that never was."""
        for (settings,) in self.rows("SELECT settings FROM judges WHERE name = ?", (judge,)):
            return dict(json.loads(settings))
        return {}

    def register(self, judge: str, settings: Mapping[str, Any]) -> None:
        """Note a judge's settings; the last ones count."""
        text = json.dumps(dict(settings))
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO judges VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, "
                "checksum = excluded.checksum",
                (judge, text, checksum(judge, text.encode())),
            )

    def rows(self, query: str, arguments: Sequence[object] = (), *, many: bool = False) -> Iterator[Any]:
        """Iterate over the rows of a query; where there may be ``many``, not all of them are held at once.

        Raises:
            InputError: the file is damaged.
            OutputError: it is locked, the disk is full, or the server is gone.
        """
        return self.database.rows(query, arguments, many=many)

    def batches(self, query: str, arguments: Sequence[object], size: int) -> Iterator[list[Any]]:
        """Iterate over the rows of a query, so many at a time; raises as `rows`."""
        rows = self.rows(query, arguments, many=True)
        while batch := list(itertools.islice(rows, size)):
            yield batch

    def text_judges(self) -> set[str]:
        """List the judges that see texts alone."""
        rows = self.rows("SELECT name, settings FROM judges")
        return {name for name, settings in rows if json.loads(settings).get("by_content")}


class _Wanted:
    """Which of the pairs asked for an answer is about."""

    def __init__(self, pairs: Iterable[Pair] | Contents, text_judges: set[str]) -> None:
        self._text_judges = text_judges
        self._content = contents_of(pairs)
        self._ids: dict[str, list[str]] = {}
        for pair_id, content in self._content.items():
            self._ids.setdefault(content, []).append(pair_id)

    def ids(self, judge: str, pair_id: str, content: str) -> Iterable[str]:
        if judge in self._text_judges:
            return self._ids.get(content, ())
        return (pair_id,) if self._content.get(pair_id) == content else ()


def _row(key: bytes, content: str, j: Judgment) -> tuple[object, ...]:
    # A reply may hold half of a surrogate pair, which UTF-8 cannot.
    reply = j.reply if j.reply.isascii() else j.reply.encode("utf-8", "replace").decode()
    said = judgment_checksum(j.pair_id, j.choice, j.probability_a, j.persona, reply)
    return key, j.judge, j.pair_id, content, j.sample, j.order, j.choice, j.probability_a, reply, j.persona, said


def judgment_of(row: Sequence[object]) -> Judgment:
    """Make the judgment that the columns `_COLUMNS` of a row hold."""
    names = ("pair_id", "judge", "sample", "order", "choice", "probability_a", "reply", "persona")
    return Judgment.model_validate(dict(zip(names, row, strict=True)))
