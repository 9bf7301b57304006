"""Objectives compared on real votes: by how often each text is judged, by judge, and by backbone.

    python bench/objectives.py --data FOLDER [--sets arguments …] [--backbone minilm …] [--density 1 2 4 8 all]
        [--judge votes …] [--seeds 3] [--out FOLDER] [--transfer SET] [--simulated]

One vote per pair is the label, the other votes are what a perfect judge would say. Prompts (debates, where a set has
them) are left out in four parts; what is left is thinned until each text stands in at most so many pairs. All methods
have four members, each without a quarter of the training prompts, and choose learning rate, epochs, temperature and
the weight of length by the labels of what members left out: no vote of a test pair chooses anything, and all methods
have the same compute, apart from what a judge costs. Features are frozen; the head on them has 64 units. `chosen` is
the best of Bradley-Terry, `blend` and `soft` with the length covariate, by the same labels.

Cells are kept in --out as they are made, and not made again. The table has means over seeds; differences are to
Bradley-Terry, with 95 % intervals over prompts and p-values of paired swap tests (`dissensus evaluate`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from heads import Fitted, Floats, Problem, Recipe, fit_members, fit_weights
from label_judges import LABEL_JUDGES, shares_of_labels
from problems import FOLDS, deal, draw, draw_labels, pool, read_problem, simulate_problem
from scipy.special import expit
from scipy.stats import rankdata

from dissensus.evaluation.baselines import LONGER_RESPONSE
from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.evaluation.groups import CONTESTED
from dissensus.records import Pair, Prediction, Votes
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import OBJECTIVES
from dissensus.stats.metrics import accuracy, brier, mean_absolute_error, pearson_symmetric

MEMBERS = 4
SETS = ("arguments", "vicuna80", "pandalm")
RECIPES = {True: (Recipe(1e-3, 3), Recipe(1e-3, 10)), False: (Recipe(1e-3, 1), Recipe(1e-3, 3))}
"""To choose from, by whether each text is in few pairs."""
FEW = 4
NOISY = {"accuracy .70": 0.70, "accuracy .80": 0.80, "accuracy .90": 0.90}
"""Judges that give one verdict in each order, each right (as the other votes have it) with this probability."""
BASE, LENGTH = "bradley-terry", " + length"
CONFIGS = {name: TrainConfig(objective=name) for name in OBJECTIVES}
FREE = (BASE, f"{BASE}{LENGTH}", "mean-variance")
JUDGED = ("margin", "soft", "blend", "brier", "margin + length", "soft + length", "blend + length")
CLAIMED = (BASE, f"{BASE}{LENGTH}", "length alone", "margin", "soft", "chosen")
"""Methods whose differences to Bradley-Terry get intervals and tests."""
RESAMPLES = 400
CANDIDATES = (f"{BASE}{LENGTH}", "blend + length", "soft + length")


def judge_shares(problem: Problem, judge: str, others: Floats, rng: np.random.Generator) -> Floats:
    """What a judge says: the share of its judgments for a, both orders together; one half where it says nothing."""
    if judge in NOISY:
        majority = np.where(others == 0.5, rng.random(len(others)) < 0.5, others > 0.5)
        right = rng.random((2, len(others))) < NOISY[judge]
        return np.asarray(np.where(right, majority, ~majority).mean(axis=0))
    if judge in problem.judged:
        return np.asarray(np.nan_to_num(problem.judged[judge], nan=0.5))
    return others


def run_cell(
    problem: Problem, most: int | None, judge: str, seed: int, methods: Sequence[str]
) -> dict[str, list[float]]:
    """Predict every pair by members that saw nothing of its part; by method."""
    drawn = draw(problem, most, seed, MEMBERS)
    part, label = drawn.part, drawn.label
    share = judge_shares(problem, judge, drawn.others, np.random.default_rng([seed, 1]))
    predicted = {method: np.zeros(len(part)) for method in methods}
    nll = {method: np.zeros(FOLDS) for method in methods}
    if judge == "none":
        predicted["length alone"] = np.zeros(len(part))
    for fold in range(FOLDS):
        rows, test, inner = drawn.rows[fold], np.flatnonzero(part == fold), drawn.inner[fold]
        shares = np.tile(share[rows], (MEMBERS, 1))
        for member in range(MEMBERS if judge in LABEL_JUDGES else 0):
            own = inner != member
            shares[member, own] = shares_of_labels(problem, rows[own], label[rows[own]], judge, seed)
        for method in methods:
            best: Fitted | None = None
            for recipe in RECIPES[most is not None and most <= FEW]:
                found = fit_members(
                    problem,
                    rows,
                    test,
                    label[rows],
                    CONFIGS[method.removesuffix(LENGTH)],
                    shares,
                    inner,
                    recipe,
                    covariate=method.endswith(LENGTH),
                    seed=seed,
                )
                best = found if best is None or found.nll < best.nll else best
            assert best is not None
            predicted[method][test], nll[method][fold] = best.predicted, best.nll
        if judge == "none":
            beta = fit_weights(problem.longer[rows][:, None], label[rows])[0][0]
            predicted["length alone"][test] = expit(beta * problem.longer[test])
    made = {method: values.round(5).tolist() for method, values in predicted.items()}
    return made | {f"nll {method}": values.tolist() for method, values in nll.items()} | {"part": part.tolist()}


def transfer(problems: Sequence[Problem], target: Problem, seeds: int) -> None:
    """Print how members that are trained on other sets predict a set that nothing was trained on."""
    every = pool([*problems, target])
    inside = every.unit == target.name
    test, found = np.flatnonzero(inside), dict[str, list[Floats]]()
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        label, _, _ = draw_labels(every, rng)
        rows = np.flatnonzero(~inside & (label != 0.5))
        shares = np.tile(label[rows], (max(MEMBERS, len(problems)), 1))
        by_prompt, by_set = deal(every.group[rows], MEMBERS, rng), np.unique(every.unit[rows], return_inverse=True)[1]
        ways = [(f"{BASE}", by_prompt, False), (f"{BASE} + length", by_prompt, True)]
        if len(problems) > 2:
            ways.append((f"{BASE} + length, members without a set", by_set, True))
        for name, fold, covariate in ways:
            fits = [
                fit_members(
                    every, rows, test, label[rows], CONFIGS[BASE], shares, fold, recipe, covariate=covariate, seed=seed
                )
                for recipe in RECIPES[False]
            ]
            found.setdefault(name, []).append(min(fits, key=lambda fit: fit.nll).predicted)
        beta = fit_weights(every.longer[rows][:, None], label[rows])[0][0]
        found.setdefault("length alone", []).append(expit(beta * every.longer[test]))
    print(f"\ntrained on {'+'.join(one.name for one in problems)}, tested on {target.name}")
    for name, predicted in found.items():
        values = [np.mean([METRICS[m](one, target.share) for one in predicted]) for m in ("pearson_symmetric", "l1")]
        print(f"{name:48} r {values[0]:.3f}  L1 {values[1]:.3f}")


def choose(free: dict[str, list[float]], judged: dict[str, list[float]]) -> list[float]:
    """Take in each fold the method of the lowest NLL of training labels; both cells are of one seed and density."""
    every = free | judged
    part = np.array(free["part"])
    chosen = np.argmin([every[f"nll {method}"] for method in CANDIDATES], axis=0)
    columns = np.array([every[method] for method in CANDIDATES])
    return np.asarray(columns[chosen[part], np.arange(len(part))]).tolist()


def auroc(predicted: Floats, share: Floats) -> float:
    """How well a preference near one half tells contested pairs from agreed ones."""
    contested = np.minimum(share, 1 - share) >= CONTESTED - 1e-9
    ranks = rankdata(-np.abs(predicted - 0.5))
    n = contested.sum()
    if n in (0, len(share)):
        return float("nan")
    return float((ranks[contested].sum() - n * (n + 1) / 2) / (n * (len(share) - n)))


METRICS = {
    "pearson_symmetric": pearson_symmetric,
    "l1": mean_absolute_error,
    "brier": brier,
    "accuracy": accuracy,
    "auroc": auroc,
}


def score(problem: Problem, cells: Sequence[dict[str, list[float]]]) -> Iterator[dict[str, object]]:
    """Score methods against all votes, one row each; those that a claim rests on with differences to Bradley-Terry."""
    votes = [Votes(a=int(a), b=int(b), tie=int(tie)) for a, b, tie in problem.votes]
    lengths = np.maximum(np.exp(problem.log_length).round().astype(int) - 1, 1)
    texts = [("x" * lengths[a], "x" * lengths[b]) for a, b in zip(problem.a, problem.b, strict=True)]
    pairs = [
        Pair(id=name, prompt="-", response_a=a, response_b=b, group=str(group), votes=said)
        for name, (a, b), group, said in zip(problem.ids, texts, problem.group, votes, strict=True)
    ]
    methods = [name for name in cells[0] if name != "part" and not name.startswith("nll ")]
    predictions = [
        Prediction(pair_id=pair.id, model=method, seed=seed, preference_a=value)
        for seed, cell in enumerate(cells)
        for method in CLAIMED
        if method in cell
        for pair, value in zip(pairs, cell[method], strict=True)
    ]
    rows = evaluate_predictions(
        pairs, predictions, baseline=BASE, n_resamples=RESAMPLES, n_swaps=RESAMPLES - 1, progress=False
    )
    if beside := [row for row in predictions if row.model in ("margin", "chosen")]:
        rows += [
            row.model_copy(update={"metric": f"{row.metric} to margin"})
            for row in evaluate_predictions(
                pairs, beside, baseline="margin", n_resamples=RESAMPLES, n_swaps=RESAMPLES - 1, progress=False
            )
            if row.baseline is not None
        ]
    at = {(row.model, row.metric): row for row in rows if row.group == "all" and row.baseline is not None}
    for method in methods:
        found: dict[str, object] = {"method": method}
        for metric, function in METRICS.items():
            found[metric] = float(np.mean([function(np.array(cell[method]), problem.share) for cell in cells]))
            if (gap := at.get((method, metric))) is not None:
                found[f"{metric} difference"] = [gap.value, gap.low, gap.high, gap.p_value]
            if (gap := at.get((method, f"{metric} to margin"))) is not None:
                found[f"{metric} difference to margin"] = [gap.value, gap.low, gap.high, gap.p_value]
        yield found
    reference = {row.metric: row.value for row in rows if row.group == "all" and row.model == LONGER_RESPONSE}
    yield {"method": "longer, fitted to votes", **{metric: reference.get(metric) for metric in METRICS}}


def show(problem: Problem, backbone: str, density: str, judge: str, rows: Sequence[dict[str, object]]) -> None:
    """Print a cell: methods by their r, with differences to Bradley-Terry."""
    wide = "difference, interval, p"
    print(f"\n{problem.name}, {backbone}, at most {density} pairs a text, judge: {judge}")
    print(f"{'method':24} {'r':>5} {wide:>31} {'L1':>5} {wide:>31} {'AUROC':>6}")
    for row in rows:
        line = f"{row['method']:24}"
        for metric in ("pearson_symmetric", "l1"):
            line += f" {row[metric]:>5.3f} " if row[metric] is not None else "       "
            if gap := row.get(f"{metric} difference"):
                value, low, high, p = gap  # type: ignore[misc]
                interval = f"[{low:+.3f}, {high:+.3f}]" if low is not None else "[no interval]"
                line += f"{f'{value:+.3f} {interval}' + (f' p {p:.3f}' if p is not None else ''):>30} "
            else:
                line += " " * 31
        print(line + (f" {row['auroc']:>6.3f}" if row["auroc"] is not None else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DISSENSUS_REAL_DATA"), help="folder of real votes")
    parser.add_argument("--sets", nargs="+", default=["arguments"])
    parser.add_argument("--backbone", nargs="+", default=["minilm"], help="encoders: minilm, a folder or a Hub id")
    parser.add_argument("--density", nargs="+", default=["1", "2", "4", "8", "all"])
    parser.add_argument(
        "--judge", nargs="+", default=["votes"], help=f"votes, {', '.join((*NOISY, *LABEL_JUDGES))}, a published one"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("objectives"))
    parser.add_argument("--transfer", metavar="SET", help="train on the sets and test on this one, nothing else")
    parser.add_argument("--simulated", action="store_true", help="a simulated population instead of the sets")
    options = parser.parse_args()
    if not options.simulated and (options.data is None or not options.data.is_dir()):
        raise SystemExit("no real votes: name their folder with --data or DISSENSUS_REAL_DATA")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print("command: " + " ".join([Path(sys.executable).name, *sys.argv]))
    if options.transfer:
        for backbone in options.backbone:
            sets = [read_problem(options.data / f"{name}.jsonl.gz", backbone) for name in options.sets]
            transfer(sets, read_problem(options.data / f"{options.transfer}.jsonl.gz", backbone), options.seeds)
        return
    for backbone in ["none"] if options.simulated else options.backbone:
        for name in ["simulated"] if options.simulated else options.sets:
            problem = (
                simulate_problem() if options.simulated else read_problem(options.data / f"{name}.jsonl.gz", backbone)
            )
            for density in options.density:
                run_density(problem, Path(backbone).name, density, options)


def run_density(problem: Problem, backbone: str, density: str, options: argparse.Namespace) -> None:
    """Make the cells of a density that are missing, and print them."""

    def cell(judge: str, seed: int) -> dict[str, list[float]]:
        file = options.out / f"{problem.name}-{backbone}-{density}-{judge.replace(' ', '-')}-{seed}.json"
        made: dict[str, list[float]] = json.loads(file.read_text()) if file.is_file() else {}
        seconds = made.pop("seconds", [])
        if missing := [method for method in (FREE if judge == "none" else JUDGED) if method not in made]:
            start = time.process_time()
            made |= run_cell(problem, None if density == "all" else int(density), judge, seed, missing)
            seconds.append(time.process_time() - start)
            file.with_suffix(".part").write_text(json.dumps(made | {"seconds": seconds}))
            file.with_suffix(".part").rename(file)
        return made

    seeds = range(options.seeds)
    free = [cell("none", seed) for seed in seeds]
    # Labels alone say nothing of others' votes, which judges are made of or held against.
    for judge in options.judge if problem.votes.sum(axis=1).max() > 1 else ["none"]:
        judged = [] if judge == "none" else [cell(judge, seed) for seed in seeds]
        every = [
            mine | {k: v for k, v in own.items() if k not in mine} | {"chosen": choose(mine, own)}
            for mine, own in zip(free, judged, strict=bool(judged))
        ] or free
        rows = list(score(problem, every))
        show(problem, backbone, density, judge, rows)
        summary = options.out / f"{problem.name}-{backbone}-{density}-{judge.replace(' ', '-')}.scores.json"
        summary.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
