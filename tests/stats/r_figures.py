"""What R computes from small data, and the same by the package; ``bench/oracles`` makes R's figures again.

Figures are quoted as R prints them: the last digit may differ by one half. Where R draws at random, `TOLERANCES` has
how far two draws may be apart.
"""

from __future__ import annotations

import numpy as np

from dissensus.aggregation.preferences import group_means, stratified_preference
from dissensus.reward.serving.calibration import fit_calibration
from dissensus.stats.agreement.coefficients import cohen_kappa
from dissensus.stats.agreement.icc import icc_1k, icc_2k
from dissensus.stats.agreement.judge_agreement import nest
from dissensus.stats.agreement.position_bias import exact_interval
from dissensus.stats.metrics import pearson, spearman
from dissensus.stats.resampling.clusters import cluster_counts
from dissensus.stats.resampling.intervals import bca_interval, find_acceleration, percentile_interval
from dissensus.stats.resampling.paired_differences import fisher_interval, holm

NAN = np.nan
Columns = dict[str, np.ndarray]

# Shrout & Fleiss (1979), table 2.
COMPLETE = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)

# Krippendorff (2011), without the unit of one rating.
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1],
    ]
).T


def holed(items: int, people: int, share: float, seed: int) -> np.ndarray:
    """Ratings of items by people, of which a share is there; items of one rating are left out."""
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 1, (items, 1)) + rng.normal(0, 0.7, people) + rng.normal(0, 1.2, (items, people))
    y = np.where(rng.random(y.shape) < share, y.round(3), NAN)
    return y[np.isfinite(y).sum(axis=1) > 1]


RATINGS = {"complete": COMPLETE, "four": FOUR_OBSERVERS, "few": holed(25, 4, 0.7, 5), "crowd": holed(30, 60, 0.1, 1)}


def _long(y: np.ndarray) -> Columns:
    item, person = np.nonzero(np.isfinite(y))
    return {"item": item, "person": person, "y": y[item, person]}


def _correlated() -> Columns:
    rng = np.random.default_rng(1)
    human = rng.binomial(5, rng.beta(1, 1, 60)) / 5
    predicted = (0.5 * human + 0.25 + rng.normal(0, 0.12, 60)).clip(0, 1).round(3)
    return {"predicted": predicted, "human": human, "stratum": np.repeat([1, 2], [20, 40])}


def _categories() -> Columns:
    rng = np.random.default_rng(2)
    first = rng.integers(0, 3, 80)
    return {"first": first, "second": np.where(rng.random(80) < 0.7, first, rng.integers(0, 3, 80))}


def _gaps() -> Columns:
    rng = np.random.default_rng(3)
    gap = rng.normal(0, 1, 200).round(3)
    votes = rng.integers(2, 8, 200)
    return {"gap": gap, "a": rng.binomial(votes, 1 / (1 + np.exp(-0.3 - 0.7 * gap))), "votes": votes}


def _groups() -> Columns:
    rng = np.random.default_rng(4)
    group = rng.integers(0, 3, 50)
    return {"vote": rng.binomial(1, np.array([0.3, 0.6, 0.9])[group]).astype(float), "group": group}


def _nested() -> Columns:
    rng = np.random.default_rng(5)
    pair, judge, order, _ = (x.ravel() for x in np.indices((12, 3, 2, 4)))
    effects = rng.normal(0, 1, 12)[pair] + rng.normal(0, 0.8, (12, 3))[pair, judge]
    y = effects + rng.normal(0, 0.6, (12, 3, 2))[pair, judge, order] + rng.normal(0, 0.5, pair.size)
    return {"pair": pair, "judge": judge, "order": order, "y": y.round(3)}


SHARES = np.array([0.2, 0.3, 0.5])
P_VALUES = np.array([0.01, 0.04, 0.03, 0.2, 0.005])

INPUTS: dict[str, Columns] = {
    **{f"icc_{name}": _long(y) for name, y in RATINGS.items()},
    "correlated": _correlated(),
    "categories": _categories(),
    "gaps": _gaps(),
    "groups": _groups(),
    "shares": {"share": SHARES},
    "nested": _nested(),
    "p": {"p": P_VALUES},
}

FIGURES = {
    "icc1k_complete": "0.44280",
    "icc2k_complete": "0.62005",
    "icc1k_four": "0.95806",
    "icc2k_four": "0.95795",
    "icc1k_few": "0.55295",
    "icc2k_few": "0.60756",
    "icc1k_crowd": "0.52738",
    "icc2k_crowd": "0.48854",
    "psych_icc1k": "0.44280",
    "psych_icc2k": "0.62005",
    "pearson": "0.885679",
    "spearman": "0.894932",
    "fisher_low": "0.815056",
    "fisher_high": "0.930368",
    "acceleration": "-0.01789",
    "boot_bca_low": "0.832",
    "boot_bca_high": "0.920",
    "boot_percentile_low": "0.838",
    "boot_percentile_high": "0.924",
    "kappa": "0.790476",
    "platt_slope": "0.714",
    "platt_intercept": "0.234",
    "temperature_slope": "0.728",
    "nll": "0.631133",
    "poststratified": "0.773325",
    "variance_pair": "0.8802",
    "variance_judge": "0.6113",
    "variance_order": "0.2238",
    "variance_rest": "0.2470",
    "holm_0": "0.040",
    "holm_1": "0.090",
    "holm_2": "0.090",
    "holm_3": "0.200",
    "holm_4": "0.025",
    "binomial_low": "0.132103",
    "binomial_high": "0.529192",
}
"""R's, by name: lme4 1.1-31, psych 2.2.9, survey 4.1-1, boot 1.3-28.1, stats 4.2.2."""

TOLERANCES = {f"boot_{way}_{end}": 0.004 for way in ("bca", "percentile") for end in ("low", "high")}


def ours() -> dict[str, float]:
    """The figures by the package."""
    found = {}
    for name, y in RATINGS.items():
        found |= {f"icc1k_{name}": float(icc_1k(y)), f"icc2k_{name}": float(icc_2k(y))}
    gaps, groups, nested = INPUTS["gaps"], INPUTS["groups"], INPUTS["nested"]
    votes = gaps["votes"].astype(float)
    platt, temperature = (
        fit_calibration(gaps["gap"], gaps["a"] / votes, votes, method) for method in ("platt", "temperature")
    )
    cells = group_means(groups["vote"], np.zeros(50, dtype=int), groups["group"])
    variances = nest(nested["y"], nested["pair"], nested["judge"], nested["order"]).components()
    return {
        **found,
        **_of_correlations(),
        "kappa": float(cohen_kappa(INPUTS["categories"]["first"], INPUTS["categories"]["second"])),
        "platt_slope": platt.slope,
        "platt_intercept": platt.intercept,
        "temperature_slope": temperature.slope,
        "nll": platt.nll_after,
        "poststratified": float(stratified_preference(cells, SHARES, n_pairs=1)[0][0]),
        **dict(zip((f"variance_{level}" for level in ("pair", "judge", "order", "rest")), variances, strict=True)),
        **{f"holm_{k}": p for k, p in enumerate(holm(P_VALUES))},
        **dict(zip(("binomial_low", "binomial_high"), exact_interval(7, 23), strict=True)),
    }


def _of_correlations() -> dict[str, float]:
    d = INPUTS["correlated"]
    p, h, stratum = d["predicted"], d["human"], d["stratum"]
    r = float(pearson(p, h))
    draws = cluster_counts(np.arange(60), stratum, 20_000, np.random.default_rng(0))
    resampled = np.concatenate([pearson(p, h, weights) for weights in draws])
    bend = find_acceleration(pearson(p, h, 1.0 - np.eye(60)), stratum)
    intervals = {
        "fisher": fisher_interval(r, 60),
        "boot_bca": bca_interval(r, resampled, bend),
        "boot_percentile": percentile_interval(r, resampled),
    }
    ends = {f"{name}_{end}": getattr(e, end) for name, e in intervals.items() for end in ("low", "high")}
    return {"pearson": r, "acceleration": bend, "spearman": float(spearman(p, h)), **ends}


SAME = {"psych_icc1k": "icc1k_complete", "psych_icc2k": "icc2k_complete"}
"""Figures of R that are one of the package's."""


def room(name: str) -> float:
    """How far a number may be from a quoted figure: half of its last digit."""
    digits = len(FIGURES[name].partition(".")[2])
    return TOLERANCES.get(name, 0.5000001 * 10.0**-digits)
