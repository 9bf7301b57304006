"""The numbers behind a scorecard: every metric of every contender in every group, on the sample and its resamples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dissensus.evaluation.groups import Group, Masks, find_groups, find_majority_groups, number_prompts
from dissensus.evaluation.join import Joined
from dissensus.evaluation.metrics import primary_candidates, scored_metrics
from dissensus.records import Kind
from dissensus.stats.calibration import NullBand, in_blocks, null_band, simulate_shares, simulated_ece, tie_rates
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.bootstrap import (
    Cell,
    bootstrap,
    delete_blocks,
    draw_clusters,
    in_threads,
    ones,
    touched,
)
from dissensus.stats.resampling.clusters import Clusters, Freedom, IntArray, find_clusters, find_freedom
from dissensus.stats.resampling.permutation import Swap, swap_test
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise, find_seed_noise
from dissensus.stats.weighted import divide

_SIMULATIONS = 1000

_MOST_RESAMPLED = 10
"""Draws of a reference's random choice that are resampled, of twenty: its interval is up to a twentieth wider so."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: by drawing whole prompts (``Pair.group``) within each data set."""

    n: int = 2000
    """Resamples; 0 for no intervals."""
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.n < 0:
            raise ValueError(f"need 0 < level < 1 and n >= 0, not {self.level} and {self.n}")


@dataclass(frozen=True)
class Contender:
    """Whoever has an opinion of the n pairs: a model, the judge, a reference."""

    name: str
    kind: Kind
    predicted: FloatArray
    """Shape (draws, n): a draw is a model's seed, or one of the random choices that a reference rests on."""
    human: FloatArray
    """Shape (draws, n): what each draw is compared with."""
    inside: NDArray[np.bool_]
    """Shape (n,): the pairs that it has an opinion of."""
    rival: int | None = None
    """The number of the contender that it is compared with, on the same pairs."""
    shown: bool = True
    """False for a baseline on fewer pairs, which is there to be compared with."""
    votes: bool = True
    """Whether ``human`` is what all n pairs' voters said."""


@dataclass(frozen=True)
class Sample:
    """The pairs, their clusters and groups."""

    joined: Joined
    clusters: Clusters
    stratum: IntArray
    """Shape (n,): the number of each pair's data set."""
    groups: Masks
    accuracy_groups: Masks
    """Groups that are there for accuracy alone."""
    of_votes: bool = True
    """Whether ``joined.human`` is the fraction of the pairs' votes, not a mean of estimates or an aggregate."""

    @classmethod
    def of(cls, joined: Joined, groups: Masks | None = None) -> Sample:
        """Number the prompts and data sets of the pairs, and find their groups unless they are given."""
        prompts, sets = number_prompts(joined.pairs)
        return cls(
            joined=joined,
            clusters=find_clusters(prompts, sets),
            stratum=sets.astype(np.int64),
            groups=find_groups(joined.pairs) if groups is None else groups,
            accuracy_groups=find_majority_groups(joined.pairs) if groups is None else {},
            of_votes=groups is None and not any(pair.votes and pair.votes.are_estimates for pair in joined.pairs),
        )


@dataclass(frozen=True)
class Part:
    """The pairs of a group that a contender has an opinion of."""

    inside: NDArray[np.bool_]
    clusters: int
    spare: Freedom
    resampled: bool
    """Whether there are clusters enough to resample."""

    @classmethod
    def of(cls, clusters: Clusters, inside: NDArray[np.bool_]) -> Part:
        """Count the clusters of the pairs that are inside."""
        count = np.unique(clusters.of_pair[inside]).size
        return cls(inside, count, find_freedom(clusters, inside), clusters.can_be_resampled(inside))

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return int(self.inside.sum())


@dataclass
class Measured:
    """What was computed of a group, by contender; arrays have a row for each metric of ``metrics``."""

    metrics: tuple[str, ...] = field(default_factory=lambda: tuple(scored_metrics()))
    parts: dict[int, Part] = field(default_factory=dict)
    by_draw: dict[int, FloatArray] = field(default_factory=dict)
    """Shape (draws, metrics): on the sample."""
    resampled: dict[int, FloatArray] = field(default_factory=dict)
    """The mean over draws, shape (metrics, n_resamples); NaN where a metric is undefined for any, since a mean over the
    others would compare unlike things."""
    between: dict[int, FloatArray] = field(default_factory=dict)
    """The variance between draws, averaged over the resamples, shape (metrics,); NaN where there is one draw."""
    jackknife: dict[int, FloatArray] = field(default_factory=dict)
    """Shape (metrics, blocks)."""
    blocks: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The stratum of each block of the jackknife."""
    p_values: dict[int, dict[str, float]] = field(default_factory=dict)
    """Of the contender's difference to its rival."""
    calibrated: dict[int, NullBand] = field(default_factory=dict)
    """The ECE of a perfectly calibrated model."""

    def draws(self, key: int, metric: str) -> FloatArray:
        """By draw, on the sample, shape (draws,)."""
        found: FloatArray = self.by_draw[key][:, self.metrics.index(metric)]
        return found

    def add(self, key: int, draws: Sequence[Sequence[FloatArray]]) -> None:
        """Keep what `_measure_draw` found of each draw of a contender; only the first draws may be resampled."""
        self.by_draw[key] = np.array([on_sample[:, 0] for on_sample, *_ in draws])
        if len(draws[0]) == 1:
            return
        resampled = [values for values in draws if len(values) > 1]
        self.jackknife[key] = np.mean([jackknife for _, jackknife, _ in resampled], axis=0)
        values = np.array([values for *_, values in resampled])
        self.resampled[key], self.between[key] = values.mean(axis=0), np.full(values.shape[1], np.nan)
        if len(values) > 1:
            variance = np.var(values, axis=0, ddof=1)
            defined = np.isfinite(variance)
            self.between[key] = divide(np.where(defined, variance, 0).sum(axis=1), defined.sum(axis=1))

    def seed_noise(self, keys: Sequence[int], metric: str) -> SeedNoise:
        """What the choice of seeds adds to the variance of a contender's value, or of the difference of two."""
        first, last = (np.sort(self.by_draw[key], axis=0) for key in (keys[0], keys[-1]))
        if len(keys) > 1 and np.array_equal(first, last, equal_nan=True):
            return NO_NOISE  # the same trained models twice, not two ways to train
        row = self.metrics.index(metric)
        return find_seed_noise(
            [(self.draws(k, metric), float(self.between[k][row]) if k in self.between else np.nan) for k in keys]
        )


def measure(
    sample: Sample,
    contenders: Sequence[Contender],
    *,
    n_resamples: int,
    n_swaps: int,
    level: float,
    seed: int,
    report: Callable[[int], object] = lambda done: None,
) -> Iterator[tuple[Group, Measured]]:
    """Compute everything from one set of resamples and one set of swaps, for all contenders, group by group."""
    shown = [i for i, contender in enumerate(contenders) if contender.votes and contender.shown and sample.of_votes]
    bands = [partial(_calibrate, sample, contenders[i], level, np.random.default_rng([seed, 3, i])) for i in shown]
    calibrated = dict(zip(shown, in_threads(bands), strict=True))
    unweighted = ones(sample.clusters)
    deleted, blocks = delete_blocks(sample.clusters, np.random.default_rng([seed, 0]))
    for group, mask in {**sample.groups, **sample.accuracy_groups}.items():
        found = Measured(blocks=blocks, calibrated={i: own[group] for i, own in calibrated.items() if group in own})
        rng = np.random.default_rng([seed, 1])
        draws = draw_clusters(touched(sample.clusters, mask), n_resamples, rng)
        jobs: list[tuple[int, Callable[[], list[FloatArray]]]] = []
        for i, contender in enumerate(contenders):
            part = Part.of(sample.clusters, mask & contender.inside)
            # Of pairs chosen by all their votes, one vote says the contrary of the others.
            if not part.n or not (contender.votes or not group.is_exploratory):
                continue
            found.parts[i] = part
            most = len(contender.predicted) if contender.kind == "model" else _MOST_RESAMPLED
            for draw in range(len(contender.predicted)):
                asked = n_resamples and part.resampled and draw < most
                weights = [unweighted, deleted] if asked else [unweighted]
                jobs.append((i, partial(_measure_draw, sample, contender, part.inside, draw, weights, draws)))
        measured = in_threads([job for _, job in jobs], report)
        for i in found.parts:
            found.add(i, [values for (key, _), values in zip(jobs, measured, strict=True) if key == i])
        if n_swaps and not group.is_exploratory:
            noise = {
                i: {metric: found.seed_noise([i, rival], metric) for metric in primary_candidates()}
                for i in found.parts
                if contenders[i].kind == "model" and (rival := contenders[i].rival) is not None
            }
            found.p_values = swap_test(
                _swaps(sample, contenders, found.parts),
                sample.clusters.count,
                n_swaps,
                np.random.default_rng([seed, 2]),
                noise=noise,
                report=report,
            )
        yield group, found


def _measure_draw(
    sample: Sample,
    contender: Contender,
    inside: NDArray[np.bool_],
    draw: int,
    weights: Sequence[FloatArray],
    draws: Sequence[NDArray[np.uint8]],
) -> list[FloatArray]:
    """The metrics of one draw of a contender on its sample; and on the jackknife and the resamples, where asked.

    What it needs is held while it runs alone: that of all contenders takes many times the memory.
    """
    clusters, strata = sample.clusters.of_pair[inside], sample.stratum[inside]
    cell = Cell(
        contender.predicted[draw, inside], contender.human[draw, inside], clusters, strata, metrics=scored_metrics()
    )
    return [cell(w) for w in weights] + ([bootstrap(cell, draws)] if len(weights) > 1 else [])


def _swaps(sample: Sample, contenders: Sequence[Contender], parts: Mapping[int, Part]) -> dict[int, list[Swap]]:
    """Pair every contender with its rival: of several seeds, seed i with seed i.

    Where their numbers differ, each side goes round until all of its seeds weigh the same: the mean over the pairs is
    then the difference of the means.
    """
    swaps = {}
    for i, part in parts.items():
        rival = contenders[i].rival
        # Two clusters can be swapped in four ways: no p-value of theirs says anything.
        if rival is None or not part.resampled:
            continue
        first, second = contenders[i].predicted[:, part.inside], contenders[rival].predicted[:, part.inside]
        human, strata = contenders[i].human[0, part.inside], sample.stratum[part.inside]
        clusters = sample.clusters.of_pair[part.inside]
        swaps[i] = [
            Swap(first[k % len(first)], second[k % len(second)], human, clusters, strata, metrics=primary_candidates())
            for k in range(math.lcm(len(first), len(second)))
        ]
    return swaps


def _calibrate(sample: Sample, contender: Contender, level: float, rng: np.random.Generator) -> dict[Group, NullBand]:
    votes, ties = np.array([(v.n, v.tie) for pair in sample.joined.pairs if (v := pair.votes) is not None]).T
    inside = {name: both for name, mask in sample.groups.items() if (both := mask & contender.inside).any()}
    simulated: dict[Group, list[FloatArray]] = {group: [] for group in inside}
    for predicted in contender.predicted:
        known = np.where(contender.inside, predicted, 0.5)
        own, rates = contender.inside, np.zeros(known.size)
        rates[own] = tie_rates(known[own], votes[own], ties[own], sample.stratum[own])
        for n in in_blocks(-(-_SIMULATIONS // len(contender.predicted)), known.size):
            shares = simulate_shares(known, votes, rng, n, rates)
            for group, values in simulated.items():
                values.append(simulated_ece(known[inside[group]], shares[:, inside[group]]))
    return {group: null_band(np.concatenate(values), level) for group, values in simulated.items()}
