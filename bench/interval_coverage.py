"""How often 95 % intervals hold the truth, how often a test finds what is not there, and how often what is.

    python bench/interval_coverage.py [--studies N] [--only WORD] [--json FILE]

Studies are simulated and given to the scorecard as it is (`dissensus.evaluation.scorecard.score`, 400 resamples and 399
swaps): five votes on each pair, whose true shares pile up near 0 and 1, and two models that err together and apart.
Pairs of a prompt share part of what people think and of the models' errors. Designs differ in the number of prompts
and their sizes (four pairs each; log-uniform from 1 to 100; three each but for one in 25, at least two, that has a
hundred), in the data sets that they lie in, and in the training seeds of each model, which differ in how well they
train as well as in their errors and are drawn anew for each study. For Pearson r (the mean within data sets where
there are several large ones), L1, the Brier score and the differences of all three it prints the share of studies whose
interval holds the truth; of two models of which neither is better the share that the test, and an interval that leaves
out 0, tell apart (at .05, unadjusted); and of one better than the other the same. A share of 1,000 studies has a
standard error of .007.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from dissensus.evaluation.groups import Group
from dissensus.evaluation.join import Joined
from dissensus.evaluation.scorecard import score
from dissensus.records import Pair, Votes
from dissensus.stats.metrics import brier, mean_absolute_error, pearson, pearson_within

SHOWN = ("r", "L1", "Brier")


@dataclass(frozen=True)
class Design:
    """What is common to the studies of a line."""

    name: str
    sizes: str
    sets: tuple[int, ...]
    """Prompts in each data set."""
    seeds: int = 1
    quality: float = 0.0
    """Between seeds: standard deviation of how much noise a seed has, relative to it."""
    own: float = 0.0
    """Of a seed's own errors, beside those that all seeds of a model share."""
    apart: float = 0.0
    """How far the data sets lie apart, in logits."""

    @property
    def prompts(self) -> int:
        """In all data sets."""
        return sum(self.sets)


def designs() -> list[Design]:
    """Every line of the table."""
    found = [Design(f"{n} prompts", sizes, (n,)) for n in (25, 50, 150) for sizes in ("equal", "log-uniform", "giant")]
    found += [
        Design(f"{n} prompts, {k} sets of few", "equal", (n, *[2] * k), apart=0.5)
        for n in (25, 50, 150)
        for k in (1, 3)
    ]
    found += [
        Design("29 sets of one, one of two", "equal", (*[1] * 29, 2), apart=0.5),
        Design("20 sets of one, 10 of two", "equal", (*[1] * 20, *[2] * 10), apart=0.5),
        Design("6 sets of 25", "equal", (25,) * 6, apart=1.0),
        Design("6 sets of 25", "log-uniform", (25,) * 6, apart=1.0),
    ]
    for n in (25, 50, 150):
        for sizes in ("equal", "log-uniform", "giant"):
            found.append(Design(f"{n} prompts, 3 seeds", sizes, (n,), seeds=3, quality=0.15, own=0.4))
    found += [
        Design("150 prompts, 2 seeds", "equal", (150,), seeds=2, quality=0.15, own=0.4),
        Design("150 prompts, 5 seeds", "equal", (150,), seeds=5, quality=0.15, own=0.4),
        Design("150 prompts, 3 seeds alike", "equal", (150,), seeds=3, quality=0.0, own=0.3),
    ]
    return found


def draw_sizes(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs of each of n prompts."""
    if kind == "equal":
        return np.full(n, 4)
    if kind == "log-uniform":
        return np.exp(rng.uniform(0, np.log(100), n)).round().astype(int)
    return rng.permutation(np.where(np.arange(n) < max(2, n // 25), 100, 3))


def draw(
    design: Design, noise: tuple[float, float], rng: np.random.Generator, *, times: int = 1, seeds: int = 0
) -> tuple[np.ndarray, ...]:
    """Draw votes, both models' predictions (models, seeds, pairs), the prompt and the data set of each pair."""
    seeds = seeds or design.seeds
    set_of = np.repeat(np.arange(len(design.sets)), np.array(design.sets) * times)
    sizes = draw_sizes(design.sizes, set_of.size, rng)
    prompt = np.repeat(np.arange(set_of.size), sizes)

    def spread(sd: float) -> np.ndarray:
        return rng.normal(0, sd, set_of.size)[prompt] + rng.normal(0, sd, prompt.size)

    level = design.apart * np.sin(2.4 * np.arange(len(design.sets)))[set_of][prompt]
    utility, shared = level + spread(1.3), spread(0.8)
    human = rng.binomial(5, 1 / (1 + np.exp(-1.3 * (0.5 + utility)))) / 5
    predicted = np.empty((2, seeds, prompt.size))
    for model, sd in enumerate(noise):
        error = spread(sd)
        for seed in range(seeds):
            louder = 1 + design.quality * rng.normal()
            own = spread(design.own) if design.own else 0.0
            predicted[model, seed] = 1 / (1 + np.exp(-0.7 * (0.5 + utility + shared + louder * error + own)))
    return human, predicted, prompt, set_of[prompt]


def values(human: np.ndarray, predicted: np.ndarray, data_set: np.ndarray, *, within: bool) -> np.ndarray:
    """r, L1 and Brier of predictions (pairs,)."""
    r = pearson_within(predicted, human, data_set) if within else pearson(predicted, human)
    return np.array([r, mean_absolute_error(predicted, human), brier(predicted, human)])


def truth(design: Design, noise: tuple[float, float]) -> np.ndarray:
    """The values of the first method, and their differences to the second, over many prompts and seeds."""
    rng, within = np.random.default_rng(0), counts_within(design)
    rounds, times = (60, max(1, 6000 // design.prompts)) if design.quality else (6, max(1, 40_000 // design.prompts))
    found = []
    for _ in range(rounds):
        human, predicted, _, data_set = draw(design, noise, rng, times=times, seeds=1 if not design.quality else 4)
        keep = np.isin(data_set, large_sets(design))
        each = [
            [
                np.concatenate([
                    values(human[keep], p[keep], data_set[keep], within=True)[:1],
                    values(human, p, data_set, within=False)[1:],
                ]) if within else values(human, p, data_set, within=False)
                for p in model
            ]
            for model in predicted
        ]  # fmt: skip
        found.append(np.mean(each, axis=1))
    first, second = np.mean(found, axis=0)
    return np.concatenate([first, first - second])


def large_sets(design: Design) -> list[int]:
    """The data sets that the mean within data sets counts: of four pairs a prompt, three prompts or more."""
    return [i for i, n in enumerate(design.sets) if n >= 3]


def counts_within(design: Design) -> bool:
    """Whether r is the mean within data sets: where several of them are large enough, or one among small ones."""
    return len(design.sets) > 1 and bool(large_sets(design))


def study(design: Design, noise: tuple[float, float], rng: np.random.Generator) -> dict[str, tuple[float, ...]]:
    """Score one study: for each statistic the ends of its interval, and of a difference the p-value."""
    human, predicted, prompt, data_set = draw(design, noise, rng)
    votes = Votes(a=1, b=1)
    pairs = tuple(
        Pair.model_construct(id=str(i), prompt="", group=str(p), dataset=str(d), votes=votes, domain=None)
        for i, (p, d) in enumerate(zip(prompt, data_set, strict=True))
    )
    joined = Joined(pairs, human, {"first": predicted[0], "second": predicted[1]})
    everything = {Group(): np.ones(human.size, dtype=bool)}
    rows = score(
        joined, baseline="second", groups=everything, n_resamples=400, n_swaps=399, seed=int(rng.integers(1e9))
    )
    metrics = dict(zip(SHOWN, ("pearson_within" if counts_within(design) else "pearson", "l1", "brier"), strict=True))
    found = {}
    for name, metric in metrics.items():
        for row in rows:
            if row.model == "first" and row.metric == metric:
                ends = (np.nan if end is None else end for end in (row.low, row.high, row.p_value))
                found[name if row.baseline is None else f"Δ{name}"] = tuple(ends)
    return found


def line(task: tuple[Design, int]) -> dict[str, object]:
    """All shares of one design."""
    design, studies = task
    better = 0.35 if design.prompts >= 100 else 0.6 if design.prompts >= 50 else 0.75
    differ, alike = (0.9, 1.1), (0.9, 0.9)
    true = dict(zip((*SHOWN, *(f"Δ{name}" for name in SHOWN)), truth(design, differ), strict=True))
    found: dict[str, object] = {"design": design.name, "sizes": design.sizes}
    rng = np.random.default_rng([17, design.prompts, len(design.sets), design.seeds])
    drawn = [study(design, differ, rng) for _ in range(studies)]
    for name, value in true.items():
        found[f"holds {name}"] = float(np.mean([s[name][0] <= value <= s[name][1] for s in drawn]))
    for what, noise in (("null", alike), ("power", (0.9 - better, 0.9))):
        drawn = [study(design, noise, rng) for _ in range(studies)]
        for name in ("Δr", "ΔL1"):
            found[f"{what} {name} test"] = float(np.mean([s[name][2] <= 0.05 for s in drawn]))
            found[f"{what} {name} interval"] = float(np.mean([not s[name][0] <= 0 <= s[name][1] for s in drawn]))
    return found


HOLDS = [*SHOWN, *(f"Δ{name}" for name in SHOWN)]
HEADER = (
    f"{'':28}{'':13}{'interval holds':48}{'told apart, neither better':32}told apart, one better\n"
    f"{'design':28}{'sizes':13}"
    + "".join(f"{title:>8}" for title in (*HOLDS, *("Δr test", "int.", "ΔL1 t.", "int.") * 2))
)


def text(row: dict[str, object]) -> str:
    """A line of the table."""
    shares = [row[f"holds {name}"] for name in HOLDS]
    shares += [
        row[f"{what} {name} {way}"]
        for what in ("null", "power")
        for name in ("Δr", "ΔL1")
        for way in ("test", "interval")
    ]
    return f"{row['design']:28}{row['sizes']:13}" + "".join(f"{share:8.3f}" for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="Of each design, three times.")
    parser.add_argument("--only", default="", help="Designs whose name or sizes have this in them.")
    parser.add_argument("--json", type=Path, help="Write the rows here, too.")
    given = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("python", *sys.argv, flush=True)
    tasks = [(d, given.studies) for d in designs() if given.only in f"{d.name} {d.sizes}"]
    print(HEADER, flush=True)
    rows = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for row in pool.map(line, tasks):
            rows.append(row)
            print(text(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
