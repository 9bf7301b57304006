"""Memory over time: pairs go through one verb after the other, and what each holds is drawn.

    python bench/timeline.py [--quick] [--json FILE] [--plot FILE] [--pairs N] [--size VERB=N ...]

Pairs of six data sets with five votes and predictions of a model are made as Parquet, as in bench/scale.py; then each
verb runs in a process of its own, whose resident memory is read ten times a second, interpreter and imports in it.
``--size`` gives a verb other pairs: some take hours at millions. The committee's encoder is a stub, whose features cost
nothing. Fails where a verb needs more than LIMITS allow it.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIMITS = {"margin": 500, "evaluate": 2500, "committee": 600}
"""MB at a million pairs and fewer."""
VERBS: dict[str, str] = {
    "pairs": "pairs pairs.parquet --label one-vote --out labelled.parquet",
    "split": "split pairs.parquet --out-train train.parquet --out-test test.parquet",
    "aggregate": "aggregate pairs.parquet --out aggregated.parquet",
    "classify": "classify pairs.parquet --out classified.parquet",
    "judge": "judge votes pairs.parquet --store judgments.db --quiet",
    "margin": "margin pairs.parquet --store judgments.db --out margins.parquet",
    "committee": "",
    "evaluate": "evaluate pairs.parquet --predictions one.parquet --out scores.json",
    "report": "report . --out page.html",
}
"""What is run; committee is made by bench/scale.py."""
NEEDS = {"margin": "judge", "report": "evaluate"}
SCALE = Path(__file__).with_name("scale.py")
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Two thousand pairs.")
    parser.add_argument("--json", type=Path, help="Write the rows, with all samples, here.")
    parser.add_argument("--plot", type=Path, help="Draw them here (.svg, .png).")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--size", nargs="+", default=[], metavar="VERB=N", help="Other numbers of pairs.")
    parser.add_argument("--only", nargs="+", choices=VERBS, default=list(VERBS), metavar="VERB")
    given = parser.parse_args()
    n = 2000 if given.quick else given.pairs
    sizes = dict.fromkeys(given.only, n) | {verb: int(size) for verb, size in (one.split("=") for one in given.size)}
    about = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(about, f"python {' '.join(sys.argv)}", sep="\n")
    print(f"{'verb':10} {'pairs':>9} {'seconds':>8} {'cpu':>8} {'peak, MB':>9}", flush=True)
    rows = []
    for row in run({verb: sizes[verb] for verb in given.only}):
        rows.append(row)
        if given.json:  # what is there when a later verb is ended
            given.json.write_text(json.dumps({"about": about, "rows": rows}) + "\n")
        if given.plot:
            draw(rows, given.plot)
    over = [row for row in rows if row["pairs"] <= 1_000_000 and row["peak"] > LIMITS.get(row["verb"], float("inf"))]
    sys.exit(bool(over))


def run(sizes: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Run the verbs; yields what each took, with its samples."""
    with tempfile.TemporaryDirectory() as temporary:
        for verb, n in sizes.items():
            case = "committee" if verb == "committee" else "evaluate"
            folder = Path(temporary) / f"{case}-{n}"
            if not folder.exists():
                folder.mkdir()
                subprocess.run([sys.executable, SCALE, "--make", case, str(n), str(folder)], check=True)
            before = NEEDS.get(verb)
            if before is not None and sizes.get(before) != n:
                sample(command(before, folder), folder)
            row = {"verb": verb, "pairs": n, **sample(command(verb, folder), folder)}
            print(f"{verb:10} {n:9,} {row['seconds']:8.1f} {row['cpu']:8.1f} {row['peak']:9,.0f}", flush=True)
            yield row


def command(verb: str, folder: Path) -> list[str]:
    if verb == "committee":
        return [sys.executable, str(SCALE), "--inside", str(folder)]
    return [sys.executable, "-m", "dissensus", *VERBS[verb].split()]


def sample(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command in a folder; returns seconds, the peak in MB, and [second, MB] all the while."""
    start, samples = time.perf_counter(), []
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
        while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
            samples.append([round(time.perf_counter() - start, 1), round(resident(child.pid), 1)])
            time.sleep(0.1)
        child.returncode = os.waitstatus_to_exitcode(ended[1])
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {said.read().decode()[-3000:]}")
    usage, seconds = ended[2], time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak": usage.ru_maxrss / 1024, "samples": samples}


def resident(process: int) -> float:
    """The resident memory of a process in MB; none of these verbs starts others that hold anything."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE / 2**20
    except (OSError, IndexError):
        return 0.0


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Draw the verbs side by side, each in a band as wide as the others: its time runs from left to right."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.2))
    for place, row in enumerate(rows):
        time_, memory = zip(*row["samples"], strict=True)
        axes.fill_between([place + 0.96 * at / row["seconds"] for at in time_], memory, alpha=0.75, linewidth=0)
        if row["verb"] in LIMITS:
            axes.plot([place, place + 0.96], [LIMITS[row["verb"]]] * 2, color="black", linewidth=1, linestyle="--")
    names = [f"{row['verb']}\n{row['pairs']:,}\n{row['seconds']:,.0f} s" for row in rows]
    axes.set_xticks([place + 0.48 for place in range(len(rows))], names, fontsize=8)
    axes.set_ylabel("resident memory, MB")
    axes.set_title(
        "Memory over time of each verb: pairs, and seconds of its band (dashed: limit at a million)", fontsize=10
    )
    axes.set_xlim(0, len(rows))
    axes.set_ylim(0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
