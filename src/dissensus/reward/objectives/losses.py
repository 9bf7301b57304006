"""Losses on scalar rewards: pure functions in float32 (float64 stays), with shapes checked.

They are one formula. With the reward gap d = r_a - r_b, a target t (1 if response a is preferred, 0
if b, or a fraction between) and a margin m, the loss of a pair is

    t * -log sigma(d - m)  +  (1 - t) * -log sigma(-d - m)

Bradley-Terry (1952, Biometrika 39; equation 1 of *Beyond the Binary*, Padmakumar et al., 2024) has t in {0, 1} and
m = 0. Rewards that are distributions have their losses in ``distributions``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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


def center_penalty(reward_a: Tensor, reward_b: Tensor, *, middle: float = 0.0) -> Tensor:
    """Return (reward_a + reward_b)^2 of each pair, rewards counted from ``middle``; all of shape (pairs,).

    Preferences leave a constant of the rewards free; this fixes it. Source: Eisenstein et al. (2023), *Helping or
    Herding?*, arXiv:2312.09244.
    """
    check_same_shape(reward_a=reward_a, reward_b=reward_b)
    return (in_float32(reward_a) + in_float32(reward_b) - 2 * middle) ** 2


def in_float32(tensor: Tensor) -> Tensor:
    """Widen half precision (and integers) to float32; float64 stays as it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def check_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all have one shape (pairs,)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected one shape (pairs,) for all, found {found}")
