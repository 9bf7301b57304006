"""What a scorecard says, in words: which models follow people more closely than the baseline, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluate.scorecard import FEW_CLUSTERS
from dissensus.evaluate.tables import BETTER, Scores, interval, number, shorten
from dissensus.records import Metric
from dissensus.report.embed import isolate

CONTESTED = "contested=yes"
ALPHA = 0.05
"""A difference whose adjusted p value is not below this is not called one."""
_NAMES = {"pearson_within": "r within data sets", "pearson": "r", "l1": "L1"}


@dataclass(frozen=True)
class Finding:
    """One model on one group, compared with the baseline where there is one."""

    model: str
    rows: dict[str, Metric | None]
    """``pearson`` (within data sets, where there is that) and ``l1`` to the model's own value."""
    baseline: dict[str, Metric | None]
    differences: dict[str, Metric | None]

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``open``, by Pearson r, or by L1 where r is undefined."""
        return self.verdict_on(self.changes[0]) if self.changes else "open"

    @property
    def outcome(self) -> str:
        """What all measures together say: ``better`` or ``worse`` by any of them, ``mixed``, or ``open``."""
        said = {self.verdict_on(row) for row in self.changes} - {"open"}
        return "mixed" if len(said) == 2 else said.pop() if said else "open"

    @property
    def changes(self) -> list[Metric]:
        """The differences that there are: of r, then of L1."""
        return [row for row in self.differences.values() if row is not None and row.value is not None]

    @staticmethod
    def verdict_on(row: Metric | None) -> str:
        """Judge a difference: ``open`` unless its interval leaves zero out and its adjusted p value is small."""
        if row is None or not _leaves_zero_out(row) or (row.p_holm is not None and row.p_holm >= ALPHA):
            return "open"
        assert row.low is not None
        return "better" if (row.low > 0) == (row.metric not in BETTER) else "worse"


def find_findings(scores: Scores, group: str = "all") -> list[Finding]:
    """Find one for each model but the baseline, or for each model where there is no baseline."""
    r = correlation(scores, group)
    measures = {"pearson": r, "l1": "l1"}
    return [
        Finding(
            model,
            {name: scores.value(model, metric, group) for name, metric in measures.items()},
            {
                name: scores.value(scores.baseline, m, group) if scores.baseline else None
                for name, m in measures.items()
            },
            {name: scores.difference(model, metric, group) for name, metric in measures.items()},
        )
        for model in scores.others
    ]


def correlation(scores: Scores, group: str = "all") -> str:
    """Name the r to show first: within data sets where that is defined for a model, else over all pairs."""
    rows = (scores.value(model, "pearson_within", group) for model in scores.models)
    return "pearson_within" if any(row is not None and row.value is not None for row in rows) else "pearson"


def headline(findings: Sequence[Finding], scores: Scores) -> str:
    """Say in one plain sentence what was found, without numbers; honest where the intervals include zero."""
    if not scores.models:
        return "This run has no scores yet."
    if scores.baseline is None or not findings:
        return f"How closely {_some(scores.models)} {_verb(scores.models, 'follow')} people."
    base = _some([scores.baseline])
    if not any(finding.changes for finding in findings):
        return f"No difference from {base} is defined."
    by_words = {words: [f.model for f in findings if _outcome_words(f) == words] for words in _OUTCOMES}
    told = {words: names for words, names in by_words.items() if names}
    if not told:
        who = f"{_some(scores.others)} is not" if len(findings) == 1 else "No model is"
        return f"{who} shown to follow people more or less closely than {base}."
    said = [f"{_some(names)} {words.format(than='')}" for words, names in told.items()]
    words, names = next(iter(told.items()))
    said[0] = f"{_some(names)} {_verb(names, 'follow')} people {words.format(than=f' than {base}')}"
    if rest := [finding.model for finding in findings if finding.outcome == "open"]:
        said.append(f"for {_some(rest)} no difference is shown")
    prompts = _fewest_prompts(findings)
    # A percentile interval over few clusters is too narrow to carry a headline by itself.
    return "; ".join(said) + (f": on only {prompts} prompts, a hint." if 0 < prompts < FEW_CLUSTERS else ".")


_OUTCOMES = (
    "more closely{than}",
    "more closely{than} in L1 alone",
    "more closely{than} in r and less closely in L1",
    "less closely{than} in r and more closely in L1",
    "less closely{than} in L1 alone",
    "less closely{than}",
)
"""What can be said of a model, in the order in which a headline says it."""


def _outcome_words(finding: Finding) -> str:
    """One of the above; empty where no difference is shown."""
    how = {"better": "more closely", "worse": "less closely"}
    if finding.outcome == "mixed":
        r, l1 = (how[Finding.verdict_on(row)] for row in finding.changes)
        return f"{r}{{than}} in r and {l1} in L1"
    if finding.outcome == "open":
        return ""
    alone = " in L1 alone" if finding.verdict == "open" else ""
    return how[finding.outcome] + "{than}" + alone


def _some(names: Sequence[str], most: int = 3) -> str:
    """Name a few models, shortened, and count many."""
    return _list([shorten(name, 40) for name in names]) if len(names) <= most else f"{len(names)} models"


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
    said += _open(by_verdict["open"], base)
    prompts = _fewest_prompts(findings)
    if any(finding.outcome != "open" for finding in findings) and 0 < prompts < FEW_CLUSTERS:
        # A percentile interval over few clusters is too narrow to carry a headline by itself.
        said.append(f"With only {prompts} prompts, take that as a hint.")
    return " ".join(said)


def _open(findings: Sequence[Finding], base: str) -> list[str]:
    """Say of which measure no difference is shown: r alone says nothing of L1."""
    said = []
    for measure in dict.fromkeys(f.changes[0].metric for f in findings if f.changes):
        found = [finding for finding in findings if finding.changes and finding.changes[0].metric == measure]
        name = _NAMES.get(measure, measure)
        said.append(f"No difference in {name} from {base} is shown for {_names(found)}: {_changes(found)}.")
    if unknown := [finding for finding in findings if not finding.changes]:
        said.append(f"The difference from {base} is undefined for {_names(unknown)}.")
    return said


def _changes(findings: Sequence[Finding]) -> str:
    """The change of r by each model, or of L1 where r is undefined; and of L1 wherever it is not open."""
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
    name = _NAMES.get(row.metric, row.metric)
    if Finding.verdict_on(row) == "open":
        # The interval alone would say otherwise.
        doubt = f" (p {number(row.p_holm)} by Holm)" if row.p_holm is not None and _leaves_zero_out(row) else ""
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
    return _list([finding.model for finding in findings])


def _list(names: Sequence[str]) -> str:
    names = [isolate(name) for name in names]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _verb(names: Sequence[object], verb: str) -> str:
    return verb + "s" if len(names) == 1 else verb
