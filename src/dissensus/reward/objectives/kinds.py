"""Objectives: of scalar rewards, which share one formula (``losses``; but ``brier``) and differ in target and
margin, and of rewards that are distributions, whose loss is the cross-entropy of their preference."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from dissensus import records
from dissensus.records import Label
from dissensus.reward.objectives.objective import Evidence, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from dissensus.reward.config import TrainConfig


class BradleyTerry(Objective):
    """The label alone (paper, equation 1)."""

    about = (
        "Bradley-Terry: minus the log of the probability σ(r(chosen) − r(rejected)) that the chosen response wins, "
        "averaged over\npairs. Source: Bradley and Terry (1952), *Biometrika* 39."
    )

    def logit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the reward gap, shape (pairs,)."""
        a, b = self._as_pairs(a, b)
        return self.reward(a) - self.reward(b)

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the output as it is, shape (texts,)."""
        return self._in_shape(outputs)[:, 0]

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        from dissensus.reward.objectives.losses import pair_losses

        return pair_losses(self.logit(a, b), target, margin)


class Margin(BradleyTerry):
    """The label, by a margin (paper, equation 4; Touvron et al., 2023, *Llama 2*, arXiv:2307.09288, equation 2).

    A signed margin is negative where the judges go against the label.
    """

    about = (
        "Bradley-Terry with a margin m for each pair: −log σ(r(chosen) − r(rejected) − m), averaged over pairs. The "
        "reward gap is\nasked to exceed the margin, which is large where judgments agree. Sources: Padmakumar et al. "
        "(2024),\n*Beyond the Binary*, equation 4; Touvron et al. (2023), *Llama 2*, arXiv:2307.09288."
    )
    caveat = "The margin objective has no finite optimum: its gaps order pairs, and are not log-odds of a preference."
    loss_settings = ("margin_sign", "margin_scale")
    reads = "margin"

    @property
    def needs_preference(self) -> str | None:
        """An unsigned margin without a preference has no side, so there is no sign to give it."""
        return "margin_sign 'signed'" if self.config.margin_sign == "signed" else None

    def margin(self, margin: records.Margin, label: Label | None) -> float:
        """Return the margin, negative where it is signed and the judgments are against the label."""
        signed = self.config.margin_sign == "signed" and label in ("a", "b")
        return self.config.margin_scale * (margin.signed("a" if label == "a" else "b") if signed else margin.margin)


class Soft(BradleyTerry):
    """The judgments' preference alone (Christiano et al., 2017, arXiv:1706.03741, section 2.2.3).

    Its optimum is the gap logit(preference), so unlike that of the margin it calibrates as well as orders.
    """

    about = (
        "Cross-entropy between σ(r(a) − r(b)) and the fraction p of judgments that prefer response a; its optimum is "
        "the gap\nlog(p / (1 − p)). Source: Christiano et al. (2017), arXiv:1706.03741."
    )
    label = "none"
    label_weight = 0.0
    reads = "preference"


class Blend(BradleyTerry):
    """Label and judgments' preference, weighed together (Reed et al., 2015, arXiv:1412.6596, with judgments for the
    model's own opinion)."""

    about = (
        "Cross-entropy between σ(r(a) − r(b)) and a target that weighs the pair's own label by {label_weight:.6g} and"
        "\nthe judgments' preference by {rest:.6g}. Source: Reed et al. (2015), arXiv:1412.6596."
    )
    loss_settings = ("label_weight",)
    label = "any"
    reads: Evidence | None = "preference"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.label_weight = config.label_weight


class Brier(Blend):
    """The target of ``blend`` under the Brier score; with ``label_weight`` 1 the label alone, without margins."""

    about = (
        "Brier score, (σ(r(a) − r(b)) − t)² averaged over pairs, with a target t that weighs the pair's own label by "
        "{label_weight:.6g}\nand the judgments' preference by {rest:.6g}. Sources: Brier (1950), *Monthly Weather "
        "Review* 78; as an objective for\npreferences of people, arXiv:2510.00263."
    )
    without_margins = ", or train on the labels alone (label_weight 1)"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.reads = None if self.label_weight == 1 else "preference"

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        from dissensus.reward.objectives.losses import brier

        return brier(self.logit(a, b), target)


class DistributedReward(Objective):
    """A reward that is a distribution; towards the label, or with ``soft_targets`` towards the target of ``blend``."""

    is_distributed: ClassVar[bool] = True
    loss_settings: tuple[str, ...] = ("soft_targets", "label_weight")

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.soft_targets:
            self.label, self.reads, self.label_weight = "any", "preference", config.label_weight
        else:
            self.loss_settings = tuple(name for name in self.loss_settings if name != "label_weight")

    def description(self) -> str:
        """Describe the loss, and its target where that is no label."""
        if not self.config.soft_targets:
            return super().description()
        weight = self.label_weight
        target = f"The target of a pair weighs its own label by {weight:.6g} and the judgments' preference by"
        return f"{super().description()}\n\n{target}\n{1 - weight:.6g}."

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

    Raters differ in what they reward, by the variance, and choose with Bradley-Terry's noise on top. Pairs do not tell
    the two apart: of a gap d and a variance v of both rewards together, preferences show little but d / sqrt(1 + pi v /
    8) (MacKay, 1992, *Neural Computation* 4), so that any change of scale of d with its v explains them as well.
    """

    about = (
        "The reward of a text is a normal distribution, whose mean and (through softplus) variance are the two "
        "outputs. The loss\nis minus the log of the expected σ(r(a) − r(b)). Sources: Siththaranjan et al. (2024), "
        "arXiv:2312.08358; Sun et al.\n(2025), arXiv:2503.22480."
    )
    caveat = (
        "Means and variances are not identified from pairs (arXiv:2605.11865). A preference shows the reward gap over "
        "√(1 + πv/8), v\nbeing the two variances together, and little else: a small gap between sure rewards and a "
        "large one between unsure\nrewards come to the same. Read the preference; a variance says nothing of how far "
        "people disagree about a text."
    )
    outputs = 2
    reward_code = "reward, variance = outputs[0].item(), torch.nn.functional.softplus(outputs[1]).item()"

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return log E sigma(reward_a - reward_b), shape (pairs,)."""
        from dissensus.reward.objectives.losses import log_expected_sigmoid

        a, b = self._as_pairs(a, b)
        return log_expected_sigmoid(self.reward(a) - self.reward(b), self.variance(a) + self.variance(b))

    def reward(self, outputs: Tensor) -> Tensor:
        """Return the mean, shape (texts,)."""
        return self._in_shape(outputs)[:, 0]

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance, shape (texts,)."""
        from torch.nn.functional import softplus

        return softplus(self._in_shape(outputs)[:, 1])
