"""The numbers behind a scorecard: every metric of every contender in every group, on the sample and its resamples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import filterfalse

import numpy as np
from numpy.typing import NDArray

from dissensus.evaluate.groups import find_groups, find_majority_groups, is_exploratory
from dissensus.evaluate.join import Joined
from dissensus.records import Kind
from dissensus.stats.bootstrap import ROWS, Cell, bootstrap, delete_blocks, evaluate, ones
from dissensus.stats.calibration import NullBand, in_blocks, null_band, simulate_shares, simulated_ece, tie_rates
from dissensus.stats.intervals import (
    FEWEST_CLUSTERS,
    Clusters,
    Freedom,
    IntArray,
    find_clusters,
    find_freedom,
    number_labels,
)
from dissensus.stats.metrics import FloatArray
from dissensus.stats.permutation import Swap, swap_test

_SIMULATIONS = 1000

Key = tuple[int, str]
"""A contender's number and a group's name."""


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
    groups: Mapping[str, NDArray[np.bool_]]
    accuracy_groups: Mapping[str, NDArray[np.bool_]]
    """Groups that are there for accuracy alone."""
    of_votes: bool = True
    """Whether ``joined.human`` is the fraction of the pairs' votes, not a mean of estimates or an aggregate."""

    @classmethod
    def of(cls, joined: Joined, groups: Mapping[str, NDArray[np.bool_]] | None = None) -> Sample:
        """Number the prompts and data sets of the pairs, and find their groups unless they are given."""
        prompts = number_labels([pair.group for pair in joined.pairs])[1]
        stratum = number_labels([pair.dataset or "" for pair in joined.pairs])[1].astype(np.int64)
        return cls(
            joined=joined,
            clusters=find_clusters(prompts, stratum),
            stratum=stratum,
            groups=find_groups(joined.pairs) if groups is None else groups,
            accuracy_groups=find_majority_groups(joined.pairs) if groups is None else {},
            of_votes=groups is None and not any(pair.votes and pair.votes.are_estimates for pair in joined.pairs),
        )

    @property
    def all_groups(self) -> dict[str, NDArray[np.bool_]]:
        """Every group, those for accuracy alone last."""
        return {**self.groups, **self.accuracy_groups}


@dataclass(frozen=True)
class Part:
    """The pairs of a group that a contender has an opinion of."""

    inside: NDArray[np.bool_]
    clusters: int
    spare: Freedom
    resampled: bool
    """Whether there are clusters enough to resample."""

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return int(self.inside.sum())


@dataclass
class Measured:
    """What was computed; arrays have a row for each metric of ``ROWS``."""

    parts: dict[Key, Part]
    by_draw: dict[Key, FloatArray]
    """Shape (draws, metrics): on the sample."""
    resampled: dict[Key, FloatArray] = field(default_factory=dict)
    """Shape (metrics, resamples): means over draws."""
    jackknife: dict[Key, FloatArray] = field(default_factory=dict)
    """Shape (metrics, blocks)."""
    blocks: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The stratum of each block of the jackknife."""
    p_values: dict[Key, dict[str, float]] = field(default_factory=dict)
    """Of the contender's difference to its rival."""
    calibrated: dict[Key, NullBand] = field(default_factory=dict)
    """The ECE of a perfectly calibrated model."""

    def value(self, key: Key, metric: str) -> float:
        """The mean over draws."""
        return float(self.by_draw[key][:, ROWS.index(metric)].mean())


def measure(
    sample: Sample,
    contenders: Sequence[Contender],
    *,
    n_resamples: int,
    n_swaps: int,
    level: float,
    seed: int,
    report: Callable[[int], object] = lambda done: None,
) -> Measured:
    """Compute everything from one set of resamples and one set of swaps, for all contenders and groups."""
    rngs = np.random.default_rng(seed).spawn(3)
    parts = {
        (i, name): part
        for name, mask in sample.all_groups.items()
        for i, contender in enumerate(contenders)
        # Of pairs chosen by all their votes, one vote says the contrary of the others.
        if (contender.votes or not is_exploratory(name)) and (part := _part(sample, mask & contender.inside)).n
    }
    cells = {key: _cells(sample, contenders[key[0]], part.inside) for key, part in parts.items()}
    unweighted = ones(sample.clusters)
    found = Measured(
        parts=parts,
        by_draw={key: np.array([cell(unweighted)[:, 0] for cell in draws]) for key, draws in cells.items()},
    )
    enough = {key: draws for key, draws in cells.items() if parts[key].resampled}
    if n_resamples and enough:
        weights, found.blocks = delete_blocks(sample.clusters, rngs[0])
        found.jackknife = evaluate(enough, weights)
        found.resampled = bootstrap(enough, sample.clusters, n_resamples, rngs[1], report=report)
    if n_swaps:
        for group in filterfalse(is_exploratory, sample.all_groups):  # one by one, for memory; the swaps are the same
            swaps = _swaps(sample, contenders, {key: part for key, part in parts.items() if key[1] == group})
            rng = np.random.default_rng([seed, 2])
            found.p_values |= swap_test(swaps, sample.clusters.count, n_swaps, rng, report=report)
    if sample.of_votes:
        found.calibrated = _calibrated(sample, contenders, parts, level, rngs[2])
    return found


def _part(sample: Sample, inside: NDArray[np.bool_]) -> Part:
    mine = np.unique(sample.clusters.of_pair[inside])
    vary = any(members.size > 1 and np.isin(members, mine).any() for members in sample.clusters.strata)
    enough = bool(vary and mine.size >= FEWEST_CLUSTERS)
    return Part(inside, mine.size, find_freedom(sample.clusters, inside), enough)


def _cells(sample: Sample, contender: Contender, inside: NDArray[np.bool_]) -> list[Cell]:
    clusters, strata = sample.clusters.of_pair[inside], sample.stratum[inside]
    draws = zip(contender.predicted, contender.human, strict=True)
    return [Cell(predicted[inside], human[inside], clusters, strata) for predicted, human in draws]


def _swaps(sample: Sample, contenders: Sequence[Contender], parts: Mapping[Key, Part]) -> dict[Key, list[Swap]]:
    """Pair every contender with its rival: of several seeds, seed i with seed i.

    Where their numbers differ, each side goes round until all of its seeds weigh the same: the mean over the pairs is
    then the difference of the means.
    """
    swaps = {}
    for (i, group), part in parts.items():
        rival = contenders[i].rival
        # Two clusters can be swapped in four ways: no p-value of theirs says anything.
        if rival is None or not part.resampled:
            continue
        first, second = contenders[i].predicted[:, part.inside], contenders[rival].predicted[:, part.inside]
        human, clusters = contenders[i].human[0, part.inside], sample.clusters.of_pair[part.inside]
        swaps[i, group] = [
            Swap(first[k % len(first)], second[k % len(second)], human, clusters, sample.stratum[part.inside])
            for k in range(math.lcm(len(first), len(second)))
        ]
    return swaps


def _calibrated(
    sample: Sample, contenders: Sequence[Contender], parts: Mapping[Key, Part], level: float, rng: np.random.Generator
) -> dict[Key, NullBand]:
    votes, ties = np.array([(v.n, v.tie) for pair in sample.joined.pairs if (v := pair.votes) is not None]).T
    found: dict[Key, NullBand] = {}
    for i, contender in enumerate(contenders):
        if not (contender.votes and contender.shown):
            continue
        simulated: dict[str, list[FloatArray]] = {group: [] for group in sample.groups if (i, group) in parts}
        for predicted in contender.predicted:
            known = np.where(contender.inside, predicted, 0.5)
            own, rates = contender.inside, np.zeros(known.size)
            rates[own] = tie_rates(known[own], votes[own], ties[own], sample.stratum[own])
            for n in in_blocks(-(-_SIMULATIONS // len(contender.predicted)), known.size):
                shares = simulate_shares(known, votes, rng, n, rates)
                for group, values in simulated.items():
                    inside = parts[i, group].inside
                    values.append(simulated_ece(known[inside], shares[:, inside]))
        found |= {(i, group): null_band(np.concatenate(values), level) for group, values in simulated.items()}
    return found
