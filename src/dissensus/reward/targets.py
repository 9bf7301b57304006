"""From labels and margins to what the loss needs: a target and a margin per pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import TrainingError
from dissensus.records import Label, Margin, Pair
from dissensus.reward.config import TrainConfig

LABEL_TARGET: dict[Label, float] = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Targets:
    """What the loss is given, row by row."""

    pairs: list[Pair]
    """The pairs that can be trained on."""
    target: NDArray[np.float32]
    """Shape (pairs,): 1 where response a is preferred, 0 for b, or a fraction."""
    margin: NDArray[np.float32]
    """Shape (pairs,): the data term m, 0 for objectives without one."""
    label: NDArray[np.float32]
    """Shape (pairs,): the own label as 1, 0 or one half, for the plain Bradley-Terry NLL that is logged."""
    ties_dropped: int
    unlabelled_dropped: int
    unjudged_dropped: int
    """Pairs without a margin, where those may be left out."""


def build_targets(
    pairs: Sequence[Pair], margins: Sequence[Margin] | None, config: TrainConfig, *, allow_missing: bool = False
) -> Targets:
    """Pick the pairs that the objective can use and give each its target and margin.

    Binary objectives drop ties and pairs without a label, and count them; ``soft`` needs no label and
    ``blend`` takes a tie as one half. Raises TrainingError where a margin is missing; with ``allow_missing``
    such pairs are left out and counted.
    """
    given = len(pairs)
    by_id = _margins_by_id(margins, config)
    if by_id is not None:
        pairs = _judged(pairs, by_id, config, allow_missing=allow_missing)
    margin_of = by_id or {}
    usable = [pair for pair in pairs if _usable(pair, config)]
    if not usable:
        raise TrainingError(
            f"none of the {len(pairs)} pairs can train objective '{config.objective}': "
            "it needs pairs with a label a or b; add labels or draw one vote per pair"
        )
    ties = sum(pair.label == "tie" for pair in pairs) - sum(pair.label == "tie" for pair in usable)
    return Targets(
        pairs=usable,
        target=np.array([_target(pair, margin_of.get(pair.id), config) for pair in usable], dtype=np.float32),
        margin=np.array([_margin(pair, margin_of.get(pair.id), config) for pair in usable], dtype=np.float32),
        label=np.array([LABEL_TARGET[pair.label or "tie"] for pair in usable], dtype=np.float32),
        ties_dropped=ties,
        unlabelled_dropped=len(pairs) - len(usable) - ties,
        unjudged_dropped=given - len(pairs),
    )


def _margins_by_id(margins: Sequence[Margin] | None, config: TrainConfig) -> dict[str, Margin] | None:
    if config.objective == "bradley-terry":
        return None
    if margins is None:
        raise TrainingError(f"objective '{config.objective}' needs margins; make them with 'dissensus margin'")
    by_id = {margin.pair_id: margin for margin in margins}
    if len(by_id) < len(margins):
        raise TrainingError(f"{len(margins) - len(by_id)} margins repeat a pair id; make the file again")
    return by_id


def _judged(
    pairs: Sequence[Pair], by_id: dict[str, Margin], config: TrainConfig, *, allow_missing: bool
) -> Sequence[Pair]:
    """Return the pairs that have a margin, which are all of them unless some may be left out."""
    missing = [pair.id for pair in pairs if pair.id not in by_id]
    if missing and not allow_missing:
        raise TrainingError(
            f"{len(missing)} of {len(pairs)} pairs have no margin (first: {', '.join(missing[:3])}); "
            "judge them, or leave them out with --allow-missing"
        )
    judged = [pair for pair in pairs if pair.id in by_id]
    bare = [pair.id for pair in judged if by_id[pair.id].preference_a is None]
    if bare and config.objective in ("soft", "blend"):
        raise TrainingError(
            f"{len(bare)} margins carry no preference (first: {bare[0]}), which objective "
            f"'{config.objective}' needs; use objective 'margin' or margins made from judgments"
        )
    return judged


def _usable(pair: Pair, config: TrainConfig) -> bool:
    if config.objective == "soft":
        return True
    if config.objective == "blend":
        return pair.label is not None
    return pair.label in ("a", "b")


def _target(pair: Pair, margin: Margin | None, config: TrainConfig) -> float:
    judged = margin.preference_a if margin is not None and margin.preference_a is not None else 0.5
    if config.objective == "soft":
        return judged
    own = LABEL_TARGET[pair.label or "tie"]
    if config.objective == "blend":
        return config.label_weight * own + (1 - config.label_weight) * judged
    return own


def _margin(pair: Pair, margin: Margin | None, config: TrainConfig) -> float:
    if config.objective != "margin" or margin is None:
        return 0.0
    signed = config.margin_sign == "signed" and pair.label in ("a", "b")
    return config.margin_scale * (margin.signed("a" if pair.label == "a" else "b") if signed else margin.margin)
