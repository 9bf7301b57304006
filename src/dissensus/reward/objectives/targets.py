"""From labels and margins to what the loss needs: a target and a margin per pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import TrainingError
from dissensus.records import LABEL_VALUE, Margin, Pair
from dissensus.reward.config import TrainConfig

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """What the loss is given, row by row."""

    pairs: list[Pair]
    """The pairs that can be trained on."""
    target: Floats
    """Shape (pairs,): 1 where response a is preferred, 0 for b, or a fraction."""
    margin: Floats
    """Shape (pairs,): the data term m, or the weight of ``scaled``; 0 for objectives without one."""
    label: Floats
    """Shape (pairs,): the own label as 1, 0 or one half, for the plain Bradley-Terry NLL that is logged."""
    ties_dropped: int
    unlabelled_dropped: int
    unjudged_dropped: int
    """Pairs without a margin, where those may be left out."""


def build_targets(
    pairs: Sequence[Pair], margins: Sequence[Margin] | None, config: TrainConfig, *, allow_missing: bool = False
) -> Targets:
    """Pick the pairs that the objective can use and give each its target and margin.

    Objectives that train on labels (also ``mean-variance`` and ``categorical`` without ``soft_targets``) drop ties and
    pairs without a label, and count them. ``soft`` needs no label; ``blend`` takes a tie as one half.

    Raises TrainingError where a margin is missing (with ``allow_missing`` such pairs are left out and counted), where
    it has no preference and the target or its sign needs one, where a margin or preference is not a number, and where
    the weights of ``scaled`` are negative or all 0.
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
    target = np.array([_target(pair, margin_of.get(pair.id), config) for pair in usable], dtype=np.float32)
    margin = np.array([_margin(pair, margin_of.get(pair.id), config) for pair in usable], dtype=np.float32)
    judged = np.array([_preference(margin_of.get(pair.id)) for pair in usable], dtype=np.float32)
    for name, values in (("margin", margin), ("preference", judged), ("target", target)):
        _check_numbers(usable, name, values)
    if config.objective == "scaled":
        _check_weights(usable, margin)
    return Targets(
        pairs=usable,
        target=target,
        margin=margin,
        label=np.array([LABEL_VALUE[pair.label or "tie"] for pair in usable], dtype=np.float32),
        ties_dropped=ties,
        unlabelled_dropped=len(pairs) - len(usable) - ties,
        unjudged_dropped=given - len(pairs),
    )


def _margins_by_id(margins: Sequence[Margin] | None, config: TrainConfig) -> dict[str, Margin] | None:
    if not config.reads_margins:
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
    # An unsigned margin without a preference has no side, so there is no sign to give it.
    signed = config.objective == "margin" and config.margin_sign == "signed"
    if bare and (signed or config.objective == "soft" or config.blends):
        needed, instead = (
            ("margin_sign 'signed'", "margin_sign 'unsigned'")
            if signed
            else (f"objective '{config.objective}'", "objective 'margin'")
        )
        raise TrainingError(
            f"{len(bare)} of {len(judged)} margins carry no preference (first: {', '.join(bare[:3])}), which {needed} "
            f"needs; use {instead}, or margins made from judgments or votes"
        )
    return judged


def _usable(pair: Pair, config: TrainConfig) -> bool:
    if config.objective == "soft":
        return True
    if config.blends:
        return pair.label is not None
    return pair.label in ("a", "b")


def _target(pair: Pair, margin: Margin | None, config: TrainConfig) -> float:
    judged = _preference(margin)
    if config.objective == "soft":
        return judged
    own = LABEL_VALUE[pair.label or "tie"]
    if config.blends:
        return config.label_weight * own + (1 - config.label_weight) * judged
    return own


def _preference(margin: Margin | None) -> float:
    return 0.5 if margin is None or margin.preference_a is None else margin.preference_a


def _margin(pair: Pair, margin: Margin | None, config: TrainConfig) -> float:
    if config.objective not in ("margin", "scaled") or margin is None:
        return 0.0
    signed = config.margin_sign == "signed" and pair.label in ("a", "b")
    return config.margin_scale * (margin.signed("a" if pair.label == "a" else "b") if signed else margin.margin)


def _check_numbers(pairs: Sequence[Pair], name: str, values: Floats) -> None:
    """Refuse NaN and infinity: one of them would make every weight of the model NaN at the first step."""
    broken = np.flatnonzero(~np.isfinite(values))
    if broken.size:
        raise TrainingError(
            f"pair {pairs[broken[0]].id}: the {name} is {values[broken[0]]}, expected a number "
            f"({broken.size} such pairs); make its margin again or leave the pair out"
        )


def _check_weights(pairs: Sequence[Pair], weight: Floats) -> None:
    """Refuse weights of ``scaled`` that reward a mistake without bound, or that all are 0."""
    negative = np.flatnonzero(weight < 0)
    if negative.size:
        raise TrainingError(
            f"pair {pairs[negative[0]].id}: objective 'scaled' would weigh it {weight[negative[0]]:g} "
            f"({negative.size} negative weights in all); use unsigned margins, or objective 'margin'"
        )
    if not weight.any():
        raise TrainingError(
            f"objective 'scaled' weighs a pair by its margin, and all {len(weight)} weights are 0, so nothing can be "
            "learnt; use objective 'margin' or 'bradley-terry', or margins that are not all 0"
        )
