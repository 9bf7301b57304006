"""Several runs side by side: each model of each on r and L1, and on the same pairs its difference to one baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dissensus.evaluation.groups import Group
from dissensus.evaluation.scorecard import score
from dissensus.evaluation.scores import Scores
from dissensus.records import Metric
from dissensus.reports.folder.run_reader import RunData
from dissensus.stats.metrics import FloatArray

RESAMPLES = 1000
R = Literal["pearson", "pearson_within"]


@dataclass(frozen=True)
class ComparedModel:
    """One model of one run, on all of its test pairs."""

    run: int
    """The run's number on the page, from 0."""
    title: str
    model: str
    is_baseline: bool
    """Of its own run."""
    pearson: Metric | None
    """The r of the comparison."""
    l1: Metric | None
    differences: Mapping[str, Metric | None]
    """``pearson`` and ``l1`` to the difference to the comparison's baseline; empty where there is none."""


@dataclass(frozen=True)
class Comparison:
    """All models of all runs."""

    rows: Sequence[ComparedModel]
    r: R
    """Which r is compared: within data sets only where every run has it."""
    limits: tuple[float, float]
    """The lowest and highest end of an interval of r: the common axis of the bars."""
    warning: str
    """What keeps the rows from being compared; empty where nothing does."""
    baseline: tuple[int, str] | None
    """The run and the model that the others are subtracted from; None where the pairs differ."""
    level: float

    def at(self, value: float | None) -> float:
        """Place a value of r on the axis, in percent of its width."""
        low, high = self.limits
        return 50.0 if value is None or high <= low else round(4 + 92 * (value - low) / (high - low), 2)


def compare(runs: Sequence[RunData], titles: Sequence[str]) -> Comparison | None:
    """Compare runs; None for a single one."""
    if len(runs) < 2:
        return None
    warning = _warning(runs)
    scorecards = [Scores(run.metrics) for run in runs]
    r: R = "pearson_within" if all(_has_within(scores) for scores in scorecards) else "pearson"
    baseline = None if warning else _baseline(runs, scorecards)
    differences = _differences(runs, baseline, r) if baseline is not None else {}
    rows = [
        ComparedModel(
            k, titles[k], m, m == scores.baseline,
            scores.value(m, r), scores.value(m, "l1"), differences.get((k, m), {}),
        )
        for k, scores in enumerate(scorecards)
        for m in scores.models
    ]  # fmt: skip
    found = [row.pearson for row in rows if row.pearson is not None]
    ends = [end for row in found for end in (row.low, row.value, row.high) if end is not None]
    limits = (min(ends, default=0.0), max(ends, default=1.0))
    return Comparison(rows, r, limits, warning, baseline, runs[0].level)


def _has_within(scores: Scores) -> bool:
    rows = [scores.value(model, "pearson_within") for model in scores.models]
    return bool(rows) and all(row is not None and row.value is not None for row in rows)


def _baseline(runs: Sequence[RunData], scorecards: Sequence[Scores]) -> tuple[int, str] | None:
    """The first run's baseline, or its first model where it has none."""
    predicted = runs[0].joined.predicted if runs[0].joined is not None else {}
    names = [scorecards[0].baseline, *scorecards[0].models, *predicted]
    return next(((0, name) for name in names if name is not None and name in predicted), None)


def _differences(
    runs: Sequence[RunData], baseline: tuple[int, str], r: R
) -> dict[tuple[int, str], dict[str, Metric | None]]:
    """Score all models of all runs on the pairs that they share, and take each one's differences to the baseline."""
    first = runs[0].joined
    assert first is not None
    order = [pair.id for pair in first.pairs]
    names: dict[str, tuple[int, str]] = {}
    predicted: dict[str, FloatArray] = {}
    for k, run in enumerate(runs):
        assert run.joined is not None
        places = {pair.id: i for i, pair in enumerate(run.joined.pairs)}
        take = np.array([places[pair_id] for pair_id in order])
        for model, rows in run.joined.predicted.items():
            names[f"{k}/{model}"] = k, model
            predicted[f"{k}/{model}"] = rows[:, take]
    scored = score(
        replace(first, predicted=predicted),
        baseline="{}/{}".format(*baseline),
        n_resamples=RESAMPLES,
        n_swaps=0,
        level=runs[0].level,
        groups={Group(): np.ones(len(order), dtype=np.bool_)},
    )
    shown = {r: "pearson", "l1": "l1"}
    found: dict[tuple[int, str], dict[str, Metric | None]] = {
        key: dict.fromkeys(shown.values()) for key in names.values() if key != baseline
    }
    for row in scored:
        if row.baseline is not None and row.metric in shown and row.value is not None:
            named = {"model": names[row.model][1], "baseline": baseline[1], "role": "exploratory"}
            found[names[row.model]][shown[row.metric]] = row.model_copy(update=named)
    return found


def _warning(runs: Sequence[RunData]) -> str:
    no_difference = " Differences between the runs cannot be computed."
    if any(run.joined is None for run in runs):
        known = "Not every run has its test pairs here, so it is not known whether they were tested on the same ones."
        return known + no_difference
    tests = [{pair.id: pair.votes for pair in run.joined.pairs} for run in runs if run.joined is not None]
    if all(test == tests[0] for test in tests):
        return ""
    shared = set(tests[0]).intersection(*tests[1:])
    sizes = ", ".join(f"{len(test):,}" for test in tests)
    if all(set(test) == shared for test in tests):
        alike = "The runs have the same test pairs with different votes: their rows cannot be compared as they stand."
        return alike + no_difference
    return (
        f"The test sets differ ({sizes} pairs, {len(shared):,} of them in every run): "
        f"a difference between rows may be one of pairs and not of models.{no_difference}"
    )
