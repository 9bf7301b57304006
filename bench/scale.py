"""Memory and time of one process: evaluating, margins and the committee, on a million pairs.

    python bench/scale.py [--quick] [--json FILE] [--other PYTHON] [--only CASE ...] [--sizes N ...]

Each case makes its files in a temporary folder, and runs the command in a process of its own, whose peak resident
memory the kernel reports: interpreter and imports are in it. ``--other`` names the interpreter of another build of the
package, which takes turns with this one. The cases:

- evaluate: three models on pairs of six data sets in two domains, five votes a pair, prompts of one to eight pairs; the
  settings that ``dissensus evaluate`` has by default
- margin: ten judgments a pair of a language model in a store, five in each presentation order
- committee: ten members on labelled pairs, prompts of four pairs; the encoder is a stub, whose features cost nothing
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [f"w{number:x}" for number in range(0x1000, 0x3000)]
_AT_ONCE = 50_000
BEFORE = {("evaluate", 100_000): "874.0 seconds, 3,000 MB on two idle AVX2 cores (30 November 2026)"}
"""What the build before took."""
MODELS = (("one", 0.8), ("two", 0.9), ("three", 1.0))


@dataclass(frozen=True)
class Case:
    """What is run, at which sizes (pairs), and at most how many MB it may take at each."""

    make: Callable[[Path, int], None]
    command: Callable[[Path], list[str]]
    sizes: tuple[int, ...]
    quick: int
    limits: dict[int, int]
    each: int = 1
    """What is counted of each pair."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Ten thousand pairs or fewer.")
    parser.add_argument("--json", type=Path, help="Write the rows here.")
    parser.add_argument("--other", help="The Python of another build.")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N", help="Pairs, in place of those of the case.")
    parser.add_argument("--keep", type=Path, help="A folder for the files, which are used again where they are there.")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        CASES[given.make[0]].make(Path(given.make[2]), int(given.make[1]))
        return
    if given.inside:
        judge_with_committee(given.inside)
        return
    about = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(about, f"python {' '.join(sys.argv)}", sep="\n")
    print(
        f"{'case':10} {'pairs':>9}  {'build':10} {'seconds':>8} {'cpu':>8} {'a second':>9} {'peak, MB':>9}", flush=True
    )
    rows = [row for name in given.only for row in run(name, given)]
    if given.json:
        given.json.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
    sys.exit(any(row["build"] == "this" and row["peak"] > row["limit"] for row in rows if row["limit"]))


def run(name: str, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Run a case at its sizes with each build; yields a row of what it took."""
    case = CASES[name]
    builds = {"this": sys.executable} | ({"other": given.other} if given.other else {})
    for n in given.sizes or ((case.quick,) if given.quick else case.sizes):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if given.keep is None else given.keep / f"{name}-{n}"
            if not folder.exists() or not any(folder.iterdir()):
                folder.mkdir(parents=True, exist_ok=True)
                # In a process of its own: a child's peak begins with what its parent holds.
                subprocess.run([sys.executable, __file__, "--make", name, str(n), str(folder)], check=True)
            if (name, n) in BEFORE:
                print(f"{name:10} {n:9,}  before: {BEFORE[name, n]}", flush=True)
            for build, python in builds.items():
                took = measure([python, *case.command(folder)])
                took["rate"] = n * case.each / took["seconds"]
                print(
                    f"{name:10} {n:9,}  {build:10} {took['seconds']:8.1f} {took['cpu']:8.1f} {took['rate']:9,.0f} "
                    f"{took['peak']:9,.0f}",
                    flush=True,
                )
                yield {"case": name, "pairs": n, "build": build, "limit": case.limits.get(n), **took}


def measure(command: list[str]) -> dict[str, float]:
    """Run a command; returns seconds, seconds of processors, and the peak of resident memory in MB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {said.read().decode()[-3000:]}")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}


def make_evaluate(folder: Path, n: int) -> None:
    """Write pairs with votes, and the predictions of three models."""
    rng = np.random.default_rng(0)
    utility = rng.normal(0.3, 1.6, n)
    votes, data_set = rng.binomial(5, 1 / (1 + np.exp(-utility))), rng.integers(6, size=n)
    ids, prompt = [f"pair-{i}" for i in range(n)], np.repeat(np.arange(n), rng.integers(1, 9, n))[:n]
    texts = (text(rng, 30) for _ in range(n))
    columns = {
        "id": ids,
        "prompt": [f"prompt {d} {p}" for d, p in zip(data_set.tolist(), prompt.tolist(), strict=True)],
        "response_a": [f"first {i} {words}" for i, words in enumerate(texts)],
        "response_b": [f"second one {i}" for i in range(n)],
        "dataset": [f"set-{d}" for d in data_set.tolist()],
        "domain": np.where(data_set < 3, "in", "out"),
        "distinct": np.where(rng.random(n) < 0.4, "yes", "no"),
        "group": [f"{d}-{p}" for d, p in zip(data_set.tolist(), prompt.tolist(), strict=True)],
        "votes_a": votes,
        "votes_b": 5 - votes,
    }
    pq.write_table(pa.table(columns), folder / "pairs.parquet", row_group_size=4096)
    for model, noise in MODELS:
        reward = 0.7 * utility + rng.normal(0, noise, n)
        said = {"pair_id": ids, "model": [model] * n, "reward_a": reward, "reward_b": np.zeros(n)}
        said["preference_a"] = 1 / (1 + np.exp(-reward))
        pq.write_table(pa.table(said), folder / f"{model}.parquet", row_group_size=4096)


def text(rng: np.random.Generator, words: int) -> str:
    """Some words."""
    return " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=words).tolist())


def command_evaluate(folder: Path) -> list[str]:
    files = [part for model, _ in MODELS for part in ("--predictions", str(folder / f"{model}.parquet"))]
    out = ["--out", str(folder / "scores.json"), "--baseline", "one"]
    return ["-m", "dissensus", "evaluate", str(folder / "pairs.parquet"), *files, *out]


def make_margin(folder: Path, n: int) -> None:
    """Write pairs, and a store of a language model's replies, ten on each."""
    from dissensus.judges.language.plan import LanguageJudge
    from dissensus.judges.language.settings import LanguageSettings
    from dissensus.judges.store.keys import judgment_checksum
    from dissensus.judges.store.store import JudgmentStore
    from dissensus.messages import content_id

    rng = np.random.default_rng(0)
    judge = LanguageJudge(LanguageSettings(model="model"), {"model": "model"})
    texts = [(f"prompt {i // 4} {text(rng, 10)}", f"first {i} {text(rng, 10)}", f"second {i}") for i in range(n)]
    columns = dict(zip(("prompt", "response_a", "response_b"), zip(*texts, strict=True), strict=True))
    ids = [f"pair-{i}" for i in range(n)]
    pq.write_table(pa.table({"id": ids, **columns}), folder / "pairs.parquet", row_group_size=4096)
    share = rng.beta(2, 2, n)

    def rows(first: int) -> Iterator[tuple[object, ...]]:
        for i in range(first, min(first + _AT_ONCE, n)):
            content = content_id(*texts[i])
            for planned, drawn in zip(judge.plan(content), rng.random(10).tolist(), strict=True):
                choice = "a" if drawn < share[i] else "b"
                reply = "Choice: " + ("A" if (choice == "a") == (planned.order == "ab") else "B")
                said = judgment_checksum(ids[i], choice, None, "", reply)
                key, own = judge.sample_key(content, planned), (judge.name, ids[i], content)
                yield (key, *own, planned.sample, planned.order, choice, None, reply, "", said)

    with JudgmentStore(folder / "judgments.db") as store:
        store.connection.execute("PRAGMA synchronous = OFF")
        store.register(judge.name, judge.settings())
        for first in range(0, n, _AT_ONCE):
            with store.transaction() as connection:
                marks = ", ".join("?" * 11)
                connection.executemany(f"INSERT INTO judgments VALUES ({marks})", sorted(rows(first)))


def command_margin(folder: Path) -> list[str]:
    files = [str(folder / "pairs.parquet"), "--store", str(folder / "judgments.db")]
    return ["-m", "dissensus", "margin", *files, "--out", str(folder / "margins.parquet")]


def make_committee(folder: Path, n: int) -> None:
    """Write labelled pairs, four of a prompt."""
    rng = np.random.default_rng(0)
    columns = {
        "id": [f"pair-{i}" for i in range(n)],
        "prompt": [f"prompt {i // 4}" for i in range(n)],
        "response_a": [f"first {i} {text(rng, 10)}" for i in range(n)],
        "response_b": [f"second {i}" for i in range(n)],
        "label": np.where(rng.random(n) < 0.5, "a", "b"),
    }
    pq.write_table(pa.table(columns), folder / "pairs.parquet", row_group_size=4096)


def command_committee(folder: Path) -> list[str]:
    return [__file__, "--inside", str(folder)]


class Stub:
    """An encoder of 384 features, drawn by a hash of the text."""

    digest = "00ff"

    def features(self, texts: list[tuple[str, str]], *, progress: bool = True) -> np.ndarray:
        del progress
        seeds = (zlib.crc32(response.encode()) for _, response in texts)
        return np.stack([np.random.default_rng(seed).random(384, dtype=np.float32) for seed in seeds])


def judge_with_committee(folder: Path) -> None:
    """Have a committee judge the pairs of a folder into a store of their own."""
    import dissensus.text.encoder as encoders
    from dissensus.judges import CommitteeSettings
    from dissensus.sources.dataset import PairFile
    from dissensus.steps.judge import run as judge

    encoders.load_encoder = lambda *_, **__: Stub()
    with tempfile.TemporaryDirectory() as temporary:
        pairs = PairFile(str(folder / "pairs.parquet"))
        judge(CommitteeSettings(), pairs, Path(temporary) / "judgments.db", progress=False)


CASES = {
    "evaluate": Case(make_evaluate, command_evaluate, (100_000, 1_000_000), 3000, {100_000: 600, 1_000_000: 2500}),
    "margin": Case(make_margin, command_margin, (100_000, 1_000_000), 5000, {1_000_000: 500}, each=10),
    "committee": Case(make_committee, command_committee, (100_000, 1_000_000), 2000, {1_000_000: 600}, each=10),
}


if __name__ == "__main__":
    main()
