"""Noise ceilings of every group, and r corrected for attenuation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dissensus.evaluation.groups import Group, find_groups, number_prompts
from dissensus.evaluation.join import Joined
from dissensus.evaluation.pair_columns import PairColumns, as_columns
from dissensus.evaluation.people import Ratings, ratings_of
from dissensus.evaluation.resample import Resampling
from dissensus.evaluation.tables.number_format import number
from dissensus.records import Metric, Pair
from dissensus.stats.ceilings.noise_ceiling import Yardstick, correct_for_attenuation
from dissensus.stats.ceilings.vote_process import number_was_decided, order_was_decided
from dissensus.stats.metrics import FloatArray, large_strata
from dissensus.stats.resampling.bootstrap import Draw, in_threads, plan_draws
from dissensus.stats.resampling.clusters import Clusters, Freedom, find_clusters, find_freedom
from dissensus.stats.resampling.intervals import Estimate, bca_interval, percentile_interval, stretch_for_seeds
from dissensus.stats.resampling.training_seeds import find_seed_noise
from dissensus.stats.weighted import divide

CEILING = "ceiling"
_MOST_RESAMPLES = 1000
"""Enough for the limits of what is itself only a yardstick."""
_LEAST_RELIABILITY = 0.05
"""Below, r corrected for attenuation means nothing."""
_OPEN = 0.005
"""Limits wider than rounding are reported."""

_UNDEFINED = "undefined: votes that do not vary, or that agree no better than chance"
_CORRECTED = (
    "corrected: the symmetrised r over its ceiling, which takes out the noise of the votes that no model can follow"
)
_DECIDED = (
    "the votes decided how many were asked, fewer where they agree: ceilings are from the likelihood of the votes, not "
    "from how they differ"
)
_ORDER = (
    "one side has more of the votes than free votes would give it, so they seem to have chosen which response is a: in "
    "that order plain r falls short of its ceiling even for a perfect model, and the symmetrised r does not"
)
_NAMES = {
    "l1": "the L1 expected of the true preferences",
    "pearson": "the ceiling of r",
    "pearson_symmetric": "the ceiling of the symmetrised r",
    "pearson_corrected": "the corrected r",
}
"""Of what votes may leave open."""


def score_ceilings(joined: Joined, resampling: Resampling) -> list[Metric]:
    """Find the noise ceiling of r and L1 in every group, and each model's r corrected for attenuation.

    They are of the pairs that the models are scored on: those of a single vote are taken to be as noisy as the others,
    and a note says how many they are. Groups that were chosen by the votes themselves have no ceiling: the noise that
    it is about is what they were chosen by. Neither have groups in which no pair has two votes. Intervals are
    bootstrap intervals over prompts within data sets, widened for few or unequal prompts; those of the corrected r
    resample the ceiling with it, and count how seeds vary. Where few votes leave a ceiling open, its limits are part of
    the interval.
    """
    pairs = joined.columns
    everybody, history = ratings_of(pairs), find_history(pairs)
    clusters = find_clusters(*number_prompts(pairs))
    groups = {
        group: _Group(joined, mask, _ratings_of_group(pairs, everybody, mask), clusters, history)
        for group, mask in find_groups(pairs).items()
        if (everybody.table.size[mask] >= 2).any() and not group.is_exploratory
    }
    resampled = _resample(groups, clusters, replace(resampling, n=min(resampling.n, _MOST_RESAMPLES)))
    return [row for name, group in groups.items() for row in group.rows(name, resampled[name], resampling.level)]


_Values = dict[tuple[str, str], FloatArray]
"""By model (or `CEILING`) and metric, shape (seeds, resamples); one row for a ceiling."""


def _resample(groups: Mapping[Group, _Group], clusters: Clusters, resampling: Resampling) -> dict[Group, _Values]:
    """The values of each group on the same resamples of all prompts; none of a group of too few prompts."""
    asked = {name: group for name, group in groups.items() if group.resampled}

    def work(draw: Draw) -> dict[Group, _Values]:
        weights = draw()
        return {name: group.values(weights) for name, group in asked.items()}

    draws = plan_draws(clusters, resampling.n, np.random.default_rng(resampling.seed))
    parts = in_threads([partial(work, draw) for draw in draws]) if asked else []
    found: dict[Group, _Values] = {name: {} for name in groups}
    for name in asked if parts else ():
        found[name] = {key: np.concatenate([part[name][key] for part in parts], axis=1) for key in parts[0][name]}
    return found


def _ratings_of_group(pairs: PairColumns, everybody: Ratings, mask: NDArray[np.bool_]) -> Ratings:
    """The ratings of some pairs. Where the same people rated them all, they count though others are not known."""
    whole = Ratings(everybody.table.rows(mask), crossed=everybody.crossed)
    if everybody.crossed or not pairs.are_listed[mask].all():
        return whole
    own = pairs.take(mask)
    return ratings_of(own) if _same_people(own) else whole


def _same_people(pairs: PairColumns) -> bool:
    """Whether the same people, all of them named, rated all of the pairs."""
    votes, people = pairs.votes, len(pairs.votes.annotator.names)
    if not people or (votes.annotator.number < 0).any():
        return False
    met = np.unique(votes.pair * people + votes.annotator.number)
    return bool(met.size == len(pairs) * people)


@dataclass(frozen=True)
class History:
    """What the votes themselves seem to have decided, by the data sets in which they did."""

    number: Collection[str]
    """How many votes there are."""
    order: Collection[str]
    """Which response is called a."""


def find_history(pairs: Sequence[Pair] | PairColumns) -> History:
    """Find the data sets (empty text for none) in which votes decided their number or the order of the responses.

    Data sets are looked at one by one; those of unequal numbers that say nothing alone, also together.
    """
    columns = as_columns(pairs)
    votes = columns.voted & ~columns.are_estimates
    counts = {
        name: columns.counts[inside]
        for number, name in enumerate(columns.sets.names)
        if (inside := votes & (columns.sets.number == number)).any()
    }
    number = {name for name, votes in counts.items() if number_was_decided(votes)}
    rest = {name for name, votes in counts.items() if name not in number and np.ptp(votes.sum(axis=1)) > 0}
    if len(rest) > 1 and number_was_decided(np.concatenate([counts[name] for name in sorted(rest)])):
        number |= rest
    return History(number, {name for name, votes in counts.items() if order_was_decided(votes)})


class _Group:
    """The pairs of a group, for any weights of all prompts."""

    def __init__(
        self, joined: Joined, mask: NDArray[np.bool_], ratings: Ratings, clusters: Clusters, history: History
    ) -> None:
        own = joined.columns.sets.take(np.flatnonzero(mask))
        names, strata = own.names, own.number
        table = ratings.table
        self._mine, of_pair = np.unique(clusters.of_pair[mask], return_inverse=True)
        self._of_pair: NDArray[np.intp] = of_pair.reshape(-1)
        self.resampled = clusters.can_be_resampled(mask)
        self._spare = find_freedom(clusters, mask)
        self._n, self._single = strata.size, int((table.size == 1).sum())
        self._within = len(names) > 1 and bool(large_strata(strata))
        decided = [row for row, name in enumerate(names) if name in history.number]
        self._decided, self._ordered = bool(decided), any(name in history.order for name in names)
        self._yardstick = Yardstick(table, self._of_pair, strata, crossed=ratings.crossed, decided=decided)
        human = joined.human[mask] - 0.5
        self._spread = self._sum([human**2])
        self._models = {
            model: self._sum([x for row in rows[:, mask] - 0.5 for x in (row * human, row * row)])
            for model, rows in joined.predicted.items()
        }
        self._sample = self._values(np.ones((self._mine.size, 1)))

    def rows(self, about: Group, resampled: _Values, level: float) -> Iterator[Metric]:
        """One for each ceiling, then one for each model's corrected r."""
        limits = self._limits()
        for (model, metric), by_seed in self._sample.items():
            key = model, metric
            value, spread = float(by_seed.mean()), float(by_seed.std(ddof=1)) if len(by_seed) > 1 else np.nan
            drawn = resampled.get(key, np.zeros((1, 0)))
            estimate = _open(_interval(metric, by_seed[:, 0], drawn, level, self._spare), limits.get(key))
            notes = self._notes(about, metric, limits.get(key)) if np.isfinite(value) else [_UNDEFINED]
            yield Metric(
                model=model,
                kind="model" if metric == "pearson_corrected" else "ceiling",
                group=str(about),
                metric=metric,
                value=value if np.isfinite(value) else None,
                low=estimate.low,
                high=estimate.high,
                method=estimate.method,
                n=self._n,
                clusters=self._mine.size,
                notes=tuple(notes),
                seeds=len(by_seed) if np.isfinite(spread) else None,
                seed_sd=spread if np.isfinite(spread) else None,
            )

    def values(self, weights: NDArray[np.generic]) -> _Values:
        """All values for weights of all prompts, shape (prompts, resamples)."""
        return self._values(np.take(weights, self._mine, axis=0).astype(np.float64))

    def _values(self, weights: FloatArray) -> _Values:
        found = self._yardstick(weights)
        metrics = ["pearson", "pearson_symmetric", "l1", *(["pearson_within"] if self._within else [])]
        values = {(CEILING, metric): getattr(found, metric)[None] for metric in metrics}
        usable = np.where(found.reliability > _LEAST_RELIABILITY, found.reliability, np.nan)
        spread = (self._spread @ weights)[0]
        for model, by_cluster in self._models.items():
            sums = (by_cluster @ weights).reshape(-1, 2, weights.shape[1])
            r = np.array([divide(both, np.sqrt(own) * np.sqrt(spread)) for both, own in sums])
            values[model, "pearson_corrected"] = correct_for_attenuation(r, usable)
        return values

    def _sum(self, features: Sequence[FloatArray]) -> FloatArray:
        """Sum features of the pairs by cluster: shape (features, clusters)."""
        return np.stack([np.bincount(self._of_pair, x, self._mine.size) for x in features])

    def _limits(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The limits of what the votes leave open by more than rounding."""
        open_ = {m: limits for m, limits in self._yardstick.limits().items() if limits[1] - limits[0] > _OPEN}
        found = {(CEILING, metric): limits for metric, limits in open_.items()}
        low, high = open_.get("pearson_symmetric", (0.0, 0.0))
        if low > 0:
            ceiling = self._sample[CEILING, "pearson_symmetric"].mean()
            for key, by_seed in self._sample.items():
                if key[0] != CEILING:
                    ends = float(by_seed.mean() * ceiling / high), float(by_seed.mean() * ceiling / low)
                    found[key] = min(ends), max(ends)
        return found

    def _notes(self, about: Group, metric: str, limits: tuple[float, float] | None) -> Iterator[str]:
        """What is said of a value; in numbers of few groups alone: a note of every group would drown the others."""
        if metric == "pearson_corrected":
            yield _CORRECTED
        if self._single:
            counted = about.kind in ("all", "dataset")
            share = f"{self._single} of {self._n} pairs have" if counted else "some pairs have"
            yield f"{share} one vote: ceilings take the noise of the others for theirs"
        if self._decided:
            yield _DECIDED
        if self._ordered and metric in ("pearson", "pearson_within"):
            yield _ORDER
        if limits is not None and not about.parts:
            low, high = map(number, limits)
            yield f"{_NAMES[metric]} is anywhere from {low} to {high} by the votes alone, as few as they are"
        elif limits is not None:
            yield f"{_NAMES[metric]} is known within limits by so few votes, and its interval reaches out from these"


def _interval(metric: str, by_seed: FloatArray, drawn: FloatArray, level: float, spare: Freedom) -> Estimate:
    """Percentile intervals of ceilings; of their quotient with r, which errs upwards in few prompts, bias-corrected.

    (BCa without acceleration, which made it worse in simulations of 12 and 25 prompts.) Those of the quotient count how
    seeds vary. ``by_seed`` has shape (seeds,), ``drawn`` (seeds, resamples).
    """
    value, mean = float(by_seed.mean()), drawn.mean(axis=0)
    if metric != "pearson_corrected":
        return percentile_interval(value, mean, level, spare)
    found = bca_interval(value, mean, 0.0, level, spare)
    if len(by_seed) == 1 or found.low is None:
        return found
    noise = find_seed_noise([(by_seed, float(np.nanmean(drawn.var(axis=0, ddof=1))))])
    return stretch_for_seeds(found, mean, noise, level, spare)


def _open(estimate: Estimate, limits: tuple[float, float] | None) -> Estimate:
    """Let an interval reach out from the limits, not from the value."""
    if limits is None or estimate.low is None or estimate.high is None:
        return estimate
    low = estimate.low - max(0.0, estimate.value - limits[0])
    high = estimate.high + max(0.0, limits[1] - estimate.value)
    return replace(estimate, low=max(0.0, low) if estimate.low >= 0 else low, high=high)
