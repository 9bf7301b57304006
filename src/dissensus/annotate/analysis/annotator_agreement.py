"""Agreement of annotators, as their answers come in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from dissensus.annotate.analysis.answer_rows import Row
from dissensus.annotate.project.sides import Said
from dissensus.records import LABEL_VALUE

if TYPE_CHECKING:
    from dissensus.stats.agreement.ratings import RatingTable
    from dissensus.stats.metrics import FloatArray

# The statistics are imported where they are used: the app starts without them.

RESAMPLES = 1000
FEWEST = 10  # pairs with two answers or more, below which there is no interval

Coefficient = Callable[["RatingTable", "FloatArray | None"], "FloatArray"]


class Agreement(BaseModel):
    """One coefficient for one question."""

    question: str  # correct, distinct, estimate or choice
    name: str
    value: float | None  # None where it is undefined: no pair with two answers, or one value throughout
    low: float | None
    high: float | None
    pairs: int  # with two answers or more
    people: int


_CORRECT = {"single": 0.0, "multiple": 1.0}
_DISTINCT = {"no": 0.0, "yes": 1.0}


def spread(table: RatingTable, weights: FloatArray | None = None) -> FloatArray:
    """Return the mean over pairs of the standard deviation of the answers to a pair (n - 1), shape (...).

    Pairs with one answer are left out; NaN where there are no others.

    >>> from dissensus.stats.agreement.ratings import tabulate
    >>> float(spread(tabulate(np.array([[4.0, 6.0], [5.0, 5.0]]))).round(3))
    0.707
    """
    # The mean squared difference of two answers is twice their variance.
    deviation = np.sqrt(np.maximum(table.distance, 0) / 2)
    w = table.paired if weights is None else weights * table.paired
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: FloatArray = (w @ deviation) / w.sum(axis=-1)
    return mean


def agreement(rows: Sequence[Row], *, own_choice: bool) -> list[Agreement]:
    """Measure agreement on each question over the answers that count.

    Raw agreement, Krippendorff's α, Fleiss' κ and Gwet's AC1 of the categories and own choices; of the estimates
    (of ten, how many prefer a) the spread and Krippendorff's α for intervals. Intervals are 95 % BCa bootstrap
    intervals over pairs, widened for few; the same answers give the same intervals.
    """
    from dissensus.stats.agreement import coefficients as of

    nominal = {
        "raw": of.agreement_raw,
        "alpha": of.krippendorff_nominal,
        "kappa": of.fleiss_kappa,
        "ac1": of.gwet_ac1,
    }
    scaled = {"spread": spread, "alpha": of.krippendorff_interval}
    questions: list[tuple[str, Callable[[Said], float | None], Mapping[str, Coefficient], list[float]]] = [
        ("correct", lambda said: _CORRECT.get(said.correct or ""), nominal, [0, 1]),
        ("distinct", lambda said: _DISTINCT.get(said.distinct or ""), nominal, [0, 1]),
        ("estimate", lambda said: said.estimate, scaled, list(range(11))),
    ]
    if own_choice:
        questions.append(("choice", lambda said: LABEL_VALUE.get(said.choice or ""), nominal, [0, 0.5, 1]))
    return [
        found
        for name, value, coefficients, scale in questions
        for found in _measure(name, _matrix(rows, value), coefficients, scale)
    ]


def _matrix(rows: Sequence[Row], value: Callable[[Said], float | None]) -> FloatArray:
    """Lay out the answers that count: shape (pairs, people), NaN where there is none."""
    said = [
        (row.item_id, row.person_id, rating)
        for row in rows
        if row.counts and row.said is not None and (rating := value(row.said)) is not None
    ]
    pairs, at = np.unique([item for item, _, _ in said], return_inverse=True)
    people, by = np.unique([person for _, person, _ in said], return_inverse=True)
    matrix = np.full((pairs.size, people.size), np.nan)
    matrix[at, by] = [rating for _, _, rating in said]
    return matrix


def _measure(
    question: str, ratings: FloatArray, coefficients: Mapping[str, Coefficient], scale: list[float]
) -> list[Agreement]:
    from dissensus.stats.agreement.ratings import tabulate
    from dissensus.stats.resampling.statistics import estimate_all

    several = ratings[np.isfinite(ratings).sum(axis=1) >= 2]
    n, people = several.shape[0], int(np.isfinite(several).any(axis=0).sum())
    if n == 0:
        nothing = {"value": None, "low": None, "high": None, "pairs": 0, "people": 0}
        return [Agreement(question=question, name=name, **nothing) for name in coefficients]
    table = tabulate(several, np.array(scale, dtype=np.float64))
    found = estimate_all(
        {name: partial(f, table) for name, f in coefficients.items()},
        np.arange(n),
        np.zeros(n, dtype=np.intp),
        RESAMPLES if n >= FEWEST else 0,
        np.random.default_rng(0),
    )
    return [
        Agreement(
            question=question,
            name=name,
            value=estimate.value if math.isfinite(estimate.value) else None,
            low=estimate.low,
            high=estimate.high,
            pairs=n,
            people=people,
        )
        for name, estimate in found.items()
    ]
