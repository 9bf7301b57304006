"""Whether `dissensus power` plans with the test that `dissensus evaluate` makes, and what seeds do to it.

    python bench/power_seeds.py [--quick] [--json FILE]

Studies of a design are tested twice: by the test of the plan, which takes many at once with few swaps and resamples,
and one by one by the code of the evaluation, with more. Of two equal methods the share of finds is the size of the
test, at .05; of others its power. Then plans: the pairs that are said to reach .8, and the power that they have.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from dissensus.stats.design.sample_size import find_limit, find_pairs
from dissensus.stats.design.simulated_power import Design, estimate_power
from dissensus.stats.design.simulated_swaps import swap_test as plan_test
from dissensus.stats.metrics import FloatArray, pearson, pearson_within
from dissensus.stats.resampling.clusters import cluster_counts
from dissensus.stats.resampling.permutation import Swap, swap_test
from dissensus.stats.resampling.training_seeds import find_seed_noise

_AT_ONCE = 20

EQUAL = Design(r_baseline=0.7, r_model=0.7)
DESIGNS = {
    "equal, one seed": EQUAL,
    "equal, one seed of SD .02": replace(EQUAL, seed_sd=0.02),
    "equal, one seed of SD .03, 600 pairs": replace(EQUAL, seed_sd=0.03, pairs=600),
    "equal, 2 seeds of SD .02": replace(EQUAL, seeds=2, seed_sd=0.02),
    "equal, 3 seeds of SD .02": replace(EQUAL, seeds=3, seed_sd=0.02),
    "equal, 3 seeds of SD .03, 600 pairs": replace(EQUAL, seeds=3, seed_sd=0.03, pairs=600),
    "equal, 3 seeds of SD 0": replace(EQUAL, seeds=3),
    "equal, 5 seeds of SD .02, 3 sets": replace(EQUAL, seeds=5, seed_sd=0.02, data_sets=3),
    "equal, 3 seeds of SD .02, 25 pairs": replace(EQUAL, seeds=3, seed_sd=0.02, pairs=25),
    "equal, 3 seeds of SD .02, 5 to a prompt": replace(EQUAL, seeds=3, seed_sd=0.02, per_prompt=5),
    ".7 and .8, one seed": replace(EQUAL, r_model=0.8),
    ".7 and .8, 3 seeds of SD .02": replace(EQUAL, r_model=0.8, seeds=3, seed_sd=0.02),
    ".7 and .8, 3 seeds of SD .02, 3 sets": replace(EQUAL, r_model=0.8, seeds=3, seed_sd=0.02, data_sets=3),
}
PLANS = {
    "one seed": Design.from_observed(0.64, 0.08),
    "3 seeds of SD .01": Design.from_observed(0.64, 0.08, seeds=3, seed_sd=0.01),
    "3 seeds of SD .02, 2 sets, 2 to a prompt": Design.from_observed(
        0.6, 0.1, seeds=3, seed_sd=0.02, data_sets=2, per_prompt=2
    ),
}


def find_both(design: Design, studies: int, swaps: int, resamples: int, seed: int) -> tuple[float, float]:
    """The shares of the same studies in which the plan's test and the evaluation's find a difference at .05."""
    rng, planned, evaluated = np.random.default_rng(seed), 0, 0
    prompts, data_sets = design.labels
    metric = "pearson" if design.data_sets == 1 else "pearson_within"
    for _ in range(studies // _AT_ONCE):
        *models, human = design.draw(_AT_ONCE, rng)
        planned += int((plan_test(*models, human, prompts, data_sets, rng) <= 0.05).sum())
        first, second = (side.reshape(design.seeds, *human.shape) for side in models)
        for i in range(_AT_ONCE):
            baseline, model = first[:, i], second[:, i]
            noise = {}
            if design.seeds > 1:
                counts = np.concatenate(list(cluster_counts(prompts, data_sets, resamples, rng)))
                sides = [between(side, human[i], data_sets, counts) for side in (model, baseline)]
                noise = {0: {metric: find_seed_noise(sides)}}
            function = {metric: pearson if metric == "pearson" else pearson_within}
            pairs = [
                Swap(m, b, human[i], prompts, data_sets, metrics=function) for m, b in zip(model, baseline, strict=True)
            ]
            p = swap_test({0: pairs}, int(prompts[-1]) + 1, swaps, rng, noise=noise)[0][metric]
            evaluated += p <= 0.05
    return planned / studies, evaluated / studies


def between(
    seeds: FloatArray, human: FloatArray, data_sets: FloatArray, counts: FloatArray
) -> tuple[FloatArray, float]:
    """The r of each seed, and the mean over resamples of their variance."""

    def r(predicted: FloatArray, weights: FloatArray | None) -> FloatArray:
        if np.ptp(data_sets) == 0:
            return pearson(predicted, human, weights)
        return pearson_within(predicted, human, data_sets, weights)

    resampled = [r(seed, counts) for seed in seeds]
    return np.array([r(seed, None) for seed in seeds]), float(np.nanmean(np.var(resampled, axis=0, ddof=1)))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    studies = 20 if options.quick else 1000
    rows, start = [], time.perf_counter()
    print(
        f"{'design':42} {'planned':>8} {'evaluated':>10}   finds at .05; ± {1.96 * (0.05 * 0.95 / studies) ** 0.5:.3f}"
    )
    for seed, (name, design) in enumerate(DESIGNS.items()):
        power, real = find_both(design, studies, 499, 300, seed)
        rows.append({"design": name, "planned": power, "evaluated": real})
        print(f"{name:42} {power:8.3f} {real:10.3f}", flush=True)
    print(f"\n{'.8 at .025 of':42} {'limit':>8} {'pairs':>10} {'power there':>12}")
    for name, design in PLANS.items():
        pairs = find_pairs(design, alpha=0.025)
        limit = find_limit(design, alpha=0.025)
        power = None if pairs is None else estimate_power(replace(design, pairs=pairs), alpha=0.025, seed=9)
        rows.append({"design": name, "limit": limit, "pairs": pairs, "power": power})
        print(f"{name:42} {limit:8.3f} {pairs!s:>10} {power!s:>12}", flush=True)
    print(f"{time.perf_counter() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
