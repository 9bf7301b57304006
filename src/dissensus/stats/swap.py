"""The paired swap test of r in many simulated studies at once; `permutation` has that of every metric of one study."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.metrics import FloatArray

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

    Were they alike, it would not matter which model made which prediction: the models are exchanged prompt by prompt
    at random, and the p-value is the share of exchanges that make the difference at least as large. The difference is
    that of Fisher's z, averaged over data sets. The predictions must be on one scale, as those simulated here are: the
    test is then exact at any size. (Standardising each model first makes the order that was observed a special one,
    and rejects 9 in 100 equal models on six data sets of five pairs.)

    Args:
        baseline, model, human: shape (studies, pairs).
        prompts, data_sets: of each pair, numbers of shape (pairs,) in ascending order.
        rng: draws the exchanges, the same ones for all studies of a call.
    """
    observed: FloatArray = np.zeros(human.shape[0])
    exchanged: FloatArray = np.zeros((human.shape[0], _SWAPS))
    starts = np.flatnonzero(np.diff(data_sets, prepend=-1))
    for rows in np.split(np.arange(data_sets.size), starts[1:]):
        people = _standardise(human[:, rows])
        mine, theirs = _exchange(baseline[:, rows] - 0.5, model[:, rows] - 0.5, people, prompts[rows], rng)
        observed += mine
        exchanged += theirs
    as_large = np.abs(exchanged) >= np.abs(observed)[:, None] - 1e-12
    result: FloatArray = (1 + as_large.sum(axis=1)) / (1 + _SWAPS)
    return result


def _exchange(
    baseline: FloatArray, model: FloatArray, human: FloatArray, prompts: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The difference of Fisher's z as it is, shape (studies,), and after each exchange, (studies, exchanges).

    With the models' mean m and half difference d, an exchange of signs s makes them m + s d and m - s d, so all their
    moments follow from three sums with s, which one product of matrices gives for all exchanges and studies.
    """
    mean, half = (baseline + model) / 2, (model - baseline) / 2
    starts = np.flatnonzero(np.diff(prompts, prepend=-1))
    sums = np.concatenate([np.add.reduceat(x, starts, axis=1) for x in (half * human, half, mean * half)])
    signs = rng.choice([-1.0, 1.0], (starts.size, _SWAPS + 1))
    signs[:, 0] = 1
    with_human, alone, with_mean = np.split(sums @ signs, 3)
    fixed = [x.sum(axis=1, keepdims=True) for x in (mean * human, mean**2 + half**2, mean)]
    z = []
    for sign in (1, -1):
        variance = fixed[1] + 2 * sign * with_mean - (fixed[2] + sign * alone) ** 2 / human.shape[1]
        r = (fixed[0] + sign * with_human) / np.sqrt(np.maximum(variance, 1e-12) * human.shape[1])
        z.append(np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)))
    difference = z[0] - z[1]
    return difference[:, 0], difference[:, 1:]


def _standardise(x: FloatArray) -> FloatArray:
    """To mean 0 and variance 1 in each row; a constant row becomes 0."""
    centred = x - x.mean(axis=1, keepdims=True)
    sd = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    result: FloatArray = centred / np.where(sd > 1e-12, sd, 1)
    return result
