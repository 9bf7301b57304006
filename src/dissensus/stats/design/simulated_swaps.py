"""The swap test of r of `permutation`, in many simulated studies at once: the test that an evaluation makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.metrics import FloatArray, correlation_of_sums, fisher_mean, large_strata
from dissensus.stats.resampling.clusters import FEWEST_CLUSTERS, find_clusters
from dissensus.stats.resampling.permutation import p_value, standardise
from dissensus.stats.resampling.training_seeds import NO_NOISE, find_seed_noise
from dissensus.stats.weighted import divide

IntArray = NDArray[np.int64]
_Mask = NDArray[np.bool_]

_SWAPS = 199
_LARGE = 5

_BLOCKS = 2000
"""More prompts than these are swapped by so many blocks of neighbours: as valid, and off by .2 points of power."""

_RESAMPLED_BLOCKS = 400
"""In the same way, what is resampled."""

_RESAMPLES = 200
"""Of the prompts, for a mean over resamples: an evaluation's thousands change no power by a point."""


def enough_swaps(alpha: float) -> int:
    """How many swaps meet a level exactly, so that few do nearly what an evaluation's thousands do: 199 or more.

    alpha (1 + swaps) is then a whole number, and 5 at least.
    """
    large = max(_LARGE, round(alpha * (1 + _SWAPS)))
    return int(np.ceil(large / alpha - 1e-6)) - 1


def swap_test(
    baseline: FloatArray,
    model: FloatArray,
    human: FloatArray,
    prompts: IntArray,
    data_sets: IntArray,
    rng: np.random.Generator,
    *,
    n_swaps: int = _SWAPS,
) -> FloatArray:
    """Test in each study whether two models differ in Pearson's r with people; two-sided p-values, shape (studies,).

    The test of `permutation`, of ``pearson_within`` where there are data sets of ten pairs or more beside each other,
    and of ``pearson`` elsewhere. Of several seeds, seed i is swapped with seed i, the difference is that of the mean r
    over the seeds, and the noise of the seeds counts (`dissensus.stats.resampling.training_seeds`). As an evaluation
    tests nothing of fewer than five prompts, the p-value is then 1.

    Args:
        baseline, model: shape (studies, pairs), or (seeds, studies, pairs).
        human: shape (studies, pairs).
        prompts, data_sets: of each pair, numbers of shape (pairs,) in ascending order.
        rng: draws the swaps, the same ones for all studies of a call.
        n_swaps: how many; `enough_swaps` for a level.
    """
    n_prompts = int(np.count_nonzero(np.diff(prompts, prepend=-1)))
    if n_prompts < FEWEST_CLUSTERS:
        return np.ones(human.shape[0])
    swapped = rng.integers(2, size=(min(n_prompts, _BLOCKS), n_swaps + 1), dtype=np.uint8).astype(np.float64)
    swapped[:, 0] = 0
    first, second = (x.reshape(-1, *human.shape) for x in (baseline, model))
    by_seed = (
        swapped_differences(*seed, human, prompts, data_sets, swapped) for seed in zip(first, second, strict=True)
    )
    found: FloatArray = sum(by_seed, np.zeros((human.shape[0], n_swaps + 1))) / len(first)
    noise = [NO_NOISE] * len(found)
    if len(first) > 1:
        blocks = _blocks(prompts, max(_RESAMPLED_BLOCKS, 20 * int(data_sets[-1] + 1)), data_sets)
        counts = _resample(blocks, data_sets, rng)
        sides = [_between_seeds(side, human, blocks, data_sets, counts) for side in (second, first)]
        noise = [find_seed_noise([(r[:, k], float(between[k])) for r, between in sides]) for k in range(len(found))]
    # An undefined difference shows nothing.
    tested = zip(found, noise, strict=True)
    return np.nan_to_num(
        [p_value(differences[0], differences[1:], of_seeds) for differences, of_seeds in tested], nan=1.0
    )


def swapped_differences(
    baseline: FloatArray,
    model: FloatArray,
    human: FloatArray,
    prompts: IntArray,
    data_sets: IntArray,
    swapped: FloatArray,
) -> FloatArray:
    """The model's r less the baseline's, shape (studies, swaps), for 0 or 1 of shape (prompts, swaps), or (blocks of
    prompts that follow one another, swaps).
    """
    parts, within = _parts(data_sets)
    blocks = _blocks(prompts, len(swapped))
    weight = 1 / np.sqrt(np.bincount(prompts)[prompts])
    first, second = (standardise(x, weight, parts) for x in (model, baseline))
    correlations: list[list[FloatArray]] = [[], []]
    for inside in parts:
        people = human[:, inside] - human[:, inside].mean(axis=1, keepdims=True)
        block = blocks[inside]
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        mine, theirs = (np.stack([x, x * x, x * people]) for x in (first[:, inside], second[:, inside]))
        moved = _by_prompt(mine - theirs, starts) @ swapped[block[starts]]
        n, yy = np.full(1, float(block.size)), (people**2).sum(axis=1, keepdims=True)
        for found, features, sign in ((correlations[0], mine, -1), (correlations[1], theirs, 1)):
            x, xx, xy = features.sum(axis=2, keepdims=True) + sign * moved
            found.append(correlation_of_sums(n, x, np.zeros(1), xx, yy, xy))
    if not within:
        return correlations[0][0] - correlations[1][0]
    sizes = np.array([float(inside.sum()) for inside in parts])[:, None, None]
    of_first, of_second = (fisher_mean(np.array(found), sizes) for found in correlations)
    return of_first - of_second


def _parts(data_sets: IntArray) -> tuple[list[_Mask], bool]:
    """The data sets within which r is found, as pairs of shape (pairs,), or else all pairs; and which of the two."""
    strata = large_strata(data_sets) if np.ptp(data_sets) > 0 else []
    return strata or [np.ones(data_sets.size, dtype=np.bool_)], bool(strata)


def _blocks(prompts: IntArray, most: int, data_sets: IntArray | None = None) -> IntArray:
    """Number prompts, or so many blocks of neighbours where they are more; kept apart by data set where it is given."""
    n_prompts = int(prompts[-1]) + 1
    if n_prompts <= most:
        return prompts
    blocks = prompts * most // n_prompts
    if data_sets is None:
        return blocks
    new = (np.diff(blocks, prepend=-1) > 0) | (np.diff(data_sets, prepend=-1) > 0)
    numbered: IntArray = np.cumsum(new) - 1
    return numbered


def _by_prompt(values: FloatArray, starts: IntArray) -> FloatArray:
    """Sum the last axis over prompts, given where each starts."""
    if starts.size == values.shape[-1]:
        return values
    sums: FloatArray = np.add.reduceat(values, starts, axis=-1)
    return sums


def _resample(prompts: IntArray, data_sets: IntArray, rng: np.random.Generator) -> FloatArray:
    """Draw prompts as an evaluation does, each how often, shape (prompts, 1 + resamples); the first is the sample.

    They are balanced (Davison, Hinkley and Schechtman, "Efficient bootstrap simulation", Biometrika 73, 1986): each
    prompt is there equally often in all resamples together, so that few do for a mean over them.
    """
    starts = np.flatnonzero(np.diff(prompts, prepend=-1))
    counts = np.ones((starts.size, 1 + _RESAMPLES))
    resample = np.arange(_RESAMPLES)
    for members in find_clusters(prompts[starts], data_sets[starts]).strata:
        drawn = rng.permutation(np.tile(np.arange(members.size), _RESAMPLES)).reshape(-1, members.size)
        cells = (drawn * _RESAMPLES + resample[:, None]).ravel()
        counts[members, 1:] = np.bincount(cells, minlength=members.size * _RESAMPLES).reshape(-1, _RESAMPLES)
    return counts


def _between_seeds(
    predicted: FloatArray, human: FloatArray, prompts: IntArray, data_sets: IntArray, counts: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The r of each seed, shape (seeds, studies), and their variance in resamples, its mean, shape (studies,); counts
    of shape (prompts, resamples) are as by `_resample`.
    """
    parts, within = _parts(data_sets)
    sizes: list[FloatArray] = []
    found: list[list[FloatArray]] = []
    for inside in parts:
        of_prompt = prompts[inside]
        starts = np.flatnonzero(np.diff(of_prompt, prepend=-1))
        weights = counts[of_prompt[starts]]
        y = _centre(human[:, inside])
        n, of_y, of_yy = (_by_prompt(part, starts) @ weights for part in (np.ones((1, y.shape[1])), y, y * y))
        sizes.append(n)
        found.append([])
        for seed in predicted:
            x = _centre(seed[:, inside])
            of_x, of_xx, of_xy = (_by_prompt(part, starts) @ weights for part in (x, x * x, x * y))
            found[-1].append(correlation_of_sums(n, of_x, of_y, of_xx, of_yy, of_xy))
    r = fisher_mean(np.array(found), np.array(sizes)[:, None]) if within else np.array(found[0])
    variance = r[..., 1:].var(axis=0, ddof=1)
    defined = np.isfinite(variance)
    return r[..., 0], divide(np.where(defined, variance, 0).sum(axis=1), defined.sum(axis=1))


def _centre(x: FloatArray) -> FloatArray:
    centred: FloatArray = x - x.mean(axis=1, keepdims=True)
    return centred
