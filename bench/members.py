"""One model with a tenth of its prompts held out, or four members that leave out a quarter each in turn?

    python bench/members.py --data FOLDER [--sets pandalm vicuna80 arguments] [--density 1 2 8 all] [--seeds 3]

Bradley-Terry with the length covariate, heads on frozen features as in `objectives.py`, whose draws of labels, parts
and choices these are: temperature, length and recipe are fitted to labels of prompts that a model did not see. One
model fits them as `dissensus train --members 1` does, four as it does where labels are few.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from heads import Floats, Ints, Problem, Recipe, Targets, fit_members, fit_weights, train_head
from objectives import BASE, CONFIGS, FEW, MEMBERS, METRICS, RECIPES
from problems import FOLDS, draw, read_problem
from scipy.special import expit

from dissensus.reward.length_covariate import LengthSlope
from dissensus.reward.serving.calibration import HELD_OUT_LOG_SD, fit_calibration, mean_nll

HELD = 0.1


def fit_one(
    problem: Problem, rows: Ints, test: Ints, label: Floats, recipe: Recipe, seed: int, rng: np.random.Generator
) -> tuple[float, Floats]:
    """Train one head and calibrate it on a tenth of the prompts; returns their NLL and the predicted preferences."""
    prompts = np.unique(problem.group[rows])
    held = np.isin(problem.group[rows], rng.permutation(prompts)[: max(round(HELD * len(prompts)), 1)])
    mine, left, longer = rows[~held], rows[held], problem.longer
    texts = np.unique(np.concatenate([problem.a[rows], problem.b[rows]]))
    spread = problem.features[texts].std(axis=0) + 1e-6
    features = ((problem.features - problem.features[texts].mean(axis=0)) / spread).astype(np.float32)
    targets = Targets.of(CONFIGS[BASE], label[~held], label[~held])
    beta = float(fit_weights(longer[mine][:, None], targets.target)[0][0])
    said = train_head(features, problem.a[mine], problem.b[mine], targets, beta * longer[mine], recipe, seed)
    gap = targets.objective.logit(said[problem.a], said[problem.b]).double().numpy()
    sure = expit(beta * longer[mine])
    slope = LengthSlope(beta, float((sure * (1 - sure) * longer[mine] ** 2).sum()))
    weight = np.ones(held.sum())
    added = gap + slope.corrected(gap[left], longer[left], label[held], weight) * longer
    fitted = fit_calibration(added[left][None], label[held], weight, "temperature", log_sd=HELD_OUT_LOG_SD)
    return mean_nll(fitted.slope * added[left], label[held], weight), expit(fitted.slope * added[test])


def compare(problem: Problem, density: str, seeds: int) -> None:
    """Print r and L1 of both, means over draws of labels."""
    most = None if density == "all" else int(density)
    found: dict[str, list[list[float]]] = {"one model": [], "four members": []}
    labels = 0
    for seed in range(seeds):
        drawn = draw(problem, most, seed, MEMBERS)
        predicted = {name: np.zeros(len(drawn.part)) for name in found}
        for fold in range(FOLDS):
            rows, inner = drawn.rows[fold], drawn.inner[fold]
            test, own = np.flatnonzero(drawn.part == fold), drawn.label[rows]
            recipes = RECIPES[most is not None and most <= FEW]
            held = [np.random.default_rng([seed, fold]) for _ in recipes]
            ones = [fit_one(problem, rows, test, own, r, seed, h) for r, h in zip(recipes, held, strict=True)]
            predicted["one model"][test] = min(ones, key=lambda one: one[0])[1]
            shares = np.tile(own, (MEMBERS, 1))
            fours = [
                fit_members(problem, rows, test, own, CONFIGS[BASE], shares, inner, recipe, covariate=True, seed=seed)
                for recipe in recipes
            ]
            predicted["four members"][test] = min(fours, key=lambda four: four.nll).predicted
            labels = len(rows)
        for name, values in predicted.items():
            found[name].append([METRICS[m](values, problem.share) for m in ("pearson_symmetric", "l1")])
    means = [f"{r:.3f} / {l1:.3f}" for r, l1 in (np.mean(rows, axis=0) for rows in found.values())]
    print(f"{problem.name:12} {density:>4} {labels:7,} labels   {means[0]:>15}   {means[1]:>15}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DISSENSUS_REAL_DATA"), help="folder of real votes")
    parser.add_argument("--sets", nargs="+", default=["pandalm", "vicuna80", "arguments"])
    parser.add_argument("--density", nargs="+", default=["1", "2", "8", "all"], help="of arguments; else all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.data is None or not Path(options.data).is_dir():
        raise SystemExit("no real votes: name their folder with --data or DISSENSUS_REAL_DATA")
    torch.set_num_threads(1)
    print(f"{'set':12} pairs a text            {'one model':>15}   {'four members':>15}")
    for name in options.sets:
        problem = read_problem(Path(options.data) / f"{name}.jsonl.gz", "minilm")
        for density in options.density if name == "arguments" else ["all"]:
            compare(problem, density, options.seeds)


if __name__ == "__main__":
    main()
