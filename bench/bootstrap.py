"""Bootstrap intervals of every metric at once, against scipy.stats.bootstrap metric by metric.

    python bench/bootstrap.py [--quick] [--json FILE]

Pairs with five votes each in six data sets, three models, the twelve largest groups of a scorecard; every metric that a
scorecard shows, from 10,000 resamples of 10,000 pairs (a tenth of both with --quick). The package draws whole clusters
within data sets; so that both do the same work, every pair is its own cluster here, in one data set for the comparison.
SciPy gets a vectorised statistic for each metric, in batches, on one model and one group: all pairs. It is timed on
fewer resamples, since all of them would take hours, and its seconds are scaled up to the same number of resamples,
groups and models by the pairs in them. The contenders take turns. The last lines say how far the two intervals are
apart, in standard errors of such a limit from that many resamples: one or two is noise.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from dissensus.evaluation.metrics import primary_candidates, scored_metrics
from dissensus.stats.calibration import bin_of, equal_mass_edges
from dissensus.stats.resampling.bootstrap import (
    Cell,
    bootstrap,
    delete_blocks,
    draw_clusters,
    in_threads,
    ones,
    touched,
)
from dissensus.stats.resampling.clusters import find_clusters, find_freedom
from dissensus.stats.resampling.intervals import percentile_interval, t_interval
from dissensus.stats.resampling.permutation import Swap, swap_test

Row = dict[str, object]
Key = tuple[int, int]
MODELS, GROUPS, DATASETS = 3, 12, 6


def draw(n: int) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Draw human preferences, each model's predictions, the groups' masks and the data sets."""
    rng = np.random.default_rng(0)
    utility = rng.normal(0.3, 1.6, n)
    human = rng.binomial(5, 1 / (1 + np.exp(-utility))) / 5
    models = [1 / (1 + np.exp(-0.7 * utility - rng.normal(0, s, n))) for s in (0.8, 0.9, 1.0)]
    dataset, category = rng.integers(DATASETS, size=n), rng.random(n) < 0.4
    outside = dataset > 3
    groups = [np.ones(n, dtype=bool), *(dataset == d for d in range(DATASETS)), ~outside, outside, category, ~category]
    return human, models, [*groups, category & outside][:GROUPS], dataset


def everything(n: int, n_resamples: int) -> None:
    """All groups and models by the package, with an interval of each metric."""
    human, models, groups, dataset = draw(n)
    clusters = find_clusters(np.arange(n), dataset)
    weights, strata = delete_blocks(clusters, np.random.default_rng(0))
    for mask in groups:
        draws, spare = (
            draw_clusters(touched(clusters, mask), n_resamples, np.random.default_rng(0)),
            find_freedom(clusters),
        )

        def measure(p: np.ndarray, mask: np.ndarray = mask, draws: list[np.ndarray] = draws) -> tuple[np.ndarray, ...]:
            cell = Cell(p[mask], human[mask], clusters.of_pair[mask], dataset[mask], metrics=scored_metrics())
            return bootstrap(cell, draws), cell(weights), cell(ones(clusters))

        for resampled, jackknife, values in in_threads([partial(measure, p) for p in models]):
            for row in range(len(values)):
                t_interval(values[row, 0], resampled[row], jackknife[row], strata, spare)


def tests(n: int, n_swaps: int) -> None:
    """All differences to the first model, by the paired swap test."""
    human, models, groups, dataset = draw(n)
    swaps = {
        (m, g): [
            Swap(
                models[m][mask],
                models[0][mask],
                human[mask],
                np.flatnonzero(mask),
                dataset[mask],
                metrics=primary_candidates(),
            )
        ]
        for m in range(1, MODELS)
        for g, mask in enumerate(groups)
    }
    swap_test(swaps, n, n_swaps, np.random.default_rng(0))


def peers(predicted: np.ndarray, human: np.ndarray) -> dict[str, Callable[..., np.ndarray]]:
    """The metrics for scipy: functions of resampled (p, h) along an axis; bins are fixed on the sample."""
    edges = equal_mass_edges(predicted)

    def pearson(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        p, h = p - p.mean(axis=axis, keepdims=True), h - h.mean(axis=axis, keepdims=True)
        return (p * h).sum(axis=axis) / np.sqrt((p * p).sum(axis=axis) * (h * h).sum(axis=axis))

    def symmetric(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        p, h = p - 0.5, h - 0.5
        return (p * h).sum(axis=axis) / np.sqrt((p * p).sum(axis=axis) * (h * h).sum(axis=axis))

    def spearman(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        return pearson(stats.rankdata(p, axis=axis), stats.rankdata(h, axis=axis), axis)

    def nll(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        return -(h * np.log(p) + (1 - h) * np.log1p(-p)).mean(axis=axis)

    def accuracy(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        right = np.where(p == 0.5, 0.5, (p > 0.5) == (h > 0.5)) * (h != 0.5)
        return right.sum(axis=axis) / (h != 0.5).sum(axis=axis)

    def gaps(p: np.ndarray, h: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        number = bin_of(p, edges)
        inside = [number == b for b in range(edges.size + 1)]
        return np.array([m.sum(axis=axis) for m in inside]), np.array([((p - h) * m).sum(axis=axis) for m in inside])

    def ece(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(gaps(p, h, axis)[1]).sum(axis=0) / p.shape[axis]

    def reliability(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        counts, sums = gaps(p, h, axis)
        return (sums**2 / np.maximum(counts, 1)).sum(axis=0) / p.shape[axis]

    def brier(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        return ((p - h) ** 2).mean(axis=axis)

    def resolution(p: np.ndarray, h: np.ndarray, axis: int) -> np.ndarray:
        return reliability(p, h, axis) + h.var(axis=axis) - brier(p, h, axis)

    return {
        "pearson": pearson,
        "pearson_symmetric": symmetric,
        "spearman": spearman,
        "l1": lambda p, h, axis: np.abs(p - h).mean(axis=axis),
        "brier": brier,
        "brier_reliability": reliability,
        "brier_resolution": resolution,
        "brier_uncertainty": lambda p, h, axis: h.var(axis=axis),
        "ece": ece,
        "nll": nll,
        "accuracy": accuracy,
    }


def by_scipy(n: int, n_resamples: int) -> dict[str, tuple[float, float]]:
    """Bootstrap one model on all pairs by scipy, one metric after another; percentile, which spares it a jackknife."""
    human, models, *_ = draw(n)
    found = {}
    for name, statistic in peers(models[0], human).items():
        result = stats.bootstrap(
            (models[0], human),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=n_resamples,
            batch=max(1, 1_000_000 // n),
            method="percentile",
            rng=np.random.default_rng(1),
        )
        found[name] = tuple(result.confidence_interval)
    return found


def by_us(n: int, n_resamples: int) -> dict[str, tuple[float, float]]:
    """The same by the package: one model, all pairs, every pair its own cluster, one stratum."""
    human, models, *_ = draw(n)
    clusters = find_clusters(np.arange(n), np.zeros(n))
    cell = Cell(models[0], human, clusters.of_pair, metrics=scored_metrics())
    values = cell(ones(clusters))[:, 0]
    resampled = bootstrap(cell, draw_clusters(clusters, n_resamples, np.random.default_rng(0)))
    found, rows = {}, list(cell.metrics)
    for name in peers(models[0], human):
        estimate = percentile_interval(values[rows.index(name)], resampled[rows.index(name)])
        found[name] = (estimate.low, estimate.high)
    return found


def apart(n: int, n_resamples: int) -> list[Row]:
    """Compare the intervals' limits; the standard error of a 2.5 % quantile is 1.88 of a width / 3.92 / sqrt(B) * 2."""
    ours, theirs = by_us(n, n_resamples), by_scipy(n, n_resamples)
    rows = []
    for name, (low, high) in theirs.items():
        spread = (high - low) / 3.92
        error = spread * np.sqrt(0.025 * 0.975 / n_resamples) / stats.norm.pdf(1.96) * np.sqrt(2)
        gaps = [(a - b) / error for a, b in zip(ours[name], (low, high), strict=True)]
        rows.append({"metric": name, "low": low, "high": high, "low_apart": gaps[0], "high_apart": gaps[1]})
    return rows


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, called in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def timing_rows(n: int, n_resamples: int, scipy_resamples: int, rounds: int) -> list[Row]:
    pairs_in_groups = sum(int(mask.sum()) for mask in draw(n)[2])
    found = medians(
        {
            "dissensus, all groups and models": partial(everything, n, n_resamples),
            "scipy, one group and model": partial(by_scipy, n, scipy_resamples),
            "dissensus, one group and model": partial(by_us, n, n_resamples),
            "dissensus, swap tests of all": partial(tests, n, n_resamples),
        },
        rounds,
    )
    scaled = found["scipy, one group and model"] * n_resamples / scipy_resamples
    found |= {"scipy, one group and model": scaled, "scipy, all (scaled)": scaled * MODELS * pairs_in_groups / n}
    share = {
        "dissensus, all groups and models": found["scipy, all (scaled)"],
        "dissensus, one group and model": scaled,
    }
    return [
        {
            "case": name,
            "pairs": n,
            "resamples": n_resamples,
            "seconds": seconds,
            "times_scipy": share[name] / seconds if name in share else None,
        }
        for name, seconds in found.items()
    ]


def show(rows: list[Row]) -> None:
    for row in rows:
        if "case" in row:
            times = "" if row["times_scipy"] is None else f"{row['times_scipy']:8.0f} x scipy"
            print(
                f"{row['case']:36}{row['pairs']:>7} pairs{row['resamples']:>7} resamples{row['seconds']:>9.2f} s{times}"
            )
        else:
            limits = f"[{row['low']:.4f}, {row['high']:.4f}]"
            print(f"{row['metric']:20}{limits:>20}  apart {row['low_apart']:+.1f} {row['high_apart']:+.1f} s.e.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs and of the resamples")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy")}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print("python", *sys.argv)
    n, n_resamples, rounds = (1000, 1000, 1) if args.quick else (10_000, 10_000, 3)
    rows = timing_rows(n, n_resamples, n_resamples if args.quick else 200, rounds)
    show(rows)
    agreement = apart(n if args.quick else 2000, 2000 if args.quick else 10_000)
    show(agreement)
    if args.json:
        args.json.write_text(json.dumps([row | {"versions": versions} for row in rows + agreement], indent=1))


if __name__ == "__main__":
    main()
