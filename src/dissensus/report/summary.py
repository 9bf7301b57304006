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
    """One model on one group of pairs, or the ceiling."""

    name: str
    outcome: str
    """``better``, ``worse``, ``mixed`` or ``open``; empty where nothing is compared."""
    words: str
    values: Sequence[Metric | None]
    """Of r and of L1."""
    differences: Sequence[Metric | None]


@dataclass(frozen=True)
class Summary:
    """Rows by group of pairs, the whole first."""

    measures: Sequence[str]
    """The metrics of the columns: the r that is shown, and L1."""
    sections: Mapping[str, Sequence[SummaryRow]]
    limits: Sequence[float]
    """The scale of each column's bars: the furthest end of an interval."""


def summarise(board: Board) -> Summary | None:
    """Make the summary; None where no model was scored."""
    scores = board.scores
    if not scores.models:
        return None
    measures = (correlation(scores), "l1")
    sections = {"All pairs": _rows(board, measures, "all")}
    if any(scores.value(model, "l1", CONTESTED) is not None for model in scores.models):
        own = (correlation(scores, CONTESTED), "l1")
        sections["Contested pairs, which the votes themselves choose: exploratory"] = _rows(board, own, CONTESTED)
    limits = [_furthest([row.differences[k] for rows in sections.values() for row in rows]) for k in (0, 1)]
    return Summary(measures, sections, limits)


def _rows(board: Board, measures: tuple[str, str], group: str) -> list[SummaryRow]:
    scores = board.scores
    rows = []
    if scores.baseline is not None:
        rows.append(SummaryRow(scores.baseline, "", "baseline", _values(scores, scores.baseline, measures, group), ()))
    for finding in find_findings(scores, group):
        outcome = finding.outcome if scores.baseline is not None else ""
        differences = [finding.differences["pearson"], finding.differences["l1"]] if outcome else []
        words = _words(finding) if outcome else ""
        rows.append(
            SummaryRow(finding.model, outcome, words, _values(scores, finding.model, measures, group), differences)
        )
    ceiling = [board.ceiling(metric, group) for metric in measures]
    if any(row is not None and row.value is not None for row in ceiling):
        rows.append(SummaryRow("ceiling", "", "of a perfect model, with so few votes", ceiling, ()))
    return [row if row.differences else _without(row) for row in rows]


def _words(finding: Finding) -> str:
    if not finding.changes:
        return "no difference defined"
    alone = ", in L1 alone" if finding.verdict == "open" and finding.outcome != "open" else ""
    return _OUTCOMES[finding.outcome] + alone


def _values(scores: Scores, model: str, measures: Sequence[str], group: str) -> list[Metric | None]:
    return [scores.value(model, metric, group) for metric in measures]


def _without(row: SummaryRow) -> SummaryRow:
    return SummaryRow(row.name, row.outcome, row.words, row.values, (None, None))


def _furthest(rows: Sequence[Metric | None]) -> float:
    ends = [abs(end) for row in rows if row is not None for end in (row.value, row.low, row.high) if end is not None]
    return max(ends, default=0.0)
