"""The paper's two tables, by groups of pairs: models with their differences, judges, references and the ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dissensus.evaluation.groups import ALL, Group
from dissensus.evaluation.metrics import WITHIN, lower_is_better, title_of
from dissensus.evaluation.scores import Scores, name_some
from dissensus.records import Kind, Metric
from dissensus.reports.findings import Finding

_AROUND: tuple[Kind, ...] = ("judge", "reference", "ceiling")
_FIELD_TITLES = {
    "all": "",
    "dataset": "Data set",
    "domain": "Domain",
    "category": "Category",
    "category&domain": "Category by domain",
    "distinct": "Responses",
    "contested": "Contested by the votes themselves (exploratory)",
    "majority": "Share of the majority",
}


@dataclass(frozen=True)
class IntervalBar:
    """Where an interval lies on an axis from -limit to limit, in percent of its width."""

    row: Metric
    limit: float

    def at(self, value: float | None) -> float:
        """Place a value: 0 at the left end, 50 at no difference, 100 at the right end."""
        share = 0.0 if value is None or self.limit == 0 else value / self.limit
        return round(50 + 46 * min(1.0, max(-1.0, share)), 2)

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``open`` where no difference is shown."""
        return Finding.verdict_on(self.row)


@dataclass(frozen=True)
class Line:
    """One line of a table: a metric on a group of pairs."""

    group: str
    label: str
    metric: str
    n: int | None
    values: Mapping[str, Metric | None]
    """Reward models to their value."""
    differences: Mapping[str, Metric | None]
    around: Sequence[Metric | None]
    """In the order of the table's other columns."""

    @property
    def is_exploratory(self) -> bool:
        """Whether it has differences and none is primary, where something is."""
        return {row.role for row in self.differences.values() if row is not None} == {"exploratory"}


@dataclass(frozen=True)
class GroupTable:
    """A table of one metric by groups, as the paper's two: sections of lines."""

    metric: str
    title: str
    better: str
    sections: Mapping[str, Sequence[Line]]
    limit: float
    """The common scale of the bars: four of five intervals fit into it, the widest are cut at its ends."""
    around: Sequence[tuple[Kind, str]]
    """Columns beside the reward models', as (kind, name)."""

    @property
    def ceilings(self) -> list[int]:
        """Which of ``around`` stand beside the models: what those could reach at best."""
        return [k for k, (kind, _) in enumerate(self.around) if kind == "ceiling"]

    @property
    def others(self) -> list[int]:
        """Which of ``around`` have a table of their own, as many columns do not fit beside the models."""
        return [k for k, (kind, _) in enumerate(self.around) if kind != "ceiling"]

    @classmethod
    def of(cls, scores: Scores, metric: str) -> GroupTable:
        """Make the table of a metric; that of ``pearson`` has r within data sets as well, where there is one."""
        names = [(kind, name) for kind in _AROUND for name in scores.names(kind)]
        around = [(kind, name) for kind, name in names if _has(scores, kind, name, metric)]
        sections: dict[str, list[Line]] = {}
        for line in _lines(scores, metric, around):
            title = _FIELD_TITLES.get(kind := Group.parse(line.group).kind, kind)
            sections.setdefault(title, []).append(line)
        rows = [row for lines in sections.values() for line in lines for row in line.differences.values()]
        found = [row for row in rows if row is not None and row.value is not None]
        ends = sorted(max(abs(end) for end in (row.value, row.low, row.high) if end is not None) for row in found)
        limit = ends[int(0.8 * (len(ends) - 1))] if ends else 0.0
        better = "lower" if lower_is_better(metric) else "higher"
        return cls(metric, title_of(metric), better, sections, limit, around)


def label_of(group: str) -> str:
    """Name a group for people."""
    return "All pairs" if group == ALL else Group.parse(group).label


def _lines(scores: Scores, metric: str, around: Sequence[tuple[Kind, str]]) -> Iterator[Line]:
    within = scores.groups_with(WITHIN) if metric == "pearson" else []
    for group in scores.groups_with(metric):
        for shown in ([WITHIN] if group in within else []) + [metric]:
            values = {model: scores.value(model, shown, group) for model in scores.models}
            if shown == WITHIN and all(row is None or row.value is None for row in values.values()):
                continue
            suffix = "" if group not in within else ", within data sets" if shown != metric else ", pooled"
            yield Line(
                group=group,
                label=label_of(group) + suffix,
                metric=shown,
                n=next((row.n for row in values.values() if row is not None), None),
                values=values,
                differences={model: scores.difference(model, shown, group) for model in scores.others},
                around=[scores.of_kind(kind, name, shown, group) for kind, name in around],
            )


@dataclass(frozen=True)
class Note:
    """What must be said beside numbers, with the groups of pairs that it holds for."""

    number: int
    anchor: str
    """The id of its place in the page."""
    where: str
    text: str


class Notes:
    """The notes of a run's rows, numbered in the order in which they come, so that each cell can point to its own."""

    def __init__(self, metrics: Iterable[Metric], place: int = 0) -> None:
        found: dict[str, dict[str, None]] = {}
        for row in metrics:
            for text in _texts(row):
                found.setdefault(text, {})[label_of(row.group)] = None
        self.all: list[Note] = [
            Note(k, f"note-{place}-{k}", name_some(list(groups)), text)
            for k, (text, groups) in enumerate(found.items(), start=1)
        ]
        self._by_text = {note.text: note for note in self.all}

    def of(self, row: Metric | None) -> list[Note]:
        """Find the notes of a row."""
        found = [] if row is None else [self._by_text[text] for text in _texts(row)]
        return sorted(found, key=lambda note: note.number)


def _texts(row: Metric) -> Sequence[str]:
    # That one half has no correlation with anything goes without saying, and other targets have no cell of their own.
    return () if row.target != "votes" or (row.kind == "reference" and row.value is None) else row.notes


def _has(scores: Scores, kind: Kind, name: str, metric: str) -> bool:
    groups = scores.groups
    return any((row := scores.of_kind(kind, name, metric, g)) is not None and row.value is not None for g in groups)
