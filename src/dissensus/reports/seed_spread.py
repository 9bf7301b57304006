"""How far training seeds lie apart, beside what the choice of prompts does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dissensus.evaluation.metrics import HEADLINE, title_of
from dissensus.evaluation.scores import Scores
from dissensus.records import Metric

_METRICS = (*HEADLINE, "brier")


@dataclass(frozen=True)
class SeedRow:
    """A metric of a model on all pairs, or its difference to the baseline."""

    name: str
    is_difference: bool
    row: Metric


def seed_rows(scores: Scores) -> dict[str, Sequence[SeedRow]]:
    """List what was trained with several seeds: titles of metrics to rows, values first; empty where nothing was."""
    found = {title_of(metric): list(_of_metric(scores, metric)) for metric in _METRICS}
    return {title: rows for title, rows in found.items() if rows}


def _of_metric(scores: Scores, metric: str) -> Iterator[SeedRow]:
    rows = [(m, False, scores.value(m, metric)) for m in scores.models]
    rows += [(m, True, scores.difference(m, metric)) for m in scores.others]
    for name, is_difference, row in rows:
        if row is not None and row.value is not None and (row.seeds or 0) > 1:
            yield SeedRow(name, is_difference, row)
