"""How many pairs and annotators a difference needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from dissensus.errors import InputError
from dissensus.stats.metrics import FloatArray
from dissensus.stats.power import FEWEST_PAIRS, Design, PairedTest, estimate_power
from dissensus.stats.swap import swap_test

MOST_PAIRS = 100_000
"""Where the search for enough pairs ends."""

SEARCH_STEPS = (0.5, 0.7, 0.9, 1.1, 1.4, 1.8)
"""Sizes at which `find_pairs` simulates, in terms of its first guess."""


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
    """The fewest for the power that was asked for; None where more than `MOST_PAIRS`."""


def plan(
    design: Design,
    annotators: Iterable[int],
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    studies: int = 2000,
    seed: int = 0,
    test: PairedTest = swap_test,
    progress: Callable[[], object] = lambda: None,
) -> list[Plan]:
    """Vary the annotators per pair of a design, with the two models and everything else as they are.

    Args:
        progress: called ``1 + len(SEARCH_STEPS)`` times at most for each number of annotators.

    Raises:
        InputError: the two models do not differ.
    """
    found = []
    for number in annotators:
        varied = replace(design, annotators=number)
        ceiling = varied.attenuation()
        pairs = find_pairs(varied, power, alpha=alpha, seed=seed, test=test, progress=progress)
        reached = estimate_power(varied, alpha=alpha, studies=studies, seed=seed, test=test)
        progress()
        found.append(Plan(number, ceiling, design.r_baseline * ceiling, design.r_model * ceiling, reached, pairs))
    return found


def find_pairs(
    design: Design,
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    test: PairedTest = swap_test,
    progress: Callable[[], object] = lambda: None,
) -> int | None:
    """Find the fewest pairs at which a study of this design (but for its size) reaches a power.

    Power is simulated at some sizes around a first guess from the normal approximation; a line through its probits
    over sqrt(n), monotone as power is, gives the size. Known to some 3 percent, and rounded up to whole prompts in
    each data set.

    Args:
        progress: called after each of `SEARCH_STEPS` simulations.

    Returns:
        None where more than `MOST_PAIRS` are needed.

    Raises:
        InputError: the two models do not differ.
    """
    if design.r_model == design.r_baseline:
        raise InputError("the two models are equally good: no number of pairs finds a difference of 0; give another")
    unit = design.data_sets * design.per_prompt
    guess = _first_guess(design, power, alpha, seed)
    if guess > 1.5 * MOST_PAIRS:
        return None
    sizes, powers, weights = [], [], []
    for step, factor in enumerate(SEARCH_STEPS):
        size = _whole(guess * factor, unit, design.data_sets)
        studies = int(np.clip(1_500_000 / size, 100, 800))
        found = estimate_power(replace(design, pairs=size), alpha=alpha, studies=studies, seed=seed + step, test=test)
        sizes.append(size)
        powers.append((found * studies + 0.5) / (studies + 1))
        weights.append(studies)
        progress()
    needed = _cross(np.array(sizes), np.array(powers), np.array(weights), power)
    size = _whole(needed, unit, design.data_sets)
    return size if size <= MOST_PAIRS else None


def _first_guess(design: Design, power: float, alpha: float, seed: int) -> float:
    """n from the normal approximation, with the standard error of a simulated difference of Fisher's z."""
    size = _whole(200, design.data_sets * design.per_prompt, design.data_sets)
    pilot = replace(design, pairs=size)
    baseline, model, human = pilot.draw(400, np.random.default_rng([seed, 1]))
    spread = (_fisher(model, human, pilot) - _fisher(baseline, human, pilot)).std() * np.sqrt(size)
    shrink = design.attenuation()
    distance = abs(np.arctanh(design.r_model * shrink) - np.arctanh(design.r_baseline * shrink))
    return float(((ndtri(1 - alpha / 2) + ndtri(power)) * spread / distance) ** 2)


def _fisher(predicted: FloatArray, human: FloatArray, design: Design) -> FloatArray:
    """Mean over the data sets of Fisher's z, shape (studies,)."""
    starts = np.flatnonzero(np.diff(design.labels[1], prepend=-1))
    parts = zip(np.split(predicted, starts[1:], axis=1), np.split(human, starts[1:], axis=1), strict=True)
    result: FloatArray = np.mean([np.arctanh(_r(p, h)) for p, h in parts], axis=0)
    return result


def _r(x: FloatArray, y: FloatArray) -> FloatArray:
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    bottom = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    result: FloatArray = np.clip((x * y).sum(axis=1) / np.maximum(bottom, 1e-12), -0.999, 0.999)
    return result


def _cross(sizes: FloatArray, powers: FloatArray, studies: FloatArray, power: float) -> float:
    """Where a weighted line through probits over sqrt(n) reaches a power; the nearest size if chance made it fall."""
    probits, root = ndtri(powers), np.sqrt(sizes)
    weight = studies * np.exp(-(probits**2)) / (powers * (1 - powers))
    mean_root, mean_probit = np.average(root, weights=weight), np.average(probits, weights=weight)
    above = root - mean_root
    bottom = weight @ above**2
    slope = weight @ (above * (probits - mean_probit)) / bottom if bottom > 0 else 0.0
    if slope <= 0:
        return float(np.min(sizes) if mean_probit >= ndtri(power) else np.max(sizes))
    return float(max(mean_root + (ndtri(power) - mean_probit) / slope, 0) ** 2)


def _whole(size: float, unit: int, data_sets: int) -> int:
    """Round up to whole prompts in each data set, of which each needs `FEWEST_PAIRS`."""
    least = max(size, FEWEST_PAIRS * data_sets)
    return int(np.ceil(least / unit)) * unit
