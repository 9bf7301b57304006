"""Whether a model that knows each pair's true preference is where the ceilings say, and how often intervals hold it.

    python bench/ceilings.py [--quick] [--json FILE]

First, many pairs of each design: votes in random order, the majority as a, pairs of one vote among those of five,
numbers of votes that the votes decided, more votes for pairs that look hard, and panels whose raters lean; the r and L1
that the true preferences have, and those that are shown with their limits. Then how often two designs are suspected at
some numbers of pairs. Then the share of 95 % intervals that hold the truth, of prompts of equal and of log-uniform size
(1 to 100 pairs), five votes a pair; a share of 1,000 studies has a standard error of .007.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dissensus.stats.agreement.ratings import tabulate
from dissensus.stats.ceilings.noise_ceiling import Yardstick
from dissensus.stats.ceilings.vote_process import number_was_decided, order_was_decided
from dissensus.stats.resampling.bootstrap import draw_clusters
from dissensus.stats.resampling.clusters import find_clusters, find_freedom
from dissensus.stats.resampling.intervals import bca_interval, percentile_interval

Row = dict[str, object]
Drawn = tuple[np.ndarray, np.ndarray]
"""True preferences, shape (n,), and votes as 1 and 0 or estimates, NaN for none, shape (n, most)."""
SPREADS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "flat": lambda rng, n: rng.random(n),
    "agreed": lambda rng, n: rng.beta(0.5, 0.5, n),
    "contested": lambda rng, n: rng.beta(3, 3, n),
    "two camps": lambda rng, n: rng.choice([0.2, 0.8], n),
}


def free(p: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.random((p.size, k)) < p[:, None]).astype(float)


def stopped(p: np.ndarray, first: int, then: int, rng: np.random.Generator) -> np.ndarray:
    votes = free(p, first + then, rng)
    votes[np.isin(votes[:, :first].mean(axis=1), (0, 1)), first:] = np.nan
    return votes


def until(p: np.ndarray, agree: int, rng: np.random.Generator) -> np.ndarray:
    votes = free(p, 2 * agree - 1, rng)
    a, b = np.cumsum(votes, axis=1), np.cumsum(1 - votes, axis=1)
    done = np.maximum(a, b) >= agree
    votes[:, 1:][done[:, :-1]] = np.nan
    return votes


def some(votes: np.ndarray, many: np.ndarray, few: int) -> np.ndarray:
    """All votes of some pairs, and a few of the others."""
    votes[~many, few:] = np.nan
    return votes


def majority(p: np.ndarray, votes: np.ndarray) -> Drawn:
    turn = np.nanmean(votes, axis=1) < 0.5
    return np.where(turn, 1 - p, p), np.where(turn[:, None], 1 - votes, votes)


def panel(p: np.ndarray, lean: float, rng: np.random.Generator) -> np.ndarray:
    return free(np.clip(0.15 + 0.7 * p, 0, 1), 5, rng) if lean == 0 else _leaning(p, lean, rng)


def _leaning(p: np.ndarray, lean: float, rng: np.random.Generator) -> np.ndarray:
    chance = np.clip(0.15 + 0.7 * p[:, None] + rng.normal(0, lean, 5), 0, 1)
    return (rng.random(chance.shape) < chance).astype(float)


def estimates(p: np.ndarray, lean: float, rng: np.random.Generator) -> np.ndarray:
    said = p[:, None] + rng.normal(0, lean, 3) + rng.normal(0, 0.18, (p.size, 3))
    return np.clip(np.round(said, 1), 0, 1)


DESIGNS: dict[str, Callable[[np.ndarray, np.random.Generator], Drawn]] = {
    "3 votes": lambda p, rng: (p, free(p, 3, rng)),
    "5 votes": lambda p, rng: (p, free(p, 5, rng)),
    "10 votes": lambda p, rng: (p, free(p, 10, rng)),
    "5, majority as a": lambda p, rng: majority(p, free(p, 5, rng)),
    "half 1, half 5": lambda p, rng: (p, some(free(p, 5, rng), rng.random(p.size) < 0.5, 1)),
    "3, or 5 where it looks hard": lambda p, rng: (p, some(free(p, 5, rng), rng.random(p.size) < 4 * p * (1 - p), 3)),
    "3, 2 more where they differ": lambda p, rng: (p, stopped(p, 3, 2, rng)),
    "2, a third to decide": lambda p, rng: (p, stopped(p, 2, 1, rng)),
    "until three agree": lambda p, rng: (p, until(p, 3, rng)),
}
PANELS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "panel of 5, votes, lean .00": lambda p, rng: panel(p, 0.0, rng),
    "panel of 5, votes, lean .12": lambda p, rng: panel(p, 0.12, rng),
    "panel of 3, estimates, lean .10": lambda p, rng: estimates(p, 0.10, rng),
    "panel of 3, estimates, lean .20": lambda p, rng: estimates(p, 0.20, rng),
}


def counts_of(votes: np.ndarray) -> np.ndarray:
    return np.stack([(votes == 1).sum(axis=1), (votes == 0).sum(axis=1), (votes == 0.5).sum(axis=1)], axis=1)


def symmetric(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - 0.5, y - 0.5
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def compare(n: int) -> list[Row]:
    """The true preferences' r and L1, and those shown, of n pairs."""
    rows: list[Row] = []
    for design, make in DESIGNS.items():
        for spread, draw in SPREADS.items():
            rng = np.random.default_rng(0)
            p, votes = make(draw(rng, n), rng)
            human, counts = np.nanmean(votes, axis=1), counts_of(votes)
            decided = [0] if number_was_decided(counts) else []
            yardstick = Yardstick(tabulate(votes), np.arange(n), np.zeros(n, dtype=int), decided=decided)
            found, limits = yardstick(np.ones((n, 1))), yardstick.limits()
            rows.append(
                {
                    "design": design, "preferences": spread, "noted": _noted(counts),
                    "r, plain": float(np.corrcoef(p, human)[0, 1]), "r": symmetric(p, human),
                    "r shown": float(found.pearson[0]), "r limits": limits.get("pearson"),
                    "L1": float(np.abs(p - human).mean()), "L1 shown": float(found.l1[0]),
                    "L1 limits": limits.get("l1"),
                }
            )  # fmt: skip
    return rows


def _noted(counts: np.ndarray) -> str:
    found = {"number": number_was_decided(counts), "order": order_was_decided(counts)}
    return " ".join(name for name, is_so in found.items() if is_so)


def compare_panels(n: int, studies: int) -> list[Row]:
    """The same of panels: means over studies, and the root mean square of what the ceiling of r is off."""
    rows: list[Row] = []
    for design, make in PANELS.items():
        found = []
        for seed in range(studies):
            rng = np.random.default_rng(seed)
            p = rng.random(n)
            votes = make(p, rng)
            ways = [Yardstick(tabulate(votes), np.arange(n), np.zeros(n, dtype=int), crossed=c) for c in (True, False)]
            shown = [float(way(np.ones((n, 1))).pearson[0]) for way in ways]
            found.append([float(np.corrcoef(p, votes.mean(axis=1))[0, 1]), *shown])
        r = np.array(found)
        off = np.sqrt(((r[:, 1:] - r[:, :1]) ** 2).mean(axis=0))
        rows.append({"design": design, "r": r[:, 0].mean(), "r shown": r[:, 1].mean(), "off": off[0],
                     "one-way": r[:, 2].mean(), "one-way off": off[1]})  # fmt: skip
    return rows


def suspect(studies: int) -> list[Row]:
    """How often the number of votes, or the order of the responses, is taken for one that the votes decided."""
    rows: list[Row] = []
    for design, make in DESIGNS.items():
        for n in (50, 100, 200, 1000):
            hits = np.zeros(2)
            for seed in range(studies):
                rng = np.random.default_rng(seed)
                counts = counts_of(make(SPREADS["flat"](rng, n), rng)[1])
                hits += number_was_decided(counts), order_was_decided(counts)
            rows.append({"design": design, "pairs": n, "number": hits[0] / studies, "order": hits[1] / studies})
    return rows


def draw_study(sizes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Clusters, true preferences, five votes and a model's predictions; pairs of a prompt are alike."""
    cluster = np.repeat(np.arange(sizes.size), sizes)
    spread = [rng.normal(0, s, sizes.size)[cluster] + rng.normal(0, s, cluster.size) for s in (1.3, 0.8)]
    p = 1 / (1 + np.exp(-1.3 * (0.5 + spread[0])))
    predicted = 1 / (1 + np.exp(-0.7 * (0.5 + sum(spread) + rng.normal(0, 0.9, cluster.size))))
    return cluster, p, rng.binomial(5, p), predicted


def cover(prompts: int, kind: str, studies: int) -> Row:
    """The share of intervals of the ceiling of r, of the L1 and of the corrected r that hold the truth."""
    rng = np.random.default_rng(prompts)
    _, p, votes, predicted = draw_study(np.full(200_000, 3), np.random.default_rng(99))
    r = symmetric(p, votes / 5)
    truth = np.array([r, np.abs(p - votes / 5).mean(), symmetric(predicted, votes / 5) / r])
    hits = np.zeros(3)
    for _ in range(studies):
        sizes = np.full(prompts, 4) if kind == "equal" else np.exp(rng.uniform(0, np.log(100), prompts)).astype(int)
        cluster, _, votes, predicted = draw_study(sizes, rng)
        human, n = votes / 5 - 0.5, votes.size
        ratings = (np.arange(5) < votes[:, None]).astype(float)
        yardstick = Yardstick(tabulate(ratings), cluster, np.zeros(n, dtype=int))
        parts = [predicted - 0.5, human]
        sums = np.stack([np.bincount(cluster, x * y) for x, y in ((parts[0], human), (parts[0],) * 2, (human,) * 2)])

        def values(weights: np.ndarray, yardstick: Yardstick = yardstick, sums: np.ndarray = sums) -> np.ndarray:
            found, (xy, xx, yy) = yardstick(weights), sums @ weights
            reliable = np.sqrt(np.where(found.reliability > 0.05, found.reliability, np.nan))
            return np.stack([found.pearson_symmetric, found.l1, xy / np.sqrt(xx * yy) / reliable])

        clusters = find_clusters(cluster, np.zeros(n, dtype=int))
        value, drawn = (
            values(np.ones((prompts, 1)))[:, 0],
            values(np.concatenate(draw_clusters(clusters, 400, rng), axis=1).astype(np.float64)),
        )
        spare = find_freedom(clusters)
        ends = [percentile_interval(value[k], drawn[k], spare=spare) for k in (0, 1)]
        ends.append(bca_interval(value[2], drawn[2], 0.0, spare=spare))
        hits += [e.low is not None and e.low <= x <= e.high for e, x in zip(ends, truth, strict=True)]
    share = hits / studies
    return {"prompts": prompts, "pairs a prompt": kind, "r": share[0], "L1": share[1], "corrected r": share[2]}


def table(rows: list[Row]) -> str:
    """A line for each row, a column for each field."""
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[k]) for line in cells)) for k, name in enumerate(names)]
    return "\n".join(
        "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip() for line in [names, *cells]
    )


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.3f} to {value[1]:.3f}"
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A twentieth of the studies, for a look.")
    parser.add_argument("--json", type=Path, help="Write the rows here, too.")
    given = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("python", *sys.argv, flush=True)
    share = 20 if given.quick else 1
    parts = {
        "truth and what is shown": compare(40_000 // share),
        "panels of 500 pairs": compare_panels(500, 200 // share),
        "suspected": suspect(200 // share),
        "coverage": [cover(n, kind, 1000 // share) for n in (12, 25, 150) for kind in ("equal", "1 to 100")],
    }
    for title, rows in parts.items():
        print(f"\n{title}\n{table(rows)}")
    if given.json:
        given.json.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
