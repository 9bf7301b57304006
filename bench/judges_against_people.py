"""How well judges that need no language model foresee people: the committee beside simpler guesses.

    python bench/judges_against_people.py [--quick] [--json FILE] [--data FOLDER]

For each file of real votes: one vote per pair is drawn as its label, the committee (n = 10, its default
settings) learns from the labels of other prompts, and the share of its votes is compared with all the votes
of the pair. Beside it: always one half, the longer response (a logistic curve of the log ratio of lengths,
fitted to the labels of all pairs, which flatters it), and the pair's other human votes without the label.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from dissensus.files import read_pairs
from dissensus.judges import Committee, CommitteeSettings, HumanVotes, JudgmentStore, judge_pairs
from dissensus.judgment_margins import margins_from_judgments
from dissensus.records import Pair, plain_text
from dissensus.sources.label_votes import draw_labels
from dissensus.stats.metrics import mean_absolute_error, pearson
from dissensus.text.encoder import load_encoder

FILES = ("vicuna80", "pandalm", "arguments")


def judged(pairs: list[Pair], judge: object, folder: Path) -> dict[str, float]:
    with JudgmentStore(folder / "judgments.db") as store:
        judge_pairs(pairs, judge, store, progress=False)
        judgments = store.judgments(judge=judge.name, pairs=pairs)
        margins = margins_from_judgments(judgments, [pair.id for pair in pairs], allow_missing=True)
    return {margin.pair_id: margin.preference_a for margin in margins}


def longer(pairs: list[Pair]) -> dict[str, float]:
    ratio = np.array([np.log(len(plain_text(p.response_a)) / len(plain_text(p.response_b))) for p in pairs])
    label = np.array([{"a": 1.0, "b": 0.0}.get(p.label, 0.5) for p in pairs])
    slope = minimize_scalar(lambda w: (np.logaddexp(0, w * ratio) - label * w * ratio).sum()).x
    return {pair.id: 1 / (1 + np.exp(-slope * x)) for pair, x in zip(pairs, ratio, strict=True)}


def rows_of(name: str, path: Path, folder: Path, quick: bool) -> list[dict[str, object]]:
    pairs = [pair for pair in read_pairs(path, notice=lambda _: None) if pair.votes]
    pairs = pairs[:: max(len(pairs) // 500, 1)] if quick else pairs
    pairs = list(draw_labels(pairs, seed=0))
    start = time.perf_counter()
    committee = judged(pairs, Committee(pairs, CommitteeSettings(), load_encoder(), progress=False), folder)
    seconds = time.perf_counter() - start
    guesses = {
        "one half": {pair.id: 0.5 for pair in pairs},
        "longer response": longer(pairs),
        "committee": committee,
        "other human votes": judged(pairs, HumanVotes(pairs), folder),
    }
    rows = []
    for judge, guess in guesses.items():
        kept = [pair for pair in pairs if pair.id in guess]
        p, h = np.array([guess[q.id] for q in kept]), np.array([q.votes.preference for q in kept])
        r, l1 = float(pearson(p, h)), float(mean_absolute_error(p, h))
        rows.append(
            {
                "data": name,
                "judge": judge,
                "pairs": len(kept),
                "prompts": len({pair.group for pair in kept}),
                "pearson": None if np.isnan(r) else round(r, 3),
                "l1": round(l1, 3),
                "seconds": round(seconds, 1) if judge == "committee" else None,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500 pairs of each file")
    parser.add_argument("--json", type=Path, help="write the rows as a list of objects")
    parser.add_argument("--data", type=Path, default=os.environ.get("DISSENSUS_REAL_DATA"), help="folder of real votes")
    options = parser.parse_args()
    if options.data is None or not options.data.is_dir():
        raise SystemExit("no real votes: name their folder with --data or DISSENSUS_REAL_DATA")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("dissensus", "numpy", "torch"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("command: " + " ".join([Path(sys.executable).name, *sys.argv]))
    print(f"{'data':<12}{'judge':<20}{'pairs':>8}{'prompts':>9}{'r':>8}{'L1':>8}{'seconds':>9}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            for row in rows_of(name, options.data / f"{name}.jsonl.gz", Path(folder), options.quick):
                r = "—" if row["pearson"] is None else f"{row['pearson']:.3f}"
                print(
                    f"{row['data']:<12}{row['judge']:<20}{row['pairs']:>8,}{row['prompts']:>9,}{r:>8}"
                    f"{row['l1']:>8.3f}{row['seconds'] or '':>9}"
                )
                rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
