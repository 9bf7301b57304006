"""Answers to a pair combined: a majority for categories, a mean for estimates, as the paper does, or otherwise."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from dissensus.annotate.project.sides import Distinct, Said
from dissensus.settings import Settings

T = TypeVar("T", bound=str)

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


@dataclass(frozen=True)
class Majority(Generic[T]):
    """The most frequent value; None where there is no answer, or where two are equally frequent."""

    value: T | None
    tied: bool


def majority(values: Sequence[T | None], *, unanimous: bool = False) -> Majority[T]:
    """Return the value that most people named.

    >>> majority(["single", "multiple", "multiple"]).value, majority(["yes", "no"])
    ('multiple', Majority(value=None, tied=True))
    """
    counts = Counter(value for value in values if value is not None).most_common(2)
    if not counts:
        return Majority(None, tied=False)
    if len(counts) == 2 and (unanimous or counts[0][1] == counts[1][1]):
        return Majority(None, tied=counts[0][1] == counts[1][1])
    return Majority(counts[0][0], tied=False)


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
    tied: int
    """How many of the two categories are tied."""


def aggregate(answers: Sequence[Said], decision: Said | None, rules: Rules) -> Aggregate:
    """Aggregate the answers to one pair; what was decided comes first, where the rules say so."""
    unanimous = rules.categories == "unanimous"
    category = majority([said.correct for said in answers], unanimous=unanimous)
    distinct: Majority[Distinct] = majority([said.distinct for said in answers], unanimous=unanimous)
    preference = aggregate_estimates([said.estimate for said in answers], rules.estimates)
    settled = decision if rules.decisions and decision is not None else Said()
    return Aggregate(
        category=settled.correct or category.value,
        distinct=settled.distinct or distinct.value,
        preference=preference if settled.estimate is None else settled.estimate / 10,
        tied=(category.tied and settled.correct is None) + (distinct.tied and settled.distinct is None),
    )
