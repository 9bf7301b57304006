"""How often an evaluation has a star where nothing differs, and how often it has one where something does.

    python bench/family_wise.py [--quick] [--json FILE] [--studies N] [--jobs N]

Each study has 240 pairs of five votes in six data sets, two domains and two categories, two pairs a prompt, a baseline
and one or three models, one seed each. "Nothing differs": all predictions have noise of one distribution. "One data
set differs": the models are better on one of the six, which the whole, its domain and the categories have a part in;
a false star is one on the groups without it. "Everything differs": the models are better throughout. Beside the
adjustment that `evaluate` makes stands what stars would be if each model and metric were adjusted over the groups by
itself, for all that is tested and for the two primary metrics. A share p of n studies has a standard error of
sqrt(p (1 - p) / n).
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

SETS, PAIRS, SWAPS = 6, 240, 1999
TRUTHS = ("nothing differs", "one data set differs", "everything differs")
COLUMNS = ("false: all metrics by group", "false: primary by group", "false: now", "whole: by group", "whole: now")
"""Of stars: false ones in each of three ways; and of the first model's primary metrics on all pairs, at least one."""


def study(seed: int, *, models: int, truth: str) -> tuple[bool, ...]:
    """Evaluate one study, and say which kinds of stars it has."""
    from dissensus.evaluation.join import join
    from dissensus.evaluation.scorecard import score
    from dissensus.records import Pair, Prediction, Votes
    from dissensus.stats.resampling.paired_differences import holm

    rng = np.random.default_rng(seed)
    utility = rng.normal(0.3, 1.3, PAIRS)
    votes, data_set = rng.binomial(5, 1 / (1 + np.exp(-utility))), np.arange(PAIRS) // 2 % SETS
    pairs = [
        Pair(
            id=str(i), prompt=f"prompt {i // 2}", response_a="x", response_b="y", dataset=f"set-{data_set[i]}",
            domain="in" if data_set[i] < SETS // 2 else "out", category=("single", "multiple")[int(rng.integers(2))],
            votes=Votes(a=int(votes[i]), b=int(5 - votes[i])),
        )
        for i in range(PAIRS)
    ]  # fmt: skip
    better = {TRUTHS[0]: data_set < 0, TRUTHS[1]: data_set == 0, TRUTHS[2]: data_set >= 0}[truth]
    predictions = []
    for name in ("base", *(f"model-{k}" for k in range(models))):
        spread = np.where(better & (name != "base"), 0.55 if truth == TRUTHS[1] else 0.8, 1.1)
        reward = 0.7 * utility + rng.normal(0, 1, PAIRS) * spread
        predictions += [
            Prediction(
                pair_id=str(i), model=name, reward_a=float(x), reward_b=0.0, preference_a=float(1 / (1 + np.exp(-x)))
            )
            for i, x in enumerate(reward)
        ]
    rows = score(join(pairs, predictions), baseline="base", n_resamples=0, n_swaps=SWAPS, seed=seed)
    tested = [row for row in rows if row.p_value is not None]
    by_group: dict[int, float] = {}
    for family in {(row.model, row.metric) for row in tested}:
        own = [row for row in tested if (row.model, row.metric) == family]
        adjusted = holm([row.p_value or 0.0 for row in own])
        by_group |= {id(row): p for row, p in zip(own, adjusted, strict=True)}
    true = [row for row in tested if _differs(row.group, truth)]
    false = [row for row in tested if not _differs(row.group, truth)]
    primary = [row for row in false if row.role == "primary"]
    whole = [row for row in true if row.role == "primary" and row.group == "all" and row.model == "model-0"]
    return (
        any(by_group[id(row)] < 0.05 for row in false),
        any(by_group[id(row)] < 0.05 for row in primary),
        any((row.p_holm or 0.0) < 0.05 for row in primary),
        any(by_group[id(row)] < 0.05 for row in whole),
        any((row.p_holm or 0.0) < 0.05 for row in whole),
    )


def _differs(group: str, truth: str) -> bool:
    """Whether the models differ on a group: the one data set is in the first domain and in all categories."""
    if truth != TRUTHS[1]:
        return truth == TRUTHS[2]
    return not (
        group == "domain=out" or "&domain=out" in group or group in {f"dataset=set-{k}" for k in range(1, SETS)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Forty studies.")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    n = 40 if given.quick else given.studies
    print("python", *sys.argv)
    print(f"share of {n} studies with a star\n")
    print(f"{'':32}" + "".join(f"{name:>29}" for name in COLUMNS))
    found = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for truth in TRUTHS:
            for models in (1, 3):
                shares = np.mean(list(pool.map(partial(study, models=models, truth=truth), range(n))), axis=0).tolist()
                found.append({"truth": truth, "models": models} | dict(zip(COLUMNS, shares, strict=True)))
                said = "".join(f"{share:29.3f}" for share in shares)
                print(f"{truth}, {models} model{'s' * (models > 1)}".ljust(32) + said, flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
