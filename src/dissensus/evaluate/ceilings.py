"""What these votes allow: the noise ceiling of every group, and r corrected for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dissensus.evaluate.groups import find_groups, is_exploratory
from dissensus.evaluate.join import Joined
from dissensus.evaluate.measure import Resampling
from dissensus.evaluate.people import rating_counts
from dissensus.records import Metric
from dissensus.stats.ceiling import Ceiling, ceiling, correct_for_attenuation
from dissensus.stats.intervals import FEWEST_CLUSTERS, cluster_counts, find_clusters, number_labels, percentile_interval
from dissensus.stats.metrics import FloatArray, large_strata, pearson
from dissensus.stats.weighted import divide

CEILING = "ceiling"
_MOST_RESAMPLES = 1000
"""Enough for the limits of what is itself only a yardstick."""


def score_ceilings(joined: Joined, resampling: Resampling) -> list[Metric]:
    """Find the noise ceiling of r and L1 in every group, and each model's r corrected for attenuation.

    Pairs of a single vote say nothing of the noise and are left out; n says of how many pairs this is. Groups that were
    chosen by the votes themselves have no ceiling: the noise that it is about is what they were chosen by. Intervals
    are percentile bootstrap intervals over prompts within data sets; those of the corrected r resample the ceiling
    with it.
    """
    rows: list[Metric] = []
    resampling = replace(resampling, n=min(resampling.n, _MOST_RESAMPLES))
    rated = np.array([pair.votes is not None and pair.votes.n >= 2 for pair in joined.pairs])
    for group, mask in find_groups(joined.pairs).items():
        if (mask & rated).any() and not is_exploratory(group):
            rows += _Group(joined, group, mask & rated, resampling).rows()
    return rows


class _Group:
    """The pairs of a group that have two votes."""

    def __init__(self, joined: Joined, name: str, mask: NDArray[np.bool_], resampling: Resampling) -> None:
        self.name, self.resampling = name, resampling
        self.pairs = [pair for pair, inside in zip(joined.pairs, mask, strict=True) if inside]
        self.human = joined.human[mask]
        self.predicted: Mapping[str, FloatArray] = {model: rows[:, mask] for model, rows in joined.predicted.items()}
        self.ratings = rating_counts(self.pairs)
        self.clusters = number_labels([pair.group for pair in self.pairs])[1]
        names, self.strata = number_labels([pair.dataset or "" for pair in self.pairs])
        self.sets = len(names)
        found = find_clusters(self.clusters, self.strata)
        self.count = found.count
        self.n_resamples = resampling.n if found.vary and found.count >= FEWEST_CLUSTERS else 0

    def rows(self) -> list[Metric]:
        """One for each ceiling, then one for each model's corrected r."""
        values = self._values(None)
        draws = cluster_counts(
            self.clusters, self.strata, self.n_resamples, np.random.default_rng(self.resampling.seed)
        )
        parts = [self._values(weights) for weights in draws]
        return [self._row(key, value, [part[key] for part in parts]) for key, value in values.items()]

    def _values(self, weights: NDArray[np.generic] | None) -> dict[tuple[str, str], FloatArray]:
        found = ceiling(self.ratings, weights)
        values = {(CEILING, metric): getattr(found, metric) for metric in ("pearson", "pearson_symmetric", "l1")}
        if self.sets > 1 and large_strata(self.strata):
            values[CEILING, "pearson_within"] = self._within(weights)
        for model, rows in self.predicted.items():
            r = np.mean([pearson(row, self.human, weights) for row in rows], axis=0)
            values[model, "pearson_corrected"] = _corrected(r, found)
        return values

    def _within(self, weights: NDArray[np.generic] | None) -> FloatArray:
        """The ceiling of the mean within data sets: the root of their mean reliability.

        Fisher's z is for correlations of samples; that of a unanimous data set, whose ceiling is 1, would be infinite.
        """
        w = np.ones(self.human.size) if weights is None else np.asarray(weights, dtype=np.float64)
        inside = large_strata(self.strata)
        reliable = np.array([ceiling(self.ratings.rows(m), w[..., m]).pearson ** 2 for m in inside])
        pairs = np.array([w[..., m].sum(axis=-1) for m in inside]) * np.isfinite(reliable)
        return np.sqrt(divide(np.nansum(pairs * reliable, axis=0), pairs.sum(axis=0)))

    def _row(self, key: tuple[str, str], value: FloatArray, resampled: list[FloatArray]) -> Metric:
        model, metric = key
        estimate = percentile_interval(float(value), np.concatenate([*resampled, np.zeros(0)]), self.resampling.level)
        defined = bool(np.isfinite(estimate.value))
        note = None if defined else "undefined: votes that do not vary, or that agree no better than chance"
        if metric == "pearson_corrected" and defined:
            note = "corrected for the noise of the votes, which no model can follow"
        return Metric(
            model=model,
            kind="model" if metric == "pearson_corrected" else "ceiling",
            group=self.name,
            metric=metric,
            value=estimate.value if defined else None,
            low=estimate.low,
            high=estimate.high,
            method=None if estimate.low is None else "percentile",
            n=len(self.pairs),
            clusters=self.count,
            note=note,
        )


def _corrected(r: FloatArray, found: Ceiling) -> FloatArray:
    """NaN where the reliability is so low that the quotient means nothing."""
    usable = np.where(found.reliability > 0.05, found.reliability, np.nan)
    return np.asarray(correct_for_attenuation(r, usable))
