"""What a scorecard says, in words: which models follow people more closely than the baseline, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluation.groups import ALL
from dissensus.evaluation.metrics import WITHIN, lower_is_better, name_of
from dissensus.evaluation.scorecard import FEW_CLUSTERS
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.number_format import interval, listed, number, shorten
from dissensus.records import Metric
from dissensus.reports.embed import isolate

CONTESTED = "contested=yes"
ALPHA = 0.05
"""A difference whose adjusted p value is not below this is not called one."""
_CORRELATIONS = (WITHIN, "pearson")


@dataclass(frozen=True)
class Finding:
    """One model on one group, compared with the baseline where there is one."""

    model: str
    rows: dict[str, Metric | None]
    """Each of the ``measures`` to the model's own value."""
    differences: dict[str, Metric | None]

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``open``, by the first of the changes."""
        return self.verdict_on(self.changes[0]) if self.changes else "open"

    @property
    def outcome(self) -> str:
        """What all measures together say: ``better`` or ``worse`` by any of them, ``mixed``, or ``open``."""
        said = {self.verdict_on(row) for row in self.changes} - {"open"}
        return "mixed" if len(said) == 2 else said.pop() if said else "open"

    @property
    def changes(self) -> list[Metric]:
        """The differences that there are of primary metrics, or of r and then L1 where nothing says what is primary."""
        return [row for row in self._defined if row.role != "exploratory"]

    @property
    def is_exploratory(self) -> bool:
        """Whether there are differences, and none of them is primary."""
        return bool(self._defined) and not self.changes

    @property
    def _defined(self) -> list[Metric]:
        return [row for row in self.differences.values() if row is not None and row.value is not None]

    @staticmethod
    def verdict_on(row: Metric | None) -> str:
        """Judge a difference: ``open`` unless its interval leaves zero out and its adjusted p value is small.

        What is exploratory is open: nothing is shown by it.
        """
        if row is None or row.role == "exploratory" or row.low is None or not _leaves_zero_out(row):
            return "open"
        if row.p_holm is not None and row.p_holm >= ALPHA:
            return "open"
        return "better" if (row.low > 0) == (not lower_is_better(row.metric)) else "worse"


def find_findings(scores: Scores, group: str = ALL) -> list[Finding]:
    """Find one for each model but the baseline, or for each model where there is no baseline."""
    shown = measures(scores, group)
    return [
        Finding(
            model,
            {metric: scores.value(model, metric, group) for metric in shown},
            {metric: scores.difference(model, metric, group) for metric in shown},
        )
        for model in scores.others
    ]


def measures(scores: Scores, group: str = ALL) -> list[str]:
    """Name the metrics to look at first: the primary ones that are defined, then r and L1 where they are not primary.

    They are the same of every group, but that r is over all pairs where r within data sets is not defined.
    """
    if group != ALL:
        return [correlation(scores, group) if m == WITHIN else m for m in measures(scores)]
    first = [m for m in scores.primary if _is_defined(scores, m, group)]
    has_r = any(m in _CORRELATIONS for m in first)
    others = (correlation(scores), "l1")
    return first + [m for m in others if m not in first and not (has_r and m in _CORRELATIONS)]


def correlation(scores: Scores, group: str = ALL) -> str:
    """Name the r to show first: within data sets where that is defined for a model, else over all pairs."""
    return WITHIN if _is_defined(scores, WITHIN, group) else "pearson"


def _is_defined(scores: Scores, metric: str, group: str) -> bool:
    return any((row := scores.value(m, metric, group)) is not None and row.value is not None for m in scores.models)


def headline(findings: Sequence[Finding], scores: Scores) -> str:
    """Say in one plain sentence what was found, without numbers; honest where the intervals include zero."""
    if not scores.models:
        return "This run has no scores yet."
    if scores.baseline is None or not findings:
        return f"How closely {_some(scores.models)} {_verb(scores.models, 'follow')} people."
    base = _some([scores.baseline])
    if not any(finding.changes for finding in findings):
        return f"No {'primary ' if scores.primary else ''}difference from {base} is defined."
    reported: dict[str, list[str]] = {}
    for finding in sorted((f for f in findings if f.outcome != "open"), key=_rank):
        reported.setdefault(outcome_words(finding), []).append(finding.model)
    if not reported:
        who = f"{_some(scores.others)} is not" if len(findings) == 1 else "No model is"
        return f"{who} shown to follow people more or less closely than {base}."
    said = [f"{_some(names)} {words.format(than='')}" for words, names in reported.items()]
    words, names = next(iter(reported.items()))
    said[0] = f"{_some(names)} {_verb(names, 'follow')} people {words.format(than=f' than {base}')}"
    if rest := [finding.model for finding in findings if finding.outcome == "open"]:
        said.append(f"for {_some(rest)} no difference is shown")
    prompts = _fewest_prompts(findings)
    # An interval over few prompts is too rough to carry a headline by itself.
    return "; ".join(said) + (f": on only {prompts} prompts, a hint." if 0 < prompts < FEW_CLUSTERS else ".")


def outcome_words(finding: Finding) -> str:
    """Say how a model follows people that is shown to differ, with ``{than}`` where the baseline may be named."""
    by_way: dict[str, list[str]] = {}
    for row in finding.changes:
        if (way := Finding.verdict_on(row)) != "open":
            by_way.setdefault(way, []).append("r" if row.metric == WITHIN else name_of(row.metric))
    how = {"better": "more closely", "worse": "less closely"}
    (way, names), *others = by_way.items()
    words = f"{how[way]}{{than}}"
    if others:
        return f"{words} in {listed(names)} and {how[others[0][0]]} in {listed(others[0][1])}"
    return words if finding.verdict == way else f"{words} in {listed(names)} alone"


def _rank(finding: Finding) -> int:
    """Where a headline speaks of a model: the better ones first, those that are better in part, the worse ones last."""
    leads = finding.verdict == ("worse" if finding.outcome == "worse" else "better")
    return {"better": (1, 0), "mixed": (3, 2), "worse": (4, 5)}[finding.outcome][leads]


def _some(names: Sequence[str], most: int = 3) -> str:
    """Name a few models, shortened, and count many."""
    return _isolated([shorten(name, 40) for name in names]) if len(names) <= most else f"{len(names)} models"


def _fewest_prompts(findings: Sequence[Finding]) -> int:
    return min((row.clusters for f in findings for row in f.changes if row.clusters), default=0)


def statement(findings: Sequence[Finding], scores: Scores) -> str:
    """Say what was found with every number: what the headline leaves to the table below it."""
    if not scores.models or scores.baseline is None or not findings:
        return headline(findings, scores)
    base = isolate(scores.baseline)
    by_verdict = {v: [f for f in findings if f.verdict == v] for v in ("better", "worse", "open")}
    said = [
        f"{_names(found)} {_verb(found, 'follow')} people {how} closely than {base}: {_changes(found)}."
        for how, found in (("more", by_verdict["better"]), ("less", by_verdict["worse"]))
        if found
    ]
    said += _open(by_verdict["open"], base, scores)
    prompts = _fewest_prompts(findings)
    if any(finding.outcome != "open" for finding in findings) and 0 < prompts < FEW_CLUSTERS:
        # An interval over few prompts is too rough to carry a headline by itself.
        said.append(f"With only {prompts} prompts, take that as a hint.")
    return " ".join(said)


def _open(findings: Sequence[Finding], base: str, scores: Scores) -> list[str]:
    """Say of which measure no difference is shown: r alone says nothing of L1."""
    said = []
    for measure in dict.fromkeys(f.changes[0].metric for f in findings if f.changes):
        found = [finding for finding in findings if finding.changes and finding.changes[0].metric == measure]
        name = name_of(measure)
        said.append(f"No difference in {name} from {base} is shown for {_names(found)}: {_changes(found)}.")
    if unknown := [finding for finding in findings if not finding.changes]:
        which = "primary difference" if scores.primary else "difference"
        said.append(f"The {which} from {base} is undefined for {_names(unknown)}.")
    return said


def _changes(findings: Sequence[Finding]) -> str:
    """The change of the first measure by each model, and of others wherever they are not open."""
    said = []
    for finding in findings:
        first, *rest = finding.changes
        words = _change(first)
        for row in rest:
            if (verdict := Finding.verdict_on(row)) != "open":
                words += f" {'and' if verdict == finding.verdict else 'but'} {_change(row)}"
        said.append(words + (f" with {isolate(finding.model)}" if len(findings) > 1 else ""))
    return "; ".join(_without_repeats(said))


def _without_repeats(said: Sequence[str]) -> list[str]:
    """Leave out what the change before has said already.

    >>> _without_repeats(["r rises by .02 with a", "r rises by .03 with b", "r falls by .04 with c"])
    ['r rises by .02 with a', 'by .03 with b', 'r falls by .04 with c']
    """
    heads = [words.partition(" by ")[0] for words in said]
    return [
        words.removeprefix(f"{head} ") if k and head == heads[k - 1] else words
        for k, (head, words) in enumerate(zip(heads, said, strict=True))
    ]


def _change(row: Metric) -> str:
    """Say a difference: r rises by .020 [.010, .030].

    >>> _change(Metric(model="m", group="all", metric="l1", value=-.02, low=-.03, high=-.01, n=9, baseline="b"))
    'L1 falls by .020 [.010, .030]'
    >>> _change(Metric(model="m", group="all", metric="pearson", value=.02, low=-.01, high=.05, n=9, baseline="b"))
    'r changes by +.020 [−.010, .050]'
    """
    assert row.value is not None
    name = name_of(row.metric)
    if Finding.verdict_on(row) == "open":
        # The interval alone would say otherwise.
        doubt = f" (adjusted p {number(row.p_holm)})" if row.p_holm is not None and _leaves_zero_out(row) else ""
        return f"{name} changes by {number(row.value, signed=True)}{interval(row)}{doubt}"
    if row.value > 0:
        return f"{name} rises by {number(row.value)}{interval(row)}"
    assert row.low is not None
    assert row.high is not None
    turned = row.model_copy(update={"value": -row.value, "low": -row.high, "high": -row.low})
    return f"{name} falls by {number(-row.value)}{interval(turned)}"


def _leaves_zero_out(row: Metric) -> bool:
    return row.low is not None and row.high is not None and not row.low <= 0 <= row.high


def _names(findings: Sequence[Finding]) -> str:
    return _isolated([finding.model for finding in findings])


def _isolated(names: Sequence[str]) -> str:
    return listed([isolate(name) for name in names])


def _verb(names: Sequence[object], verb: str) -> str:
    return verb + "s" if len(names) == 1 else verb
