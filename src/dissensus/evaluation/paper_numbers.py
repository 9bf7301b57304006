"""The numbers that the paper prints, to put beside one's own.

*Beyond the Binary: Capturing Diverse Preferences With Reward Regularization* (Padmakumar, Jin, Kirk, He; 2024), tables
1 (Pearson r) and 2 (L1). The paper gives no intervals; those of r are computed here from n.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dissensus.records import Metric
from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.paired_differences import fisher_interval

BASELINE = "paper: baseline"
REGULARISED = "paper: regularised"

COUNTS_NOTE = (
    "the paper's counts, shown as printed, do not all agree: those of single correct ID (40) and multiple correct "
    "OOD (34) look exchanged, for with 34 and 40 all sums and all L1 fit"
)
INTERVAL_NOTE = (
    "the paper gives no intervals: those of its r are computed here from n (Fisher, 95 %); its Δ is the "
    "difference of the printed values"
)


@dataclass(frozen=True)
class PublishedRow:
    """One row of the paper's tables, as printed."""

    n: int
    pearson: tuple[float, float]
    """Of the baseline and of the regularised reward model, table 1."""
    l1: tuple[float, float]
    """The same in table 2."""


PUBLISHED = {
    "dataset=webgpt": PublishedRow(25, (0.677, 0.637), (0.171, 0.159)),
    "dataset=hh-rlhf": PublishedRow(25, (0.974, 0.974), (0.114, 0.108)),
    "dataset=summarize-from-feedback": PublishedRow(25, (0.468, 0.585), (0.274, 0.207)),
    "dataset=synthetic-instruct": PublishedRow(25, (0.573, 0.544), (0.315, 0.319)),
    "domain=in": PublishedRow(100, (0.734, 0.749), (0.218, 0.198)),
    "dataset=prism": PublishedRow(25, (0.472, 0.658), (0.275, 0.205)),
    "dataset=ultrafeedback": PublishedRow(25, (0.248, 0.277), (0.255, 0.270)),
    "domain=out": PublishedRow(50, (0.377, 0.488), (0.265, 0.238)),
    "category=multiple": PublishedRow(106, (0.572, 0.626), (0.263, 0.234)),
    "category=single": PublishedRow(44, (0.802, 0.799), (0.163, 0.158)),
    "category=multiple&domain=in": PublishedRow(66, (0.691, 0.715), (0.252, 0.227)),
    "category=single&domain=in": PublishedRow(40, (0.835, 0.824), (0.152, 0.142)),
    "category=multiple&domain=out": PublishedRow(34, (0.251, 0.384), (0.281, 0.244)),
    "category=single&domain=out": PublishedRow(10, (0.694, 0.766), (0.202, 0.211)),
    "distinct=yes": PublishedRow(124, (0.640, 0.686), (0.244, 0.219)),
    "distinct=no": PublishedRow(26, (0.631, 0.652), (0.176, 0.160)),
}
"""Groups to the paper's rows, in the paper's order. It has no row for all pairs."""

IN_DOMAIN = ("webgpt", "hh-rlhf", "summarize-from-feedback", "synthetic-instruct")
OUT_OF_DOMAIN = ("prism", "ultrafeedback")

_ALIASES = {
    "webgpt": r"webgpt(-comparisons)?",
    "hh-rlhf": r"hh(-rlhf)?(-(helpful|harmless)(-base)?)?",
    "summarize-from-feedback": r"(oai-?|openai-)?summari[sz]e(-from-feedback)?",
    "synthetic-instruct": r"(synthetic-instruct|instruct-?gpt-?j)(-gptj)?(-pairwise)?",
    "prism": r"prism(-alignment)?",
    "ultrafeedback": r"ultra-?feedback(-binarized)?",
}


def paper_dataset(name: str) -> str | None:
    """Name the paper's data set that goes by this name here or on the Hub; None where the paper has none.

    >>> paper_dataset("openai/webgpt_comparisons"), paper_dataset("vicuna80")
    ('webgpt', None)
    """
    tail = re.sub(r"[_\s]", "-", name.rpartition("/")[2].lower())
    return next((known for known, pattern in _ALIASES.items() if re.fullmatch(pattern, tail)), None)


def paper_group(group: str) -> str | None:
    """Name the row of the paper that a group of ours corresponds to; None where there is none.

    >>> paper_group("dataset=PRISM"), paper_group("distinct=no"), paper_group("all")
    ('dataset=prism', 'distinct=no', None)
    """
    if group.startswith("dataset="):
        known = paper_dataset(group.removeprefix("dataset="))
        return None if known is None else f"dataset={known}"
    return group if group in PUBLISHED else None


def missing_groups(groups: Iterable[str]) -> list[str]:
    """List the paper's groups that have no counterpart among ours."""
    matched = {paper_group(group) for group in groups}
    return [group for group in PUBLISHED if group not in matched]


def published(metric: str, group: str) -> tuple[Metric, Metric, Metric] | None:
    """Find the paper's baseline, its regularised model, and their difference; None where it prints no such cell.

    Args:
        metric: ``pearson`` or ``l1``.
        group: a group of ours or of ``PUBLISHED``.
    """
    row = PUBLISHED.get(paper_group(group) or "")
    if row is None or metric not in ("pearson", "l1"):
        return None
    baseline, regularised = row.pearson if metric == "pearson" else row.l1
    values = [_cell(name, group, metric, r, row.n) for name, r in ((BASELINE, baseline), (REGULARISED, regularised))]
    difference = Metric(
        model=REGULARISED,
        group=group,
        metric=metric,
        value=round(regularised - baseline, 3),
        n=row.n,
        baseline=BASELINE,
        notes=("difference of the printed values",),
    )
    return values[0], values[1], difference


def _cell(model: str, group: str, metric: str, value: float, n: int) -> Metric:
    found = fisher_interval(value, n) if metric == "pearson" else Estimate(value)
    notes = ("interval computed here from n",) if metric == "pearson" else ()
    return Metric(
        model=model, group=group, metric=metric, value=value, low=found.low, high=found.high, n=n, notes=notes
    )
