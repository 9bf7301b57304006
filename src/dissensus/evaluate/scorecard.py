"""Every metric of every model on every group of pairs, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dissensus.errors import EvaluationError
from dissensus.evaluate.groups import ALL, find_groups
from dissensus.evaluate.join import Joined, join
from dissensus.records import Metric, Pair, Prediction
from dissensus.stats.comparison import mean_over_seeds, paired_difference
from dissensus.stats.intervals import Estimate, cluster_counts, find_clusters, number_labels, percentile_interval
from dissensus.stats.metrics import METRICS, FloatArray

FEW_CLUSTERS = 20
"""Below this many prompts an interval is noted as a rough one."""

FEWEST_CLUSTERS = 5
"""Below this many there is none: resamples of two prompts take three values, and would pass for certainty."""

_NAMES = {"pearson": "Pearson", "pearson_symmetric": "symmetrised Pearson", "spearman": "Spearman"}

_Values = dict[tuple[str, str], FloatArray]
"""(model, metric) to a metric averaged over the model's seeds."""


def score(
    pairs: Iterable[Pair],
    predictions: Iterable[Prediction],
    *,
    baseline: str | None = None,
    calibrated: bool = False,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> list[Metric]:
    """Compare predictions with votes: metrics for each group and model, and paired differences to the baseline.

    A model trained with several seeds is scored by the mean of the metric over its seeds. Intervals are percentile
    bootstrap intervals over prompts (``Pair.group``), drawn within each data set; all models and metrics of a group
    share the same resamples. Each group is resampled by itself, so its number of prompts is fixed; a group of fewer
    than five prompts gets no interval.

    Args:
        pairs: with votes; those without are left out and counted in a note.
        predictions: of one or more models, one per pair, model and seed.
        baseline: the model that the others are compared with; None for no comparison.
        calibrated: score the calibrated preferences instead of the raw ones.
        n_resamples: bootstrap resamples; 0 for no intervals.
        level: coverage of the intervals.
        seed: of the resamples.
        progress: show a bar on stderr.

    Raises:
        EvaluationError: the baseline is unknown, or predictions and votes do not fit (see :func:`join`).
        ValueError: a level or a number of resamples that makes no sense.
    """
    if not 0 < level < 1 or n_resamples < 0:
        raise ValueError(f"need 0 < level < 1 and n_resamples >= 0, not {level} and {n_resamples}")
    joined = join(pairs, predictions, calibrated=calibrated)
    if baseline is not None and baseline not in joined.predicted:
        raise EvaluationError(f"no predictions of the baseline {baseline!r}; there are: {', '.join(joined.models)}")
    rows: list[Metric] = []
    groups = find_groups(joined.pairs)
    for group, mask in tqdm(groups.items(), desc="scoring groups", unit="group", disable=not progress):
        rows += _score_group(_Group.of(joined, group, mask), baseline, n_resamples, level, seed)
    return rows


@dataclass(frozen=True)
class _Group:
    """The n pairs of one group."""

    name: str
    human: FloatArray
    predicted: dict[str, FloatArray]
    clusters: NDArray[np.intp]
    """Shape (n,): the number of each pair's prompt."""
    strata: NDArray[np.intp]
    """Shape (n,): the number of each pair's data set."""
    without_votes: int

    @classmethod
    def of(cls, joined: Joined, name: str, mask: NDArray[np.bool_]) -> _Group:
        members = [pair for pair, inside in zip(joined.pairs, mask, strict=True) if inside]
        return cls(
            name=name,
            human=joined.human[mask],
            predicted={model: rows[:, mask] for model, rows in joined.predicted.items()},
            clusters=number_labels([pair.group for pair in members])[1],
            strata=number_labels([pair.dataset or "" for pair in members])[1],
            without_votes=joined.without_votes if name == ALL else 0,
        )

    def values(self, weights: NDArray[np.int64] | None = None) -> _Values:
        """All metrics of all models: shape () without weights, (resamples,) with."""
        return {
            (model, metric): mean_over_seeds(np.array([f(p, self.human, weights) for p in rows]))
            for model, rows in self.predicted.items()
            for metric, f in METRICS.items()
        }


def _score_group(group: _Group, baseline: str | None, n_resamples: int, level: float, seed: int) -> list[Metric]:
    found = find_clusters(group.clusters, group.strata)
    enough = found.vary and found.count >= FEWEST_CLUSTERS
    values, resampled = group.values(), _resample(group, n_resamples if enough else 0, seed)

    def row(model: str, metric: str, estimate: Estimate, against: str | None) -> Metric:
        defined = bool(np.isfinite(estimate.value))
        return Metric(
            model=model,
            group=group.name,
            metric=metric,
            value=estimate.value if defined else None,
            low=estimate.low,
            high=estimate.high,
            n=int((group.human != 0.5).sum()) if metric == "accuracy" else group.human.size,
            clusters=found.count,
            baseline=against,
            note=_note(group, (model, against), metric, estimate, found.count, n_resamples),
        )

    rows = []
    for model, metric in values:
        own = float(values[model, metric]), resampled[model, metric]
        rows.append(row(model, metric, percentile_interval(*own, level), None))
    for model, metric in values:
        if baseline is not None and model != baseline:
            ours, theirs = (float(values[m, metric]) for m in (model, baseline))
            estimate = paired_difference(ours, theirs, resampled[model, metric], resampled[baseline, metric], level)
            rows.append(row(model, metric, estimate, baseline))
    return rows


def _resample(group: _Group, n_resamples: int, seed: int) -> _Values:
    """Compute all metrics on each resample; empty arrays where there is nothing to resample."""
    if n_resamples == 0:
        return {(model, metric): np.zeros(0) for model in group.predicted for metric in METRICS}
    draws = cluster_counts(group.clusters, group.strata, n_resamples, np.random.default_rng(seed))
    parts = [group.values(weights) for weights in draws]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _note(
    group: _Group, models: tuple[str, str | None], metric: str, estimate: Estimate, clusters: int, n_resamples: int
) -> str | None:
    notes = []
    if not np.isfinite(estimate.value):
        notes.append(_why_undefined(group, models, metric))
    elif n_resamples and estimate.low is None:
        what = "one prompt is" if clusters == 1 else f"{clusters} prompts are"
        notes.append(f"no interval: {what} too few to resample")
    elif n_resamples and clusters < FEW_CLUSTERS:
        notes.append(f"interval rests on only {clusters} prompts")
    if group.without_votes:
        total = group.without_votes + group.human.size
        notes.append(f"{group.without_votes} of {total} pairs carry no votes and are left out")
    return "; ".join(notes) or None


def _why_undefined(group: _Group, models: tuple[str, str | None], metric: str) -> str:
    if metric == "accuracy":
        return "people are split evenly on every pair: accuracy is undefined"
    name = _NAMES[metric]
    if group.human.size == 1:
        return f"there is only one pair: {name} is undefined"
    if np.ptp(group.human) == 0:
        return f"all human preferences are equal: {name} is undefined"
    constant = [m for m in models if m is not None and (np.ptp(group.predicted[m], axis=1) == 0).any()]
    return f"all predictions of {' and '.join(constant or models[:1])} are equal: {name} is undefined"
