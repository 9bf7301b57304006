"""How many answers a second a store keeps, in SQLite and in PostgreSQL, with one process and with four.

    python bench/pg_store.py [--quick] [--json FILE] [--delay MS] [--postgres URL]

Each process is a run of a language model over the same pairs, behind a server that answers at once: 10 replies to a
pair, asked for in two requests, each claimed on disk before it is sent and kept on disk with its judgments before it
counts. So an answer is a claim, a settled attempt and 5 judgments; "CPU ms each" is what the judging processes took
for one, whatever else the machine did. Every process begins at another pair, and none asks
what another one has asked; "twice" counts what was. Both keep every commit with fsync. A second row of PostgreSQL has a
network of ``--delay`` milliseconds there and back between judge and server. "copied" is `dissensus judgments copy` of
what was judged into the other database and its comparison. ``--postgres`` names an empty database; without it Debian's
server is started in a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dissensus.files.database_url import place_of
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.messages import Answer, Ask, Sampling, Usage
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.store.copying import copy
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.records import Pair

Row = dict[str, object]
REPLY = "Choice: A\n\nThe first answer names its source and says how sure it is, and the other one does neither."


class Prompt:
    """Answers at once, and counts."""

    identity = {"model": "bench"}  # noqa: RUF012
    context = None
    samples_per_request = 10

    def __init__(self) -> None:
        self.asked = 0

    async def __aenter__(self) -> Prompt:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Answer:
        self.asked += 1
        await asyncio.sleep(0)
        return Answer(ask, (REPLY,) * len(ask.samples), usage=Usage(300, 40))


def work(place: str, size: int, number: int, of: int) -> None:
    """Judge all pairs, first those of this process; prints when it began and ended, its CPU time and what it asked."""
    pairs = [Pair(id=f"p{i}", prompt=f"q{i}", response_a=f"yes {i}", response_b=f"no {i}") for i in range(size)]
    first = size * number // of
    judge, server = LanguageJudge(LanguageSettings(model="bench"), Prompt.identity), Prompt()
    with JudgmentStore(place) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        start, cpu = time.time(), time.process_time()
        ask_model([*pairs[first:], *pairs[:first]], judge, server, store, AskingOptions(progress=False))
        print(json.dumps([start, time.time(), time.process_time() - cpu, server.asked]), flush=True)


def measure(place: str, size: int, processes: int) -> Row:
    """Let so many processes judge the same pairs into an empty store."""
    JudgmentStore(place).close()
    command = [sys.executable, __file__, "--work", place, str(size)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, str(n), str(processes)], **pipes) for n in range(processes)]
    for one in running:
        one.stdout.readline()
    for one in running:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [json.loads(one.communicate()[0]) for one in running]
    seconds = max(end for _, end, *_ in said) - min(start for start, *_ in said)
    with JudgmentStore(place) as store:
        found = verify(store)
    assert found.damaged == 0
    assert found.judgments == 10 * size
    answers = 2 * size
    twice = sum(asked for *_, asked in said) - answers
    cpu = 1000 * sum(used for *_, used, _ in said) / answers
    return {
        **{"processes": processes, "answers": answers, "per_second": answers / seconds},
        **{"cpu_ms": cpu, "twice": twice},
    }


def move(source: str, target: str) -> Row:
    """Copy a store; returns rows a second."""
    start = time.perf_counter()
    with JudgmentStore(source) as store:
        count = sum(copy(store, place_of(target)).values())
    return {"copied": count / (time.perf_counter() - start)}


@contextlib.contextmanager
def databases(url: str | None) -> Iterator[str]:
    """Give the URL of an empty database."""
    if url:
        yield url
        return
    file = Path(__file__).resolve().parents[1] / "tests" / "annotate" / "postgres.py"
    spec = importlib.util.spec_from_file_location("postgres", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.server(fsync=True) as fresh:
        yield fresh()


@contextlib.contextmanager
def delayed(url: str, milliseconds: float) -> Iterator[str]:
    """Give a URL behind a network that takes so long there and back."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--proxy", url, str(milliseconds)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def proxy(url: str, milliseconds: float) -> None:
    """Pass bytes on, late; the socket of a local server stands behind."""
    folder = dict(place_of(url).options)["host"]

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                at, data = await waiting.get()
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                writer.write(data)
                if not data:
                    return writer.close()

        task = asyncio.create_task(send())
        while data := await reader.read(1 << 16):
            waiting.put_nowait((time.monotonic() + milliseconds / 2000, data))
        waiting.put_nowait((time.monotonic(), b""))
        await task

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        with contextlib.suppress(OSError):
            await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    own = tempfile.mkdtemp()
    server = await asyncio.start_unix_server(serve, f"{own}/.s.PGSQL.5432")
    print(url.replace(folder, own), flush=True)
    await server.serve_forever()


def describe(rows: list[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    titles = ("database", "processes", "answers", "per second", "CPU ms each", "asked twice", "rows copied a second")
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * 6]
    for row in rows:
        wanted = ("answers", "per_second", "cpu_ms", "twice", "copied")
        numbers = [f"{row[name]:,.{'2' if name == 'cpu_ms' else '0'}f}" if name in row else "–" for name in wanted]
        lines.append(f"| {row['database']} | {row['processes']} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(sys.argv[2], *map(int, sys.argv[3:]))
    if sys.argv[1:2] == ["--proxy"]:
        return asyncio.run(proxy(sys.argv[2], float(sys.argv[3])))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="500 pairs instead of 2,000")
    parser.add_argument("--json", type=Path, help="write the rows as a list of objects")
    parser.add_argument("--postgres", metavar="URL")
    parser.add_argument("--delay", type=float, default=2.0, metavar="MS", help="there and back, of the third rows")
    options = parser.parse_args()
    size, rows = 500 if options.quick else 2000, list[Row]()
    with (
        databases(options.postgres) as url,
        tempfile.TemporaryDirectory() as name,
        contextlib.ExitStack() as until_then,
    ):
        joint = "&" if "?" in url else "?"
        folder, near = Path(name), f"{url}{joint}schema="
        far = None if options.postgres else f"{until_then.enter_context(delayed(url, options.delay))}{joint}schema="
        for processes in (1, 4):
            file, schema = str(folder / f"{processes}.db"), f"{near}near{processes}"
            rows.append({"database": "SQLite", **measure(file, size, processes)})
            rows[-1] |= move(file, f"{near}copied{processes}")
            rows.append({"database": "PostgreSQL", **measure(schema, size, processes)})
            rows[-1] |= move(schema, str(folder / f"copied{processes}.db"))
            if far is not None:
                title = f"PostgreSQL, {options.delay:g} ms away"
                rows.append({"database": title, **measure(f"{far}far{processes}", size, processes)})
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(f"SQLite {sqlite3.sqlite_version}, python {' '.join(sys.argv)}\n\n{describe(rows)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
