"""Tables in LaTeX, for the packages booktabs and fontenc."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from dissensus.evaluation.tables.number_format import plain
from dissensus.evaluation.tables.table import Table, columns_that_fit, text_of

_WIDTH = 120
"""Characters that fit the page at footnote size; wider tables are split as in a terminal."""

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
    blocks = columns_that_fit(table, _WIDTH)
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
    yield _line([table.header[c] for c in columns])
    yield r"\midrule"
    for row, entries in enumerate(table.rows):
        if (heading := table.heading(row)) is not None:
            yield from [r"\addlinespace"] if row else []
            yield rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\textit{{{latex_text(heading)}}}}} \\"
        yield _line([text_of(entries[c]) for c in columns])
    yield r"\bottomrule"
    yield r"\end{tabular}"
    for note in table.notes if number == len(columns_that_fit(table, _WIDTH)) - 1 else ():
        yield rf"\par\smallskip\raggedright {latex_text(note)}."
    yield r"\end{table}"


def _line(texts: Sequence[str]) -> str:
    return " & ".join(_cell(text) for text in texts) + r" \\"


def _cell(text: str) -> str:
    """Escape a cell; marks of significance are raised."""
    stars = _STARS.search(text)
    return latex_text(text) if stars is None else latex_text(text[: stars.start()]) + f"$^{{{stars.group()}}}$"
