"""Time and peak memory of a whole evaluation: 10,000 pairs, three models, twelve groups.

    python bench/evaluate_size.py [--quick] [--other PYTHON] [--runs N]

Five votes a pair in five data sets of two domains, responses that can be told apart or not, prompts of one to eight
pairs; the settings that `dissensus evaluate` has by default. Each run is a process of its own, so that its peak is its
own. ``--other`` names the interpreter of another build of the package, which takes turns with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

import numpy as np


def evaluate(n: int, seeds: int) -> None:
    """Run one evaluation in this process, and print what it took."""
    from dissensus.evaluation.evaluate_predictions import evaluate_predictions
    from dissensus.records import Pair, Prediction, Votes

    rng = np.random.default_rng(0)
    utility = rng.normal(0.3, 1.6, n)
    votes, data_set = rng.binomial(5, 1 / (1 + np.exp(-utility))), rng.integers(5, size=n)
    distinct = np.where(rng.random(n) < 0.4, "yes", "no")
    prompt = np.repeat(np.arange(n), rng.integers(1, 9, n))[:n]
    pairs = [
        Pair(
            id=f"pair-{i}", prompt=f"prompt {data_set[i]} {prompt[i]}", group=f"{data_set[i]}-{prompt[i]}",
            response_a=f"first {i}", response_b=f"second one {i}", dataset=f"set-{data_set[i]}",
            domain="in" if data_set[i] < 3 else "out", distinct=str(distinct[i]),
            votes=Votes(a=int(votes[i]), b=int(5 - votes[i])),
        )
        for i in range(n)
    ]  # fmt: skip
    predictions = [
        Prediction(
            pair_id=pair.id, model=model, seed=seed, reward_a=float(reward), reward_b=0.0,
            preference_a=float(1 / (1 + np.exp(-reward))),
        )
        for model, noise in (("one", 0.8), ("two", 0.9), ("three", 1.0))
        for seed in range(seeds)
        for pair, reward in zip(pairs, 0.7 * utility + rng.normal(0, noise, n), strict=True)
    ]  # fmt: skip
    before, start, used = peak(), time.perf_counter(), time.process_time()
    rows = evaluate_predictions(pairs, predictions, baseline="one")
    seconds, used = time.perf_counter() - start, time.process_time() - used
    groups = len({row.group for row in rows if row.metric == "l1"})
    told = {"seconds": seconds, "cpu": used, "peak": peak(), "before": before, "groups": groups, "rows": len(rows)}
    print(json.dumps(told))


def peak() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="A thousand pairs.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="Training seeds of each model.")
    parser.add_argument("--other", help="The Python of another build.")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        evaluate(given.inside, given.seeds)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("python", *sys.argv, flush=True)
    n = 1000 if given.quick else 10_000
    builds = {"this build": sys.executable} | ({"the other": given.other} if given.other else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in builds}
    for _ in range(given.runs):
        for name, python in builds.items():
            command = [python, __file__, "--inside", str(n), "--seeds", str(given.seeds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    for name, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{name:11} {n} pairs, {middle['groups']:.0f} groups, {middle['rows']:.0f} rows: "
            f"{middle['seconds']:.1f} s ({middle['cpu']:.1f} s of processors), peak {middle['peak']:.0f} MB, "
            f"of which {middle['before']:.0f} MB before it began"
        )


if __name__ == "__main__":
    main()
