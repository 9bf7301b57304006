"""Clusters of pairs that are drawn together, in strata, and what few or unequal ones cost.

Pairs of one prompt resemble each other, so whole prompts are drawn, not pairs, which would make intervals far too
narrow; and each data set keeps its number of prompts (a stratum).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from dissensus.stats.weighted import FloatArray

IntArray = NDArray[np.int64]

FEWEST_CLUSTERS = 5
"""Below this many prompts there is no interval and no test: resamples of two take three values, and would pass for
certainty."""

_LEAST_FREEDOM = 1.0
"""Of one stratum: one cluster that outweighs all others leaves next to none."""

_CELLS = 400_000
"""Weights held at once: 3 MB as float64."""


@dataclass(frozen=True)
class Clusters:
    """Which cluster each of n pairs belongs to, and which stratum each cluster belongs to."""

    of_pair: IntArray
    """Shape (n,): the cluster's number, from 0."""
    strata: tuple[IntArray, ...]
    """For each stratum the numbers of its clusters."""

    @property
    def count(self) -> int:
        """How many clusters there are in the strata."""
        return sum(s.size for s in self.strata)

    @property
    def numbered(self) -> int:
        """How many clusters have a number, whether their stratum is here or not."""
        return int(self.of_pair.max(initial=-1)) + 1

    def can_be_resampled(self, inside: NDArray[np.bool_] | None = None) -> bool:
        """Whether the clusters of the pairs inside, shape (n,), by default all, are enough for an interval or a test:
        `FEWEST_CLUSTERS`, of which some lie in a stratum that has two or more to draw from.
        """
        mine = np.unique(self.of_pair if inside is None else self.of_pair[inside])
        vary = any(members.size > 1 and np.isin(members, mine).any() for members in self.strata)
        return vary and mine.size >= FEWEST_CLUSTERS


@dataclass(frozen=True)
class Units:
    """The clusters of n pairs, stratum by stratum: pairs of a unit have the same weight in any resample."""

    of_pair: IntArray
    """Shape (n,): the unit's number, from 0."""
    cluster: IntArray
    """Shape (units,): the number of its cluster."""
    strata: IntArray
    """Shape (n,): the number of each pair's stratum among those that are here."""
    sizes: IntArray
    """How many pairs each stratum has."""
    slices: tuple[slice, ...]
    """The units of each stratum, which lie side by side."""

    def sum(self, values: FloatArray) -> FloatArray:
        """Sum what each pair has, shape (n,), by unit."""
        return np.bincount(self.of_pair, values, self.cluster.size).astype(np.float64, copy=False)


def find_units(clusters: IntArray, strata: IntArray | None = None) -> Units:
    """Number the units of n pairs, from the number of each pair's cluster and, unless all are of one, its stratum."""
    of_all = np.zeros(clusters.size, dtype=np.int64) if strata is None else strata
    names, stratum = np.unique(of_all, return_inverse=True)
    stratum, width = stratum.reshape(-1), int(clusters.max(initial=-1)) + 1
    keys, of_pair = np.unique(stratum * width + clusters, return_inverse=True)
    ends = np.searchsorted(keys, np.arange(1, names.size + 1) * width).tolist()
    return Units(
        of_pair=of_pair.reshape(-1),
        cluster=keys % max(1, width),
        strata=stratum,
        sizes=np.bincount(stratum, minlength=names.size),
        slices=tuple(slice(a, b) for a, b in zip([0, *ends], ends, strict=False)),
    )


@dataclass(frozen=True)
class Freedom:
    """What few or unequal clusters cost: a bootstrap is too narrow by the one, and the normal quantile by the other."""

    widen: float
    """The root of what the variance of the resamples is to be multiplied by."""
    degrees: float
    """Degrees of freedom of that variance."""

    def reach(self, level: float) -> float:
        """How many standard deviations of the resamples an interval of this level reaches out, each side."""
        return float(stdtrit(self.degrees, (1 + level) / 2)) * self.widen


def find_freedom(clusters: Clusters, inside: NDArray[np.bool_] | None = None) -> Freedom:
    """Find how far the resamples of these clusters, or of those of the pairs that are inside, can be trusted.

    Clusters of sizes n count as n_eff = (sum n)^2 / sum n^2 equal ones (Kish, 1965; Carter, Schnepel and Steigerwald,
    2017, for the t of unequal clusters): the resampled variance of their stratum is too small by (n_eff - 1) / n_eff,
    with n_eff - 1 degrees of freedom. A stratum has the share sum n^2 of the variance; degrees of freedom add up as by
    Satterthwaite (1946). ``inside`` has shape (n,); all pairs unless given.
    """
    of_pair = clusters.of_pair if inside is None else clusters.of_pair[inside]
    sizes = np.bincount(of_pair, minlength=clusters.numbered).astype(np.float64)
    total = spread = 0.0
    shares = [sizes[members] for members in clusters.strata]
    for size in (share[share > 0] for share in shares):
        if size.size:
            squares = float((size**2).sum())
            spare = max(size.sum() ** 2 / squares - 1, _LEAST_FREEDOM)
            total += squares * (spare + 1) / spare
            spread += (squares * (spare + 1) / spare) ** 2 / spare
    held = sum(float((size**2).sum()) for size in shares)
    return Freedom(float(np.sqrt(total / held)), max(1.0, total**2 / spread)) if held else Freedom(1.0, 1.0)


def number_labels(labels: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """Number labels from 0 in sorted order; returns the distinct ones and the number of each, shape (len(labels),).

    As ``np.unique``, in whose array of strings every label takes the room of the longest (a prompt of any length).
    """
    names = sorted(set(labels))
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number[label] for label in labels], dtype=np.intp)


def deal_folds(sizes: NDArray[np.intp], folds: int, *, seed: int, mixed: bool = False) -> NDArray[np.intp]:
    """Deal groups into folds of about the same number of pairs; returns the fold of each group, from 0.

    The largest group goes first, each into the smallest fold so far; groups of one size are shuffled by the seed. The
    largest and the smallest fold differ by no more than the largest group.

    Args:
        sizes: pairs of each group, shape (groups,).
        folds: how many; fewer where there are fewer groups.
        seed: of the shuffle.
        mixed: shuffle groups of like size too, ``folds`` after ``folds``, so that another seed deals other folds where
            no two groups have one size.
    """
    rng = np.random.default_rng(seed)
    largest_first = sorted(rng.permutation(len(sizes)), key=lambda group: -sizes[group])
    if mixed:
        starts = range(0, len(sizes), folds)
        largest_first = [group for start in starts for group in rng.permutation(largest_first[start : start + folds])]
    filled = [(0, fold) for fold in range(min(folds, len(sizes)))]
    fold_of = np.zeros(len(sizes), dtype=np.intp)
    for group in largest_first:
        size, fold = heapq.heappop(filled)
        fold_of[group] = fold
        heapq.heappush(filled, (size + int(sizes[group]), fold))
    return fold_of


def find_clusters(clusters: NDArray[np.generic], strata: NDArray[np.generic]) -> Clusters:
    """Number the clusters of n pairs, given a cluster and a stratum label per pair, both of shape (n,).

    A cluster label that occurs in two strata names two clusters. Strata of fewer than `FEWEST_CLUSTERS` clusters are
    drawn together, as one, since alone they would hardly vary; where even together they are too few, the smallest other
    stratum joins them. Labels that are text are numbered first (`number_labels`).
    """
    if clusters.shape != strata.shape or clusters.ndim != 1:
        raise ValueError(f"clusters and strata must have one shape (n,), not {clusters.shape} and {strata.shape}")
    stratum_names, stratum = np.unique(strata, return_inverse=True)
    cluster = np.unique(clusters, return_inverse=True)[1]
    keys, of_pair = np.unique(np.stack([stratum, cluster]), axis=1, return_inverse=True)
    members = [np.flatnonzero(keys[0] == s) for s in range(stratum_names.size)]
    return Clusters(of_pair=of_pair.reshape(-1), strata=tuple(_pool(members)))


def _pool(strata: list[IntArray]) -> list[IntArray]:
    """Put strata of few clusters together, and with the smallest other where that is not enough."""
    few = [members for members in strata if members.size < FEWEST_CLUSTERS]
    enough = sorted((members for members in strata if members.size >= FEWEST_CLUSTERS), key=len)
    if not few or len(strata) == 1:
        return strata
    if enough and sum(members.size for members in few) < FEWEST_CLUSTERS:
        few.append(enough.pop(0))
    return [*enough, np.sort(np.concatenate(few))]


def cluster_counts(
    clusters: NDArray[np.generic], strata: NDArray[np.generic], n_resamples: int, rng: np.random.Generator
) -> Iterator[IntArray]:
    """Draw whole clusters with replacement within each stratum; yield how often each pair is in each resample.

    Arguments as for `find_clusters`. Yields counts of shape (chunk, n), ``n_resamples`` rows together.
    """
    found = find_clusters(clusters, strata)
    for drawn in draw_blocks(found, n_resamples, rng):
        yield drawn[found.of_pair].T.astype(np.int64)


def draw_blocks(clusters: Clusters, n_resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Draw resamples one block after the other, each as `draw_block`; how many at once decides what is drawn."""
    chunk = max(1, _CELLS // max(1, clusters.of_pair.size))
    for start in range(0, n_resamples, chunk):
        yield draw_block(clusters, min(chunk, n_resamples - start), rng)


def draw_block(clusters: Clusters, n_resamples: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw whole clusters with replacement within each stratum; how often each was drawn, (clusters, n_resamples).

    A byte holds that: of a thousand clusters none is drawn a dozen times, and of 255 none can be drawn more often.
    """
    counts = np.zeros((clusters.numbered, n_resamples), dtype=np.uint8)
    for members in clusters.strata:
        drawn = rng.integers(members.size, size=(members.size, n_resamples))
        drawn *= n_resamples  # in place: of a million clusters each copy is 128 MB
        drawn += np.arange(n_resamples)
        often = np.bincount(drawn.ravel(), minlength=members.size * n_resamples)
        counts[members] = np.minimum(often, 255).reshape(members.size, n_resamples)
    return counts
