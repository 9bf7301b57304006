"""Make the figures of R that the tests quote again, and compare them with the package.

    python bench/oracles/make.py

Writes the inputs of ``tests/stats/r_figures.py``, runs ``oracles.R`` on them and prints for each figure what R finds
now, what the tests quote and what the package computes. Exits with 1 where two differ by more than the digits quoted.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parents[1] / "tests" / "stats" / "r_figures.py"
README = "see bench/oracles/README.md"


def load() -> ModuleType:
    """Import the figures that the tests quote."""
    spec = importlib.util.spec_from_file_location("r_figures", FIGURES)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(FIGURES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_r(rscript: str, inputs: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """Let R compute all figures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, columns in inputs.items():
            rows = np.column_stack(list(columns.values()))
            target = Path(folder) / f"{name}.csv"
            np.savetxt(target, rows, delimiter=",", header=",".join(columns), comments="", fmt="%.17g")
        command = [rscript, "--vanilla", str(HERE / "oracles.R"), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"R stopped; {README}\n{done.stderr.strip()}")
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rscript = shutil.which("Rscript")
    if rscript is None:
        print(f"there is no Rscript here; install R to make its figures again, {README}", file=sys.stderr)
        return 2
    figures = load()
    found, ours = run_r(rscript, figures.INPUTS), figures.ours()
    wrong = 0
    print(f"{'figure':22} {'R now':>14} {'quoted':>12} {'package':>14}")
    for name, value in found.items():
        quoted = figures.FIGURES.get(name)
        mine = ours[figures.SAME.get(name, name)]
        room = figures.room(name) if quoted is not None else 0.0
        good = quoted is not None and abs(value - float(quoted)) <= room and abs(mine - float(quoted)) <= room
        wrong += not good
        print(f"{name:22} {value:>14.8f} {quoted or 'nothing':>12} {mine:>14.8f}{'' if good else '  differs'}")
    missing = figures.FIGURES.keys() - found.keys()
    if missing:
        print(f"R printed nothing of {', '.join(sorted(missing))}")
    return int(bool(wrong or missing))


if __name__ == "__main__":
    sys.exit(main())
