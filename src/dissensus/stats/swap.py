"""The swap test of r of `permutation`, in many simulated studies at once: the test that an evaluation makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.clusters import FEWEST_CLUSTERS
from dissensus.stats.metrics import FloatArray, correlation_of_sums, fisher_mean, large_strata
from dissensus.stats.permutation import TOLERANCE

IntArray = NDArray[np.int64]

_SWAPS = 199
"""With this many, a level of .05 is met exactly: 10 of 200."""


def swap_test(
    baseline: FloatArray,
    model: FloatArray,
    human: FloatArray,
    prompts: IntArray,
    data_sets: IntArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Test in each study whether two models differ in Pearson's r with people; two-sided p-values, shape (studies,).

    Were they alike, it would not matter which model made which prediction: they are swapped prompt by prompt at random,
    and the p-value is the share of swaps that make the difference at least as large (see `permutation`, whose metric
    ``pearson_within`` this is where there are data sets of ten pairs or more beside each other, and ``pearson``
    elsewhere). As an evaluation tests nothing of fewer than five prompts, the p-value is then 1.

    Args:
        baseline, model, human: shape (studies, pairs).
        prompts, data_sets: of each pair, numbers of shape (pairs,) in ascending order.
        rng: draws the swaps, the same ones for all studies of a call.
    """
    starts = np.flatnonzero(np.diff(prompts, prepend=-1))
    if starts.size < FEWEST_CLUSTERS or starts.size == np.unique(data_sets).size:
        return np.ones(human.shape[0])
    swapped = rng.integers(2, size=(starts.size, _SWAPS + 1), dtype=np.uint8).astype(np.float64)
    swapped[:, 0] = 0
    found = swapped_differences(baseline, model, human, prompts, data_sets, swapped)
    # An undefined difference counts as a large one.
    as_large = ~(np.abs(found[:, 1:]) < np.abs(found[:, :1]) - TOLERANCE)
    result: FloatArray = (1 + as_large.sum(axis=1)) / (1 + _SWAPS)
    return result


def swapped_differences(
    baseline: FloatArray,
    model: FloatArray,
    human: FloatArray,
    prompts: IntArray,
    data_sets: IntArray,
    swapped: FloatArray,
) -> FloatArray:
    """The model's r less the baseline's, shape (studies, swaps), for 0 or 1 of shape (prompts, swaps)."""
    strata = large_strata(data_sets) if np.ptp(data_sets) > 0 else []
    within = bool(strata)
    strata = strata or [np.ones(data_sets.size, dtype=np.bool_)]
    first, second = _standardise(model), _standardise(baseline)
    correlations: list[list[FloatArray]] = [[], []]
    for inside in strata:
        people = _standardise(human[:, inside])
        of_prompt = prompts[inside]
        starts = np.flatnonzero(np.diff(of_prompt, prepend=-1))
        mine, theirs = (_features(z[:, inside], people) for z in (first, second))
        moved = np.add.reduceat(mine - theirs, starts, axis=2) @ swapped[of_prompt[starts]]
        n, yy = np.full(1, float(of_prompt.size)), (people**2).sum(axis=1, keepdims=True)
        for found, features, sign in ((correlations[0], mine, -1), (correlations[1], theirs, 1)):
            x, xx, xy = features.sum(axis=2, keepdims=True) + sign * moved
            found.append(correlation_of_sums(n, x, np.zeros(1), xx, yy, xy))
    if not within:
        return correlations[0][0] - correlations[1][0]
    sizes = np.array([float(inside.sum()) for inside in strata])[:, None, None]
    of_first, of_second = (fisher_mean(np.array(found), sizes) for found in correlations)
    return of_first - of_second


def _features(predicted: FloatArray, human: FloatArray) -> FloatArray:
    """What is summed over pairs, shape (3, studies, pairs)."""
    return np.stack([predicted, predicted**2, predicted * human])


def _standardise(x: FloatArray) -> FloatArray:
    """To mean 0 and variance 1 in each row; a constant row becomes 0."""
    centred = x - x.mean(axis=1, keepdims=True)
    varies = np.ptp(x, axis=1, keepdims=True) > 0
    result: FloatArray = np.where(varies, centred, 0) / np.where(varies, x.std(axis=1, keepdims=True), 1)
    return result
