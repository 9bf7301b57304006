"""Annotators at work while the server is killed again and again: what is lost, what is doubled, how fast it is.

    python bench/annotate_load.py [--quick] [--json FILE] [--database sqlite|postgresql] [--postgres URL]

Twenty simulated annotators give 1,000 answers each over real HTTP, each of them the next as soon as the last is
acknowledged, as quickly as the server lets them; all see all 1,000 pairs. In the run with kills the server is ended by
``kill -9`` ten times at even distances and started again; an annotator whose request fails sends it again with the same
idempotency key, as the page in the browser does. The steady run has no kills. Server and annotators share the machine.
Afterwards every acknowledged answer is looked up in the database, the rows are counted, and the integrity check of
``dissensus annotations verify`` is run.

The claims: no acknowledged answer lost, none doubled, the check finds nothing, a killed server answers again within
3 s; with SQLite at least 400 acknowledged answers a second with the 95th percentile of their latency under 150 ms. The
reference is a prototype of FastAPI and SQLite on two such cores: 475 a second, 110 ms.

Latency is from the first sending of an answer to its acknowledgement; with kills, answers that had to be sent again are
counted apart. ``--postgres`` names an empty database; without it Debian's server is started in a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
from sqlalchemy import select

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project import access, verify
from dissensus.annotate.project.items import add_items
from dissensus.annotate.project.schema import assignments, revisions
from dissensus.annotate.project.store import AnnotationStore
from dissensus.records import Pair

Row = dict[str, object]
Given = tuple[str, str]
HOLD = 25
"""Pairs that an annotator's browser holds."""


@dataclass
class Tally:
    """What the annotators saw."""

    acknowledged: dict[Given, int] = field(default_factory=dict)
    """(assignment key, idempotency key) to how many of ten prefer the answer on the left."""
    seconds: list[float] = field(default_factory=list)
    """Of answers that went through at once."""
    resent: int = 0
    refused: Counter[int] = field(default_factory=Counter)


class Server:
    """``dissensus annotate`` in a process of its own."""

    def __init__(self, database: str, secret: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "dissensus", "annotate", "--db", database]
        self._command += ["--port", str(self.port), "--secret-file", str(secret)]
        self._log = (folder / "server.log").open("ab")
        self.process = self._start()
        self.restarts: list[float] = []

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=self._log)

    async def ready(self) -> None:
        async with aiohttp.ClientSession() as web:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with web.get(f"{self.origin}/healthz") as reply:
                        if reply.status == 200:
                            return
                if self.process.poll() is not None:
                    raise SystemExit(f"the server ended with {self.process.returncode}; see {self._log.name}")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        start = time.perf_counter()
        self.process = self._start()
        await self.ready()
        self.restarts.append(time.perf_counter() - start)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()


class Annotator:
    """One person with a browser that holds some pairs and never forgets what was not acknowledged."""

    def __init__(self, number: int, token: str, server: Server, tally: Tally) -> None:
        self._draw = random.Random(number)
        self._token, self._server, self._tally = token, server, tally
        self._headers = {"Origin": server.origin}

    async def work(self, answers: int) -> None:
        jar = aiohttp.CookieJar(unsafe=True)
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(headers=self._headers, cookie_jar=jar, connector=connector) as web:
            await self._post(web, "/api/session", {"token": self._token})
            held: list[str] = []
            for _ in range(answers):
                if not held:
                    reply = await self._post(web, "/api/tasks", {"have": [], "want": HOLD})
                    held = [task["key"] for task in reply["tasks"]]
                await self._answer(web, held.pop(0))

    async def _answer(self, web: aiohttp.ClientSession, key: str) -> None:
        act, left = f"{self._draw.getrandbits(128):032x}", self._draw.randint(0, 10)
        said = {"correct": "multiple", "distinct": "yes", "left": left, "note": "", "seconds": 12.5}
        body = {"id": act, "base": 0, "kind": "answer", "answer": said, "reason": ""}
        start, resent = time.perf_counter(), self._tally.resent
        reply = await self._post(web, f"/api/tasks/{key}/revisions", body)
        if reply["revision"] != 1:
            raise SystemExit(f"an answer was taken twice: {reply}")
        if self._tally.resent == resent:
            self._tally.seconds.append(time.perf_counter() - start)
        self._tally.acknowledged[key, act] = left

    async def _post(self, web: aiohttp.ClientSession, path: str, body: Row) -> Row:
        while True:
            try:
                async with web.post(f"{self._server.origin}{path}", json=body) as reply:
                    if reply.status == 200:
                        return await reply.json()
                    self._tally.refused[reply.status] += 1
                    if reply.status < 500:
                        raise SystemExit(f"{path}: {reply.status} {await reply.text()}")
            except (aiohttp.ClientError, ConnectionError):
                self._tally.resent += 1
            await asyncio.sleep(0.05)


def make_project(database: str, secret: Path, people: int, pairs: int) -> list[str]:
    """Make a project in which everybody is to see every pair; returns an invitation for each person."""
    config = AnnotationConfig(annotators=people, practice=False, prefetch=HOLD)
    now = time.time_ns() // 1_000_000
    texts = [
        Pair(id=f"p{i}", prompt=f"Question {i}?", response_a=f"One {i}.", response_b=f"Two {i}.") for i in range(pairs)
    ]
    with AnnotationStore.create(database, config, secret=secret) as store:
        store.write(lambda c: add_items(c, texts))
        names = [f"Annotator {i}" for i in range(people)]
        persons = [store.write(lambda c, n=name: access.add_person(c, n, "annotator", now)) for name in names]
        return [store.write(lambda c, p=person: access.invite(c, store, p.id, now)) for person in persons]


async def annotate(server: Server, tokens: list[str], answers: int, kills: int) -> tuple[Tally, float]:
    """Let everybody work, killing the server at even distances; returns what they saw and the seconds it took."""
    tally = Tally()
    await server.ready()
    start = time.perf_counter()
    work = asyncio.gather(*(Annotator(i, t, server, tally).work(answers) for i, t in enumerate(tokens)))
    for kill in range(1, kills + 1):
        while len(tally.acknowledged) < kill * len(tokens) * answers // (kills + 1) and not work.done():
            await asyncio.sleep(0.005)
        await server.kill()
    await work
    return tally, time.perf_counter() - start


def audit(database: str, secret: Path, tally: Tally) -> Row:
    """Look every acknowledged answer up, count the rows, and check the whole."""
    joined = select(assignments.c.key, assignments.c.shown, revisions.c.idempotency_key, revisions.c.estimate)
    with AnnotationStore(database, secret=secret) as store:
        rows = store.read(lambda c: c.execute(joined.join_from(revisions, assignments)).all())
        problems = verify.check(store)
    stored = {(row.key, row.idempotency_key): row.estimate if row.shown == "ab" else 10 - row.estimate for row in rows}
    return {
        "lost": sum(stored.get(given) != left for given, left in tally.acknowledged.items()),
        "doubled": len(rows) - len({row.key for row in rows}),
        "unacknowledged": len(stored.keys() - tally.acknowledged.keys()),
        "problems": len(problems),
    }


def measure(name: str, database: str, folder: Path, people: int, answers: int, kills: int) -> Row:
    """One run, its figures and what was found in the database."""
    secret = folder / "secret"
    tokens = make_project(database, secret, people, answers)
    server = Server(database, secret, folder)
    try:
        tally, seconds = asyncio.run(annotate(server, tokens, answers, kills))
    finally:
        server.stop()
    down = sum(server.restarts)
    return {
        "database": name,
        "kills": kills,
        "acknowledged": len(tally.acknowledged),
        "per_second": len(tally.acknowledged) / (seconds - down),
        "per_second_with_restarts": len(tally.acknowledged) / seconds,
        "p50_ms": 1000 * float(np.percentile(tally.seconds, 50)),
        "p95_ms": 1000 * float(np.percentile(tally.seconds, 95)),
        "p99_ms": 1000 * float(np.percentile(tally.seconds, 99)),
        "sent_again": tally.resent,
        "restart_s": max(server.restarts, default=None),
        "refused": dict(tally.refused),
        **audit(database, secret, tally),
    }


@contextlib.contextmanager
def databases(chosen: list[str], url: str | None) -> Iterator[dict[str, object]]:
    """The databases asked for, as functions of a temporary folder to the name of an empty one."""
    found: dict[str, object] = {}
    with contextlib.ExitStack() as open_until_then:
        if "sqlite" in chosen:
            found["sqlite"] = lambda folder: str(folder / "annotations.db")
        if "postgresql" in chosen and url:
            found["postgresql"] = lambda _: url
        elif "postgresql" in chosen:
            fresh = open_until_then.enter_context(debian_server())
            found["postgresql"] = lambda _: fresh()
        yield found


def debian_server() -> contextlib.AbstractContextManager[object]:
    """The server that the tests start, with fsync on."""
    file = Path(__file__).resolve().parents[1] / "tests" / "annotate" / "postgres.py"
    spec = importlib.util.spec_from_file_location("postgres", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.server(fsync=True)


def describe(rows: list[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    columns = {
        "database": "database",
        "kills": "kills",
        "acknowledged": "acknowledged",
        "per_second": "per second",
        "per_second_with_restarts": "with restarts",
        "p50_ms": "p50 ms",
        "p95_ms": "p95 ms",
        "p99_ms": "p99 ms",
        "sent_again": "sent again",
        "restart_s": "slowest restart s",
        "lost": "lost",
        "doubled": "doubled",
        "problems": "problems",
    }
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row[name]) for name in columns) + " |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 annotators, 150 answers each, 3 kills")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--postgres", metavar="URL")
    options = parser.parse_args()
    people, answers, kills = (20, 150, 3) if options.quick else (20, 1000, 10)
    rows: list[Row] = []
    with databases(options.database or ["sqlite", "postgresql"], options.postgres) as found:
        for name, fresh in found.items():
            for number in (0, kills):
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(measure(name, fresh(Path(folder)), Path(folder), people, answers, number))
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(*(f"{p} {importlib.metadata.version(p)}" for p in ("fastapi", "uvicorn", "sqlalchemy", "aiohttp")), sep=", ")
    print(f"python {' '.join(sys.argv)}\n\n{describe(rows)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    if any(row["lost"] or row["doubled"] or row["problems"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
