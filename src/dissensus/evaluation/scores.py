"""The rows of a scorecard, found by what they are about."""

from __future__ import annotations

from collections.abc import Iterable

from dissensus.evaluation.groups import ALL, Group
from dissensus.evaluation.tables.number_format import shorten
from dissensus.records import Kind, Metric

_KINDS: tuple[Kind, ...] = ("model", "judge", "reference", "ceiling", "people")
_LABEL_WIDTH = 31
ESTIMATES_NOTE = "against estimates, not votes"
"""Of each row that compares with what a model of annotators makes of the votes."""

_Key = tuple[str, str, str, str, str, str | None]
"""Kind, target, model, group, metric and baseline."""


class Scores:
    """The rows of a scorecard, found by model, group and metric.

    ``groups`` are those that reward models were scored on, ``majorities`` those by the share of the majority, for
    accuracy alone; ``models`` begin with the baseline, ``others`` leave it out; ``references`` are trivial baselines;
    ``primary`` are the metrics that the comparison is about (none in files of earlier versions), and ``counted`` the
    differences over which p-values are adjusted.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.rows = list(metrics)
        # A model, a judge and a reference may share a name: kinds are kept apart.
        self._rows: dict[_Key, Metric] = {
            (m.kind, m.target, m.model, m.group, m.metric, m.baseline): m for m in self.rows
        }
        own = [m for m in self.rows if m.kind == "model" and m.target == "votes"]
        names = _distinct(m.model for m in self.rows if m.kind == "model")
        by_majority = {m.group for m in self.rows if Group.parse(m.group).kind == "majority"}
        self.baseline = next((m.baseline for m in own if m.baseline is not None), None)
        self.others = [name for name in names if name != self.baseline]
        self.models = ([self.baseline] if self.baseline is not None else []) + self.others
        self.judges = self.names("judge")
        self.references = self.names("reference")
        self.groups = _distinct(m.group for m in own if m.group not in by_majority)
        self.majorities = _distinct(m.group for m in self.rows if m.group in by_majority)
        self.metrics = _distinct(m.metric for m in own if m.group not in by_majority)
        self.primary = self.primary_in(ALL)
        self.counted = [m for m in own if m.role == "primary" and m.p_holm is not None]

    def value(self, model: str, metric: str, group: str = ALL, *, target: str = "votes") -> Metric | None:
        """Find a metric of a reward model, or of a judge or reference where no model has that name."""
        return self._find(model, metric, group, None, target)

    def difference(self, model: str, metric: str, group: str = ALL, *, target: str = "votes") -> Metric | None:
        """Find the paired difference of a model to the baseline."""
        return None if self.baseline is None else self._find(model, metric, group, self.baseline, target)

    def primary_in(self, group: str) -> list[str]:
        """List the primary metrics of a group: within one data set r stands for r within data sets."""
        return _distinct(m.metric for m in self.rows if m.role == "primary" and m.group == group)

    def ceiling(self, metric: str, group: str = ALL) -> Metric | None:
        """Find what a model that knows the true preferences would get against these votes: of r a ceiling."""
        return self._first("ceiling", metric, group)

    def people(self, metric: str, group: str = ALL) -> Metric | None:
        """Find a measure of the people's agreement with each other."""
        return self._first("people", metric, group)

    def names(self, kind: Kind) -> list[str]:
        """List what there is of a kind, in the order of the rows."""
        return _distinct(m.model for m in self.rows if m.kind == kind)

    def of_kind(self, kind: Kind, name: str, metric: str, group: str = ALL) -> Metric | None:
        """Find a value against the votes, of whatever kind."""
        return self._rows.get((kind, "votes", name, group, metric, None))

    def groups_with(self, metric: str) -> list[str]:
        """List the groups that have this metric for a reward model."""
        return [g for g in self.groups if any(self.value(m, metric, g) is not None for m in self.models)]

    def seed_rows(self, metric: str) -> list[Metric]:
        """List the values of models that were trained with several seeds, then their differences."""
        rows = [self.value(m, metric) for m in self.models] + [self.difference(m, metric) for m in self.others]
        return [row for row in rows if row is not None and (row.seeds or 0) > 1]

    def _find(self, model: str, metric: str, group: str, baseline: str | None, target: str) -> Metric | None:
        found = (self._rows.get((kind, target, model, group, metric, baseline)) for kind in _KINDS)
        return next((row for row in found if row is not None), None)

    def _first(self, kind: Kind, metric: str, group: str) -> Metric | None:
        found = (self._rows.get((kind, "votes", name, group, metric, None)) for name in self.names(kind))
        return next((row for row in found if row is not None), None)


def notes(scores: Scores) -> list[str]:
    """List what the tables rest on, each note once with the groups that it holds for.

    That one half has no correlation with anything goes without saying; and that an estimate is not the votes is said
    by its column, and would be untrue of the others.
    """
    found: dict[str, dict[str, None]] = {}
    for row in scores.rows:
        if row.kind == "reference" and row.value is None:
            continue
        for note in row.notes:
            if note != ESTIMATES_NOTE:
                found.setdefault(note, {})[Group.parse(row.group).label] = None
    return [f"{name_some(list(groups))}: {note}" for note, groups in found.items()]


def name_some(groups: list[str]) -> str:
    """Name three groups, or four where there are no more, and count the others."""
    shown = groups if len(groups) <= 4 else groups[:3]
    rest = len(groups) - len(shown)
    return ", ".join(shorten(group, _LABEL_WIDTH) for group in shown) + (f" and {rest} more groups" if rest else "")


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
