"""What a scorecard says, in words: which models follow people more closely than the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluate.scorecard import FEW_CLUSTERS
from dissensus.evaluate.tables import BETTER, Scores
from dissensus.records import Metric

_MEASURES = ("pearson", "l1")


@dataclass(frozen=True)
class Finding:
    """One model, compared with the baseline where there is one."""

    model: str
    rows: dict[str, Metric | None]
    """Metric names to the model's own value."""
    baseline: dict[str, Metric | None]
    differences: dict[str, Metric | None]

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``open``, by Pearson r, or by L1 where r is undefined."""
        found = [row for row in self.differences.values() if row is not None and row.value is not None]
        return self.verdict_on(found[0]) if found else "open"

    @staticmethod
    def verdict_on(row: Metric | None) -> str:
        """Judge a difference: ``open`` unless its interval leaves zero out."""
        if row is None or row.low is None or row.high is None or row.low <= 0 <= row.high:
            return "open"
        return "better" if (row.low > 0) == (row.metric not in BETTER) else "worse"


def find_findings(scores: Scores) -> list[Finding]:
    """Find one for each model but the baseline, or for each model where there is no baseline."""
    return [
        Finding(
            model,
            {metric: scores.value(model, metric) for metric in _MEASURES},
            {metric: scores.value(scores.baseline, metric) if scores.baseline else None for metric in _MEASURES},
            {metric: scores.difference(model, metric) for metric in _MEASURES},
        )
        for model in scores.others
    ]


def headline(findings: Sequence[Finding], scores: Scores) -> str:
    """Say in a sentence or two what was found; honest where the intervals include zero."""
    if not scores.models:
        return "This run has no scores yet."
    if scores.baseline is None or not findings:
        return f"How closely {_list(scores.models)} {_verb(scores.models, 'follow')} people."
    by_verdict = {v: [f.model for f in findings if f.verdict == v] for v in ("better", "worse", "open")}
    said = [
        f"{_list(models)} {_verb(models, 'follow')} people {how} closely than {scores.baseline}."
        for how, models in (("more", by_verdict["better"]), ("less", by_verdict["worse"]))
        if models
    ]
    if by_verdict["open"]:
        said.append(f"No difference from {scores.baseline} is shown for {_list(by_verdict['open'])}.")
    prompts = min((row.clusters for f in findings for row in f.differences.values() if row and row.clusters), default=0)
    if (by_verdict["better"] or by_verdict["worse"]) and 0 < prompts < FEW_CLUSTERS:
        # A percentile interval over few clusters is too narrow to carry a headline by itself.
        said.append(f"With only {prompts} prompts, take that as a hint.")
    return " ".join(said)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _verb(names: Sequence[str], verb: str) -> str:
    return verb + "s" if len(names) == 1 else verb
