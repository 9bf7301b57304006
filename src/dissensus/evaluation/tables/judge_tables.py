"""Tables of judges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dissensus.evaluation.judges import Component, JudgeScore
from dissensus.evaluation.tables.number_format import UNDEFINED, number, shorten
from dissensus.evaluation.tables.table import Table
from dissensus.judge_calibration import JudgeCalibration
from dissensus.stats.resampling.intervals import Estimate

_PEOPLE = "Judges against people: the majority of all, the majority of all but one, that one person"
_ORDER = "Judges when the order is swapped"

_MEANING = {
    "pair": "pair (signal)",
    "judge": "judge within pair",
    "order": "order within judge (position)",
    "repetition": "repetition (noise)",
}
_STACK = "Judges, calibrated: β on the log-odds of each, and the NLL that it saves"
_COLUMNS = {"length": "log length ratio", "reward": "reward gap"}
_DIGEST = re.compile(r"-[0-9a-f]{8}\Z")
_NAME_WIDTH = 20


def judge_tables(scores: Sequence[JudgeScore]) -> list[Table]:
    """Make tables of judges: against people, where there are votes, and by the order shown."""
    labels = _labels([score.judge for score in scores])
    people: list[tuple[str | int, ...]] = []
    orders: list[tuple[str | int, ...]] = []
    for s in scores:
        counts = (s.pairs, s.judgments, number(s.invalid), number(s.ties), s.compared)
        orders.append((labels[s.judge], *counts, *map(_cell, (s.flips, s.changes, s.first))))
        if (p := s.people) is not None:
            shares = (p.agreement, p.against_others, Estimate(p.person.value), p.pearson, p.l1)
            people.append((labels[s.judge], p.pairs, p.human_ties, *map(_cell, shares)))
    headers = (
        ("", "pairs", "even", "agreement", "all but one", "person", "Pearson r", "L1"),
        ("", "pairs", "n", "invalid", "ties", "compared", "flips", "changes", "first shown"),
    )
    tables = (Table(_PEOPLE, headers[0], tuple(people)), Table(_ORDER, headers[1], tuple(orders)))
    return [table for table in tables if table.rows]


def component_table(components: Sequence[Component]) -> Table:
    """Make a table of the components of variance."""
    rows = [
        (
            _MEANING[c.level],
            str(c.units),
            UNDEFINED if c.raw is None else _cell(c.raw),
            UNDEFINED if c.raw is None or not np.isfinite(c.share) else number(c.share),
            UNDEFINED if c.random is None or not np.isfinite(c.random) else number(c.random),
        )
        for c in components
    ]
    merged = ", ".join(f"{c.level} in {c.merged}" for c in components if c.merged is not None)
    title = "Variance of verdicts" + (f" (without replication: {merged})" if merged else "")
    return Table(title, ("", "units", "variance", "share", "random orders"), tuple(rows))


def calibration_tables(found: JudgeCalibration) -> list[Table]:
    """Make the tables of judges that were calibrated: what each counts, and how far off they were before and after."""
    labels = _labels([judge.judge for judge in found.judges])
    stack = [
        (
            labels.get(one.name, _COLUMNS.get(one.name, one.name)),
            _cell(Estimate(one.coefficient, one.low, one.high)),
            number(one.adds, signed=True, digits=4),
            one.missing,
        )
        for one in found.predictors
    ]
    fits = [(labels[judge.judge], judge.pairs, judge.fit) for judge in found.judges]
    if len(fits) > 1:
        fits.append(("their mean", found.pairs, found.mean))
    fits.append(("calibrated", found.pairs, found.calibrated))
    rows = [
        (name, pairs, *([UNDEFINED] * 3 if fit is None else map(number, (fit.nll, fit.brier, fit.ece))))
        for name, pairs, fit in fits
    ]
    said = (calibration_note(found), *(f"{note}." for note in found.notes))
    return [
        Table(_STACK, ("", "β", "NLL saved", "missing"), tuple(stack), name="judges-calibrated"),
        Table(
            f"Judges against {found.target}",
            ("", "pairs", "NLL", "Brier", "ECE"),
            tuple(rows),
            "judges-fit",
            notes=said,
        ),
    ]


def calibration_note(found: JudgeCalibration) -> str:
    """Say in a sentence or two what calibrated judges were fitted to, and how."""
    missing = f" {found.missing:,} pairs have no valid judgment of any judge." if found.missing else ""
    return (
        f"Fitted to {found.observations:,} {found.target} on {found.fitted:,} pairs of {found.prompts:,} prompts; "
        f"preferences of {found.pairs:,} pairs are made with coefficients of other prompts ({found.folds} folds, λ = "
        f"{found.ridge:g}); brackets are {100 * found.level:g} % intervals clustered by prompt.{missing}"
    )


def _labels(judges: Sequence[str]) -> dict[str, str]:
    """Name judges for people: without the digest where that is enough."""
    short = {judge: _DIGEST.sub("", judge) for judge in judges}
    times = Counter(short.values())
    return {judge: shorten(name if times[name] == 1 else judge, _NAME_WIDTH) for judge, name in short.items()}


def _cell(estimate: Estimate) -> str:
    """Write ``.728 [.701, .752]``; a dash where the value is undefined."""
    if not np.isfinite(estimate.value):
        return UNDEFINED
    if estimate.low is None or estimate.high is None:
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"
