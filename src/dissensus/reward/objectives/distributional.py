"""Objectives of rewards that are distributions. The loss is the cross-entropy of their preference."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from dissensus.reward.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from dissensus.reward.config import TrainConfig


class DistributedReward(Objective):
    """A reward that is a distribution; towards the label, or with ``soft_targets`` towards the target of ``blend``."""

    loss_settings: tuple[str, ...] = ("soft_targets", "label_weight")

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.soft_targets:
            self.label, self.reads = "any", "preference"
        else:
            self.loss_settings = tuple(name for name in self.loss_settings if name != "label_weight")

    @property
    def label_weight(self) -> float:
        """That of the settings, with ``soft_targets``."""
        return self.config.label_weight if self.config.soft_targets else 1.0

    def description(self) -> str:
        """Describe the loss, and its target where that is no label."""
        weight = self.config.label_weight
        target = (
            f"\n\nThe target of a pair weighs its own label by {weight:.6g} and the judgments' preference by\n"
            f"{1 - weight:.6g}."
        )
        return super().description() + (target if self.config.soft_targets else "")

    @abstractmethod
    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-probability that response a is preferred, shape (pairs,)."""

    def logit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-odds that response a is preferred, shape (pairs,)."""
        return self.log_preference(a, b) - self.log_preference(b, a)

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        from dissensus.reward.objectives.losses import cross_entropy

        return cross_entropy(self.log_preference(a, b), self.log_preference(b, a), target)


class MeanVariance(DistributedReward):
    """A normal distribution: the outputs are its mean and, through softplus, its variance.

    Raters differ in what they reward, by the variance, and choose with Bradley-Terry's noise on top.
    """

    about = (
        "The reward of a text is a normal distribution, whose mean and (through softplus) variance are the two "
        "outputs. The loss\nis minus the log of the expected σ(r(a) − r(b)). Sources: Siththaranjan et al. (2024), "
        "arXiv:2312.08358; Sun et al.\n(2025), arXiv:2503.22480."
    )
    reward_code = "reward, variance = outputs[0].item(), torch.nn.functional.softplus(outputs[1]).item()"

    @property
    def outputs(self) -> int:
        """Mean and variance."""
        return 2

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return log E sigma(reward_a - reward_b), shape (pairs,)."""
        from dissensus.reward.objectives.distributions import log_expected_sigmoid

        a, b = self._as_pairs(a, b)
        return log_expected_sigmoid(self.reward(a) - self.reward(b), self.variance(a) + self.variance(b))

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the mean, shape (texts,)."""
        return self._in_shape(outputs)[:, 0]

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance, shape (texts,)."""
        from torch.nn.functional import softplus

        return softplus(self._in_shape(outputs)[:, 1])


class Categorical(DistributedReward):
    """A distribution over atoms, rewards evenly spaced from 0 to 1; the outputs are its logits.

    The centre regulariser draws means to 1/2: drawn to 0, all mass would end on the lowest atom.
    """

    about = (
        "The reward of a text is a distribution over {atoms} values evenly spaced from 0 to 1, whose logits are the\n"
        "outputs. The loss is minus the log of the probability that the preferred response has the higher reward, a "
        "tie counting\none half. Source: Siththaranjan et al. (2024), arXiv:2312.08358."
    )
    reward_code = "reward = (outputs.softmax(dim=0) * torch.linspace(0, 1, len(outputs))).sum().item()"
    loss_settings: tuple[str, ...] = (*DistributedReward.loss_settings, "atoms")
    middle: ClassVar[float] = 0.5

    @property
    def outputs(self) -> int:
        """One for each atom."""
        return self.config.atoms

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-probability that the reward of a is higher, a tie counting half, shape (pairs,)."""
        from dissensus.reward.objectives.distributions import log_atom_preference

        return log_atom_preference(*self._as_pairs(a, b))

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the mean, shape (texts,)."""
        probability, atoms = self._atoms(outputs)
        return (probability * atoms).sum(dim=-1)

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance, shape (texts,)."""
        probability, atoms = self._atoms(outputs)
        return (probability * (atoms - self.reward(outputs).unsqueeze(-1)) ** 2).sum(dim=-1)

    def _atoms(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of each atom, shape (texts, atoms), and the atoms' rewards, shape (atoms,)."""
        from torch import linspace

        probability = self._in_shape(outputs).softmax(dim=-1)
        return probability, linspace(0, 1, self.outputs, dtype=probability.dtype, device=probability.device)
