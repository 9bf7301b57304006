"""Objectives of before, which train no more: what the outputs of their models mean, so that old folders still open."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dissensus.errors import TrainingError
from dissensus.reward.objectives.kinds import DistributedReward, Margin
from dissensus.reward.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from dissensus.reward.model_record import RetiredConfig


class Retired(Objective):
    """An objective that reads the models of before and trains none."""

    instead: ClassVar[str]
    """What to train with: the objective of the same evidence that did as well on real votes, or better."""

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        raise TrainingError(f"objective {refusal(self.name)}")


class Scaled(Retired, Margin):
    """The label, each pair weighing as much as its margin; the reward is a number."""

    about = (
        "Bradley-Terry in which each pair weighs as much as its margin m: −m log σ(r(chosen) − r(rejected)), averaged "
        "over pairs.\nSource: Wang et al. (2024), *HelpSteer2-Preference*, arXiv:2410.01257."
    )
    caveat = ""
    instead = "margin"


class Categorical(Retired, DistributedReward):
    """A distribution over atoms, rewards evenly spaced from 0 to 1; the outputs are its logits."""

    about = (
        "The reward of a text is a distribution over values evenly spaced from 0 to 1, whose logits are the outputs. "
        "The loss is\nminus the log of the probability that the preferred response has the higher reward, a tie "
        "counting one half. Source:\nSiththaranjan et al. (2024), arXiv:2312.08358."
    )
    reward_code = "reward = (outputs.softmax(dim=0) * torch.linspace(0, 1, len(outputs))).sum().item()"
    loss_settings: tuple[str, ...] = (*DistributedReward.loss_settings, "atoms")
    instead = "bradley-terry"

    def __init__(self, config: RetiredConfig) -> None:
        super().__init__(config)
        self.outputs = config.atoms

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-probability that the reward of a is higher, a tie counting half, shape (pairs,)."""
        log_p, log_q = (self._in_shape(outputs).log_softmax(dim=-1) for outputs in (a, b))
        up_to = log_q.logcumsumexp(dim=-1)
        beaten = up_to + (-(log_q - up_to).exp() / 2).log1p()  # an atom beats all below it, and itself by half
        return (log_p + beaten).logsumexp(dim=-1)

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the mean, shape (texts,)."""
        probability = self._in_shape(outputs).softmax(dim=-1)
        return (probability * self._atoms(outputs)).sum(dim=-1)

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance, shape (texts,)."""
        probability = self._in_shape(outputs).softmax(dim=-1)
        return (probability * (self._atoms(outputs) - self.reward(outputs)[:, None]) ** 2).sum(dim=-1)

    def _atoms(self, outputs: Tensor) -> Tensor:
        from torch import linspace

        return linspace(0, 1, self.outputs, dtype=self._in_shape(outputs).dtype, device=outputs.device)


RETIRED: dict[str, type[Retired]] = {"scaled": Scaled, "categorical": Categorical}


def refusal(name: str) -> str:
    """Say why nothing is trained with an objective of before, and what to take instead."""
    instead = RETIRED[name].instead
    return (
        f"'{name}' is no longer trained: measured on real votes it is no better than {instead}; "
        f"take {instead} instead (docs/when-it-helps.md)"
    )


def refuse_retired(name: object) -> object:
    """Raise ValueError for the name of an objective of before; anything else is returned."""
    if isinstance(name, str) and name in RETIRED:
        raise ValueError(refusal(name))
    return name
