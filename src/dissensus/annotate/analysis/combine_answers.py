"""Answers to a pair combined: a majority for categories, a mean for estimates, as the paper does, or otherwise."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from dissensus.annotate.project.sides import Distinct, Said
from dissensus.settings import Settings

T = TypeVar("T")

CategoryRule = Literal["majority", "unanimous"]
EstimateRule = Literal["mean", "median", "trimmed"]


class Rules(Settings):
    """How the answers to a pair become one."""

    categories: CategoryRule = "majority"
    """Whether most annotators have to name a category, or all."""
    estimates: EstimateRule = "mean"
    """What the estimates of a pair become; the paper takes the mean, and ``trimmed`` is one without the least and the
    greatest, where there are three or more."""
    decisions: bool = True
    """Let decisions of adjudicators stand in place of what the answers come to."""


def majority(values: Sequence[T | None], *, unanimous: bool = False) -> tuple[T | None, bool]:
    """Return the value that most people named, None where there is none, and whether that is for a tie.

    >>> majority(["single", "multiple", "multiple"]), majority(["yes", "no"])
    (('multiple', False), (None, True))
    """
    counts = Counter(value for value in values if value is not None).most_common(2)
    if not counts:
        return None, False
    is_tied = len(counts) == 2 and counts[0][1] == counts[1][1]
    is_settled = not is_tied and not (unanimous and len(counts) == 2)
    return counts[0][0] if is_settled else None, is_tied


def aggregate_estimates(estimates: Sequence[int | None], rule: EstimateRule = "mean") -> float | None:
    """Return the fraction of people that prefers a; None without estimates.

    >>> aggregate_estimates([8, 7, 0]), aggregate_estimates([8, 7, 0], "median")
    (0.5, 0.7)
    """
    values = sorted(value for value in estimates if value is not None)
    if not values:
        return None
    if rule == "trimmed" and len(values) >= 3:
        values = values[1:-1]
    middle = statistics.median(values) if rule == "median" else statistics.fmean(values)
    return float(middle) / 10


@dataclass(frozen=True)
class Aggregate:
    """What the answers to a pair come to."""

    category: str | None
    distinct: Distinct | None
    preference: float | None
    tied: int  # how many of the two categories are


def aggregate(answers: Sequence[Said], decision: Said | None, rules: Rules) -> Aggregate:
    """Aggregate the answers to one pair; what was decided comes first, where the rules say so."""
    unanimous = rules.categories == "unanimous"
    settled = decision if rules.decisions and decision is not None else Said()
    category, is_category_tied = majority([said.correct for said in answers], unanimous=unanimous)
    of_distinct: tuple[Distinct | None, bool] = majority([said.distinct for said in answers], unanimous=unanimous)
    distinct, is_distinct_tied = of_distinct
    preference = aggregate_estimates([said.estimate for said in answers], rules.estimates)
    return Aggregate(
        category=settled.correct or category,
        distinct=settled.distinct or distinct,
        preference=preference if settled.estimate is None else settled.estimate / 10,
        tied=(is_category_tied and settled.correct is None) + (is_distinct_tied and settled.distinct is None),
    )
