"""Primary differences, which an evaluation is about and tests as one family. All else is exploratory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from dissensus.errors import EvaluationError
from dissensus.evaluation.groups import ALL, Group
from dissensus.evaluation.metrics import WITHIN, primary_candidates
from dissensus.records import Metric
from dissensus.stats.resampling.multiplicity import gated_holm

PRIMARY: Final = (WITHIN, "l1")
"""The primary metrics unless others are declared."""

NOT_COUNTED: Final = "not tested, so neither it nor its groups are counted among the primary differences"
"""Said of a primary metric without a p-value on all pairs, where others have one."""

_ALPHA: Final = 0.05


def check_primary(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the primary metrics that were declared, one or several, each once.

    Raises:
        EvaluationError: none is named, or one that is not tested.
    """
    declared = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    tested = primary_candidates()
    unknown = next((name for name in declared if name not in tested), None)
    if unknown is not None or not declared:
        found = "none is named" if unknown is None else f"{unknown!r} is no metric whose differences are tested"
        raise EvaluationError(f"primary metrics: {found}; choose among {', '.join(tested)}")
    return declared


def with_roles(rows: Sequence[Metric], primary: Sequence[str] = PRIMARY) -> list[Metric]:
    """Mark each difference as primary or exploratory, and adjust the p-values of the primary ones.

    Primary are the differences of each model to the baseline in the primary metrics, on all pairs and in each group
    but those that the votes themselves decide. For ``pearson_within`` that is ``pearson`` in a group that lies in one
    data set, where it is the same. Each model and metric is a family: all pairs come first, its groups wait for them,
    and any false find among all families has at most the chance of the level (`gated_holm`). A family without a
    p-value on all pairs is not counted, and its groups are exploratory. So are all other metrics, judges, and groups
    chosen by the votes: they keep their ``p_value`` and have no ``p_holm``.

    Args:
        rows: one row for each model, metric, group and baseline, as `dissensus.evaluation.scorecard.score` makes them.
        primary: tested metrics; where there are none everything is exploratory.
    """
    families = _families(rows, primary)
    tested = any(row.p_value is not None for row in rows)
    counted = [family for family in families if rows[family[0]].p_value is not None]
    uncounted = {family[0] for family in families if family not in counted} if tested else set()
    members = {number for family in (counted if tested else families) for number in family} | uncounted
    tested_of = [[(number, p) for number in family if (p := rows[number].p_value) is not None] for family in counted]
    adjusted = gated_holm([[p for _, p in family] for family in tested_of])
    p_holm = {
        number: value
        for family, values in zip(tested_of, adjusted, strict=True)
        for (number, _), value in zip(family, values, strict=True)
    }
    return [
        row
        if row.baseline is None
        else row.model_copy(
            update={
                "role": "primary" if number in members else "exploratory",
                "p_holm": p_holm.get(number),
                "notes": (*row.notes, NOT_COUNTED) if number in uncounted else row.notes,
            }
        )
        for number, row in enumerate(rows)
    ]


def too_few_swaps(rows: Sequence[Metric], n_swaps: int) -> str | None:
    """Say that no difference in a group can be shown, whatever it is; None where enough swaps were drawn.

    A swap test's p-value is 1 / (1 + swaps) at least, and the smallest of n groups counts n times in each family.
    """
    counted = [row for row in rows if row.role == "primary" and row.p_holm is not None]
    families = sum(row.group == ALL for row in counted)
    groups = len({row.group for row in counted} - {ALL})
    needed = round(families * max(groups, 1) / _ALPHA)
    if not counted or n_swaps >= needed:
        return None
    return (
        f"{n_swaps:,} swaps are too few to show any difference in a group: p-values are adjusted for {groups} groups "
        f"and {families} models and primary metrics, so take {needed:,} or more"
    )


def _families(rows: Sequence[Metric], primary: Sequence[str]) -> list[list[int]]:
    """Number the rows of each model and primary metric, all pairs first; left out where there are no such.

    Within one data set, r is the r within data sets as well.
    """
    spanning = {(row.model, row.group) for row in rows if row.baseline is not None and row.metric == WITHIN}
    found: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        within = row.metric == "pearson" and row.metric not in primary and (row.model, row.group) not in spanning
        metric = WITHIN if within else row.metric
        differs = row.baseline is not None and row.kind == "model" and metric in primary
        if differs and not Group.parse(row.group).is_exploratory:
            found.setdefault((row.model, metric), []).append(number)
    ordered = [sorted(family, key=lambda number: rows[number].group != ALL) for family in found.values()]
    return [family for family in ordered if rows[family[0]].group == ALL]
