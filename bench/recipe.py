"""Which learning rate and how many epochs `dissensus train` should begin with, by the labels of prompts held out.

    python bench/recipe.py --data FOLDER [--sets pandalm …] [--rates 2e-5 1e-4] [--epochs 2 4] [--seeds 2]

Each set is cut to the labels that ``--labels`` says, of whole prompts, each text in two pairs at most. A quarter of the
prompts is held out, others by the seed; every combination is trained on the rest, length covariate included, and scored
by the NLL of the labels held out after one fitted temperature. **No vote is read** but the one that is a pair's label.
What is there in --out is not trained again.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from defaults import read_set
from problems import thin_sides
from real_runs import kept, options_of, parser_of

import dissensus as ds
from dissensus.records import Pair
from dissensus.reward.model_record import last_validation, read_log

SETS = ("pandalm", "arguments", "qa_feedback", "hh_harmless")
HELD_OUT, PAIRS_A_TEXT = 0.25, 2


def few(pairs: list[Pair], most: int, seed: int) -> list[Pair]:
    """Cut pairs to whole prompts with about so many, each text in at most two."""
    rng = np.random.default_rng(seed)
    sides = [((pair.group, str(pair.response_a)), (pair.group, str(pair.response_b))) for pair in pairs]
    thinned = [pairs[row] for row in thin_sides(sides, np.arange(len(pairs)), PAIRS_A_TEXT, rng)]
    chosen: list[Pair] = []
    for group in rng.permutation(sorted({pair.group for pair in thinned})):
        if len(chosen) < most:
            chosen += [pair for pair in thinned if pair.group == group]
    return chosen


def held_out_nll(pairs: list[Pair], settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train with some prompts held out; returns what the labels of those say."""
    done = ds.train(pairs, work, progress=False, validation=HELD_OUT, **settings)
    last = last_validation(read_log(work))
    assert last is not None
    shutil.rmtree(work)
    return {
        "trained": done.summary.pairs,
        "held_out": done.summary.validation_pairs,
        "calibrated_nll": last.validation_calibrated_nll,
        "nll": last.validation_nll,
        "accuracy": last.validation_accuracy,
        "temperature": done.summary.temperature,
        "seconds": round(done.summary.seconds),
    }


def main() -> None:
    parser = parser_of(__doc__, SETS, "recipe")
    parser.add_argument("--rates", nargs="+", type=float, default=[2e-5, 1e-4])
    parser.add_argument("--epochs", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--labels", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    options = options_of(parser)
    for name in options.sets:
        own = [own for _, own in read_set(options.data / f"{name}.jsonl.gz", 0) if own.label in ("a", "b")]
        pairs, made = few(own, options.labels, seed=0), {}
        for seed, rate, epochs in product(range(options.seeds), options.rates, options.epochs):
            settings = {**options.settings, "learning_rate": rate, "epochs": epochs, "seed": seed}
            about = (name, options.labels, seed, f"{rate:g}", epochs)
            made[seed, rate, epochs] = kept(options, about, partial(held_out_nll, pairs, settings))
        show(name, made, options)


def show(name: str, made: dict[tuple[int, float, int], dict[str, Any]], options: argparse.Namespace) -> None:
    """Print a set's table: means over seeds."""
    first = next(iter(made.values()))
    print(f"\n{name}: {first['trained']} pairs trained on, {first['held_out']} held out, {options.seeds} seeds")
    print(f"{'rate':>8} {'epochs':>6}  {'NLL':>6} {'before T':>8} {'accuracy':>8} {'T':>6} {'seconds':>7}")
    for rate, epochs in product(options.rates, options.epochs):
        rows = [made[seed, rate, epochs] for seed in range(options.seeds)]
        keys = ("calibrated_nll", "nll", "accuracy", "temperature", "seconds")
        nll, raw, right, t, seconds = (np.mean([row[key] or np.nan for row in rows]) for key in keys)
        print(f"{rate:8g} {epochs:6}  {nll:6.4f} {raw:8.4f} {right:8.3f} {t:6.2f} {seconds:7.0f}", flush=True)


if __name__ == "__main__":
    main()
