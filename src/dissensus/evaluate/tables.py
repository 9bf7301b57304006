"""Tables for terminals and Markdown: groups of pairs by models, as in the paper's tables 1 and 2."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dissensus.evaluate.groups import ALL, group_label
from dissensus.records import Metric

TITLES = {
    "pearson": "Pearson r",
    "pearson_symmetric": "Pearson r, symmetrised",
    "spearman": "Spearman ρ",
    "l1": "L1",
    "brier": "Brier score",
    "accuracy": "Accuracy",
}
"""The metrics' names for people."""

BETTER = {"l1": "lower", "brier": "lower"}
"""Which way is better; ``higher`` where a metric is not listed."""

MAX_WIDTH = 120
_LABEL_WIDTH = 31
UNDEFINED = "—"
DIFFERENCE = "Δ"


class Scores:
    """The rows of a scorecard, found by model, group and metric."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._rows = {(m.model, m.group, m.metric, m.baseline): m for m in metrics}
        keys = list(self._rows)
        models = dict.fromkeys(model for model, _, _, _ in keys)
        self.groups = list(dict.fromkeys(group for _, group, _, _ in keys))
        self.metrics = list(dict.fromkeys(metric for _, _, metric, _ in keys))
        self.baseline = next((baseline for *_, baseline in keys if baseline is not None), None)
        self.others = [model for model in models if model != self.baseline]
        self.models = ([self.baseline] if self.baseline is not None else []) + self.others

    def value(self, model: str, metric: str, group: str = ALL) -> Metric | None:
        """Find a metric of a model."""
        return self._rows.get((model, group, metric, None))

    def difference(self, model: str, metric: str, group: str = ALL) -> Metric | None:
        """Find the paired difference of a model to the baseline."""
        return self._rows.get((model, group, metric, self.baseline)) if self.baseline is not None else None


@dataclass(frozen=True)
class Table:
    """Cells of text: the first column is of names, the others of numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_text(self) -> str:
        """Align for a terminal; split into blocks where one would be wider than 120 columns."""
        blocks = [self._block(columns) for columns in self._columns_that_fit()]
        return "\n\n".join([self.title + "\n" + blocks[0], *blocks[1:]])

    def as_markdown(self) -> str:
        """Write as a Markdown table; names cannot break it."""
        lines = [[_escape(cell) for cell in line] for line in (self.header, *self.rows)]
        rule = "|---|" + "---:|" * (len(self.header) - 1)
        body = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([f"**{_escape(self.title)}**", "", body[0], rule, *body[1:]])

    def _columns_that_fit(self) -> list[list[int]]:
        """Numbers of the columns of each block; every block starts with the names."""
        fitting: list[list[int]] = [[0]]
        column = 1
        while column < len(self.header):
            # A model and its difference stay together.
            unit = [column, column + 1] if self.header[column + 1 : column + 2] == (DIFFERENCE,) else [column]
            if sum(self._width(c) + 2 for c in [*fitting[-1], *unit]) > MAX_WIDTH and len(fitting[-1]) > 1:
                fitting.append([0])
            fitting[-1] += unit
            column += len(unit)
        return fitting

    def _width(self, column: int) -> int:
        return max(len(line[column]) for line in (self.header, *self.rows))

    def _block(self, columns: Sequence[int]) -> str:
        widths = [self._width(c) for c in columns]
        lines = [[line[c] for c in columns] for line in (self.header, *self.rows)]
        text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
        return "\n".join([text[0], "─" * (sum(widths) + 2 * len(widths) - 2), *text[1:]])


def group_table(scores: Scores, metric: str) -> Table:
    """Make a table of one metric: a row per group, the baseline, then each model with its difference."""
    rows = [
        (shorten(group_label(group), _LABEL_WIDTH), _pairs(scores, metric, group), *_cells(scores, metric, group))
        for group in scores.groups
    ]
    title = f"{TITLES.get(metric, metric)} ({BETTER.get(metric, 'higher')} is better)"
    return Table(title, ("", "n", *_model_columns(scores)), tuple(rows))


def metric_table(scores: Scores, group: str = ALL) -> Table:
    """Make a table of one group: a row per metric."""
    rows = [(TITLES.get(metric, metric), *_cells(scores, metric, group)) for metric in scores.metrics]
    return Table(f"All metrics, {group_label(group)}", ("", *_model_columns(scores)), tuple(rows))


def notes(scores: Scores) -> list[str]:
    """List what the tables rest on, each note once with the groups that it holds for."""
    found: dict[str, dict[str, None]] = {}
    for group in scores.groups:
        for model in scores.models:
            for metric in scores.metrics:
                for row in (scores.value(model, metric, group), scores.difference(model, metric, group)):
                    for note in row.note.split("; ") if row is not None and row.note is not None else ():
                        found.setdefault(note, {})[group_label(group)] = None
    return [f"{_some(list(groups))}: {note}" for note, groups in found.items()]


def tables(metrics: Iterable[Metric], *, markdown: bool = False) -> str:
    """Render Pearson and L1 by group, all metrics together, and the notes."""
    scores = Scores(metrics)
    made = [group_table(scores, metric) for metric in ("pearson", "l1")] + [metric_table(scores)]
    parts = [table.as_markdown() if markdown else table.as_text() for table in made]
    said = [f"* {_escape(note)}" if markdown else _wrap(f"* {note}") for note in notes(scores)]
    return "\n\n".join(parts + (["\n".join(said)] if said else []))


def number(value: float, *, signed: bool = False) -> str:
    """Write a number between -1 and 1 with three digits and no leading zero, as journals do.

    >>> number(0.7284), number(-0.5), number(0.0141, signed=True), number(1.0)
    ('.728', '−.500', '+.014', '1.000')
    """
    digits = f"{abs(value):.3f}"
    sign = "" if digits == "0.000" else "−" if value < 0 else "+" if signed else ""
    return sign + digits.removeprefix("0")


def cell(row: Metric | None) -> str:
    """Write a value with its interval: ``.728 [.701, .752]``; a dash where it is undefined."""
    if row is None or row.value is None:
        return UNDEFINED
    return number(row.value, signed=row.baseline is not None) + interval(row)


def interval(row: Metric) -> str:
    """Write an interval in brackets, after a blank; nothing where there is none."""
    return "" if row.low is None or row.high is None else f" [{number(row.low)}, {number(row.high)}]"


def shorten(name: str, width: int) -> str:
    """Cut a long name in the middle, where slugs differ least.

    >>> shorten("is-the-school-uniform-a-good-or-bad-idea", 20)
    'is-the-sch…-bad-idea'
    """
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return name[: width - 1 - tail] + "…" + name[len(name) - tail :]


def _model_columns(scores: Scores) -> list[str]:
    columns = [] if scores.baseline is None else [shorten(scores.baseline, 20)]
    for model in scores.others:
        columns += [shorten(model, 20)] + ([] if scores.baseline is None else [DIFFERENCE])
    return columns


def _cells(scores: Scores, metric: str, group: str) -> list[str]:
    cells = [] if scores.baseline is None else [cell(scores.value(scores.baseline, metric, group))]
    for model in scores.others:
        cells.append(cell(scores.value(model, metric, group)))
        if scores.baseline is not None:
            cells.append(cell(scores.difference(model, metric, group)))
    return cells


def _wrap(text: str) -> str:
    return textwrap.fill(text, MAX_WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = names if len(names) <= most + 1 else names[:most]
    rest = len(names) - len(shown)
    return ", ".join(shorten(name, _LABEL_WIDTH) for name in shown) + (f" and {rest} more groups" if rest else "")


def _pairs(scores: Scores, metric: str, group: str) -> str:
    return next((str(row.n) for m in scores.models if (row := scores.value(m, metric, group)) is not None), "0")


def _escape(text: str) -> str:
    for mark in "\\|`*_<>[]":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
