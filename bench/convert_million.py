"""Converting a million pairs between formats: peak memory and rows a second.

    python bench/convert_million.py [--quick] [--json FILE] [--rows N]

Makes a temporary JSON Lines file of pairs with votes, then runs ``dissensus pairs`` from format to format, each in
a child process whose peak resident memory the kernel reports. The claim: below 500 MB at any size. The
contender is pandas, which holds the file in memory: with ``--quick`` alone, as a million rows need several GB.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = [("jsonl", "parquet"), ("parquet", "jsonl.gz"), ("jsonl.gz", "csv"), ("csv", "jsonl.gz")]
LIMIT_MB = 500
QUICK = 50_000

_PANDAS = """
import sys, pandas
pandas.read_json(sys.argv[1], lines=True).to_parquet(sys.argv[2])
"""


def make_pairs(path: Path, rows: int) -> None:
    """Write pairs of about one kilobyte: ten pairs a prompt, three votes each."""
    draw = random.Random(0)
    words = [f"w{draw.getrandbits(20)}" for _ in range(5000)]
    with path.open("w", encoding="utf-8") as out:
        for i in range(rows):
            if i % 10 == 0:
                prompt = " ".join(draw.choices(words, k=30))
            votes = [{"annotator": f"p{j}", "vote": draw.choice(("a", "b", "tie"))} for j in range(3)]
            row = {
                "id": f"pair-{i}",
                "prompt": prompt,
                "response_a": " ".join(draw.choices(words, k=40)),
                "response_b": " ".join(draw.choices(words, k=40)),
                "votes": votes,
            }
            out.write(json.dumps(row) + "\n")


def measure(command: list[str], rows: int) -> tuple[float, float]:
    """Run a command; return its peak resident memory in MB and rows a second."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {child.stderr.read().decode()}")
    return usage.ru_maxrss / 1024, rows / seconds


def run(rows: int, folder: Path) -> list[dict[str, object]]:
    make_pairs(folder / "pairs.jsonl", rows)
    ours = [sys.executable, "-m", "dissensus", "pairs"]
    jobs = [("dissensus", a, b, [*ours, f"{folder}/pairs.{a}", "--out", f"{folder}/pairs.{b}"]) for a, b in STEPS]
    if rows <= QUICK:
        pandas = [sys.executable, "-c", _PANDAS, f"{folder}/pairs.jsonl", f"{folder}/p"]
        jobs.append(("pandas", "jsonl", "parquet", pandas))
    results: list[dict[str, object]] = []
    for name, source, target, command in jobs:
        size = (folder / f"pairs.{source}").stat().st_size / 1e6
        peak, rate = measure(command, rows)
        row = {"contender": name, "from": source, "to": target, "rows": rows, "input_mb": round(size)}
        results.append(row | {"peak_mb": round(peak), "rows_per_second": round(rate)})
        print("  ".join(f"{results[-1][key]!s:>{len(key) + 3}}" for key in results[-1]), flush=True)
    return results


def environment() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("dissensus", "pyarrow", "pydantic", "pandas")}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return {"machine": machine, "python": platform.python_version(), **versions, "command": " ".join(sys.argv)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="50,000 rows")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    about = environment()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    columns = ("contender", "from", "to", "rows", "input_mb", "peak_mb", "rows_per_second")
    print("  ".join(f"{name:>{len(name) + 3}}" for name in columns))
    with tempfile.TemporaryDirectory() as folder:
        results = run(QUICK if options.quick else options.rows, Path(folder))
    if options.json:
        options.json.write_text(json.dumps([about | row for row in results], indent=2) + "\n")
    peak = max(int(str(row["peak_mb"])) for row in results if row["contender"] == "dissensus")
    print(f"peak of dissensus: {peak} MB, {'within' if peak < LIMIT_MB else 'ABOVE'} {LIMIT_MB} MB")
    sys.exit(peak >= LIMIT_MB)


if __name__ == "__main__":
    main()
