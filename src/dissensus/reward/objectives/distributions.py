"""Rewards that are distributions: how probable it is that one response is preferred to the other.

Everything is a log-probability, so that gradients survive however far two rewards are apart; computed in float32
(float64 stays), without matrix products, which autocast would make half as precise.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dissensus.reward.objectives.losses import check_same_shape, in_float32

_SWITCH = 2.0
"""Deviation above which we integrate over the noise of the choice, which is then the narrower; either error is below
2e-7 there. 32 Gauss-Hermite nodes alone would be off by 0.001 at a deviation of 5 and by 0.05 at 30, and flat between
nodes."""

_LEAST_VARIANCE = 1e-8
"""Below this the variance changes no preference by more than 1e-9, and its gradient would be rounding."""


def log_expected_sigmoid(mean: Tensor, variance: Tensor) -> Tensor:
    """Return log E sigma(z) with z ~ N(mean, variance), elementwise; both of shape (pairs,).

    This is the likelihood of PURM (Sun et al., 2025, *Probabilistic Uncertain Reward Model*, arXiv:2503.22480), who
    estimate it by sampling; we integrate. z minus logistic noise must be positive: of the two noises the narrower one
    is integrated numerically and the wider one has a closed form (sigma or the normal distribution function). The
    error is below 2e-7 in probability for every mean and variance, and relative in the tails, and no variance at all
    gives log sigma(mean), Bradley-Terry.

    Distributional preference learning (Siththaranjan et al., 2024, arXiv:2312.08358) has no logistic noise: its
    preference is the probit Phi(mean / deviation), so that two sure rewards leave no doubt however near they are.
    """
    check_same_shape(mean=mean, variance=variance)
    mean, variance = in_float32(mean), in_float32(variance)
    deviation = variance.clamp_min(_LEAST_VARIANCE).sqrt()
    # Each side is kept where it is finite, so that the one not chosen has a gradient of 0 and not of NaN.
    narrow = _integrate_over_rewards(mean, deviation.clamp_max(_SWITCH))
    wide = _integrate_over_choice(mean, deviation.clamp_min(_SWITCH))
    return torch.where(deviation < _SWITCH, narrow, wide)


def log_atom_preference(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    """Return log sum_ij p_i q_j ([i > j] + [i = j] / 2), p and q the softmax of logits of shape (pairs, atoms).

    The probability that an atom drawn from p is above one drawn from q, a tie counting half; shape (pairs,). In
    log-space and in time linear in the atoms. Source: the categorical model of Siththaranjan et al. (2024),
    arXiv:2312.08358, without the entropy term that their code adds to the loss.
    """
    log_p, log_q = (F.log_softmax(in_float32(logits), dim=-1) for logits in (logits_a, logits_b))
    below_or_equal = torch.logcumsumexp(log_q, dim=-1)
    below = below_or_equal[:, :-1]
    # Half a tie: the mean of what is below and what is below or equal; nothing is below the first atom.
    first = below_or_equal[:, :1]
    beaten = torch.cat([first, torch.logaddexp(below, below_or_equal[:, 1:])], dim=-1) - math.log(2)
    return torch.logsumexp(log_p + beaten, dim=-1)


def _integrate_over_rewards(mean: Tensor, deviation: Tensor) -> Tensor:
    """Integrate sigma(mean + deviation * x) over a standard normal x; precise for deviations up to about 2."""
    nodes, log_weights = _gauss_hermite(mean.dtype, mean.device)
    z = mean.unsqueeze(-1) + deviation.unsqueeze(-1) * nodes
    return torch.logsumexp(log_weights + F.logsigmoid(z), dim=-1)


def _integrate_over_choice(mean: Tensor, deviation: Tensor) -> Tensor:
    """Integrate Phi((mean - l) / deviation) over a logistic l; precise for deviations from about 2.

    As sigma(z) = e^z sigma(-z), log E sigma(z) = mean + variance / 2 + log E sigma(z') with z' ~ N(-mean - variance,
    variance). This takes the far tail, where no fixed node lies, to where the nodes are.
    """
    nodes, log_weights = _logistic_nodes(mean.dtype, mean.device)
    variance = deviation**2
    in_tail = mean < -variance / 2
    offset = torch.where(in_tail, mean + variance / 2, torch.zeros_like(mean))
    mean = torch.where(in_tail, -mean - variance, mean)
    distance = (mean.unsqueeze(-1) - nodes) / deviation.unsqueeze(-1)
    return offset + torch.logsumexp(log_weights + torch.special.log_ndtr(distance), dim=-1)


@cache
def _gauss_hermite(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    return _constants(nodes, np.log(weights / weights.sum()), dtype, device)


@cache
def _logistic_nodes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Trapezoid rule, which for an analytic density on the whole line converges exponentially."""
    nodes = np.arange(-40.0, 41.0)
    density = 1 / (2 * np.cosh(nodes / 2)) ** 2
    return _constants(nodes, np.log(density / density.sum()), dtype, device)


def _constants(
    nodes: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    log_weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    # Made once, so that no step waits for a copy; a tensor made in inference mode could never be trained through.
    with torch.inference_mode(mode=False):
        return torch.tensor(nodes, dtype=dtype, device=device), torch.tensor(log_weights, dtype=dtype, device=device)
