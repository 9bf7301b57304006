"""Pairs, annotators and seeds that a difference needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from dissensus.errors import InputError
from dissensus.stats.design.approximate_power import Outlook
from dissensus.stats.design.simulated_power import FEWEST_PAIRS, Design, estimate_power
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import FEWEST_CLUSTERS

MOST_PAIRS = 100_000
"""Where the search for enough pairs ends."""

SEARCH_STEPS = (0.5, 0.7, 0.9, 1.1, 1.4, 1.8)
"""Sizes at which `find_pairs` simulates, in terms of its first guess."""

MOST_SEEDS = 100
"""Where the search for enough seeds ends."""

_SLOPE_SD = 0.15
"""How far the line through simulated powers may be from the approximation's slope, which is 1."""


@dataclass(frozen=True)
class Plan:
    """What one number of annotators per pair makes of a design."""

    annotators: int
    ceiling: float
    """r of a perfect model with so many annotators."""
    r_baseline: float
    """As it is seen with so many annotators."""
    r_model: float
    power: float
    """At the design's number of pairs."""
    pairs: int | None
    """The fewest for the power that was asked for; None where more than `MOST_PAIRS`, or where no number is enough."""
    limit: float = 1.0
    """The power that no number of pairs exceeds, for seeds that differ (`find_limit`)."""


def plan(
    design: Design,
    annotators: Iterable[int],
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    studies: int = 2000,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> list[Plan]:
    """Vary the annotators per pair of a design, with the two models and everything else as they are.

    Args:
        alpha: the level of the one test: where several share a level, its part.
        progress: called ``1 + len(SEARCH_STEPS)`` times at most for each number of annotators.

    Raises:
        InputError: the two models do not differ.
    """
    found = []
    for number in annotators:
        varied = replace(design, annotators=number)
        ceiling, limit = varied.attenuation(), find_limit(varied, alpha=alpha, seed=seed)
        pairs = find_pairs(varied, power, alpha=alpha, seed=seed, progress=progress)
        reached = estimate_power(varied, alpha=alpha, studies=studies, seed=seed)
        progress()
        found.append(
            Plan(number, ceiling, design.r_baseline * ceiling, design.r_model * ceiling, reached, pairs, limit)
        )
    return found


def find_pairs(
    design: Design,
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> int | None:
    """Find the fewest pairs at which a study of this design (but for its size) reaches a power.

    Power is simulated at some sizes (`SEARCH_STEPS`) around a first guess from an approximation (`Outlook`); a line
    through its probits over those of the approximation gives the size. Known to some 3 percent, less well near the
    limit that seeds set to the power, and rounded up to whole prompts in each data set. None where more than
    `MOST_PAIRS` are needed or no number is enough (`find_limit`). Raises an InputError where the models do not differ.
    """
    if design.r_model == design.r_baseline:
        raise InputError("the two models are equally good: no number of pairs finds a difference of 0; give another")
    outlook = _outlook(design, alpha, seed)
    guess = outlook.pairs_for(power, most=1.5 * MOST_PAIRS)
    if guess is None:
        return None
    expected, powers, weights = [], [], []
    for step, factor in enumerate(SEARCH_STEPS):
        sized = _sized(design, guess * factor, alpha)
        studies = int(np.clip(1_500_000 / sized.pairs, 100, 800))
        found = estimate_power(sized, alpha=alpha, studies=studies, seed=seed + step)
        expected.append(outlook.power(sized.pairs))
        powers.append((found * studies + 0.5) / (studies + 1))
        weights.append(studies)
        progress()
    asked = _cross(np.array(expected), np.array(powers), np.array(weights), power)
    needed = outlook.pairs_for(asked, most=1.5 * MOST_PAIRS)
    if needed is None:
        return None
    size = _sized(design, needed, alpha).pairs
    return size if size <= MOST_PAIRS else None


def find_limit(design: Design, *, alpha: float = 0.05, seed: int = 0) -> float:
    """Find the highest power of any number of pairs up to `MOST_PAIRS`, by the approximation that `find_pairs` uses:
    below 1 where a method's seeds differ, as pairs do not average that out.
    """
    if design.seeds == 1 or design.seed_sd == 0:
        return 1.0
    return _outlook(design, alpha, seed).best(MOST_PAIRS)


def find_seeds(design: Design, power: float = 0.8, *, alpha: float = 0.05, seed: int = 0) -> int | None:
    """Find the fewest training seeds with which some number of pairs exceeds a power; None where over `MOST_SEEDS`.

    The design has two seeds or more; the search starts there.
    """
    if design.seeds < 2:
        raise InputError("give a design of two seeds or more: of one, nothing is known about others")
    outlook = _outlook(design, alpha, seed)
    few, enough = design.seeds - 1, MOST_SEEDS
    if outlook.with_seeds(enough).best(MOST_PAIRS) <= power:
        return None
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if outlook.with_seeds(middle).best(MOST_PAIRS) > power else (middle, enough)
    return enough


def _outlook(design: Design, alpha: float, seed: int) -> Outlook:
    return Outlook.of(_sized(design, 200, alpha), alpha, np.random.default_rng([seed, 1]))


def _cross(expected: FloatArray, powers: FloatArray, studies: FloatArray, power: float) -> float:
    """The approximate power at which simulated power is the one asked for: a line through probits, fitted by weight,
    with a normal prior on its slope, which is 1 where the approximation is good.
    """
    x, y = ndtri(np.clip(expected, 1e-6, 1 - 1e-6)), ndtri(powers)
    weight = studies * np.exp(-(y**2)) / (2 * np.pi * powers * (1 - powers))
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    above, prior = x - mean_x, 1 / _SLOPE_SD**2
    slope = (weight @ (above * (y - mean_y)) + prior) / (weight @ above**2 + prior)
    return float(ndtr(mean_x + (ndtri(power) - mean_y) / max(slope, 0.1)))


def _sized(design: Design, pairs: float, alpha: float) -> Design:
    """The design with so many pairs, rounded up to whole prompts in each data set, and to what can be tested.

    Each data set needs `FEWEST_PAIRS`, a test `FEWEST_CLUSTERS` prompts, and enough of them for a p-value of alpha: the
    swaps of m prompts make 2^(m - 1) differences.
    """
    prompts = max(FEWEST_CLUSTERS, int(np.ceil(1 - np.log2(alpha))))
    least = max(pairs, FEWEST_PAIRS * design.data_sets, prompts * design.per_prompt)
    unit = design.data_sets * design.per_prompt
    return replace(design, pairs=int(np.ceil(least / unit)) * unit)
