"""The objectives: pure functions of rewards, in float32, with shapes checked.

All four are one formula. With the reward gap d = r_a - r_b, a target t (1 if response a is preferred, 0
if b, or a fraction between) and a margin m, the loss of a pair is

    t * -log sigma(d - m)  +  (1 - t) * -log sigma(-d - m)

Bradley-Terry has t in {0, 1} and m = 0; the margin objective t in {0, 1}; the soft ones m = 0.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pair_losses(gap: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """Return the loss of each pair; all of shape (pairs,), float32.

    Raises ValueError when the shapes differ: broadcasting (pairs,) against (pairs, 1) would average every
    margin over every pair without a word.
    """
    _check_same_shape(gap=gap, target=target, margin=margin)
    gap, target, margin = gap.float(), target.float(), margin.float()
    return -(target * F.logsigmoid(gap - margin) + (1 - target) * F.logsigmoid(-gap - margin))


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Mean of -log sigma(chosen - rejected); both of shape (pairs,). (Paper, eq. 1.)"""
    _check_same_shape(chosen=chosen, rejected=rejected)
    return -F.logsigmoid(chosen.float() - rejected.float()).mean()


def margin_loss(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
    """Mean of -log sigma(chosen - rejected - margin); all of shape (pairs,). (Paper, eq. 4.)"""
    _check_same_shape(chosen=chosen, rejected=rejected, margin=margin)
    return -F.logsigmoid(chosen.float() - rejected.float() - margin.float()).mean()


def soft_loss(reward_a: Tensor, reward_b: Tensor, preference: Tensor) -> Tensor:
    """Mean cross-entropy between sigma(reward_a - reward_b) and a preference in [0, 1]; all of shape (pairs,).

    Its optimum is the gap logit(preference), so unlike equation 4 it calibrates as well as orders.
    """
    _check_same_shape(reward_a=reward_a, reward_b=reward_b, preference=preference)
    gap = reward_a.float() - reward_b.float()
    return F.binary_cross_entropy_with_logits(gap, preference.float())


def _check_same_shape(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected one shape (pairs,) for all, found {found}")
