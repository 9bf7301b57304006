"""Tables as text: for a terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

from dissensus.evaluation.scores import Scores, notes
from dissensus.evaluation.tables.build import TARGETS, Against, make_tables
from dissensus.evaluation.tables.number_format import plain
from dissensus.evaluation.tables.table import Table, aligned_texts, column_widths, columns_that_fit, text_of
from dissensus.files.formula_escape import ESCAPED, escape_cells
from dissensus.records import Metric

MAX_WIDTH = 120
"""Of a terminal; as many characters fit the page of LaTeX at footnote size."""
_FIRST = ("pearson", "l1", "baselines")


_SYMBOLS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "—": "---",
    "–": "--",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "κ": r"$\kappa$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
}
_LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=`)(?=`)|(?<=')(?=')|(?<=,)(?=,)|(?<=[?!])(?=`)")
"""Between two characters that fonts would make one sign of."""
_STARS = re.compile(r"(?<=[\d\]])(\*+)\Z")


def render(metrics: Iterable[Metric], form: str = "terminal", *, against: Against | None = None) -> str:
    """Write all tables of a scorecard, and the notes on what they rest on, in one of ``FORMATS``."""
    scores = Scores(metrics)
    return FORMATS[form](make_tables(scores, against=against), notes(scores))


def render_brief(metrics: Iterable[Metric], *, against: Against | None = None) -> str:
    """Write for a terminal what one looks at first: primary metrics, r, L1, baselines, and other rules if asked for.

    The last line names the tables that are left out.
    """
    scores = Scores(metrics)
    made = make_tables(scores, against=against)
    asked = any(row.target not in TARGETS for row in scores.rows)
    first = {*_FIRST, *scores.primary, *(["targets"] if asked else [])}
    shown = [table for table in made if table.name in first]
    rows = [row for row in scores.rows if row.metric in {*_FIRST, *scores.primary, "pearson_within"}]
    others = ", ".join(table.name for table in made if table.name not in first)
    rest = [_wrap(f"more, with 'dissensus tables': {others}")] if others else []
    return "\n\n".join([_terminal(shown, notes(Scores(rows))), *rest])


def terminal_table(table: Table) -> str:
    """Align for a terminal; split into blocks where one would be wider than 120 columns."""
    blocks = [_block(table, columns) for columns in columns_that_fit(table, MAX_WIDTH)]
    said = "".join("\n" + _wrap(plain(note)) for note in table.notes)
    return "\n\n".join([plain(table.title) + "\n" + blocks[0], *blocks[1:]]) + said


def markdown_table(table: Table) -> str:
    """Write as a Markdown table; names cannot break it."""
    lines = [_markdown_line(table.header), "|---|" + "---:|" * (len(table.header) - 1)]
    for number, row in enumerate(table.texts()):
        if (heading := table.heading(number)) is not None:
            lines.append(f"| **{_markdown(heading)}** |" + " |" * (len(table.header) - 1))
        lines.append(_markdown_line(row))
    said = ["", *(f"{_markdown(note)}  " for note in table.notes)] if table.notes else []
    return "\n".join([f"**{_markdown(table.title)}**", "", *lines, *said]).rstrip()


def latex_text(text: str) -> str:
    r"""Escape a text so that LaTeX prints it as it stands, and sets signs as mathematics.

    >>> print(latex_text("a_b & 5 % of −.012"))
    a\_b \& 5 \% of $-$.012
    """
    apart = _LIGATURES.sub("\0", unicodedata.normalize("NFC", plain(text)))
    escaped = "".join("{}" if c == "\0" else _SYMBOLS.get(c, c) for c in apart)
    # A bracket or star right after \\ would be its argument.
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def latex_table(table: Table) -> str:
    """Write as floats of booktabs, one for each block of columns that fits the page."""
    blocks = columns_that_fit(table, MAX_WIDTH)
    return "\n\n".join("\n".join(_float(table, columns, number)) for number, columns in enumerate(blocks))


def _float(table: Table, columns: Sequence[int], number: int) -> Iterator[str]:
    continued = " (continued)" if number else ""
    label = re.sub(r"[^a-z0-9]+", "-", table.name.lower()) + (f"-{number + 1}" if number else "")
    yield r"\begin{table}[htbp]"
    yield r"\centering\footnotesize"
    yield rf"\caption{{{latex_text(table.title)}{continued}}}"
    yield rf"\label{{tab:{label}}}"
    yield rf"\begin{{tabular}}{{@{{}}l{'r' * (len(columns) - 1)}@{{}}}}"
    yield r"\toprule"
    yield _latex_line([table.header[c] for c in columns])
    yield r"\midrule"
    for row, entries in enumerate(table.rows):
        if (heading := table.heading(row)) is not None:
            yield from [r"\addlinespace"] if row else []
            yield rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\textit{{{latex_text(heading)}}}}} \\"
        yield _latex_line([text_of(entries[c]) for c in columns])
    yield r"\bottomrule"
    yield r"\end{tabular}"
    for note in table.notes if number == len(columns_that_fit(table, MAX_WIDTH)) - 1 else ():
        yield rf"\par\smallskip\raggedright {latex_text(note)}."
    yield r"\end{table}"


def _latex_line(texts: Sequence[str]) -> str:
    return " & ".join(_latex_cell(text) for text in texts) + r" \\"


def _latex_cell(text: str) -> str:
    """Escape a cell; marks of significance are raised."""
    stars = _STARS.search(text)
    return latex_text(text) if stars is None else latex_text(text[: stars.start()]) + f"$^{{{stars.group()}}}$"


def _terminal(tables: Sequence[Table], said: Sequence[str]) -> str:
    parts = [terminal_table(table) for table in tables]
    return "\n\n".join(parts + (["\n".join(_wrap(f"* {plain(note)}") for note in said)] if said else []))


def _markdown_page(tables: Sequence[Table], said: Sequence[str]) -> str:
    parts = [markdown_table(table) for table in tables]
    return "\n\n".join(parts + (["\n".join(f"* {_markdown(note)}" for note in said)] if said else []))


def _latex(tables: Sequence[Table], said: Sequence[str]) -> str:
    head = r"% Needs \usepackage{booktabs} and \usepackage[T1]{fontenc} in the preamble."
    tail = ["\n".join([r"\begin{itemize}", *(rf"\item {latex_text(n)}" for n in said), r"\end{itemize}"])]
    return "\n\n".join([head, *map(latex_table, tables), *(tail if said else [])])


def _csv(tables: Sequence[Table], said: Sequence[str]) -> str:
    """One row per cell that holds a metric, with everything that is known of it; its notes are in its own field.

    Texts that a spreadsheet would run as formulas are escaped, and a last column says which
    (`dissensus.files.formula_escape`).
    """
    out = io.StringIO()
    columns = ["table", "section", "row", "column", *Metric.model_fields]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, ESCAPED])
    for table in tables:
        for number, row in enumerate(table.rows):
            place = (table.name, table.section_of(number), row[0])
            for column, entry in zip(table.header, row, strict=True):
                if isinstance(entry, Metric):
                    fields = entry.model_dump() | {"notes": "; ".join(entry.notes)}
                    writer.writerow(escape_cells([*place, column, *fields.values()], columns))
    return out.getvalue().rstrip("\n")


def _json(tables: Sequence[Table], said: Sequence[str]) -> str:
    made = []
    for table in tables:
        rows = []
        for number, (name, *entries) in enumerate(table.rows):
            cells = [
                {"column": column, **(entry.model_dump() if isinstance(entry, Metric) else {"value": entry})}
                for column, entry in zip(table.header[1:], entries, strict=True)
            ]
            rows.append({"section": table.section_of(number) or None, "row": name, "cells": cells})
        made.append({"name": table.name, "title": table.title, "rows": rows, "notes": list(table.notes)})
    return json.dumps({"tables": made, "notes": list(said)}, ensure_ascii=False, indent=2, allow_nan=False)


def _block(table: Table, columns: Sequence[int]) -> str:
    widths = [column_widths(table)[c] for c in columns]
    rule = "─" * (sum(widths) + 2 * len(widths) - 2)
    lines = [_aligned([table.header[c] for c in columns], widths), rule]
    indent = "  " if table.sections else ""
    for number, row in enumerate(aligned_texts(table)):
        if (heading := table.heading(number)) is not None:
            lines.append(plain(heading))
        texts = [row[c] for c in columns]
        lines.append(_aligned([indent + texts[0], *texts[1:]], widths))
    return "\n".join(lines)


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([texts[0].ljust(widths[0]), *map(str.rjust, texts[1:], widths[1:])]).rstrip()


def _wrap(text: str) -> str:
    return textwrap.fill(text, MAX_WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _markdown_line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown, texts)) + " |"


def _markdown(text: str) -> str:
    """Escape every mark that Markdown, or GitHub's, gives a meaning to: in a cell, a title or an item of a list."""
    return _MARKS.sub(r"\\\g<0>", plain(text))


_MARKS = re.compile(r"[\\|`*_<>\[\]~&$#]|^[-+]|(?<=^\d)[.)](?=\s)|(?<=^\d\d)[.)](?=\s)")
"""The last three make a list only where a text begins with them."""


FORMATS: dict[str, Callable[[Sequence[Table], Sequence[str]], str]] = {
    "terminal": _terminal,
    "markdown": _markdown_page,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
}
"""What tables can be written as: the names that ``--format`` knows."""
