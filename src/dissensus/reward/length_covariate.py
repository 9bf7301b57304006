"""The length covariate: the reward of a response is r(text) + slope * log(its length), r being the model's.

People and judges like longer responses, in one data set more than in another, and a model of texts learns that badly:
it sees tokens, and where a window cuts them not even all. So length has a term of its own, as in length-controlled win
rates (Dubois et al., 2024, arXiv:2404.04475), which is seen, and can be left out of a prediction. The slope is fitted
before the model, to the targets that it is trained on, and stands in its loss as a fixed part of each pair's gap: what
the model learns is what length does not say. A reward model that is trained further says something of length already,
so there the slope is fitted beside it. On held-out labels both are fitted once more, as log-odds
scale * (r_a - r_b) + slope * (log length_a - log length_b): a model that is too sure leaves length too little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from dissensus.messages import log_length
from dissensus.records import Pair
from dissensus.reward.objectives.targets import Targets
from dissensus.stats.slope import STEEPEST, fit_slope

FloatArray = NDArray[np.float64]

_LOG_SD = 1.0
"""Of the prior on the logarithm of the scale, around no change, as of a temperature that is fitted on few labels."""
_LEAST_PRECISION = 0.01
"""Of the prior on the slope, where training pairs say nothing of it."""
_CHANGE_PRECISION = 1.0
"""Of the prior on how much more, or less, length says than in the reward of a model that is trained further."""


def log_lengths(pairs: Sequence[Pair]) -> FloatArray:
    """Return the logarithm of the length of each pair's two responses, shape (pairs, 2)."""
    found = [[log_length(pair.response_a), log_length(pair.response_b)] for pair in pairs]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def log_ratios(pairs: Sequence[Pair]) -> FloatArray:
    """Return log length of response a minus that of response b, shape (pairs,)."""
    lengths = log_lengths(pairs)
    ratio: FloatArray = lengths[:, 0] - lengths[:, 1]
    return ratio


@dataclass(frozen=True)
class LengthSlope:
    """A slope, and how surely it is known."""

    value: float
    precision: float
    """One over the variance of the estimate: the information on it in the pairs."""

    @classmethod
    def fit(cls, targets: Targets) -> LengthSlope:
        """Fit to what a model is trained on, by maximum likelihood."""
        ratio, target = log_ratios(targets.pairs), targets.target.astype(np.float64)
        slope = fit_slope(ratio, target, np.ones_like(ratio))
        sure = expit(slope * ratio)
        return cls(slope, float((sure * (1 - sure) * ratio**2).sum()))

    @classmethod
    def fit_beside(cls, gap: FloatArray, slope: float, targets: Targets) -> LengthSlope:
        """Fit to what a reward model is trained further on, beside what it says already.

        ``gap``, shape (pairs,), is the model's without length, ``slope`` that of the length in its reward (0 where it
        has none of its own). The log-odds scale * (gap + slope * ratio) + change * ratio are fitted to the targets,
        since a model may be too sure of pairs that it has not seen. Where length says what it said before, the change
        is 0; few pairs change little (a normal prior with a standard deviation of 1).
        """
        if not gap.any():
            return cls.fit(targets)
        ratio, target = log_ratios(targets.pairs), targets.target.astype(np.float64)
        prior = cls(0.0, _CHANGE_PRECISION)
        scale, change = _scale_and_slope(gap + slope * ratio, ratio, target, np.ones_like(ratio), prior)
        found = scale * slope + change
        sure = expit(scale * gap + found * ratio)
        own, length = scale * gap, sure * (1 - sure) * ratio
        shared = (length * own).sum() ** 2 / ((sure * (1 - sure) * own**2).sum() + _LOG_SD**-2)
        return cls(found, float((length * ratio).sum() - shared))

    def added(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Return what length adds to each pair's reward gap, shape (pairs,)."""
        return (self.value * log_ratios(pairs)).astype(np.float32)

    def corrected(self, gap: FloatArray, ratio: FloatArray, preference: FloatArray, weight: FloatArray) -> float:
        """Return the slope per unit of the model's reward that held-out preferences ask for.

        The log-odds scale * gap + slope * ratio are fitted by maximum likelihood under a prior, the slope in log-odds
        being what it was in training with the precision that it had there: a few held-out pairs say little of it, and
        a model that learnt nothing leaves it as it was. ``gap`` is the model's, without length; all of shape (pairs,).
        A temperature that is fitted afterwards to gap + result * ratio finds the scale again.
        """
        if not gap.any() or not ratio.any():
            return self.value
        prior = LengthSlope(self.value, max(self.precision, _LEAST_PRECISION))
        scale, slope = _scale_and_slope(gap, ratio, preference, weight, prior)
        return slope / scale


def _scale_and_slope(
    gap: FloatArray, ratio: FloatArray, preference: FloatArray, weight: FloatArray, prior: LengthSlope
) -> tuple[float, float]:
    """Fit the log-odds scale * gap + slope * ratio under priors, on the scale one that draws it to 1."""
    mean, precision = np.array([0.0, prior.value]), np.array([_LOG_SD**-2, prior.precision])

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        log_scale, slope = parameters
        scaled, change = np.exp(log_scale) * gap, parameters - mean
        z = scaled + slope * ratio
        residual = weight * (expit(z) - preference)
        nll = weight @ (np.logaddexp(0, z) - preference * z) + precision @ change**2 / 2
        return float(nll), np.array([residual @ scaled, residual @ ratio]) + precision * change

    bounds = [(-10.0, 10.0), (-STEEPEST, STEEPEST)]
    log_scale, slope = minimize(loss, mean, jac=True, bounds=bounds, options={"ftol": 0, "gtol": 1e-10}).x
    return float(np.exp(log_scale)), float(slope)


def no_covariate(name: str = "") -> str:
    """Say what to do with a model, of this name, whose length is to be left out and adds nothing."""
    what = f"model '{name}'" if name else "this model"
    return f"{what} has no length covariate to leave out; predict without --debias (debias), or train with one"
