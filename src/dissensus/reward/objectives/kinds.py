"""Objectives: of scalar rewards, which share one formula (``losses``; but ``brier``) and differ in target, margin and
weight, and of rewards that are distributions, whose loss is the cross-entropy of their preference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dissensus import records
from dissensus.errors import TrainingError
from dissensus.records import Label, Pair
from dissensus.reward.objectives.objective import Evidence, Objective

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray
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


class Scaled(Margin):
    """The label, each pair weighing as much as its margin; a margin of 1 is Bradley-Terry.

    Source: the scaled Bradley-Terry of Wang et al. (2024), *HelpSteer2-Preference*, arXiv:2410.01257.
    """

    about = (
        "Bradley-Terry in which each pair weighs as much as its margin m: −m log σ(r(chosen) − r(rejected)), averaged "
        "over pairs.\nSource: Wang et al. (2024), *HelpSteer2-Preference*, arXiv:2410.01257."
    )
    caveat = ""
    least_margin, weighs_by_margin = 0.0, True

    def check_settings(self) -> None:
        """Raise ValueError for weights that may be negative."""
        if self.config.margin_sign == "signed":
            raise ValueError(
                "objective 'scaled' weighs pairs by their margin, which must not be negative: use unsigned"
            )

    def check_margins(self, pairs: Sequence[Pair], margins: NDArray[float32]) -> None:
        """Refuse weights that reward a mistake without bound, or that all are 0."""
        negative = (margins < 0).nonzero()[0]
        if negative.size:
            raise TrainingError(
                f"pair {pairs[negative[0]].id}: objective 'scaled' would weigh it {margins[negative[0]]:g} "
                f"({negative.size} negative weights in all); use unsigned margins, or objective 'margin'"
            )
        if not margins.any():
            raise TrainingError(
                f"objective 'scaled' weighs a pair by its margin, and all {len(margins)} weights are 0, so nothing can "
                "be learnt; use objective 'margin' or 'bradley-terry', or margins that are not all 0"
            )

    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor:
        from dissensus.reward.objectives.losses import check_same_shape

        check_same_shape(target=target, margin=margin)
        return margin * super()._losses(a, b, target, margin * 0)


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

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.outputs = config.atoms

    def log_preference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-probability that the reward of a is higher, a tie counting half, shape (pairs,)."""
        from dissensus.reward.objectives.losses import log_atom_preference

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
