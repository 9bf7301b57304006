"""How well the labels of a prompt's other pairs tell the votes that are not a pair's label.

    python bench/label_graph.py [FILE …] [--draws N] [--quick] [--json FILE]

Of each pair one vote is drawn as its label, and the judge `graph` sees the labels alone. Each row is held against the
share of the *other* votes: Pearson r (each pair entered both ways) and L1, both the mean over the draws. FILEs are
pairs with votes; by default those of the folder that DISSENSUS_REAL_DATA names.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from dissensus.judges.graph import LabelGraph
from dissensus.judges.kinds import GraphSettings
from dissensus.judges.runner import Question
from dissensus.records import LABEL_VALUE, Pair
from dissensus.sources import read_pairs
from dissensus.sources.label_votes import with_drawn_label
from dissensus.stats.metrics import pearson_symmetric

FILES = ("arguments", "vicuna80", "pandalm")
LENGTH = "length alone"
KINDS = {
    LENGTH: GraphSettings(l2=1e6),  # no text may leave what its length says
    "graph, label held out": GraphSettings(prior="none"),
    "graph, label in": GraphSettings(prior="none", own_label="in"),
    "length + graph, label held out": GraphSettings(),
    "length + graph, label in": GraphSettings(own_label="in"),
}


def others(pair: Pair) -> float:
    """The share of the votes that are not the label."""
    assert pair.votes is not None
    assert pair.label is not None
    return (pair.votes.preference * pair.votes.n - LABEL_VALUE[pair.label]) / (pair.votes.n - 1)


def measure(pairs: list[Pair], seed: int) -> dict[str, dict[str, float]]:
    """Draw labels with ``seed`` and compare each kind of judge with the other votes."""
    drawn = [with_drawn_label(pair, seed=seed) for pair in pairs]
    rows = [pair for pair in drawn if pair.label is not None and pair.votes is not None and pair.votes.n > 1]
    human = np.array([others(pair) for pair in rows])
    said = {"raw label": (np.array([LABEL_VALUE[pair.label] for pair in rows if pair.label]), {})}
    for name, settings in KINDS.items():
        start = time.perf_counter()
        judge = LabelGraph(rows, settings)
        found = {j.pair_id: j.probability_a for j in judge.answer([Question(pair, 0) for pair in rows])}
        fitted = {"l2": judge.l2, "slope": judge.slope, "seconds": time.perf_counter() - start}
        said[name] = np.array([found[pair.id] for pair in rows], dtype=float), fitted
    return {
        name: {"pairs": len(rows), "r": float(pearson_symmetric(g, human)), "l1": float(abs(g - human).mean()), **more}
        for name, (g, more) in said.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one draw, the first 800 pairs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder = os.environ.get("DISSENSUS_REAL_DATA")
    if not arguments.files and not folder:
        parser.error("give files of pairs with votes, or set DISSENSUS_REAL_DATA to a folder of them")
    results = {}
    for file in arguments.files or [Path(str(folder)) / f"{name}.jsonl.gz" for name in FILES]:
        pairs = [pair for pair in read_pairs(str(file)) if pair.votes is not None]
        draws = range(1 if arguments.quick else arguments.draws)
        found = [measure(pairs[: 800 if arguments.quick else None], seed) for seed in draws]
        results[file.name] = {
            row: {key: float(np.mean([one[row][key] for one in found])) for key in found[0][row]} for row in found[0]
        }
        print(f"{file.name}: {results[file.name]['raw label']['pairs']:.0f} pairs, {len(draws)} draws of labels")
        for row, values in results[file.name].items():
            more = " ".join(f"{key} {values[key]:.3g}" for key in ("l2", "slope", "seconds") if key in values)
            print(f"  {row:<32} r {values['r']:.3f}  L1 {values['l1']:.3f}  {more}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
