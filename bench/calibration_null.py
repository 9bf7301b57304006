"""What "ECE if calibrated" says beside the ECE that calibrated models get, as more and more votes are ties.

    python bench/calibration_null.py [--quick] [--json FILE]

Studies of 150 and 1,000 pairs of a perfectly calibrated model, three or five votes to a pair, of which at most a share
is a tie, as far as the prediction leaves room for them. For each: the mean ECE, the mean of the null with the ties of
the data and as if nobody had said neither, both as a multiple of it, and how often its band holds the model's ECE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np

from dissensus.stats.calibration import ece, ece_null

MOST_TIES = (0.0, 0.45, 0.99)
Row = dict[str, float]


def draw(pairs: int, votes: int, most: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, the shares that people give, and how many of the votes are ties."""
    p = rng.beta(1.2, 1.2, pairs)
    rates = np.minimum(2 * np.minimum(p, 1 - p), most)
    ties = rng.binomial(votes, rates)
    decided = np.clip((p - rates / 2) / (1 - rates + 1e-12), 0, 1)
    return p, (rng.binomial(votes - ties, decided) + ties / 2) / votes, ties


def compare(pairs: int, votes: int, most: float, studies: int) -> Row:
    """One line of the table."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(studies):
        p, human, ties = draw(pairs, votes, most, rng)
        counts, got = np.full(pairs, votes), float(ece(p, human))
        null = ece_null(p, counts, rng, n_ties=ties, n_simulations=200)
        plain = ece_null(p, counts, rng, n_simulations=20).mean
        found.append((ties.mean() / votes, got, null.mean, plain, null.low <= got <= null.high))
    share, got, null_mean, plain_mean, inside = np.mean(found, axis=0)
    row = {"pairs": pairs, "votes": votes, "ties": share, "ece": got, "null": null_mean / got}
    return {**row, "without": plain_mean / got, "inside": inside}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A tenth of the studies, for a look.")
    parser.add_argument("--json", type=Path, help="Write the rows here, too.")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    print("python", *sys.argv, flush=True)
    print(f"{'pairs':>6} {'votes':>6} {'ties':>6} {'ECE':>7} {'null/ECE':>9} {'without ties/ECE':>17} {'inside':>7}")
    rows = []
    for pairs in (150, 1000):
        for votes in (3, 5):
            for most in MOST_TIES:
                row = compare(pairs, votes, most, 40 if given.quick else 400)
                print(
                    "{pairs:6} {votes:6} {ties:6.2f} {ece:7.4f} {null:9.3f} {without:17.2f} {inside:7.3f}".format(**row)
                )
                rows.append(row)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
