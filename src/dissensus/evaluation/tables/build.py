"""The tables that a scorecard makes, and what stands in their rows and columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from dissensus.evaluation.baselines import ONE_PERSON
from dissensus.evaluation.groups import ALL, Group
from dissensus.evaluation.metrics import (
    HEADLINE,
    METRICS,
    PAPER,
    WITHIN,
    column_of,
    keys_of,
    lower_is_better,
    name_of,
    title_of,
)
from dissensus.evaluation.paper_numbers import COUNTS_NOTE, INTERVAL_NOTE, missing_groups, published
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.layout import Line, paper_lines
from dissensus.evaluation.tables.number_format import UNDEFINED, listed, number, plain, short_names, shorten
from dissensus.evaluation.tables.table import DIFFERENCE, PUBLISHED_PREFIX, Entry, Table
from dissensus.records import Metric

Against = Literal["paper"]

_LABEL_WIDTH = 28
_NAME_WIDTH = 20
_TRUTH = "true preferences"
"""The row or column of a model that knows them: of L1, no limit to what could be reached."""
_BASELINES = (*PAPER, "brier", "accuracy")
_SEEDS = (*HEADLINE, "brier")
TARGETS = {"votes": "votes", "dawid-skene": "Dawid-Skene", "mace": "MACE"}
"""Those that are always looked at; others were asked for."""
_NOTES = {
    "stars": "* p < .05, ** p < .01: paired swap test, p adjusted by Holm over the groups shown; groups chosen by the "
    "votes themselves are exploratory and carry no mark",
    "marks": "* p < .05, ** p < .01: paired swap test of a primary difference ({}: {}), adjusted so that any false "
    "mark among all of them has at most that chance: all pairs first, then groups by Holm; all else is exploratory "
    "and carries no mark",
    "exploratory": "exploratory: no difference here is primary, and none carries a mark",
    "within": "within: mean over data sets of r inside each of them (Fisher z); pooled: all pairs together, where "
    "differences between data sets count as well",
    "ceiling": "noise ceiling: the symmetrised r of a model that knows each pair's true preference, against so few "
    "votes; where the votes decided which response is called a, plain r cannot reach it",
    "truth": "true preferences: what a model that knows them would get on average, against so few votes; of r that is "
    "a ceiling, of L1 no floor",
    "baselines": "one person: each pair's votes but one, predicted by that one, a noisier target than all votes; "
    "judges: on the n pairs that they judged; true preferences: of a model that knows them, against so few votes",
    "calibrated": "ECE if calibrated: what a perfectly calibrated model would get at this n; "
    "Brier = reliability − resolution + uncertainty",
    "majority": "of each pair's votes, the share that its majority has",
    "seeds": "SD: between training seeds, on the same pairs; SE: for the choice of prompts, seeds held fixed; "
    "intervals and tests count both",
    "targets": "what predictions are compared with: the fraction of votes, a model's estimate from the same votes, or "
    "preferences under another rule; all but votes are exploratory",
    "people": "how far people agree with each other; α is Krippendorff's, AC1 and AC2 are Gwet's",
}


def make_tables(scores: Scores, *, against: Against | None = None) -> list[Table]:
    """Make every table that there are rows for: the primary metrics by group and the paper's two first."""
    made = [group_table(scores, metric, against=against) for metric in group_metrics(scores)]
    made += [
        metric_table(scores),
        baseline_table(scores),
        calibration_table(scores),
        majority_table(scores),
        people_table(scores),
        target_table(scores),
        seed_table(scores),
    ]
    return [table for table in made if table.rows]


def group_metrics(scores: Scores) -> list[str]:
    """List the metrics that have a table by groups: primary ones that are not in the paper's two tables, then those."""
    return [metric for metric in scores.primary if metric not in HEADLINE] + list(PAPER)


def group_table(scores: Scores, metric: str, *, against: Against | None = None) -> Table:
    """Make the paper's table of one metric: a row per group, the baseline, each model with its difference, the ceiling.

    Where a group spans several data sets and the metric is Pearson r, the mean within them comes first.
    """
    groups = [g for g in scores.groups if any(scores.value(m, metric, g) is not None for m in scores.models)]
    if not groups:
        return Table(_title(metric), ("",), ())
    lines = paper_lines(groups, missing_groups(groups) if against == "paper" else ())
    has_ceiling = any(scores.ceiling(metric, group) is not None for group in groups)
    rows: list[tuple[Entry, ...]] = []
    sections: list[tuple[int, str]] = []
    for line in lines:
        if not sections or sections[-1][1] != line.section:
            sections.append((len(rows), line.section))
        for label, shown in _variants(scores, metric, line):
            ceiling = [scores.ceiling(shown, line.group)] if has_ceiling else []
            paper = _paper_entries(shown, line.group) if against == "paper" else []
            rows.append((label, *_entries(scores, shown, line.group), *ceiling, *paper))
    header = ["", "n", *_model_columns(scores)] + ([_ceiling_title(metric)] if has_ceiling else [])
    header += (
        [f"{PUBLISHED_PREFIX}{what}" for what in ("n", "baseline", "regularised", DIFFERENCE)]
        if against == "paper"
        else []
    )
    said = _marks(scores, rows)
    if any(str(row[0]).endswith("· pooled") for row in rows):
        only_within = scores.primary and "pearson" not in scores.primary
        said.append(_NOTES["within"] + ("; it is exploratory" if only_within else ""))
    said += [_NOTES["truth" if lower_is_better(metric) else "ceiling"]] if has_ceiling else []
    said += [COUNTS_NOTE, INTERVAL_NOTE] if against == "paper" else []
    return Table(_title(metric), tuple(header), tuple(rows), metric, tuple(sections), tuple(said))


def metric_table(scores: Scores, group: str = ALL) -> Table:
    """Make a table of one group: a row per metric, the primary ones first."""
    order = [*(m for m in METRICS if m in scores.metrics), *(m for m in scores.metrics if m not in METRICS)]
    metrics = [metric for metric in order if metric not in METRICS or not METRICS[metric].beside]
    primary = [metric for metric in metrics if metric in scores.primary_in(group)]
    metrics = primary + [metric for metric in metrics if metric not in primary]
    has_ceiling = any(scores.ceiling(metric, group) is not None for metric in metrics)
    rows = [
        (
            title_of(metric),
            *_entries(scores, metric, group)[1:],
            *([scores.ceiling(metric, group)] if has_ceiling else []),
        )
        for metric in metrics
    ]
    header = ("", *_model_columns(scores), *([_TRUTH] if has_ceiling else []))
    sections = ((0, "Primary"), (len(primary), "Exploratory"))[: 2 if len(primary) < len(metrics) else 1]
    said = [*_marks(scores, rows), *([_NOTES["truth"]] if has_ceiling else [])]
    return Table(
        f"All metrics, {'all pairs' if group == ALL else Group.parse(group).label}",
        header,
        tuple(rows),
        "metrics",
        sections if primary else (),
        tuple(said),
    )


def baseline_table(scores: Scores) -> Table:
    """Make a table of trivial baselines and judges, with the models and the ceiling beside them."""
    extra = [*scores.references, *scores.judges]
    groups = [ALL, "domain=in", "domain=out"] if extra else []
    names = short_names([*extra, *scores.models], _NAME_WIDTH)

    def row(name: str, group: str) -> list[Entry]:
        return [scores.value(name, metric, group) for metric in _BASELINES]

    blocks = {
        Group.parse(group).row_label: [
            *((short, *_count(row(name, group)), *row(name, group)) for name, short in names.items()),
            (_TRUTH, *_count(ceiling), *ceiling),
        ]
        for group in groups
        if any(entry is not None for name in extra for entry in row(name, group))
        for ceiling in [[scores.ceiling(metric, group) for metric in _BASELINES]]
    }
    header = ("", "n", *map(column_of, _BASELINES))
    return _sectioned("Baselines and judges", header, blocks, "baselines", "baselines")


def calibration_table(scores: Scores) -> Table:
    """Make a table of calibration: ECE beside what chance alone gives, Brier's score in its parts, NLL."""
    everybody = [*scores.models, *scores.judges, *scores.references]
    shown = keys_of("calibration", "score")
    telling = [m for m in shown if m != "brier"]
    names = {
        name: short
        for name, short in short_names(everybody, _NAME_WIDTH).items()
        # One person's target is not all votes, so its calibration is of something else.
        if name != ONE_PERSON and any(scores.value(name, metric) is not None for metric in telling)
    }
    columns = [metric for metric in shown if metric in scores.metrics]
    blocks = {
        Group.parse(group).row_label: [
            (short, *_count(found), *found)
            for name, short in names.items()
            for found in [[scores.value(name, metric, group) for metric in columns]]
        ]
        for group in (ALL, "domain=in", "domain=out")
    }
    header = ("", "n", *map(column_of, columns))
    return _sectioned("Calibration, lower is better but for resolution", header, blocks, "calibration", "calibrated")


def majority_table(scores: Scores) -> Table:
    """Make a table of accuracy by how large the majority of the votes is."""
    titles = ["", "n", *_model_columns(scores)]
    rows = [[Group.parse(group).row_label, *_entries(scores, "accuracy", group)] for group in scores.majorities]
    kept = [c for c, title in enumerate(titles) if title != DIFFERENCE or any(row[c] is not None for row in rows)]
    header, body = tuple(titles[c] for c in kept), tuple(tuple(row[c] for c in kept) for row in rows)
    said = (_NOTES["majority"],)
    return Table("Accuracy by the majority's share of the votes", header, body, "majority", notes=said)


def people_table(scores: Scores) -> Table:
    """Make a table of the people's agreement: a row per data set, and one for all."""
    there = {row.metric for row in scores.rows if row.kind == "people"}
    columns = [metric for metric in keys_of("agreement") if metric in there]
    lines = paper_lines(scores.groups_of("people"))
    rows = [
        (shorten(plain(line.label), _LABEL_WIDTH), *_count(found), *found)
        for line in lines
        for found in [[scores.people(metric, line.group) for metric in columns]]
    ]
    said = (_NOTES["people"],)
    return Table("Agreement of people", ("", "n", *map(column_of, columns)), tuple(rows), "people", notes=said)


def target_table(scores: Scores) -> Table:
    """Make a table of how much hangs on the way votes are aggregated."""
    there = dict.fromkeys(row.target for row in scores.rows)
    targets = [t for t in TARGETS if t in there] + [t for t in there if t not in TARGETS]
    if targets in ([], ["votes"]):
        return Table("Sensitivity", ("",), ())
    names = short_names(scores.models, _NAME_WIDTH)
    groups = [group for group in scores.groups if any(r.target != "votes" and r.group == group for r in scores.rows)]
    # The whole where it has them; a domain of one data set would repeat it.
    groups = [ALL] if ALL in groups else [group for group in groups if Group.parse(group).kind == "dataset"]

    def rows(metric: str, group: str) -> list[tuple[Entry, ...]]:
        own = [
            (
                names[m],
                row.n if (row := scores.value(m, metric, group)) else None,
                *(scores.value(m, metric, group, target=t) for t in targets),
            )
            for m in scores.models
        ]
        differences = [
            (f"{DIFFERENCE} {names[m]}", None, *(scores.difference(m, metric, group, target=t) for t in targets))
            for m in scores.others
        ]
        return [*own, *differences]

    def title(metric: str, group: str) -> str:
        return _title(metric) if group == ALL else f"{Group.parse(group).label}: {_title(metric)}"

    blocks = {title(m, group): rows(m, group) for group in groups for m in HEADLINE}
    header = ("", "n", *short_names([TARGETS.get(t, t) for t in targets], _NAME_WIDTH).values())
    # A metric that was not scored on the other targets says nothing here.
    telling = {title: b for title, b in blocks.items() if any(entry is not None for row in b for entry in row[3:])}
    made = _sectioned("Sensitivity to how votes are aggregated", header, telling, "targets", "targets")
    return replace(made, notes=(*_marks(scores, made.rows), *made.notes))


def seed_table(scores: Scores) -> Table:
    """Make a table of models that were trained several times: the spread between seeds apart from that of the data."""

    def rows(metric: str) -> list[tuple[Entry, ...]]:
        found = [(names[m], scores.value(m, metric)) for m in scores.models]
        found += [(f"{DIFFERENCE} {names[m]}", scores.difference(m, metric)) for m in scores.others]
        return [
            (name, row.seeds, row, *(UNDEFINED if v is None else number(v) for v in (row.seed_sd, row.data_se)))
            for name, row in found
            if row is not None and (row.seeds or 0) > 1
        ]

    names = short_names(scores.models, _NAME_WIDTH)
    blocks = {_title(metric): rows(metric) for metric in _SEEDS}
    header = ("", "seeds", "mean", "SD between seeds", "SE for prompts")
    made = _sectioned("Seeds and data", header, blocks, "seeds", "seeds")
    return replace(made, notes=(*_marks(scores, made.rows), *made.notes))


def _sectioned(
    title: str, header: tuple[str, ...], blocks: dict[str, list[tuple[Entry, ...]]], name: str, note: str | None = None
) -> Table:
    """Put blocks of rows below each other, leaving out rows and blocks in which nothing stands."""
    rows: list[tuple[Entry, ...]] = []
    sections = []
    for heading, block in blocks.items():
        if full := [row for row in block if any(isinstance(entry, Metric) for entry in row)]:
            sections.append((len(rows), heading))
            rows += full
    return Table(title, header, tuple(rows), name, tuple(sections), () if note is None else (_NOTES[note],))


def _variants(scores: Scores, metric: str, line: Line) -> list[tuple[str, str]]:
    """Name the rows of a group, each with its metric: one, or for Pearson over several data sets two."""
    label = plain(line.label)
    spans = metric == "pearson" and any(scores.value(m, WITHIN, line.group) is not None for m in scores.models)
    if not spans:
        return [(shorten(label, _LABEL_WIDTH), metric)]
    parts = (("· within", WITHIN), ("· pooled", "pearson"))
    return [(f"{shorten(label, _LABEL_WIDTH - 1 - len(part))} {part}", shown) for part, shown in parts]


def _entries(scores: Scores, metric: str, group: str) -> list[Entry]:
    """List n, the baseline, then each other model with its difference."""
    found: list[Metric | None] = []
    found += [] if scores.baseline is None else [scores.value(scores.baseline, metric, group)]
    for model in scores.others:
        found.append(scores.value(model, metric, group))
        if scores.baseline is not None:
            found.append(scores.difference(model, metric, group))
    return [*_count(found), *found]


def _count(entries: Sequence[Entry]) -> tuple[Entry]:
    """Count the pairs that a row rests on."""
    return (next((entry.n for entry in entries if isinstance(entry, Metric)), None),)


def _paper_entries(metric: str, group: str) -> list[Entry]:
    cells = published(metric, group)
    return [None] * 4 if cells is None else [cells[0].n, *cells]


def _model_columns(scores: Scores) -> list[str]:
    names = short_names(scores.models, _NAME_WIDTH)
    columns = [] if scores.baseline is None else [names[scores.baseline]]
    for model in scores.others:
        columns += [names[model]] + ([] if scores.baseline is None else [DIFFERENCE])
    return columns


def _title(metric: str) -> str:
    return f"{title_of(metric)} ({'lower' if lower_is_better(metric) else 'higher'} is better)"


def _ceiling_title(metric: str) -> str:
    return _TRUTH if lower_is_better(metric) else "noise ceiling"


def _marks(scores: Scores, rows: Iterable[Sequence[Entry]]) -> list[str]:
    """Say what the marks of a table are, and of what; or that it has none."""
    differences = [entry for row in rows for entry in row if isinstance(entry, Metric) and entry.baseline is not None]
    if any(row.p_holm is not None for row in differences):
        if not scores.counted:
            return [_NOTES["stars"]]
        names = listed([name_of(metric) for metric in dict.fromkeys(r.metric for r in _wholes(scores))])
        n = len(scores.counted)
        return [_NOTES["marks"].format(names, f"{n} hypotheses" if n > 1 else "one hypothesis")]
    return [_NOTES["exploratory"]] if {row.role for row in differences} == {"exploratory"} else []


def _wholes(scores: Scores) -> list[Metric]:
    return [row for row in scores.counted if row.group == ALL]
