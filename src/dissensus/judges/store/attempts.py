"""Attempts: what was sent to a model and what it cost, on disk before it is sent.

So what a killed process had in flight is known, and two processes never pay for the same question at once.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from dissensus.errors import InputError
from dissensus.hashing import framed_digest
from dissensus.judges.language.messages import Ask, Usage
from dissensus.judges.store.database import Connection, process_name
from dissensus.judges.store.store import JudgmentStore

State = Literal["answered", "failed", "too long", "refused"]
NO_ROOM = 0
"""In place of an attempt's number: it would have passed the most that may be spent."""
_CLAIMED = -1
_ROUNDING = 1e-9
_AT_ONCE = 500


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    prompt: float = 0.0
    completion: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no price.

        Raises:
            InputError: a price that is negative or not finite.
        """
        if not all(math.isfinite(price) and price >= 0 for price in (self.prompt, self.completion)):
            raise InputError(
                f"{self.prompt:g}/{self.completion:g} are no prices; give dollars per million tokens, 0 or more"
            )

    def of(self, usage: Usage) -> float:
        """Compute the price of one attempt in dollars."""
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / 1e6


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended."""

    id: int
    state: State
    usage: Usage
    cost: float
    seconds: float
    error: str | None = None
    refused: bytes | None = None
    """What a server will not answer (see `refused_view`), in place of the key of what was asked."""


@dataclass(frozen=True)
class Spent:
    """What a judge took so far, over all runs."""

    attempts: int
    failed: int
    refused: int
    lost: int
    """Attempts whose process died before the answer was kept; counted at their estimate."""
    prompt_tokens: int
    completion_tokens: int
    cost: float
    estimated: int
    """Attempts whose tokens are an estimate."""


@dataclass(frozen=True)
class OpenRun:
    """A run that has not ended, and what it has in flight."""

    judge: str
    host: str
    pid: int
    started: str
    in_flight: int


class Ledger:
    """The attempts of one run of one judge. The caller holds the transactions (see `JudgmentStore.transaction`)."""

    def __init__(self, store: JudgmentStore, judge: str) -> None:
        self._store = store
        self._connection = store.connection
        self.judge = judge
        self.run = 0

    @contextmanager
    def running(self, *, take_over: bool = False) -> Iterator[None]:
        """Open a run, after writing off what dead runs had in flight, and close it at the end.

        With ``take_over`` the runs of other hosts are dead too: from here nobody can tell.
        """
        database = self._store.database
        with self._store.transaction() as connection:
            open_runs = connection.execute("SELECT id, host, process FROM runs WHERE ended IS NULL").fetchall()
            for run, where, process in open_runs:
                if database.is_dead(run, where, process) or (take_over and where != socket.gethostname()):
                    _close(connection, run)
            (self.run,) = connection.execute(
                "INSERT INTO runs (judge, host, process, started) VALUES (?, ?, ?, ?) RETURNING id",
                (self.judge, socket.gethostname(), process_name(os.getpid()), _now()),
            ).fetchone()
            database.hold_run(self.run)
        try:
            yield
        finally:
            with self._store.transaction() as connection:
                _close(connection, self.run)
            database.release_run(self.run)

    def claim(self, asks: Iterable[tuple[Ask, Usage, float]], room: float | None = None) -> list[int | None]:
        """Note (ask, estimated usage, estimated cost) as sent.

        None in place of an id where another run has sent it, or has answered it since it was planned; `NO_ROOM` where
        it costs more than is left of ``room`` dollars.
        """
        asks = list(asks)
        taken = self._taken([ask.key for ask, _, _ in asks])
        missing = self._store.missing({key for ask, _, _ in asks for key in ask.keys})
        found: list[int | None] = []
        rows: list[tuple[object, ...]] = []
        for ask, usage, cost in asks:
            if room is not None and cost > max(room, 0.0) + _ROUNDING:
                found.append(NO_ROOM)
            elif ask.key in taken or not missing.issuperset(ask.keys):
                found.append(None)
            else:
                tokens = (usage.prompt_tokens, usage.completion_tokens)
                rows.append((self.run, self.judge, ask.pair.id, ask.key, *tokens, cost))
                found.append(_CLAIMED)
                room = None if room is None else room - cost
        numbers = iter(
            self._store.database.insert(
                "INSERT INTO attempts (run, judge, pair_id, ask, state, prompt_tokens, completion_tokens, estimated, "
                "cost) VALUES (?, ?, ?, ?, 'sent', ?, ?, 1, ?) RETURNING id",
                rows,
            )
        )
        return [next(numbers) if one == _CLAIMED else one for one in found]

    def _taken(self, keys: Sequence[bytes]) -> set[bytes]:
        """Find those of ``keys`` that other runs have in flight."""
        found: set[bytes] = set()
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            query = f"SELECT ask FROM attempts WHERE state = 'sent' AND run != ? AND ask IN ({_marks(some)})"
            found.update(key for (key,) in self._store.rows(query, (self.run, *some)))
        return found

    def settle(self, attempts: Iterable[Attempt]) -> None:
        """Note how attempts ended. Those that cost nothing and failed in nothing leave no row."""
        free: list[tuple[int]] = []
        ended: list[tuple[object, ...]] = []
        for attempt in attempts:
            usage = attempt.usage
            if attempt.state == "answered" and not attempt.cost and not usage.prompt_tokens:
                free.append((attempt.id,))
                continue
            tokens = (usage.prompt_tokens, usage.completion_tokens, int(usage.estimated))
            about = (round(attempt.seconds, 4), attempt.refused, attempt.id)
            ended.append((attempt.state, attempt.error, *tokens, attempt.cost, *about))
        self._connection.executemany("DELETE FROM attempts WHERE id = ?", free)
        self._connection.executemany(
            "UPDATE attempts SET state = ?, error = ?, prompt_tokens = ?, completion_tokens = ?, estimated = ?, "
            "cost = ?, seconds = ?, ask = COALESCE(?, ask) WHERE id = ?",
            ended,
        )

    def refused(self) -> dict[bytes, str]:
        """List what the server would not answer in earlier runs, with its reasons."""
        query = "SELECT ask, error FROM attempts WHERE judge = ? AND state = 'refused'"
        return {bytes(key): error or "" for key, error in self._store.rows(query, (self.judge,))}

    def no_longer_refused(self, views: Iterable[bytes]) -> None:
        """Note that prompts were answered (see `refused_view`): what was refused of them before has failed, no more."""
        self._connection.executemany(
            "UPDATE attempts SET state = 'failed' WHERE judge = ? AND state = 'refused' AND ask = ?",
            [(self.judge, view) for view in views],
        )


def _close(connection: Connection, run: int) -> None:
    """End a run; what it had in flight is lost, and was paid for if anything is paid for."""
    connection.execute("DELETE FROM attempts WHERE run = ? AND state = 'sent' AND prompt_tokens = 0", (run,))
    connection.execute("UPDATE attempts SET state = 'lost' WHERE run = ? AND state = 'sent'", (run,))
    connection.execute("UPDATE runs SET ended = ? WHERE id = ?", (_now(), run))


def refused_view(content: str, order: str, persona: str) -> bytes:
    """Name a prompt: what a judge is shown of a pair, whatever number of replies is asked for."""
    return framed_digest("refused", content, order, persona)


def spent(store: JudgmentStore, *judges: str) -> Spent:
    """Add up the attempts of judges, over all runs."""
    (row,) = store.rows(
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE state = 'failed'), COUNT(*) FILTER (WHERE state = 'refused'), "
        "COUNT(*) FILTER (WHERE state = 'lost'), CAST(SUM(prompt_tokens) AS BIGINT), "
        "CAST(SUM(completion_tokens) AS BIGINT), SUM(cost), CAST(SUM(estimated) AS BIGINT) FROM attempts "
        f"WHERE judge IN ({_marks(judges)}) AND state != 'sent'",
        judges,
    )
    return Spent(*(value or 0 for value in row))


class Account:
    """Dollars that judges have cost in a store, over all runs and processes, what is in flight at its estimate.

    Cheap to look at often: what was settled before the oldest attempt in flight is added up once.
    """

    def __init__(self, store: JudgmentStore, judges: Sequence[str]) -> None:
        self._store = store
        self._judges = tuple(judges)
        self._settled = 0.0
        self._from = 0

    def cost(self) -> float:
        """Add up what has come since; within a transaction no other process spends meanwhile."""
        ((oldest,),) = self._store.rows(
            "SELECT COALESCE((SELECT MIN(id) FROM attempts WHERE state = 'sent'), "
            "(SELECT MAX(id) + 1 FROM attempts), 0)"
        )
        self._settled += self._between(self._from, oldest)
        self._from = oldest
        return self._settled + self._between(oldest, 2**62)

    def _between(self, first: int, end: int) -> float:
        query = f"SELECT SUM(cost) FROM attempts WHERE id >= ? AND id < ? AND judge IN ({_marks(self._judges)})"
        ((cost,),) = self._store.rows(query, (first, end, *self._judges))
        return float(cost or 0.0)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def open_runs(store: JudgmentStore) -> list[OpenRun]:
    """List the runs that have not ended: at work, dead, or on another host."""
    rows = store.rows(
        "SELECT judge, host, process, started, (SELECT COUNT(*) FROM attempts WHERE run = runs.id AND state = 'sent') "
        "FROM runs WHERE ended IS NULL ORDER BY id"
    )
    return [OpenRun(judge, host, int(process.split(":")[0]), began, n) for judge, host, process, began, n in rows]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
