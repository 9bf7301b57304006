"""How often 95 % intervals of the agreement of people hold the truth, and which side they miss it on.

    python bench/agreement_coverage.py [--quick] [--json FILE]

Three people say of each pair of responses whether a or b is better, or neither. Prompts share part of what people
think; they have two pairs each, or from 1 to 20 ("uneven"). People agree by halves ("split"; "holes", where a third of
the votes is missing) or nearly always ("alike"), where most coefficients are skewed. From one set of resamples of each
study: the interval that is shown (BCa, widened by `find_freedom`), the percentile interval as it is and as wide, and
one as wide that is normal on the scale of -log(1 - x). A share of 400 studies has a standard error of .011.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from functools import partial
from pathlib import Path

import numpy as np

from dissensus.stats.agreement.coefficients import COEFFICIENTS
from dissensus.stats.agreement.icc import icc_1k, icc_2k, near_icc_2k
from dissensus.stats.agreement.ratings import VOTES, RatingTable, tabulate
from dissensus.stats.resampling.clusters import Clusters, Freedom, cluster_counts, find_clusters, find_freedom
from dissensus.stats.resampling.intervals import Estimate, bca_interval, find_acceleration, percentile_interval

DESIGNS = ((12, "two"), (25, "two"), (150, "two"), (25, "uneven"), (150, "uneven"))
LEANING = {"split": 1.2, "holes": 1.2, "alike": 4.0}
FUNCTIONS = {**COEFFICIENTS, "icc_1k": icc_1k}
RESAMPLES = 600
Row = dict[str, object]


def draw(prompts: int, sizes: str, people: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw votes of three people, shape (pairs, 3), and the prompt of each pair."""
    count = np.full(prompts, 2) if sizes == "two" else np.exp(rng.uniform(0, np.log(20), prompts)).round().astype(int)
    prompt = np.repeat(np.arange(prompts), count)
    lean = LEANING[people] * (rng.normal(0, 1, prompts)[prompt] + rng.normal(0, 1, prompt.size)) / np.sqrt(2)
    heard = lean[:, None] + rng.logistic(0, 1, (prompt.size, 3))
    votes = np.where(np.abs(heard) < 0.3, 0.5, heard > 0)
    return np.where(rng.random(votes.shape) < (people == "holes") / 3, np.nan, votes), prompt


def ways(
    value: float, resampled: np.ndarray, without: np.ndarray, clusters: Clusters, spare: Freedom
) -> dict[str, Estimate]:
    """Every way's interval of one coefficient."""
    bend = find_acceleration(without, np.zeros(without.size, dtype=np.int64))
    far = -np.log(np.maximum(1 - resampled[np.isfinite(resampled)], 1e-3))
    reach, centre = spare.reach(0.95) * far.std(ddof=1), -np.log(max(1 - value, 1e-3))
    low, high = 1 - np.exp(-(centre - reach)), 1 - np.exp(-(centre + reach))
    return {
        "shown": bca_interval(value, resampled, bend, spare=spare),
        "percentile": percentile_interval(value, resampled),
        "widened": percentile_interval(value, resampled, spare=spare),
        "log": Estimate(value, float(low), float(high)),
    }


def values(table: RatingTable, all_weights: list[np.ndarray | None]) -> list[dict[str, np.ndarray]]:
    """Every coefficient with each of the weights, as `agreement_intervals` computes them."""
    functions = {name: near_icc_2k(table) if f is icc_2k else partial(f, table) for name, f in FUNCTIONS.items()}
    return [{name: f(weights) for name, f in functions.items()} for weights in all_weights]


def cover(prompts: int, sizes: str, people: str, studies: int) -> list[Row]:
    """The share of studies in which the truth is inside, below and above, by coefficient and way."""
    rng = np.random.default_rng(5)
    [truth] = values(tabulate(draw(60_000, sizes, people, np.random.default_rng(0))[0], np.array(VOTES)), [None])
    found: dict[tuple[str, str], list[int]] = {}
    for _ in range(studies):
        ratings, prompt = draw(prompts, sizes, people, rng)
        table, one = tabulate(ratings, np.array(VOTES)), np.zeros(prompt.size, dtype=np.int64)
        clusters = find_clusters(prompt, one)
        spare = find_freedom(clusters, table.paired > 0)
        drawn = np.concatenate(list(cluster_counts(prompt, one, RESAMPLES, rng))).astype(float)
        kept = np.array([prompt != k for k in range(prompts)], dtype=float)
        all_at_once = values(table, [None, drawn, kept])
        for name in FUNCTIONS:
            value, resampled, without = (part[name] for part in all_at_once)
            for way, e in ways(float(value), resampled, without, clusters, spare).items():
                tally = found.setdefault((name, way), [0, 0, 0])
                if e.low is not None and e.high is not None:
                    tally[int(truth[name] < e.low) + 2 * int(truth[name] > e.high)] += 1
    place = {"prompts": prompts, "pairs": sizes, "people": people}
    return [
        {**place, "of": name, "way": way, "inside": a / sum(n), "above": n[1] / sum(n), "below": n[2] / sum(n)}
        for (name, way), n in found.items()
        for a in [n[0]]
        if sum(n)
    ]


def table(rows: list[Row]) -> str:
    """A line for each design and way, a column for each coefficient."""
    lines = [f"{'prompts':>8} {'pairs':7} {'people':6} {'':11}" + "".join(f"{name[-13:]:>15}" for name in FUNCTIONS)]
    for key in dict.fromkeys((r["prompts"], r["pairs"], r["people"], r["way"]) for r in rows):
        here = {r["of"]: r for r in rows if (r["prompts"], r["pairs"], r["people"], r["way"]) == key}
        cells = "".join(f"{here[n]['inside']:>15.3f}" if n in here else f"{'':>15}" for n in FUNCTIONS)
        lines.append(f"{key[0]:>8} {key[1]:7} {key[2]:6} {key[3]:11}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A tenth of the studies, for a look.")
    parser.add_argument("--json", type=Path, help="Write the rows here, too.")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    print("python", *sys.argv, flush=True)
    rows: list[Row] = []
    for prompts, sizes in DESIGNS:
        for people in LEANING:
            rows += cover(prompts, sizes, people, 40 if given.quick else 400)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
