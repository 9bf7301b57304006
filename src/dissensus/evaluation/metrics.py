"""The registry of metrics: names, direction, interval and computation of each."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Literal

import numpy as np

from dissensus.stats import metrics as of
from dissensus.stats.calibration import brier_reliability, brier_resolution, brier_uncertainty, ece
from dissensus.stats.resampling.intervals import Scale

WITHIN = "pearson_within"
"""r within data sets: of pairs of one data set it is r itself."""
HEADLINE = (WITHIN, "pearson", "l1")
"""What every table and text of a study's result shows: the metrics of the paper, and r within data sets."""
PAPER = ("pearson", "l1")
"""The metrics of the paper's two tables."""


@dataclass(frozen=True)
class MetricDefinition:
    """What is known of a metric before it is computed."""

    key: str
    """Its name in files and options."""
    title: str
    """In the rows and captions of tables."""
    _: KW_ONLY
    kind: Literal["correlation", "error", "score", "calibration", "accuracy", "agreement"]
    source: str
    """Where it is defined."""
    name: str = ""
    """In a sentence; the title unless given."""
    column: str = ""
    """Over a column; the title unless given."""
    better: Literal["higher", "lower", ""] = "higher"
    """Which way is better; empty where neither is."""
    function: of.Function | None = None
    """``f(predicted, human, weights)``, or a `dissensus.stats.metrics.PairMean`, which is computed from sums over
    prompts; None where something else than predictions is measured."""
    scale: Scale = "plain"
    """On which the metric of one model is nearly normal; differences are so as they are."""
    ends: tuple[float, float] = (-np.inf, np.inf)
    """The least and the most that it can be: two seeds leave so much open that t would reach beyond."""
    recentred: bool = False
    """Whether resampling adds noise to it, so that its resamples lie above the value."""
    compared: bool = True
    """Whether models are compared by it."""
    tested: bool = True
    """Whether differences are tested. Not of calibration: models that err in opposite directions are not alike."""
    beside: str = ""
    """The metric that it is a part or a yardstick of: shown beside that one alone."""
    digits: int = 3


METRICS: dict[str, MetricDefinition] = {}
"""All metrics by key, in the order of rows and tables."""


def register(definition: MetricDefinition) -> MetricDefinition:
    """Add a metric to scorecards, tables, options and reports.

    Raises:
        ValueError: there is one of that key.
    """
    if definition.key in METRICS:
        raise ValueError(f"there is a metric {definition.key!r} already; give the new one another key")
    METRICS[definition.key] = definition
    return definition


def scored_metrics() -> dict[str, of.Function]:
    """The metrics of predictions, by key."""
    return {key: found.function for key, found in METRICS.items() if found.function is not None}


def primary_candidates() -> dict[str, of.Function]:
    """Those of them whose differences are tested, and which can be primary."""
    return {key: function for key, function in scored_metrics().items() if METRICS[key].tested}


def keys_of(*kinds: str) -> list[str]:
    """The keys of the metrics of some kinds, one kind after the other, each followed by what is shown beside it."""
    tops = [found.key for kind in kinds for found in METRICS.values() if found.kind == kind and not found.beside]
    return [found.key for top in tops for found in METRICS.values() if top in (found.key, found.beside)]


def title_of(key: str) -> str:
    """What heads a metric's row or table; the key where no metric has it, as in files of other versions."""
    return METRICS[key].title if key in METRICS else key


def name_of(key: str) -> str:
    """What a sentence calls a metric.

    >>> name_of("pearson_within"), name_of("brier"), name_of("their own")
    ('r within data sets', 'Brier score', 'their own')
    """
    return METRICS[key].name or METRICS[key].title if key in METRICS else key


def column_of(key: str) -> str:
    """What heads a metric's column."""
    return METRICS[key].column or METRICS[key].title if key in METRICS else key


def lower_is_better(key: str) -> bool:
    """Whether a lower value is better."""
    return key in METRICS and METRICS[key].better == "lower"


def digits_of(key: str) -> int:
    """How many digits its values are shown with."""
    return METRICS[key].digits if key in METRICS else 3


_Correlation = partial(MetricDefinition, kind="correlation", scale="fisher", ends=(-1.0, 1.0))
_Share = partial(MetricDefinition, scale="logit", ends=(0.0, 1.0))
_Calibration = partial(MetricDefinition, kind="calibration", tested=False)
_BrierPart = partial(_Calibration, source="Murphy (1973); Stephenson, Coelho & Jolliffe (2008)", beside="brier")
_Agreement = partial(MetricDefinition, kind="agreement", tested=False)

for _row in (
    _Correlation(
        WITHIN, "Pearson r, mean within data sets", name="r within data sets", function=of.pearson_within,
        source="r of each data set, averaged by Fisher's z",
    ),
    _Correlation("pearson", "Pearson r", name="r", source="Pearson (1895); paper, table 1", function=of.pearson),
    _Correlation(
        "pearson_symmetric", "Pearson r, symmetrised", name="symmetrised r", source="r of pairs entered both ways",
        function=of.pearson_symmetric,
    ),
    _Correlation(
        "pearson_corrected", "Pearson r, symmetrised, corrected for attenuation", name="corrected r", tested=False,
        source="Spearman (1904)",
    ),
    _Correlation("spearman", "Spearman ρ", source="Spearman (1904)", function=of.spearman),
    _Share("l1", "L1", kind="error", better="lower", source="paper, table 2", function=of.mean_absolute_error),
    _Share(
        "brier", "Brier score", kind="score", column="Brier", better="lower", source="Brier (1950), of soft targets",
        function=of.brier,
    ),
    _BrierPart(
        "brier_reliability", "Brier: reliability", column="reliability", better="lower", function=brier_reliability,
        ends=(0.0, 1.0), recentred=True,
    ),
    _BrierPart(
        "brier_resolution", "Brier: resolution", column="resolution", function=brier_resolution, ends=(-1.0, 1.25),
    ),
    _BrierPart(
        "brier_uncertainty", "Brier: uncertainty", column="uncertainty", better="", function=brier_uncertainty,
        scale="log", ends=(0.0, 0.25), compared=False,
    ),
    _Calibration(
        "ece", "ECE", better="lower", source="expected calibration error, bins of equal mass", function=ece,
        ends=(0.0, 1.0), recentred=True,
    ),
    _Calibration("ece_null", "ECE if calibrated", better="", source="simulated votes", compared=False, beside="ece"),
    MetricDefinition(
        "nll", "NLL", kind="score", better="lower", source="cross-entropy of a vote", function=of.nll, scale="log",
        ends=(0.0, float(-np.log(of.NLL_CLIP))),
    ),
    _Share(
        "accuracy", "Accuracy", kind="accuracy", name="accuracy", column="accuracy", source="the majority's winner",
        function=of.accuracy,
    ),
    _Agreement("agreement_raw", "Raw agreement", column="raw", source="share of pairs of annotators"),
    _Agreement("fleiss_kappa", "Fleiss κ", source="Fleiss (1971)"),
    _Agreement("krippendorff_nominal", "Krippendorff α, nominal", column="α nominal", source="Krippendorff (2004)"),
    _Agreement("krippendorff_ordinal", "Krippendorff α, ordinal", column="α ordinal", source="Krippendorff (2004)"),
    _Agreement("krippendorff_interval", "Krippendorff α, interval", column="α interval", source="Krippendorff (2004)"),
    _Agreement("gwet_ac1", "Gwet AC1", column="AC1", source="Gwet (2008)"),
    _Agreement("gwet_ac2", "Gwet AC2", column="AC2", source="Gwet (2014)"),
    _Agreement("icc_2k", "ICC(2,k)", source="Shrout & Fleiss (1979)"),
):  # fmt: skip
    register(_row)
