"""How often 95 % intervals hold the truth, and how often a test finds a difference that is not there.

    python bench/interval_coverage.py [--quick] [--json FILE]

Studies of 25, 150 and 1,000 prompts are simulated: five votes on each pair, whose true shares pile up near 0 and 1,
and two models that err together and apart ("apart", or "alike", whose predictions are as close as those of two fine-
tuned models). For Pearson r, L1 and the differences of both, intervals from one set of resamples: those that the
scorecard shows, BCa and percentile intervals as they are, and Zou's interval for the difference of r. Then, of two
models of which neither is better, the share of studies in which the paired swap test rejects at .05. A share of 1,000
studies has a standard error of .007.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dissensus.stats.bootstrap import ROWS, Cell, bootstrap, delete_blocks, evaluate, ones
from dissensus.stats.comparison import paired_difference, zou_interval
from dissensus.stats.intervals import (
    Clusters,
    Estimate,
    bca_interval,
    find_acceleration,
    find_clusters,
    find_freedom,
    percentile_interval,
)
from dissensus.stats.permutation import Swap, swap_test

NOISE = {"apart": (0.9, 1.1), "alike": (0.3, 0.4)}
DESIGNS = ((25, 1), (25, 4), (150, 1), (1000, 1))
METRICS = [ROWS.index("pearson"), ROWS.index("l1")]
NAMES = ("r", "L1", "difference of r", "difference of L1")
Row = dict[str, object]


def draw(
    n_prompts: int, per_prompt: int, noise: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Draw votes and two models' predictions; pairs of a prompt share part of what people think and of the errors."""
    n = n_prompts * per_prompt
    spread = [np.repeat(rng.normal(0, s, n_prompts), per_prompt) + rng.normal(0, s, n) for s in (1.3, 0.8)]
    human = rng.binomial(5, 1 / (1 + np.exp(-1.3 * (0.5 + spread[0])))) / 5
    first, second = (1 / (1 + np.exp(-0.7 * (0.5 + sum(spread) + rng.normal(0, s, n)))) for s in noise)
    return human, first, second


def truth(per_prompt: int, noise: tuple[float, float]) -> np.ndarray:
    """The values in the population, from a million pairs."""
    human, *models = draw(1_000_000 // per_prompt, per_prompt, noise, np.random.default_rng(0))
    whole = np.zeros(human.size, dtype=np.int64)
    first, second = (Cell(p, human, whole)(np.ones((1, 1)))[METRICS, 0] for p in models)
    return np.concatenate([first, first - second])


def intervals(
    sample: tuple[np.ndarray, ...], clusters: Clusters, rng: np.random.Generator
) -> Iterator[tuple[str, Estimate]]:
    """Every way's interval of every statistic, in the order of ``NAMES`` within each way."""
    human, *models = sample
    cells = {m: [Cell(p, human, clusters.of_pair)] for m, p in enumerate(models)}
    resampled = bootstrap(cells, clusters, 800, rng)
    weights, strata = delete_blocks(clusters, rng)
    jackknife = evaluate(cells, weights)
    values = [cells[m][0](ones(clusters))[:, 0] for m in (0, 1)]
    spare = find_freedom(clusters)
    for row in METRICS:
        bend = find_acceleration(jackknife[0][row], strata)
        yield "shown", bca_interval(values[0][row], resampled[0][row], bend, spare=spare)
        yield "BCa", bca_interval(values[0][row], resampled[0][row], bend)
        yield "percentile", percentile_interval(values[0][row], resampled[0][row])
    for row in METRICS:
        gap, drawn = values[0][row] - values[1][row], resampled[0][row] - resampled[1][row]
        yield (
            "shown",
            paired_difference(values[0][row], values[1][row], resampled[0][row], resampled[1][row], spare=spare),
        )
        yield "BCa", bca_interval(gap, drawn, find_acceleration(jackknife[0][row] - jackknife[1][row], strata))
        yield "percentile", percentile_interval(gap, drawn)
        if row == METRICS[0]:
            between = float(np.corrcoef(*models)[0, 1])
            yield "Zou", zou_interval(values[0][row], values[1][row], between, human.size)


def cover(n_prompts: int, per_prompt: int, noise: str, studies: int) -> list[Row]:
    """The share of studies in which each interval holds the truth."""
    rng, true = np.random.default_rng(17), truth(per_prompt, NOISE[noise])
    clusters = find_clusters(np.repeat(np.arange(n_prompts), per_prompt), np.zeros(n_prompts * per_prompt))
    hits: dict[tuple[str, str], int] = {}
    for _ in range(studies):
        number = {"shown": 0, "BCa": 0, "percentile": 0, "Zou": 2}
        for way, found in intervals(draw(n_prompts, per_prompt, NOISE[noise], rng), clusters, rng):
            name, value = NAMES[number[way]], true[number[way]]
            number[way] += 1
            hits[way, name] = hits.get((way, name), 0) + (found.low <= value <= found.high)
    place = {"prompts": n_prompts, "per_prompt": per_prompt, "models": noise}
    return [{**place, "interval": way, "of": name, "share": count / studies} for (way, name), count in hits.items()]


def size(n_prompts: int, per_prompt: int, studies: int) -> list[Row]:
    """The share of studies in which the swap test tells two exchangeable models apart."""
    rng, found = np.random.default_rng(8), {}
    clusters = np.repeat(np.arange(n_prompts), per_prompt)
    for _ in range(studies):
        human, first, second = draw(n_prompts, per_prompt, (0.7, 0.7), rng)
        p = swap_test({0: [Swap(first, second, human, clusters)]}, n_prompts, 199, rng)[0]
        for metric in ("pearson", "l1"):
            found[metric] = found.get(metric, 0) + (p[metric] <= 0.05)
    place = {"prompts": n_prompts, "per_prompt": per_prompt, "models": "exchangeable", "interval": "swap test"}
    return [{**place, "of": name, "share": count / studies} for name, count in found.items()]


def table(rows: list[Row]) -> str:
    """A line for each design and models, a column for each statistic; ways below each other."""
    lines = [f"{'prompts':>8} {'pairs each':>10}  {'models':12} {'':11}" + "".join(f"{name:>18}" for name in NAMES)]
    keys = dict.fromkeys((r["prompts"], r["per_prompt"], r["models"], r["interval"]) for r in rows)
    for key in keys:
        here = {
            str(r["of"]): r["share"] for r in rows if (r["prompts"], r["per_prompt"], r["models"], r["interval"]) == key
        }
        if key[3] == "swap test":
            here = {"difference of r": here["pearson"], "difference of L1": here["l1"]}
        cells = "".join(f"{here[name]:>18.3f}" if name in here else f"{'':>18}" for name in NAMES)
        lines.append(f"{key[0]:>8} {key[1]:>10}  {key[2]:12} {key[3]:11}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A twentieth of the studies, for a look.")
    parser.add_argument("--json", type=Path, help="Write the rows here, too.")
    given = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("python", *sys.argv, flush=True)
    studies = 50 if given.quick else 1000
    rows: list[Row] = []
    for n_prompts, per_prompt in DESIGNS:
        for noise in NOISE:
            rows += cover(n_prompts, per_prompt, noise, studies)
        rows += size(n_prompts, per_prompt, studies)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
