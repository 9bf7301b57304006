"""The numbers behind a scorecard: every metric of every contender in every group, on the sample and its resamples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from dissensus.evaluation.groups import Group, Masks, find_groups, find_majority_groups, number_prompts
from dissensus.evaluation.join import Joined
from dissensus.evaluation.metrics import primary_candidates, scored_metrics
from dissensus.records import Kind
from dissensus.stats.calibration import NullBand, SimulatedErrors, in_blocks, null_band, simulate_shares, tie_rates
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.bootstrap import Cell, delete_blocks, evaluate_cells, in_threads, plan_draws, touched
from dissensus.stats.resampling.clusters import (
    Clusters,
    Freedom,
    IntArray,
    Units,
    find_clusters,
    find_freedom,
    find_units,
)
from dissensus.stats.resampling.permutation import Swap, Swapped, swap_all
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise, find_seed_noise
from dissensus.stats.weighted import divide

_SIMULATIONS = 1000

_MOST_SUMS = 16_000_000
"""Sums over clusters of models that are swapped at once: 128 MB."""

_TOGETHER, _HELD = 50, 1_500_000
"""Blocks of the jackknife that are evaluated at once, and how many weights of clusters they have at most."""

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
        columns = joined.columns
        prompts, sets = number_prompts(columns)
        return cls(
            joined=joined,
            clusters=find_clusters(prompts, sets),
            stratum=sets.astype(np.int64),
            groups=find_groups(columns) if groups is None else groups,
            accuracy_groups=find_majority_groups(columns) if groups is None else {},
            of_votes=groups is None and not columns.are_estimates.any(),
        )


@dataclass(frozen=True)
class Part:
    """The pairs of a group that a contender has an opinion of."""

    inside: NDArray[np.bool_]
    clusters: int
    spare: Freedom
    resampled: bool
    """Whether there are clusters enough to resample."""
    units: Units
    """The clusters of these pairs, by data set."""

    @classmethod
    def of(cls, sample: Sample, inside: NDArray[np.bool_]) -> Part:
        """Count the clusters of the pairs that are inside."""
        clusters = sample.clusters
        units = find_units(clusters.of_pair[inside], sample.stratum[inside])
        count = np.unique(units.cluster).size
        return cls(inside, count, find_freedom(clusters, inside), clusters.can_be_resampled(inside), units)

    @cached_property
    def n(self) -> int:
        """How many pairs there are."""
        return int(self.inside.sum())

    @property
    def spans_sets(self) -> bool:
        """Whether they are of several data sets."""
        return self.units.sizes.size > 1


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
    deleted, blocks = delete_blocks(sample.clusters, np.random.default_rng([seed, 0]))
    groups = {**sample.groups, **sample.accuracy_groups}
    parts = {group: _parts(sample, contenders, group, mask) for group, mask in groups.items()}
    tests = _test(sample, contenders, parts, n_swaps, seed, report)
    for group, mask in groups.items():
        found = Measured(blocks=blocks, calibrated={i: own[group] for i, own in calibrated.items() if group in own})
        found.parts = parts.pop(group)
        _resample(sample, contenders, found, mask, deleted, n_resamples, np.random.default_rng([seed, 1]), report)
        for i, swapped in tests.get(group, {}).items():
            rival, noise = contenders[i].rival, {}
            if contenders[i].kind == "model" and rival is not None:
                noise = {metric: found.seed_noise([i, rival], metric) for metric in primary_candidates()}
            found.p_values[i] = swapped.p_values(noise)
        yield group, found


def _test(
    sample: Sample,
    contenders: Sequence[Contender],
    parts: Mapping[Group, Mapping[int, Part]],
    n_swaps: int,
    seed: int,
    report: Callable[[int], object],
) -> dict[Group, dict[int, Swapped]]:
    """Swap every contender and its rival in every group, by the same random swaps; none where the votes group pairs."""
    found: dict[Group, dict[int, Swapped]] = {}
    some: dict[tuple[Group, int], list[Swap]] = {}
    groups = [group for group in parts if n_swaps and not group.is_exploratory]
    for group in groups:
        some |= {(group, i): swaps for i, swaps in _swaps(sample, contenders, parts[group]).items()}
        held = sum(swap.held for swaps in some.values() for swap in swaps)
        if not some or (group != groups[-1] and held < _MOST_SUMS):
            continue
        rng = np.random.default_rng([seed, 2])
        for (own, i), swapped in swap_all(some, sample.clusters.count, n_swaps, rng, report=report).items():
            found.setdefault(own, {})[i] = swapped
        some = {}
    return found


def _parts(sample: Sample, contenders: Sequence[Contender], group: Group, mask: NDArray[np.bool_]) -> dict[int, Part]:
    """The pairs of a group that each contender has an opinion of, where there are some."""
    whole = Part.of(sample, mask)
    found = {}
    for i, contender in enumerate(contenders):
        inside = mask & contender.inside
        part = whole if np.array_equal(inside, mask) else Part.of(sample, inside)
        # Of pairs chosen by all their votes, one vote says the contrary of the others.
        if part.n and (contender.votes or not group.is_exploratory):
            found[i] = part
    return found


def _resample(
    sample: Sample,
    contenders: Sequence[Contender],
    found: Measured,
    mask: NDArray[np.bool_],
    deleted: NDArray[np.uint8],
    n_resamples: int,
    rng: np.random.Generator,
    report: Callable[[int], object],
) -> None:
    """Measure every draw of every contender on a group; on the jackknife and the resamples, too, where there are any.

    A block of resamples is drawn once, for all contenders, and given up again.
    """
    draws = [(i, draw) for i in found.parts for draw in range(len(contenders[i].predicted))]
    jobs = []
    for i, draw in draws:
        part, most = found.parts[i], len(draws) if contenders[i].kind == "model" else _MOST_RESAMPLED
        asked = bool(n_resamples) and part.resampled and draw < most
        jobs.append(partial(_look, sample, contenders[i], part, draw, keep=asked))
    looks: list[tuple[FloatArray, Cell | None]] = in_threads(jobs)
    cells = [cell for _, cell in looks if cell is not None]
    width = max(8, min(_TOGETHER, _HELD // max(1, deleted.shape[0])))
    kept = [partial(_apply, cells, partial(_columns, deleted, i, width)) for i in range(0, deleted.shape[1], width)]
    drawn = [partial(_apply, cells, draw) for draw in plan_draws(touched(sample.clusters, mask), n_resamples, rng)]
    values = in_threads(kept + drawn, report) if cells else []
    jackknife, resampled = (
        {cell: np.concatenate(parts, axis=1) for cell, parts in zip(cells, zip(*some, strict=True), strict=True)}
        for some in (values[: len(kept)], values[len(kept) :])
    )
    for i in found.parts:
        own = [look for look, (key, _) in zip(looks, draws, strict=True) if key == i]
        found.add(i, [[value] if c is None else [value, jackknife[c], resampled[c]] for value, c in own])


def _look(sample: Sample, contender: Contender, part: Part, draw: int, *, keep: bool) -> tuple[FloatArray, Cell | None]:
    """Measure one draw of a contender on the sample; the cell is kept where it is measured on resamples, too."""
    predicted, human = contender.predicted[draw, part.inside], contender.human[draw, part.inside]
    cell = Cell(predicted, human, part.units, metrics=scored_metrics())
    value = cell(np.ones((sample.clusters.numbered, 1), dtype=np.uint8))
    return value, cell if keep else None


def _apply(cells: Sequence[Cell], draw: Callable[[], NDArray[np.uint8]]) -> list[FloatArray]:
    return evaluate_cells(cells, draw())


def _columns(weights: NDArray[np.uint8], first: int, width: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(weights[:, first : first + width])


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
        human, units = contenders[i].human[0, part.inside], part.units
        swaps[i] = [
            Swap(first[k % len(first)], second[k % len(second)], human, units, metrics=primary_candidates())
            for k in range(math.lcm(len(first), len(second)))
        ]
    return swaps


def _calibrate(sample: Sample, contender: Contender, level: float, rng: np.random.Generator) -> dict[Group, NullBand]:
    """The ECE in each group that a contender would have if it were calibrated."""
    columns = sample.joined.columns
    votes, ties = columns.counts.sum(axis=1), columns.counts[:, 2]
    inside = {name: both for name, mask in sample.groups.items() if (both := mask & contender.inside).any()}
    simulated: list[FloatArray] = []
    for predicted in contender.predicted:
        known = np.where(contender.inside, predicted, 0.5)
        own, rates = contender.inside, np.zeros(known.size)
        rates[own] = tie_rates(known[own], votes[own], ties[own], sample.stratum[own])
        errors = SimulatedErrors(known, list(inside.values()))
        for n in in_blocks(-(-_SIMULATIONS // len(contender.predicted)), known.size):
            simulated.append(errors(simulate_shares(known, votes, rng, n, rates)))
    values = np.concatenate(simulated, axis=1)
    return {group: null_band(own, level) for group, own in zip(inside, values, strict=True)}
