"""The few numbers that carry a run's headline: each model's r and L1 with its difference to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dissensus.evaluate.tables import Scores
from dissensus.records import Metric
from dissensus.report.board import Board
from dissensus.report.findings import CONTESTED, Finding, correlation, find_findings

_OUTCOMES = {
    "better": "closer to people",
    "worse": "further from people",
    "mixed": "closer by one measure, further by the other",
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
    """Of r and of L1."""
    differences: Sequence[Metric | None] = (None, None)


@dataclass(frozen=True)
class SummarySection:
    """The rows of one group of pairs."""

    measures: Sequence[str]
    """The metrics of its columns: the r that is defined there, and L1."""
    rows: Sequence[SummaryRow]


@dataclass(frozen=True)
class Summary:
    """Rows by group of pairs, the whole first."""

    measures: Sequence[str]
    """The metrics that head the columns, those of the first section."""
    sections: Mapping[str, SummarySection]
    limits: Sequence[float]
    """The scale of each column's bars: the furthest end of an interval."""


def summarise(board: Board) -> Summary | None:
    """Make the summary; None where no model was scored."""
    scores = board.scores
    if not scores.models:
        return None
    sections = {"All pairs": _section(board, "all")}
    if any(scores.value(model, "l1", CONTESTED) is not None for model in scores.models):
        sections["Contested pairs, which the votes themselves choose: exploratory"] = _section(board, CONTESTED)
    rows = [row for section in sections.values() for row in section.rows]
    limits = [_furthest([row.differences[k] for row in rows]) for k in (0, 1)]
    return Summary(sections["All pairs"].measures, sections, limits)


def _section(board: Board, group: str) -> SummarySection:
    scores = board.scores
    measures = (correlation(scores, group), "l1")
    rows = []
    if scores.baseline is not None:
        rows.append(SummaryRow(scores.baseline, "", "baseline", _values(scores, scores.baseline, measures, group)))
    for finding in find_findings(scores, group):
        outcome = finding.outcome if scores.baseline is not None else ""
        words = _words(finding) if outcome else ""
        differences = [finding.differences[name] if outcome else None for name in ("pearson", "l1")]
        values = _values(scores, finding.model, measures, group)
        rows.append(SummaryRow(finding.model, outcome, words, values, differences))
    ceiling = [board.ceiling(metric, group) for metric in measures]
    if any(row is not None and row.value is not None for row in ceiling):
        rows.append(SummaryRow("true preferences", "", "of a model that knows them, with so few votes", ceiling))
    return SummarySection(measures, rows)


def _words(finding: Finding) -> str:
    if not finding.changes:
        return "no difference defined"
    alone = ", in L1 alone" if finding.verdict == "open" and finding.outcome != "open" else ""
    return _OUTCOMES[finding.outcome] + alone


def _values(scores: Scores, model: str, measures: Sequence[str], group: str) -> list[Metric | None]:
    return [scores.value(model, metric, group) for metric in measures]


def _furthest(rows: Sequence[Metric | None]) -> float:
    ends = [abs(end) for row in rows if row is not None for end in (row.value, row.low, row.high) if end is not None]
    return max(ends, default=0.0)
