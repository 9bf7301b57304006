"""A run's metrics, found by what they are of: models, judges, references, the ceiling, the people."""

from __future__ import annotations

from collections.abc import Iterable

from dissensus.evaluation.groups import ALL
from dissensus.evaluation.scores import Scores
from dissensus.records import Kind, Metric


class Board:
    """The rows of a scorecard by kind; those against estimates of the votes (Dawid-Skene, MACE) are left out."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        rows = [row for row in metrics if row.target == "votes"]
        self.scores = Scores([row for row in rows if row.kind == "model"])
        """Of the reward models alone."""
        self._others: dict[tuple[Kind, str, str, str], Metric] = {
            (row.kind, row.model, row.group, row.metric): row
            for row in rows
            if row.kind != "model" and row.baseline is None
        }

    def names(self, kind: Kind) -> list[str]:
        """List what there is of a kind, in the order of the rows."""
        return list(dict.fromkeys(name for of, name, _, _ in self._others if of == kind))

    def find(self, kind: Kind, name: str, metric: str, group: str = ALL) -> Metric | None:
        """Find a row that is not a reward model's."""
        return self._others.get((kind, name, group, metric))

    def ceiling(self, metric: str, group: str = ALL) -> Metric | None:
        """Find what a model that knows the true preferences would get against these votes: of r a ceiling."""
        return self.find("ceiling", "ceiling", metric, group)

    def people(self, group: str = ALL) -> list[Metric]:
        """List the coefficients of people's agreement on a group."""
        return [row for (kind, _, of, _), row in self._others.items() if kind == "people" and of == group]

    def groups(self, metric: str) -> list[str]:
        """List the groups that have this metric for a reward model, in their order."""
        scores = self.scores
        return [g for g in scores.groups if any(scores.value(m, metric, g) is not None for m in scores.models)]
