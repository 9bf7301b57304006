"""Several runs side by side: each model of each on r and L1, and on the same pairs its difference to one baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dissensus.evaluate.measure import Sample
from dissensus.records import Metric
from dissensus.report.board import Board
from dissensus.report.run import RunData
from dissensus.stats.comparison import paired_difference
from dissensus.stats.intervals import FEWEST_CLUSTERS, IntArray, cluster_counts, find_freedom
from dissensus.stats.metrics import FloatArray, mean_absolute_error, pearson, pearson_within

RESAMPLES = 1000
R = Literal["pearson", "pearson_within"]

_Statistic = Callable[[FloatArray, IntArray | None], FloatArray]
"""Predictions of shape (n,) and weights, None or of shape (resamples, n), to () or (resamples,)."""


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
    boards = [Board(run.metrics) for run in runs]
    r: R = "pearson_within" if all(_has_within(board) for board in boards) else "pearson"
    baseline = None if warning else _baseline(runs, boards)
    differences = _Differences(runs, baseline, r).all() if baseline is not None else {}
    rows = [
        ComparedModel(
            k, titles[k], m, m == board.scores.baseline,
            board.scores.value(m, r), board.scores.value(m, "l1"), differences.get((k, m), {}),
        )
        for k, board in enumerate(boards)
        for m in board.scores.models
    ]  # fmt: skip
    found = [row.pearson for row in rows if row.pearson is not None]
    ends = [end for row in found for end in (row.low, row.value, row.high) if end is not None]
    limits = (min(ends, default=0.0), max(ends, default=1.0))
    return Comparison(rows, r, limits, warning, baseline, runs[0].level)


def _has_within(board: Board) -> bool:
    rows = [board.scores.value(model, "pearson_within") for model in board.scores.models]
    return bool(rows) and all(row is not None and row.value is not None for row in rows)


def _baseline(runs: Sequence[RunData], boards: Sequence[Board]) -> tuple[int, str] | None:
    """The first run's baseline, or its first model where it has none."""
    joined, scores = runs[0].joined, boards[0].scores
    names = [scores.baseline, *scores.models, *(joined.models if joined is not None else ())]
    found = next((name for name in names if joined is not None and name in joined.predicted), None)
    return None if found is None else (0, found)


class _Differences:
    """Paired differences of all models of all runs to one, on one set of resamples of the prompts that they share."""

    def __init__(self, runs: Sequence[RunData], baseline: tuple[int, str], r: R) -> None:
        first = runs[0].joined
        assert first is not None
        self.baseline, self.r, self.level = baseline, r, runs[0].level
        self.sample = sample = Sample.of(first)
        order = [pair.id for pair in first.pairs]
        self.predicted: dict[tuple[int, str], FloatArray] = {}
        for k, run in enumerate(runs):
            assert run.joined is not None
            places = {pair.id: i for i, pair in enumerate(run.joined.pairs)}
            take = np.array([places[pair_id] for pair_id in order])
            self.predicted |= {(k, model): rows[:, take] for model, rows in run.joined.predicted.items()}
        self.statistics: dict[str, _Statistic] = {"pearson": self._r, "l1": self._l1}
        self.resampled: dict[tuple[tuple[int, str], str], FloatArray] = {}
        clusters = sample.clusters
        if clusters.vary and clusters.count >= FEWEST_CLUSTERS:
            self.resampled = self._resample()

    def all(self) -> dict[tuple[int, str], dict[str, Metric | None]]:
        """Make a difference of each kind for each model but the baseline."""
        return {
            key: {name: self._difference(key, name) for name in self.statistics}
            for key in self.predicted
            if key != self.baseline
        }

    def _r(self, predicted: FloatArray, weights: IntArray | None) -> FloatArray:
        human = self.sample.joined.human
        if self.r == "pearson":
            return pearson(predicted, human, weights)
        return pearson_within(predicted, human, self.sample.stratum, weights)

    def _l1(self, predicted: FloatArray, weights: IntArray | None) -> FloatArray:
        return mean_absolute_error(predicted, self.sample.joined.human, weights)

    def _mean(self, key: tuple[int, str], name: str, weights: IntArray | None) -> FloatArray:
        return np.asarray(np.mean([self.statistics[name](row, weights) for row in self.predicted[key]], axis=0))

    def _resample(self) -> dict[tuple[tuple[int, str], str], FloatArray]:
        parts: dict[tuple[tuple[int, str], str], list[FloatArray]] = {}
        of_pair, rng = self.sample.clusters.of_pair, np.random.default_rng(0)
        for weights in cluster_counts(of_pair, self.sample.stratum, RESAMPLES, rng):
            for key in self.predicted:
                for name in self.statistics:
                    parts.setdefault((key, name), []).append(self._mean(key, name, weights))
        return {key: np.concatenate(found) for key, found in parts.items()}

    def _difference(self, key: tuple[int, str], name: str) -> Metric | None:
        value, base = (float(self._mean(k, name, None)) for k in (key, self.baseline))
        if not np.isfinite(value - base):
            return None
        row = Metric(
            model=key[1], group="all", metric=self.r if name == "pearson" else name, value=value - base,
            n=len(self.sample.joined.pairs), clusters=self.sample.clusters.count, baseline=self.baseline[1],
        )  # fmt: skip
        if not self.resampled:
            return row
        drawn = self.resampled[key, name], self.resampled[self.baseline, name]
        found = paired_difference(value, base, *drawn, self.level, find_freedom(self.sample.clusters))
        return row.model_copy(update={"low": found.low, "high": found.high, "method": found.method})


def _warning(runs: Sequence[RunData]) -> str:
    no_difference = " Differences between the runs cannot be computed."
    if any(run.joined is None for run in runs):
        return (
            "Not every run has its test pairs here, so it is not known whether they were tested on the same ones."
            + no_difference
        )
    tests = [{pair.id: pair.votes for pair in run.joined.pairs} for run in runs if run.joined is not None]
    if all(test == tests[0] for test in tests):
        return ""
    shared = set(tests[0]).intersection(*tests[1:])
    sizes = ", ".join(f"{len(test):,}" for test in tests)
    if all(set(test) == shared for test in tests):
        return (
            "The runs have the same test pairs with different votes: their rows cannot be compared as they stand."
            + no_difference
        )
    return (
        f"The test sets differ ({sizes} pairs, {len(shared):,} of them in every run): "
        f"a difference between rows may be one of pairs and not of models.{no_difference}"
    )
