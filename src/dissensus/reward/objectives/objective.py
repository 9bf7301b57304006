"""The base of objectives: which pairs one trains on and towards what, its loss, and what a model's outputs mean.

Importing an objective loads no torch: what it needs can be said before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from dissensus.records import LABEL_VALUE, Label, Margin, Pair

if TYPE_CHECKING:
    from torch import Tensor

    from dissensus.reward.config import TrainConfig

Evidence = Literal["margin", "preference"]


class Objective(ABC):
    """An objective as its settings, and functions of labels, margins and a model's outputs.

    Outputs have shape (texts, outputs) or, for pairs, are two of (pairs, outputs). Raises ValueError for another shape.
    """

    loss_settings: tuple[str, ...] = ()
    """The settings of `TrainConfig` that this objective reads, and not every one."""
    outputs: int = 1
    """Outputs of the model for one text."""
    label_weight: float = 1.0
    """Weight of the own label in the target, which is else the judgments' preference."""
    label: Literal["winner", "any", "none"] = "winner"
    """The label that a pair needs to be trained on: a or b, a tie as well, or none at all."""
    reads: Evidence | None = None
    """What it reads of judgments, beside the label."""
    without_margins: ClassVar[str] = ""
    """What else may be done where margins are missing."""
    about: ClassVar[str] = ""
    """What the loss is, and its source: a paragraph of the model card, in which {settings} stand for their values."""
    caveat: ClassVar[str] = ""
    """What to beware of in the rewards."""
    reward_code: ClassVar[str] = "reward = outputs[0].item()"
    """Python that makes the reward of one text's ``outputs``."""
    is_distributed: ClassVar[bool] = False
    """Whether a reward is a distribution."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.name = config, config.objective

    @property
    def needs_preference(self) -> str | None:
        """Name the setting for which a margin without a preference is not enough; None where it is."""
        return f"objective '{self.name}'" if self.reads == "preference" else None

    def description(self) -> str:
        """Describe the loss in a paragraph of Markdown."""
        weight = self.config.label_weight
        return self.about.format(label_weight=weight, rest=1 - weight)

    def takes(self, pair: Pair) -> bool:
        """Whether a pair can be trained on, as far as its label says."""
        return self.label == "none" or (pair.label is not None if self.label == "any" else pair.label in ("a", "b"))

    def target(self, label: Label | None, preference: float) -> float:
        """Return what the loss draws to: 1 for response a, 0 for b, or a fraction."""
        return self.label_weight * LABEL_VALUE[label or "tie"] + (1 - self.label_weight) * preference

    def margin(self, margin: Margin, label: Label | None) -> float:
        """Return the margin in the loss."""
        return 0.0

    def losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the loss of each pair, centre regulariser included; target, margin and result of shape (pairs,).

        ``added`` is a part of the reward gap that is not the model's, shape (pairs,), for rewards that are numbers;
        the centre regulariser does not see it.
        """
        from dissensus.reward.objectives.losses import center_penalty, check_same_shape, in_float32

        a, b = self._as_pairs(a, b)
        moved = a
        if added is not None:
            check_same_shape(added=added, target=target)
            moved = a + in_float32(added).unsqueeze(1)
        losses = self._losses(moved, b, in_float32(target), in_float32(margin))
        if self.config.center:
            losses = losses + self.config.center * center_penalty(self.reward(a), self.reward(b))
        return losses

    @abstractmethod
    def logit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the log-odds that response a is preferred, shape (pairs,); the reward gap of scalar rewards."""

    @abstractmethod
    def reward(self, outputs: Tensor) -> Tensor:
        """Return the reward of each text, shape (texts,): the mean where it is a distribution."""

    def variance(self, outputs: Tensor) -> Tensor | None:
        """Return the variance of each text's reward, shape (texts,); None where a reward is a number."""
        return None

    @abstractmethod
    def _losses(self, a: Tensor, b: Tensor, target: Tensor, margin: Tensor) -> Tensor: ...

    def _as_pairs(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        if len(a) != len(b):
            raise ValueError(f"expected outputs of as many a as b, found {len(a)} and {len(b)}")
        return self._in_shape(a), self._in_shape(b)

    def _in_shape(self, outputs: Tensor) -> Tensor:
        from dissensus.reward.objectives.losses import in_float32

        if outputs.ndim != 2 or outputs.shape[1] != self.outputs:
            raise ValueError(f"expected outputs of shape (texts, {self.outputs}), found {tuple(outputs.shape)}")
        return in_float32(outputs)
