"""Models against preferences that the same votes give under other rules: how much hangs on how they are added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dissensus.errors import EvaluationError
from dissensus.evaluation.groups import find_groups
from dissensus.evaluation.join import Joined
from dissensus.evaluation.metrics import HEADLINE
from dissensus.evaluation.people import aggregated_preferences
from dissensus.evaluation.resample import Resampling
from dissensus.evaluation.scorecard import score
from dissensus.evaluation.scores import ESTIMATES_NOTE
from dissensus.records import Margin, Metric
from dissensus.stats.metrics import FloatArray

_UNSETTLED = "its fit was stopped while it still moved"
_TAKEN = ("votes", "dawid-skene", "mace")


@dataclass(frozen=True)
class Target:
    """Preferences that models are compared with in the votes' place."""

    name: str
    preference: FloatArray
    """Shape (n,), for the pairs with votes; NaN where there is none."""
    notes: tuple[str, ...]


def estimated_targets(joined: Joined) -> list[Target]:
    """Make targets of the models of annotators: Dawid-Skene and MACE."""
    return [
        Target(name, preference, (ESTIMATES_NOTE,) if converged else (ESTIMATES_NOTE, _UNSETTLED))
        for name, (preference, converged) in aggregated_preferences(joined.columns).items()
    ]


def given_target(name: str, margins: Iterable[Margin], joined: Joined) -> Target:
    """Make a target of preferences under another rule, as ``dissensus aggregate`` writes them.

    Pairs that are not evaluated are passed over; pairs without a preference are left out of the target's rows, and
    counted in their note.

    Raises:
        EvaluationError: the name is taken; a pair comes twice or has a margin without a preference; no pair is known.
    """
    if name in _TAKEN or not name:
        raise EvaluationError(f"target {name!r}: the name is {'empty' if not name else 'taken'}; give it another")
    found: dict[str, float] = {}
    for margin in margins:
        if margin.pair_id in found:
            raise EvaluationError(f"target {name!r}: pair {margin.pair_id} comes more than once; give each file once")
        if margin.preference_a is None:
            raise EvaluationError(
                f"target {name!r}: pair {margin.pair_id} has a margin without a preference (preference_a), so there is "
                "nothing to compare with; give what 'dissensus aggregate' or 'dissensus margin' wrote"
            )
        found[margin.pair_id] = margin.preference_a
    preference = np.array([found.get(pair_id, np.nan) for pair_id in joined.columns.ids])
    known = int(np.isfinite(preference).sum())
    if not known:
        raise EvaluationError(
            f"target {name!r}: none of its {len(found)} preferences is of one of the {joined.human.size} pairs with "
            "votes; aggregate the pairs that are evaluated"
        )
    missing = joined.human.size - known
    return Target(name, preference, (f"{name}: on {known} of {known + missing} pairs",) if missing else ())


def score_targets(
    joined: Joined, given: Mapping[str, Iterable[Margin]], *, baseline: str | None, resampling: Resampling
) -> list[Metric]:
    """Compare the models with each target, by data set and domain.

    A target that was asked for is scored on the pairs that it has; estimates only in groups of which all pairs have
    one, since other groups would compare unlike pairs unasked. All of it is exploratory.
    """
    rows: list[Metric] = []
    targets = [(target, False) for target in estimated_targets(joined)]
    targets += [(given_target(name, margins, joined), True) for name, margins in given.items()]
    for target, asked in targets:
        known = np.isfinite(target.preference)
        groups = {
            group: mask[known]
            for group, mask in find_groups(joined.columns).items()
            if group.kind in ("all", "dataset", "domain")
            if (mask & known).any() and (asked or not (mask & ~known).any())
        }
        if not groups:
            continue
        there = replace(
            joined,
            pairs=(),
            given=joined.columns.take(known),
            human=target.preference[known],
            predicted={model: values[:, known] for model, values in joined.predicted.items()},
        )
        n, level, seed = resampling.n, resampling.level, resampling.seed
        scored = score(
            there, baseline=baseline, n_resamples=n, n_swaps=0, level=level, seed=seed, groups=groups, primary=()
        )
        rows += [
            row.model_copy(update={"target": target.name, "notes": target.notes})
            for row in scored
            if row.metric in HEADLINE
        ]
    return rows
