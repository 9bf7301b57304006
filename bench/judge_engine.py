"""Requests a second against a server that answers at once: the engine, all on disk, and distilabel's client.

    python bench/judge_engine.py --distilabel PYTHON [--quick] [--json FILE]

A stub server in a process of its own answers chat requests without delay; prompts are the paper's, of about 1,500
characters, one reply each. Contenders, in turn within each round: the engine (each request noted on disk before it is
sent, each answer on disk, with fsync, before it is counted), and distilabel's OpenAI client in an environment of its
own (``pip install "distilabel[openai]" requests``), which keeps nothing, in batches of 50 (its default) and of 500.
The claims: at least 500 durable requests a second on 2 cores, and three times distilabel's.

``--memory PAIRS`` runs the engine alone, on a tenth of so many pairs and on all of them, and prints its peak memory.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dissensus.judges.job import AskingOptions
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.prompt import load_template
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.runner import ask_model
from dissensus.judges.server.backend import Server
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.server.http import Endpoint
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair

HERE = Path(__file__).resolve().parent
PROFILE = ServerProfile(model="stub")


class Pairs:
    """Pairs of about 1,500 characters, made as they are read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Pair]:
        words = "a long answer that says what it has to say and then says it again " * 8
        for i in range(self.count):
            yield Pair(id=f"p{i}", prompt=f"question {i}", response_a=f"{i} {words}", response_b=f"{words} {i}")


def start_stub() -> tuple[subprocess.Popen[str], str]:
    script = HERE.parent / "tests" / "judge" / "stub_server.py"
    stub = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    return stub, f"http://127.0.0.1:{stub.stdout.readline().split()[1]}/v1"


def engine(url: str, count: int) -> float:
    judge = LanguageJudge(LanguageSettings(model="stub", n=1, order="ab"), {"model": "stub"})
    with tempfile.TemporaryDirectory() as folder, JudgmentStore(Path(folder) / "judgments.db") as store:
        start = time.perf_counter()
        options = AskingOptions(progress=False)
        summary = ask_model(Pairs(count), judge, Server(Endpoint(url), PROFILE), store, options)
        seconds = time.perf_counter() - start
        kept = store.judges()[judge.name]
    if not summary.tally.made == kept == count:
        raise SystemExit(f"{count} requests, {kept} judgments on disk")
    return count / seconds


def distilabel(python: str, url: str, count: int, batch: int) -> float:
    template = load_template("paper")
    prompts = [template.render(pair, "ab") for pair in Pairs(200)]
    command = [python, str(HERE / "peers" / "distilabel_client.py"), url, str(count), str(batch)]
    done = subprocess.run(command, input=json.dumps(prompts), capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["answered"] / result["seconds"]


def memory(url: str, count: int) -> list[dict[str, object]]:
    """Peak memory on a tenth of the pairs, then on all: the second run cannot hide behind the first."""
    rows = []
    for pairs in (count // 10, count):
        rate = engine(url, pairs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append({"pairs": pairs, "requests_per_second": round(rate), "peak_mb": round(peak)})
        print(f"{pairs:>9,} pairs  {rate:8,.0f} requests/s  peak {peak:6.0f} MB")
    return rows


def version_of(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('distilabel'), 'openai', m.version('openai'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--distilabel", metavar="PYTHON", help="interpreter of an environment with distilabel")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", type=int, metavar="PAIRS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count, rounds = (1000, 1) if options.quick else (5000, 3)
    print(f"machine: {platform.platform()}, {os.cpu_count()} cores; Python {platform.python_version()}")
    print("versions: " + ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("dissensus", "aiohttp")))
    if options.distilabel:
        print(f"peer: distilabel {version_of(options.distilabel)}")
    print("command: " + " ".join([Path(sys.executable).name, *sys.argv]))
    stub, url = start_stub()
    try:
        rows = memory(url, options.memory) if options.memory else compare(url, options.distilabel, count, rounds)
    finally:
        stub.kill()
        stub.wait()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def compare(url: str, python: str | None, count: int, rounds: int) -> list[dict[str, object]]:
    contenders = {"dissensus, durable": lambda: engine(url, count)}
    if python:
        for batch in (50, 500):
            contenders[f"distilabel, batches of {batch}"] = lambda batch=batch: distilabel(python, url, count, batch)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            rates[name].append(run())
    ours = statistics.median(rates["dissensus, durable"])
    print(f"\n{count:,} requests, {rounds} round(s)\n")
    print(f"{'':<28} {'requests/s':>10} {'of ours':>8}   rounds")
    rows = []
    for name, found in rates.items():
        median = statistics.median(found)
        told = ", ".join(f"{rate:,.0f}" for rate in found)
        print(f"{name:<28} {median:>10,.0f} {median / ours:>8.2f}   {told}")
        rows.append({"name": name, "requests_per_second": median, "rounds": found})
    return rows


if __name__ == "__main__":
    main()
