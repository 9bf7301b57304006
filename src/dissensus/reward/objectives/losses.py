"""Losses: pure functions in float32 (float64 stays), with shapes checked.

Those of scalar rewards are one formula. With the reward gap d = r_a - r_b, a target t (1 if response a is preferred, 0
if b, or a fraction between) and a margin m, the loss of a pair is

    t * -log sigma(d - m)  +  (1 - t) * -log sigma(-d - m)

Bradley-Terry (1952, Biometrika 39; equation 1 of *Beyond the Binary*, Padmakumar et al., 2024) has t in {0, 1} and
m = 0. Where rewards are distributions, sigma(d) is replaced by how probable it is that response a is preferred: a
log-probability throughout, so that gradients survive however far two rewards are apart, and without matrix products,
which autocast would make half as precise.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_SWITCH = 2.0
"""Deviation above which we integrate over the noise of the choice, which is then the narrower; either error is below
2e-7 there. 32 Gauss-Hermite nodes alone would be off by 0.001 at a deviation of 5 and by 0.05 at 30, and flat between
nodes."""

_LEAST_VARIANCE = 1e-8
"""Below this the variance changes no preference by more than 1e-9, and its gradient would be rounding."""


def pair_losses(gap: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """Return the loss of each pair; all of shape (pairs,).

    Raises ValueError when the shapes differ: broadcasting (pairs,) against (pairs, 1) would average every
    margin over every pair without a word.
    """
    check_same_shape(gap=gap, target=target, margin=margin)
    gap, target, margin = in_float32(gap), in_float32(target), in_float32(margin)
    return cross_entropy(F.logsigmoid(gap - margin), F.logsigmoid(-gap - margin), target)


def cross_entropy(log_a: Tensor, log_b: Tensor, target: Tensor) -> Tensor:
    """Return -(t log P(a) + (1 - t) log P(b)) for each pair; all of shape (pairs,)."""
    check_same_shape(log_a=log_a, log_b=log_b, target=target)
    return -(target * log_a + (1 - target) * log_b)


def brier(gap: Tensor, target: Tensor) -> Tensor:
    """Return the Brier score (sigma(gap) - target)^2 of each pair; both of shape (pairs,).

    Its optimum is the gap logit(target), as that of the cross-entropy. Its gradient is never above 8/27, and vanishes
    for a pair that the model is sure of: a single wrong label pulls little. Source: Brier (1950), *Monthly Weather
    Review* 78.
    """
    check_same_shape(gap=gap, target=target)
    return (torch.sigmoid(in_float32(gap)) - in_float32(target)) ** 2


def center_penalty(reward_a: Tensor, reward_b: Tensor) -> Tensor:
    """Return (reward_a + reward_b)^2 of each pair; all of shape (pairs,).

    Preferences leave a constant of the rewards free; this fixes it. Source: Eisenstein et al. (2023), *Helping or
    Herding?*, arXiv:2312.09244.
    """
    check_same_shape(reward_a=reward_a, reward_b=reward_b)
    return (in_float32(reward_a) + in_float32(reward_b)) ** 2


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


def in_float32(tensor: Tensor) -> Tensor:
    """Widen half precision (and integers) to float32; float64 stays as it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all have one shape (pairs,)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected one shape (pairs,) for all, found {found}")


@cache
def _gauss_hermite(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    return _constants(nodes, weights, dtype, device)


@cache
def _logistic_nodes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Trapezoid rule, which for an analytic density on the whole line converges exponentially."""
    nodes = np.arange(-40.0, 41.0)
    return _constants(nodes, 1 / (2 * np.cosh(nodes / 2)) ** 2, dtype, device)


def _constants(
    nodes: NDArray[np.float64], weights: NDArray[np.float64], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return nodes and the logarithms of their weights, which add up to 1."""
    logs = np.log(weights / weights.sum())
    # Made once, so that no step waits for a copy; a tensor made in inference mode could never be trained through.
    with torch.inference_mode(mode=False):
        return torch.tensor(nodes, dtype=dtype, device=device), torch.tensor(logs, dtype=dtype, device=device)
