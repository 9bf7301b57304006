"""The tables that a scorecard makes, and what stands in their rows and columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
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
from dissensus.evaluation.paper_numbers import (
    COUNTS_NOTE,
    IN_DOMAIN,
    INTERVAL_NOTE,
    OUT_OF_DOMAIN,
    PUBLISHED,
    missing_groups,
    paper_dataset,
    paper_group,
    published,
)
from dissensus.evaluation.scores import Scores
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


_PAPER_ORDER = list(PUBLISHED)
_DOMAINS = {"domain=in": "in", "domain=out": "out"}
_FIELD_SECTIONS = {
    "category": "Categories",
    "category&domain": "Categories",
    "distinct": "Responses",
    "contested": "By the votes themselves (exploratory)",
    "majority": "By the majority's share of the votes (exploratory)",
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
    groups = scores.groups_with(metric)
    if not groups:
        return Table(_title(metric), ("",), ())
    has_ceiling = any(scores.ceiling(metric, group) is not None for group in groups)
    lower = lower_is_better(metric)
    rows: list[tuple[Entry, ...]] = []
    sections: list[tuple[int, str]] = []
    for line in paper_lines(groups, missing_groups(groups) if against == "paper" else ()):
        if not sections or sections[-1][1] != line.section:
            sections.append((len(rows), line.section))
        for label, shown in _variants(scores, metric, line):
            ceiling = [scores.ceiling(shown, line.group)] if has_ceiling else []
            paper: list[Entry] = []
            if against == "paper":
                cells = published(shown, line.group)
                paper = [None] * 4 if cells is None else [cells[0].n, *cells]
            rows.append((label, *_entries(scores, shown, line.group), *ceiling, *paper))
    header = ["", "n", *_model_columns(scores)]
    said = _marks(scores, rows)
    if any(str(row[0]).endswith("· pooled") for row in rows):
        only_within = scores.primary and "pearson" not in scores.primary
        said.append(_NOTES["within"] + ("; it is exploratory" if only_within else ""))
    if has_ceiling:
        header.append(_TRUTH if lower else "noise ceiling")
        said.append(_NOTES["truth" if lower else "ceiling"])
    if against == "paper":
        header += [f"{PUBLISHED_PREFIX}{what}" for what in ("n", "baseline", "regularised", DIFFERENCE)]
        said += [COUNTS_NOTE, INTERVAL_NOTE]
    return Table(_title(metric), tuple(header), tuple(rows), metric, tuple(sections), tuple(said))


def metric_table(scores: Scores, group: str = ALL) -> Table:
    """Make a table of one group: a row per metric, the primary ones first."""
    order = [*(m for m in METRICS if m in scores.metrics), *(m for m in scores.metrics if m not in METRICS)]
    metrics = [metric for metric in order if metric not in METRICS or not METRICS[metric].beside]
    primary = [metric for metric in metrics if metric in scores.primary_in(group)]
    metrics = primary + [metric for metric in metrics if metric not in primary]
    has_ceiling = any(scores.ceiling(metric, group) is not None for metric in metrics)
    rows: list[tuple[Entry, ...]] = []
    for metric in metrics:
        ceiling = [scores.ceiling(metric, group)] if has_ceiling else []
        rows.append((title_of(metric), *_entries(scores, metric, group)[1:], *ceiling))
    header = ("", *_model_columns(scores), *([_TRUTH] if has_ceiling else []))
    sections = ((0, "Primary"), (len(primary), "Exploratory"))[: 2 if len(primary) < len(metrics) else 1]
    said = [*_marks(scores, rows), *([_NOTES["truth"]] if has_ceiling else [])]
    title = f"All metrics, {'all pairs' if group == ALL else Group.parse(group).label}"
    return Table(title, header, tuple(rows), "metrics", sections if primary else (), tuple(said))


def baseline_table(scores: Scores) -> Table:
    """Make a table of trivial baselines and judges, with the models and the ceiling beside them."""
    extra = [*scores.references, *scores.judges]
    names = short_names([*extra, *scores.models], _NAME_WIDTH)
    blocks: dict[str, list[tuple[Entry, ...]]] = {}
    for group in [ALL, "domain=in", "domain=out"] if extra else []:
        values = {name: [scores.value(name, metric, group) for metric in _BASELINES] for name in names}
        if any(entry is not None for name in extra for entry in values[name]):
            ceiling = [scores.ceiling(metric, group) for metric in _BASELINES]
            block = [_counted(short, values[name]) for name, short in names.items()]
            blocks[Group.parse(group).row_label] = [*block, _counted(_TRUTH, ceiling)]
    header = ("", "n", *map(column_of, _BASELINES))
    return _sectioned("Baselines and judges", header, blocks, "baselines", "baselines")


def calibration_table(scores: Scores) -> Table:
    """Make a table of calibration: ECE beside what chance alone gives, Brier's score in its parts, NLL."""
    shown = keys_of("calibration", "score")
    columns = [metric for metric in shown if metric in scores.metrics]
    # One person's target is not all votes, so its calibration is of something else.
    everybody = [name for name in [*scores.models, *scores.judges, *scores.references] if name != ONE_PERSON]
    telling = [metric for metric in shown if metric != "brier"]
    names = {
        name: short
        for name, short in short_names(everybody, _NAME_WIDTH).items()
        if any(scores.value(name, metric) is not None for metric in telling)
    }
    blocks = {
        Group.parse(group).row_label: [
            _counted(short, [scores.value(name, metric, group) for metric in columns]) for name, short in names.items()
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
    there = [row for row in scores.rows if row.kind == "people"]
    columns = [metric for metric in keys_of("agreement") if metric in {row.metric for row in there}]
    rows = [
        _counted(shorten(plain(line.label), _LABEL_WIDTH), [scores.people(metric, line.group) for metric in columns])
        for line in paper_lines(list(dict.fromkeys(row.group for row in there)))
    ]
    header = ("", "n", *map(column_of, columns))
    return Table("Agreement of people", header, tuple(rows), "people", notes=(_NOTES["people"],))


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
    blocks: dict[str, list[tuple[Entry, ...]]] = {}
    for group, metric in product(groups, HEADLINE):
        title = _title(metric) if group == ALL else f"{Group.parse(group).label}: {_title(metric)}"
        values = {m: [scores.value(m, metric, group, target=t) for t in targets] for m in scores.models}
        own = [scores.value(m, metric, group) for m in scores.models]
        rows = [(names[m], row and row.n, *values[m]) for m, row in zip(scores.models, own, strict=True)]
        for m in scores.others:
            differences = [scores.difference(m, metric, group, target=t) for t in targets]
            rows.append((f"{DIFFERENCE} {names[m]}", None, *differences))
        blocks[title] = rows
    header = ("", "n", *short_names([TARGETS.get(t, t) for t in targets], _NAME_WIDTH).values())
    # A metric that was not scored on the other targets says nothing here.
    telling = {title: b for title, b in blocks.items() if any(entry is not None for row in b for entry in row[3:])}
    return _marked(scores, _sectioned("Sensitivity to how votes are aggregated", header, telling, "targets", "targets"))


def seed_table(scores: Scores) -> Table:
    """Make a table of models that were trained several times: the spread between seeds apart from that of the data."""

    names = short_names(scores.models, _NAME_WIDTH)
    blocks: dict[str, list[tuple[Entry, ...]]] = {}
    for metric in _SEEDS:
        rows = blocks[_title(metric)] = []
        for row in scores.seed_rows(metric):
            spreads = (UNDEFINED if v is None else number(v) for v in (row.seed_sd, row.data_se))
            rows.append(
                (
                    names[row.model] if row.baseline is None else f"{DIFFERENCE} {names[row.model]}",
                    row.seeds,
                    row,
                    *spreads,
                )
            )
    header = ("", "seeds", "mean", "SD between seeds", "SE for prompts")
    return _marked(scores, _sectioned("Seeds and data", header, blocks, "seeds", "seeds"))


def _marked(scores: Scores, table: Table) -> Table:
    return replace(table, notes=(*_marks(scores, table.rows), *table.notes))


def _sectioned(
    title: str, header: tuple[str, ...], blocks: dict[str, list[tuple[Entry, ...]]], name: str, note: str
) -> Table:
    """Put blocks of rows below each other, leaving out rows and blocks in which nothing stands."""
    rows: list[tuple[Entry, ...]] = []
    sections = []
    for heading, block in blocks.items():
        if full := [row for row in block if any(isinstance(entry, Metric) for entry in row)]:
            sections.append((len(rows), heading))
            rows += full
    return Table(title, header, tuple(rows), name, tuple(sections), (_NOTES[note],))


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
    found = [] if scores.baseline is None else [scores.value(scores.baseline, metric, group)]
    for model in scores.others:
        found.append(scores.value(model, metric, group))
        if scores.baseline is not None:
            found.append(scores.difference(model, metric, group))
    return list(_counted("", found)[1:])


def _counted(name: str, entries: Sequence[Metric | None]) -> tuple[Entry, ...]:
    """Make a row with the number of pairs that it rests on."""
    return name, next((entry.n for entry in entries if entry is not None), None), *entries


def _model_columns(scores: Scores) -> list[str]:
    names = short_names(scores.models, _NAME_WIDTH)
    columns = [] if scores.baseline is None else [names[scores.baseline]]
    for model in scores.others:
        columns += [names[model]] + ([] if scores.baseline is None else [DIFFERENCE])
    return columns


def _title(metric: str) -> str:
    return f"{title_of(metric)} ({'lower' if lower_is_better(metric) else 'higher'} is better)"


def _marks(scores: Scores, rows: Iterable[Sequence[Entry]]) -> list[str]:
    """Say what the marks of a table are, and of what; or that it has none."""
    differences = [entry for row in rows for entry in row if isinstance(entry, Metric) and entry.baseline is not None]
    if any(row.p_holm is not None for row in differences):
        if not scores.counted:
            return [_NOTES["stars"]]
        names = listed(
            [name_of(metric) for metric in dict.fromkeys(r.metric for r in scores.counted if r.group == ALL)]
        )
        n = len(scores.counted)
        return [_NOTES["marks"].format(names, f"{n} hypotheses" if n > 1 else "one hypothesis")]
    return [_NOTES["exploratory"]] if {row.role for row in differences} == {"exploratory"} else []


@dataclass(frozen=True)
class Line:
    """A row of a table: a group, its name there, and the section it stands in."""

    section: str
    label: str
    group: str


def paper_lines(groups: Sequence[str], missing: Sequence[str] = ()) -> list[Line]:
    """Arrange groups of a scorecard, and those of the paper that it is missing, as the paper's tables do.

    Data sets of each domain before the domain itself, categories before their combinations with a domain, responses
    that can or cannot be told apart, and all pairs last. Groups of other fields keep their order.

    >>> [line.label for line in paper_lines(["all", "dataset=prism", "domain=in", "dataset=hh-rlhf", "domain=out"])]
    ['prism', 'All ID', 'hh-rlhf', 'All OOD', 'All pairs']
    """
    domains = dataset_domains(groups, missing)
    groups = [*groups, *missing]
    titles = {"in": "In-domain (ID)", "out": "Out-of-domain (OOD)", None: "Data sets"}
    sections: dict[str, list[str]] = {title: [] for title in [titles[None], titles["in"], titles["out"]]}
    sections |= {title: [] for title in _FIELD_SECTIONS.values()}
    for group in groups:
        kind = Group.parse(group).kind
        if kind == "dataset":
            section = titles[domains[group]]
        elif group in _DOMAINS:
            section = titles[_DOMAINS[group]]
        else:
            section = _FIELD_SECTIONS.get(kind, "Other groups")
        if group != ALL:
            sections.setdefault(section, []).append(group)
    lines = [
        Line(s, Group.parse(g).row_label, g) for s, members in sections.items() for g in sorted(members, key=_place)
    ]
    return lines + ([Line("All", Group().row_label, ALL)] if ALL in groups else [])


def dataset_domains(groups: Sequence[str], missing: Sequence[str] = ()) -> dict[str, str | None]:
    """Say which domain each data set's group belongs to; None where nobody knows.

    Scorecards list the data sets of a domain right before the domain, as ``find_groups`` does. One that lists all data
    sets before all domains tells nothing; then the data sets of the paper are in the paper's domains.
    """
    listed = [group for group in groups if Group.parse(group).kind in ("dataset", "domain")]
    sets = [group for group in [*groups, *missing] if Group.parse(group).kind == "dataset"]
    if not any(Group.parse(group).kind == "domain" for group in [*groups, *missing]):
        return dict.fromkeys(sets)
    ends = [listed.index(group) for group in _DOMAINS if group in listed]
    told = bool(ends) and max((i for i, g in enumerate(listed) if g in sets), default=-1) > min(ends)
    found: dict[str, str | None] = {}
    for group in sets:
        if told and group in listed:
            found[group] = next((_DOMAINS[g] for g in listed[listed.index(group) :] if g in _DOMAINS), None)
        else:
            name = paper_dataset(group.removeprefix("dataset="))
            found[group] = "in" if name in IN_DOMAIN else "out" if name in OUT_OF_DOMAIN else None
    return found


def _place(group: str) -> tuple[bool, int, bool]:
    """The place in the paper's order; what the paper does not know stands before its own section's totals."""
    known, kind = paper_group(group), Group.parse(group).kind
    place = len(_PAPER_ORDER) if known is None else _PAPER_ORDER.index(known)
    return kind == "domain", place, kind == "category&domain"
