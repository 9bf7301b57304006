"""The few numbers that carry a run's headline: each model's r and L1 with its difference to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dissensus.evaluation.groups import ALL
from dissensus.evaluation.metrics import METRICS, WITHIN, name_of
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.number_format import listed
from dissensus.records import Metric
from dissensus.reports.findings import CONTESTED, Finding, find_findings, measures

MEASURES = {**{key: metric.title for key, metric in METRICS.items()}, WITHIN: name_of(WITHIN)}
"""What heads the columns."""
_OUTCOMES = {
    "better": "closer to people",
    "worse": "further from people",
    "mixed": "closer by one measure, further by another",
    "open": "no difference shown",
}


@dataclass(frozen=True)
class SummaryRow:
    """One model on one group of pairs, or what the true preferences would get."""

    name: str
    outcome: str
    """``better``, ``worse``, ``mixed`` or ``open``; empty where nothing is compared."""
    words: str
    values: Sequence[Metric | None]
    """Of the section's measures."""
    differences: Sequence[Metric | None]


@dataclass(frozen=True)
class SummarySection:
    """The rows of one group of pairs."""

    measures: Sequence[str]
    """The metrics of its columns: the primary ones, and r and L1."""
    rows: Sequence[SummaryRow]
    note: str
    """What is said of a column that is of another r than that of the first section; empty where none is."""
    other_r: str
    """That r's name."""


@dataclass(frozen=True)
class Summary:
    """Rows by group of pairs, the whole first."""

    measures: Sequence[str]
    """The metrics that head the columns, those of the first section."""
    exploratory: Sequence[str]
    """Those of them that are not primary, where something is."""
    sections: Mapping[str, SummarySection]
    limits: Sequence[float]
    """The scale of each column's bars: the furthest end of an interval."""


def summarise(scores: Scores) -> Summary | None:
    """Make the summary; None where no model was scored."""
    if not scores.models:
        return None
    shown = measures(scores)
    sections = {"All pairs": _section(scores, ALL)}
    if any(scores.value(model, "l1", CONTESTED) is not None for model in scores.models):
        sections["Contested pairs, which the votes themselves choose: exploratory"] = _section(scores, CONTESTED)
    rows = [row for section in sections.values() for row in section.rows]
    limits = []
    for column in zip(*(row.differences for row in rows), strict=True):
        ends = [end for row in column if row is not None for end in (row.value, row.low, row.high)]
        limits.append(max((abs(end) for end in ends if end is not None), default=0.0))
    exploratory = [metric for metric in shown if scores.primary and metric not in scores.primary]
    return Summary(shown, exploratory, sections, limits)


def _section(scores: Scores, group: str) -> SummarySection:
    shown = measures(scores, group)
    nothing = [None] * len(shown)
    rows = []
    if scores.baseline is not None:
        values = [scores.value(scores.baseline, metric, group) for metric in shown]
        rows.append(SummaryRow(scores.baseline, "", "baseline", values, nothing))
    for finding in find_findings(scores, group):
        outcome, words = (finding.outcome, _words(finding)) if scores.baseline is not None else ("", "")
        values, differences = list(finding.rows.values()), list(finding.differences.values())
        rows.append(SummaryRow(finding.model, outcome, words, values, differences))
    ceiling = [scores.ceiling(metric, group) for metric in shown]
    if any(row is not None and row.value is not None for row in ceiling):
        rows.append(
            SummaryRow("true preferences", "", "of a model that knows them, with so few votes", ceiling, nothing)
        )
    other = [(here, there) for here, there in zip(shown, measures(scores), strict=True) if here != there]
    note = "".join(f"{MEASURES[here]}, not {MEASURES[there]}" for here, there in other)
    return SummarySection(shown, rows, note, MEASURES[other[0][0]] if other else "")


def _words(finding: Finding) -> str:
    if finding.is_exploratory:
        return "exploratory"
    if not finding.changes:
        return "no difference defined"
    if finding.verdict != "open" or finding.outcome not in ("better", "worse"):
        return _OUTCOMES[finding.outcome]
    names = [name_of(row.metric) for row in finding.changes if Finding.verdict_on(row) != "open"]
    return f"{_OUTCOMES[finding.outcome]}, in {listed(names)} alone"
