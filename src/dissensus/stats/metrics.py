"""Metrics of how closely predicted preferences follow those of people.

Every metric is ``f(predicted, human, weights=None)``: preferences from 0 to 1 of shape (n,), and non-negative counts of
shape (..., n), as a bootstrap draws them (weight k: the pair is there k times). The result has shape (...), NaN where
there is no answer (a constant input, no pair left).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.stats.weighted import FloatArray as FloatArray
from dissensus.stats.weighted import Weights, divide, prepare

Function = Callable[..., FloatArray]

# A variance below this share of the second moment is rounding: the input is constant.
_CONSTANT = 1e-12
_NEARLY_ONE = 1 - 1e-12

FEWEST_IN_STRATUM = 10
"""Pairs that a data set must have to count in :func:`pearson_within`."""

NLL_CLIP = 1e-6
"""Predictions are kept this far from 0 and 1 in :data:`nll`, so one pair costs 13.8 at most, not infinity."""


def pearson(predicted: FloatArray, human: FloatArray, weights: Weights = None) -> FloatArray:
    """Pearson's r, in the orientation of the data (see :func:`pearson_symmetric`); NaN where a side is constant.

    >>> round(float(pearson(np.array([0.1, 0.4, 0.9]), np.array([0.0, 0.5, 1.0]))), 3)
    0.99
    """
    p, h, w = prepare(predicted, human, weights)
    if p.size:
        p, h = p - p.mean(), h - h.mean()
    return correlation_of_sums(w.sum(axis=-1), w @ p, w @ h, w @ (p * p), w @ (h * h), w @ (p * h))


def pearson_symmetric(predicted: FloatArray, human: FloatArray, weights: Weights = None) -> FloatArray:
    """Pearson's r with each pair entered both ways, as (p, h) and as (1 - p, 1 - h): the correlation about 1/2.

    It does not depend on which response is called a. NaN where either side is 1/2 throughout.
    """
    p, h, w = prepare(predicted, human, weights)
    p, h = p - 0.5, h - 0.5
    return divide(w @ (p * h), np.sqrt(w @ (p * p)) * np.sqrt(w @ (h * h)))


def spearman(predicted: FloatArray, human: FloatArray, weights: Weights = None) -> FloatArray:
    """Spearman's rank correlation with mid-ranks for ties; NaN where either side is constant."""
    p, h, w = prepare(predicted, human, weights)
    ranks_p, ranks_h = _mid_ranks(p, w), _mid_ranks(h, w)
    # The mean rank is (W + 1) / 2 whatever the ties.
    centre = (w.sum(axis=-1, keepdims=True) + 1) / 2
    ranks_p -= centre
    ranks_h -= centre
    weighted = w * ranks_h
    covariance = np.einsum("...n,...n->...", weighted, ranks_p)
    variance_h = np.einsum("...n,...n->...", weighted, ranks_h)
    variance_p = np.einsum("...n,...n,...n->...", w, ranks_p, ranks_p)
    return divide(covariance, np.sqrt(variance_p) * np.sqrt(variance_h))


@dataclass(frozen=True)
class PairMean:
    """A metric that is a mean over pairs, called like every other; NaN where no pair counts.

    Two sums over prompts give it for any resample or swap of whole prompts.
    """

    of_pair: Callable[[FloatArray, FloatArray], FloatArray]
    """What each pair adds, shape (n,), from predicted and human; 0 for one that does not count."""
    counted: Callable[[FloatArray], NDArray[np.bool_]] | None = None
    """Which pairs the mean is over, shape (n,), from human; all unless given."""
    discrete: bool = False
    """Whether it takes few values, so that many swaps equal what was observed."""

    def __call__(self, predicted: FloatArray, human: FloatArray, weights: Weights = None) -> FloatArray:
        """Compute it for weights of shape (..., n); returns shape (...)."""
        p, h, w = prepare(predicted, human, weights)
        return divide(w @ self.of_pair(p, h), w.sum(axis=-1) if self.counted is None else w @ self.counted(h))


def _vote_loss(predicted: FloatArray, human: FloatArray) -> FloatArray:
    p = np.clip(predicted, NLL_CLIP, 1 - NLL_CLIP)
    loss: FloatArray = -(human * np.log(p) + (1 - human) * np.log1p(-p))
    return loss


def _winner_credit(predicted: FloatArray, human: FloatArray) -> FloatArray:
    right = np.where(predicted == 0.5, 0.5, (predicted > 0.5) == (human > 0.5))
    return np.where(human == 0.5, 0.0, right)


mean_absolute_error = PairMean(lambda predicted, human: np.abs(predicted - human))
"""L1 between preferences: mean |p - h|. Orientation does not matter."""

brier = PairMean(lambda predicted, human: (predicted - human) ** 2)
"""Brier score against the fraction of people: mean (p - h)^2."""

nll = PairMean(_vote_loss)
"""Negative log-likelihood of a vote in nats, mean -(h log p + (1 - h) log(1 - p)), of predictions clipped to
[NLL_CLIP, 1 - NLL_CLIP]. Against soft targets the least value is their mean entropy, not zero."""

accuracy = PairMean(_winner_credit, lambda human: human != 0.5, discrete=True)
"""Share of pairs on which the model names the majority's winner. Pairs that split people evenly have no winner and are
left out; a prediction of exactly 1/2 counts one half."""


def pearson_within(
    predicted: FloatArray, human: FloatArray, strata: NDArray[np.generic], weights: Weights = None
) -> FloatArray:
    """Mean of Pearson's r over strata (data sets), on Fisher's z scale: tanh(sum (n_d - 3) z_d / sum (n_d - 3)).

    Pooled r also rises when data sets merely differ in their means; this one does not. Strata of fewer than ten pairs,
    in which a resample easily has r = 1, and those where r is undefined are left out; NaN where none remains.
    ``strata`` has shape (n,).
    """
    p, h, w = prepare(predicted, human, weights)
    inside = large_strata(strata)
    r = np.array([pearson(p[m], h[m], w[..., m]) for m in inside]).reshape(len(inside), *w.shape[:-1])
    sizes = np.array([w[..., m].sum(axis=-1) for m in inside]).reshape(r.shape)
    return fisher_mean(r, sizes)


def large_strata(strata: NDArray[np.generic]) -> list[NDArray[np.bool_]]:
    """Find the pairs, shape (n,), of each stratum of `FEWEST_IN_STRATUM` pairs or more."""
    names, numbers, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    return [numbers.reshape(-1) == s for s in range(names.size) if sizes[s] >= FEWEST_IN_STRATUM]


def fisher_mean(r: FloatArray, sizes: FloatArray) -> FloatArray:
    """Average correlations of shape (strata, ...) by the numbers of pairs they rest on; see :func:`pearson_within`."""
    weights = np.where(np.isfinite(r), np.maximum(sizes - 3, 0), 0.0)
    # r = 1 has an infinite z, which no mean would come back from.
    z = np.arctanh(np.clip(np.where(np.isfinite(r), r, 0.0), -_NEARLY_ONE, _NEARLY_ONE))
    return np.tanh(divide((weights * z).sum(axis=0), weights.sum(axis=0)))


def correlation_of_sums(
    n: FloatArray, x: FloatArray, y: FloatArray, xx: FloatArray, yy: FloatArray, xy: FloatArray
) -> FloatArray:
    """Pearson's r from the weighted sums of 1, x, y, x^2, y^2 and xy, with x and y roughly centred for precision.

    NaN where either side is constant up to rounding.
    """
    mean_x, mean_y = divide(x, n), divide(y, n)
    second_x, second_y = divide(xx, n), divide(yy, n)
    variance_x = np.where(second_x - mean_x**2 > _CONSTANT * second_x, second_x - mean_x**2, 0)
    variance_y = np.where(second_y - mean_y**2 > _CONSTANT * second_y, second_y - mean_y**2, 0)
    covariance = divide(xy, n) - mean_x * mean_y
    return np.clip(divide(covariance, np.sqrt(variance_x) * np.sqrt(variance_y)), -1, 1)


def _mid_ranks(x: FloatArray, w: FloatArray) -> FloatArray:
    """Rank x, of shape (n,), in each resample w, of shape (..., n): the mean rank of the copies of a tied value."""
    if x.size == 0:
        return np.zeros(w.shape)
    values, inverse = np.unique(x, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(values.size))
    tied = np.add.reduceat(w[..., order], starts, axis=-1)
    ranks: FloatArray = np.cumsum(tied, axis=-1) - (tied - 1) / 2
    return np.take(ranks, inverse, axis=-1)
