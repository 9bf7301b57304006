"""What an objective makes of a model's outputs: losses to train with, rewards and preferences to predict with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives.distributions import log_atom_preference, log_expected_sigmoid
from dissensus.reward.objectives.losses import center_penalty, check_same_shape, cross_entropy, in_float32, pair_losses


@dataclass(frozen=True)
class ObjectiveFunction(ABC):
    """An objective as functions of outputs of shape (texts, outputs) or, for pairs, two of (pairs, outputs).

    Raises ValueError for outputs of another shape.
    """

    outputs: int
    """Outputs of the model for one text."""
    center: float = 0.0
    """Weight of the centre regulariser on the rewards (on their means, where they are distributions)."""
    middle: ClassVar[float] = 0.0
    """Where the centre regulariser draws rewards to."""

    def losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        """Return the loss of each pair, centre regulariser included; target, margin and result of shape (pairs,)."""
        a, b = self._as_pairs(a, b)
        losses = self._losses(a, b, in_float32(target), in_float32(margin))
        if self.center:
            losses = losses + self.center * center_penalty(self.reward(a), self.reward(b), middle=self.middle)
        return losses

    def preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the probability that response a is preferred, shape (pairs,)."""
        return torch.sigmoid(self.logit(a, b))

    @abstractmethod
    def logit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-odds that response a is preferred, shape (pairs,); the reward gap of scalar rewards."""

    @abstractmethod
    def reward(self, outputs: Tensor) -> Tensor:
        """Return the reward of each text, shape (texts,): the mean where it is a distribution."""

    def variance(self, outputs: Tensor) -> Tensor | None:
        """Return the variance of each text's reward, shape (texts,); None where a reward is a number."""
        self._in_shape(outputs)
        return None

    @abstractmethod
    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor: ...

    def _as_pairs(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        if len(a) != len(b):
            raise ValueError(f"expected outputs of as many a as b, found {len(a)} and {len(b)}")
        return self._in_shape(a), self._in_shape(b)

    def _in_shape(self, outputs: Tensor) -> Tensor:
        if outputs.ndim != 2 or outputs.shape[1] != self.outputs:
            raise ValueError(f"expected outputs of shape (texts, {self.outputs}), found {tuple(outputs.shape)}")
        return in_float32(outputs)


@dataclass(frozen=True)
class ScalarReward(ObjectiveFunction):
    """One output: bradley-terry, margin, soft and blend, which differ in target and margin alone, and scaled."""

    scaled: bool = False
    """The margin is a factor on the pair's loss instead of a term in it."""

    def logit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the reward gap, shape (pairs,)."""
        a, b = self._as_pairs(a, b)
        return self.reward(a) - self.reward(b)

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the output as it is, shape (texts,)."""
        return self._in_shape(outputs)[:, 0]

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        gap = self.logit(a, b)
        if not self.scaled:
            return pair_losses(gap, target, margin)
        check_same_shape(gap=gap, margin=margin)
        return margin * pair_losses(gap, target, torch.zeros_like(gap))


class DistributedReward(ObjectiveFunction):
    """A reward that is a distribution; its loss is the cross-entropy of its preference, and takes no margin."""

    @abstractmethod
    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-probability that response a is preferred, shape (pairs,)."""

    def logit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-odds that response a is preferred, shape (pairs,)."""
        return self.log_preference(a, b) - self.log_preference(b, a)

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        return cross_entropy(self.log_preference(a, b), self.log_preference(b, a), target)


@dataclass(frozen=True)
class MeanVariance(DistributedReward):
    """A normal distribution: the outputs are its mean and, through softplus, its variance.

    Raters differ in what they reward, by the variance, and choose with Bradley-Terry's noise on top.
    """

    outputs: int = 2

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return log E sigma(reward_a - reward_b), shape (pairs,)."""
        a, b = self._as_pairs(a, b)
        return log_expected_sigmoid(self.reward(a) - self.reward(b), self.variance(a) + self.variance(b))

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the mean, shape (texts,)."""
        return self._in_shape(outputs)[:, 0]

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance, shape (texts,)."""
        return F.softplus(self._in_shape(outputs)[:, 1])


@dataclass(frozen=True)
class Categorical(DistributedReward):
    """A distribution over atoms, rewards evenly spaced from 0 to 1; the outputs are its logits.

    The centre regulariser draws means to 1/2: drawn to 0, all mass would end on the lowest atom.
    """

    middle: ClassVar[float] = 0.5

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-probability that the reward of a is higher, a tie counting half, shape (pairs,)."""
        return log_atom_preference(*self._as_pairs(a, b))

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the mean, shape (texts,)."""
        probability = torch.softmax(self._in_shape(outputs), dim=-1)
        return (probability * self._atoms(probability)).sum(dim=-1)

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance, shape (texts,)."""
        probability = torch.softmax(self._in_shape(outputs), dim=-1)
        mean = self.reward(outputs).unsqueeze(-1)
        return (probability * (self._atoms(probability) - mean) ** 2).sum(dim=-1)

    def _atoms(self, like: Tensor) -> Tensor:
        return torch.linspace(0, 1, self.outputs, dtype=like.dtype, device=like.device)


def objective_of(config: TrainConfig) -> ObjectiveFunction:
    """Return the functions of a config's objective."""
    if config.objective == "mean-variance":
        return MeanVariance(center=config.center)
    if config.objective == "categorical":
        return Categorical(outputs=config.atoms, center=config.center)
    return ScalarReward(outputs=1, center=config.center, scaled=config.objective == "scaled")
