"""Targets: labels and judgments as the loss takes them, a target and a margin per pair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import TrainingError
from dissensus.records import LABEL_VALUE, Margin, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import Objective, objective_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """What the loss is given, row by row."""

    pairs: list[Pair]
    """The pairs that can be trained on."""
    target: Floats
    """Shape (pairs,): 1 where response a is preferred, 0 for b, or a fraction."""
    margin: Floats
    """Shape (pairs,): the data term m; 0 for objectives without one."""
    label: Floats
    """Shape (pairs,): the own label as 1, 0 or one half, for the plain Bradley-Terry NLL that is logged."""
    ties_dropped: int
    unlabelled_dropped: int
    unjudged_dropped: int
    """Pairs without a margin, where those may be left out."""

    def rows(self, chosen: NDArray[np.bool_]) -> Targets:
        """Keep some of the pairs; ``chosen`` has shape (pairs,)."""
        return replace(
            self,
            pairs=[self.pairs[row] for row in np.flatnonzero(chosen)],
            target=self.target[chosen],
            margin=self.margin[chosen],
            label=self.label[chosen],
        )


def build_targets(
    pairs: Sequence[Pair], margins: Sequence[Margin] | None, config: TrainConfig, *, allow_missing: bool = False
) -> Targets:
    """Pick the pairs that the objective can use and give each its target and margin.

    Objectives that train on labels (also ``mean-variance`` without ``soft_targets``) drop ties and
    pairs without a label, and count them. ``soft`` needs no label; ``blend`` and ``brier`` take a tie as one half.

    Raises TrainingError where a margin is missing (with ``allow_missing`` such pairs are left out and counted), where
    it has no preference and the target or its sign needs one, where a margin or preference is not a number, and where
    a negative ``label_weight`` takes a target out of [0, 1].
    """
    objective, given = objective_of(config), len(pairs)
    margin_of: dict[str, Margin] = {}
    if objective.reads is not None:
        if margins is None:
            raise TrainingError(
                f"objective '{objective.name}' needs margins; make them with 'dissensus margin'"
                f"{objective.without_margins}"
            )
        margin_of = {margin.pair_id: margin for margin in margins}
        if len(margin_of) < len(margins):
            raise TrainingError(f"{len(margins) - len(margin_of)} margins repeat a pair id; make the file again")
        pairs = _judged(pairs, margin_of, objective, allow_missing=allow_missing)
    usable = [pair for pair in pairs if objective.takes(pair)]
    if not usable:
        raise TrainingError(
            f"none of the {len(pairs)} pairs can train objective '{objective.name}': "
            "it needs pairs with a label a or b; add labels or draw one vote per pair "
            "(dissensus pairs --label one-vote)"
        )
    ties = sum(pair.label == "tie" for pair in pairs) - sum(pair.label == "tie" for pair in usable)
    found = [margin_of.get(pair.id) for pair in usable]
    preferences = [0.5 if one is None or one.preference_a is None else one.preference_a for one in found]
    each = list(zip(usable, found, preferences, strict=True))
    target = _column(objective.target(pair.label, preference) for pair, _, preference in each)
    margin = _column(0.0 if one is None else objective.margin(one, pair.label) for pair, one, _ in each)
    for name, values in (("margin", margin), ("preference", _column(preferences)), ("target", target)):
        # One of them that is no number would make every weight of the model NaN at the first step.
        broken = np.flatnonzero(~np.isfinite(values))
        if broken.size:
            raise TrainingError(
                f"pair {usable[broken[0]].id}: the {name} is {values[broken[0]]}, expected a number "
                f"({broken.size} such pairs); make its margin again or leave the pair out"
            )
    _check_range(usable, target, preferences, objective)
    return Targets(
        pairs=usable,
        target=target,
        margin=margin,
        label=_column(LABEL_VALUE[pair.label or "tie"] for pair in usable),
        ties_dropped=ties,
        unlabelled_dropped=len(pairs) - len(usable) - ties,
        unjudged_dropped=given - len(pairs),
    )


def lowest_label_weight(label: Floats, preference: Floats) -> float:
    """Return the lowest label weight under which every target stays in [0, 1]; both of shape (pairs,).

    Below 0 a target lies beyond the preference, away from the label: |weight| may reach (edge - preference) /
    (preference - label), with the edge on that side.

    >>> lowest_label_weight(np.array([1.0]), np.array([0.2]))
    -0.25
    """
    apart = preference != label
    away = preference[apart] - label[apart]
    room = ((away > 0) - preference[apart]) / away
    return -float(room.min(initial=1.0))


def _check_range(pairs: Sequence[Pair], target: Floats, preferences: Sequence[float], objective: Objective) -> None:
    """Refuse targets that no preference can reach: their loss falls without end."""
    outside = np.flatnonzero((target < 0) | (target > 1))
    if outside.size:
        label = np.array([LABEL_VALUE[pair.label or "tie"] for pair in pairs])
        lowest = math.ceil(1000 * lowest_label_weight(label, np.array(preferences)) - 1e-6) / 1000 + 0.0  # no -0
        raise TrainingError(
            f"pair {pairs[outside[0]].id}: with label_weight {objective.label_weight:g} its target is "
            f"{target[outside[0]]:.3g}, outside of 0 to 1, where the loss has no optimum ({outside.size} of "
            f"{len(pairs)} pairs); these pairs allow label_weight {lowest:g} or more, calibrated margins less"
        )


def _column(values: Iterable[float]) -> Floats:
    return np.fromiter(values, dtype=np.float32)


def _judged(
    pairs: Sequence[Pair], by_id: Mapping[str, Margin], objective: Objective, *, allow_missing: bool
) -> Sequence[Pair]:
    """Return the pairs that have a margin, which are all of them unless some may be left out."""
    missing = [pair.id for pair in pairs if pair.id not in by_id]
    if missing and not allow_missing:
        raise TrainingError(
            f"{len(missing)} of {len(pairs)} pairs have no margin (first: {', '.join(missing[:3])}); "
            "judge them, or leave them out with allow_missing=True"
        )
    judged = [pair for pair in pairs if pair.id in by_id]
    bare = [pair.id for pair in judged if by_id[pair.id].preference_a is None]
    if bare and (needs := objective.needs_preference):
        instead = "objective 'margin'" if objective.reads == "preference" else "margin_sign 'unsigned'"
        raise TrainingError(
            f"{len(bare)} of {len(judged)} margins carry no preference (first: {', '.join(bare[:3])}), which {needs} "
            f"needs; use {instead}, or margins made from judgments or votes"
        )
    return judged
