"""How numbers, intervals and names are written for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from dissensus.evaluate.groups import group_field
from dissensus.records import Metric

TITLES = {
    "pearson_within": "Pearson r, mean within data sets",
    "pearson": "Pearson r",
    "pearson_symmetric": "Pearson r, symmetrised",
    "pearson_corrected": "Pearson r, symmetrised, corrected for attenuation",
    "spearman": "Spearman ρ",
    "l1": "L1",
    "brier": "Brier score",
    "brier_reliability": "Brier: reliability",
    "brier_resolution": "Brier: resolution",
    "brier_uncertainty": "Brier: uncertainty",
    "ece": "ECE",
    "ece_null": "ECE if calibrated",
    "nll": "NLL",
    "accuracy": "Accuracy",
    "agreement_raw": "Raw agreement",
    "fleiss_kappa": "Fleiss κ",
    "krippendorff_nominal": "Krippendorff α, nominal",
    "krippendorff_ordinal": "Krippendorff α, ordinal",
    "krippendorff_interval": "Krippendorff α, interval",
    "gwet_ac1": "Gwet AC1",
    "gwet_ac2": "Gwet AC2",
    "icc_2k": "ICC(2,k)",
}
"""The metrics' names for people."""

NAMES = {
    "pearson_within": "r within data sets",
    "pearson": "r",
    "pearson_symmetric": "symmetrised r",
    "spearman": "Spearman ρ",
    "l1": "L1",
    "brier": "Brier score",
    "nll": "NLL",
    "accuracy": "accuracy",
}
"""What a sentence calls the metrics that can be primary."""

BETTER = dict.fromkeys(("l1", "brier", "brier_reliability", "ece", "nll"), "lower")
"""Which way is better; ``higher`` where a metric is not listed."""

UNDEFINED = "—"
EXPLORATORY = {"contested", "majority"}
"""Fields of groups that are read off the votes themselves: chosen after the fact, so no mark says that they differ."""

LEVELS = ((0.01, "**"), (0.05, "*"))
"""Adjusted p-values below these earn these marks."""


def number(value: float, *, signed: bool = False) -> str:
    """Write a number between -1 and 1 with three digits and no leading zero, as journals do.

    >>> number(0.7284), number(-0.5), number(0.0141, signed=True), number(1.0)
    ('.728', '−.500', '+.014', '1.000')
    """
    digits = f"{abs(value):.3f}"
    sign = "" if digits == "0.000" else "−" if value < 0 else "+" if signed else ""
    return sign + digits.removeprefix("0")


def cell(row: Metric | None) -> str:
    """Write a value, its interval and its mark: ``+.028 [.001, .052]*``; a dash where it is undefined."""
    if row is None or row.value is None:
        return UNDEFINED
    return number(row.value, signed=row.baseline is not None) + interval(row) + stars(row)


def interval(row: Metric) -> str:
    """Write an interval in brackets, after a blank; nothing where there is none."""
    return "" if row.low is None or row.high is None else f" [{number(row.low)}, {number(row.high)}]"


def stars(row: Metric) -> str:
    """Mark a difference whose adjusted p-value is small: ``*`` below .05, ``**`` below .01.

    There is no mark without an adjustment, so none on what is exploratory, nor in a group that was chosen by the votes
    it is scored on.
    """
    if row.p_holm is None or row.role == "exploratory" or EXPLORATORY & set(group_field(row.group).split("&")):
        return ""
    return next((mark for level, mark in LEVELS if row.p_holm < level), "")


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    >>> listed(["r within data sets"]), listed(["r", "L1", "accuracy"])
    ('r within data sets', 'r, L1 and accuracy')
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def shorten(name: str, width: int) -> str:
    """Cut a long name in the middle, where slugs differ least.

    >>> shorten("is-the-school-uniform-a-good-or-bad-idea", 20)
    'is-the-sch…-bad-idea'
    """
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return name[: width - 1 - tail] + "…" + name[len(name) - tail :]


def short_names(names: Iterable[str], width: int) -> dict[str, str]:
    """Shorten names and number those that would look alike.

    >>> list(short_names(["margin-seed-1-of-the-large-model", "margin-seed-2-of-the-large-model"], 14).values())
    ['margin-…-model', 'margin…model#2']
    """
    short: dict[str, str] = {}
    for name in dict.fromkeys(names):
        candidate, k = shorten(plain(name), width), 1
        while candidate in short.values():
            k += 1
            candidate = shorten(plain(name), width - len(f"#{k}")) + f"#{k}"
        short[name] = candidate
    return short


def plain(text: str) -> str:
    """Write a text on one line and without control and formatting characters, which could upset a terminal.

    >>> plain("a\\x1b[2Jb\\n c\\u202e")
    'a[2Jb c'
    """
    visible = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())
