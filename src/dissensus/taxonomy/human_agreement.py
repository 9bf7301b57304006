"""How far categories by machine agree with people's: raw, Cohen's kappa with its interval, and who confuses what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dissensus.records import Classification, Pair
from dissensus.stats.agreement.coefficients import cohen_kappa
from dissensus.stats.resampling.clusters import FEWEST_CLUSTERS, number_labels
from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.statistics import estimate_all
from dissensus.taxonomy.classification import OPTIONS, QUESTIONS, Question, known_classifications

IntArray = NDArray[np.intp]


@dataclass(frozen=True)
class Agreement:
    """A machine's categories against people's, for one question."""

    question: Question
    origin: str
    n: int
    """Pairs that both put into a category."""
    raw: float
    """Share of them in which they agree; NaN without any."""
    kappa: Estimate
    """Cohen's; NaN where either uses one category throughout."""
    counts: dict[tuple[str, str], int]
    """(people's, the machine's) → pairs."""
    undecided: int
    """Pairs with a category by people and none by the machine."""
    note: str = ""


def agreement_with_people(
    people: Sequence[Pair], classifications: Iterable[Classification], *, n_resamples: int = 2000
) -> list[Agreement]:
    """Compare categories with those that people gave to the same pairs, by id; pairs without are passed over.

    ``classifications`` are of one origin for each question. Intervals are 95 % BCa bootstrap intervals over prompts
    (groups), widened for few prompts.
    """
    said = {(c.pair_id, c.question): c.value for c in known_classifications(people)}
    groups = {pair.id: pair.group for pair in people}
    found = [c for c in classifications if (c.pair_id, c.question) in said]
    agreements = []
    for question in QUESTIONS:
        both = [(c, said[c.pair_id, question]) for c in found if c.question == question]
        if not both:
            continue
        decided = [(c, value) for c, value in both if c.value is not None]
        options = OPTIONS[question]
        first = np.array([options.index(value) for _, value in decided], dtype=np.intp)
        second = np.array([options.index(c.value) for c, _ in decided], dtype=np.intp)
        kappa, note = _kappa(first, second, [groups[c.pair_id] for c, _ in decided], n_resamples)
        agreements.append(
            Agreement(
                question=question,
                origin=decided[0][0].origin if decided else "",
                n=len(decided),
                raw=float((first == second).mean()) if decided else float("nan"),
                kappa=kappa,
                counts={
                    (options[i], options[j]): int(((first == i) & (second == j)).sum())
                    for i in range(2)
                    for j in range(2)
                },
                undecided=len(both) - len(decided),
                note=note,
            )
        )
    return agreements


def _kappa(first: IntArray, second: IntArray, groups: Sequence[str], n_resamples: int) -> tuple[Estimate, str]:
    """Compute Cohen's kappa with its interval, and a note where there is none."""
    value = float(cohen_kappa(first, second)) if first.size else float("nan")
    names, clusters = number_labels(list(groups))
    if np.isnan(value):
        note = "kappa is undefined: all are in one category" if first.size else "no pair has a category by both"
        return Estimate(value), note
    if len(names) < FEWEST_CLUSTERS:
        return Estimate(value), f"no interval: only {len(names)} prompts"
    statistics = {"kappa": partial(cohen_kappa, first, second)}
    generator = np.random.default_rng(0)
    return estimate_all(statistics, clusters, np.zeros_like(clusters), n_resamples, generator, 0.95)["kappa"], ""
