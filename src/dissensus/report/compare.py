"""Several runs side by side: each model of each on r and L1, and whether they were tested on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.records import Metric
from dissensus.report.board import Board
from dissensus.report.findings import correlation
from dissensus.report.run import RunData


@dataclass(frozen=True)
class ComparedModel:
    """One model of one run, on all of its test pairs."""

    run: int
    """The run's number on the page, from 0."""
    title: str
    model: str
    is_baseline: bool
    pearson: Metric | None
    l1: Metric | None


@dataclass(frozen=True)
class Comparison:
    """All models of all runs."""

    rows: Sequence[ComparedModel]
    limits: tuple[float, float]
    """The lowest and highest end of an interval of r: the common axis of the bars."""
    warning: str
    """What keeps the rows from being compared; empty where nothing does."""

    def at(self, value: float | None) -> float:
        """Place a value of r on the axis, in percent of its width."""
        low, high = self.limits
        return 50.0 if value is None or high <= low else round(4 + 92 * (value - low) / (high - low), 2)


def compare(runs: Sequence[RunData], titles: Sequence[str]) -> Comparison | None:
    """Compare runs; None for a single one."""
    if len(runs) < 2:
        return None
    rows = [row for k, (run, title) in enumerate(zip(runs, titles, strict=True)) for row in _models(k, run, title)]
    found = [row.pearson for row in rows if row.pearson is not None]
    ends = [end for row in found for end in (row.low, row.value, row.high) if end is not None]
    return Comparison(rows, (min(ends, default=0.0), max(ends, default=1.0)), _warning(runs))


def _models(k: int, run: RunData, title: str) -> list[ComparedModel]:
    scores = Board(run.metrics).scores
    r = correlation(scores)
    return [
        ComparedModel(k, title, m, m == scores.baseline, scores.value(m, r), scores.value(m, "l1"))
        for m in scores.models
    ]


def _warning(runs: Sequence[RunData]) -> str:
    if any(run.joined is None for run in runs):
        return "Not every run has its test pairs here, so it is not known whether they were tested on the same ones."
    tests = [{pair.id: pair.votes for pair in run.joined.pairs} for run in runs if run.joined is not None]
    if all(test == tests[0] for test in tests):
        return ""
    shared = set(tests[0]).intersection(*tests[1:])
    sizes = ", ".join(f"{len(test):,}" for test in tests)
    if all(set(test) == shared for test in tests):
        return "The runs have the same test pairs with different votes: their rows cannot be compared as they stand."
    return (
        f"The test sets differ ({sizes} pairs, {len(shared):,} of them in every run): "
        "a difference between rows may be one of pairs and not of models."
    )
