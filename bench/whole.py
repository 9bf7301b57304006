"""The encoder fine-tuned whole, on the folds and labels of `objectives.py`: is it a matter of frozen features?

    python bench/whole.py --data FOLDER [--sets arguments] [--density 2] [--seeds 1] [--folds 2] [--out FOLDER]
        [--set NAME=VALUE …]

Bradley-Terry with and without the length covariate, four members each whose weights are averaged, calibrated on the
labels that they left out (`dissensus train --members 4`); epochs are two unless ``--set epochs=N``. Every method has
the same compute, and no vote chooses anything. Differences are to Bradley-Terry, paired, with 95 % intervals over
prompts; the longer response has its weight from votes of the very set. What is there in --out is not trained again.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from problems import FOLDS, Draw, draw, read_problem
from real_runs import kept, options_of, parser_of, preferences

import dissensus as ds
from dissensus.evaluation.baselines import LONGER_RESPONSE
from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.files import read_pairs
from dissensus.records import Pair, Prediction

BASE, LENGTH = "bradley-terry", "bradley-terry + length"
METHODS = {BASE: False, LENGTH: True}
METRICS = ("pearson_symmetric", "l1")
MEMBERS = 4


def predict_fold(pairs: list[Pair], drawn: Draw, fold: int, settings: dict[str, Any], work: Path) -> dict[str, float]:
    """Train on what a fold leaves and predict it; returns the preference of each of its pairs."""
    own = [
        pairs[row].model_copy(update={"votes": None, "label": "a" if drawn.label[row] else "b"})
        for row in drawn.rows[fold]
    ]
    ds.train(own, work, progress=False, **settings)
    tested = [pairs[row] for row in np.flatnonzero(drawn.part == fold)]
    said = preferences(work, tested)
    shutil.rmtree(work)
    return said


def predict_all(
    name: str, density: str, seed: int, pairs: list[Pair], drawn: Draw, options: argparse.Namespace
) -> list[Prediction]:
    """Predict the folds asked for by every method, keeping what each came to."""
    common = {"members": MEMBERS, "epochs": 2, **options.settings}
    rows = []
    for fold in range(options.folds):
        for method, length in METHODS.items():
            settings = {**common, "length_covariate": length, "seed": seed}
            said = kept(
                options, (name, density, seed, fold, method), partial(predict_fold, pairs, drawn, fold, settings)
            )
            rows += [
                Prediction(pair_id=pair, model=method, seed=seed, preference_a=value) for pair, value in said.items()
            ]
    return rows


def show(name: str, density: str, tested: list[Pair], rows: list[Prediction], folds: int) -> None:
    """Print a table of methods, differences to Bradley-Terry beside them."""
    scored = evaluate_predictions(tested, rows, baseline=BASE, n_swaps=199, progress=False)
    votes = [row for row in scored if row.group == "all" and row.target == "votes"]
    at = {(row.model, row.metric, row.baseline is not None): row for row in votes}
    seeds = len({row.seed for row in rows})
    print(f"\n{name}, at most {density} pairs a text: {len(tested)} pairs, {folds} of {FOLDS} parts, {seeds} draws")
    for method in (*METHODS, LONGER_RESPONSE):
        cells = []
        for metric in METRICS:
            gap = at.get((method, metric, True))
            said = "" if gap is None or gap.low is None else f" ({gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}])"
            cells.append(f"{at[method, metric, False].value:.3f}{said}")
        print(f"{method:24} " + "   ".join(cells), flush=True)


def main() -> None:
    parser = parser_of(__doc__, ["arguments"], "whole")
    parser.add_argument("--density", nargs="+", default=["2"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=2)
    options = options_of(parser)
    if options.seeds > 1 and options.folds < FOLDS:
        raise SystemExit(f"draws leave out other pairs in each fold: several need all of them (--folds {FOLDS})")
    for name in options.sets:
        path = options.data / f"{name}.jsonl.gz"
        problem = read_problem(path, None)
        by_id = {pair.id: pair for pair in read_pairs(path, notice=lambda _: None)}
        pairs = [by_id[one] for one in problem.ids]
        for density in options.density:
            most, rows, tested = None if density == "all" else int(density), [], set()
            for seed in range(options.seeds):
                drawn = draw(problem, most, seed, MEMBERS)
                rows += predict_all(name, density, seed, pairs, drawn, options)
                tested |= set(np.flatnonzero(drawn.part < options.folds).tolist())
            show(name, density, [pairs[row] for row in sorted(tested)], rows, options.folds)


if __name__ == "__main__":
    main()
