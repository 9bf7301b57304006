"""How far categories by machine agree with people's: raw, Cohen's kappa with its interval, and who confuses what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dissensus.records import Classification, Pair
from dissensus.stats.agreement.coefficients import cohen_kappa
from dissensus.stats.resampling.clusters import FEWEST_CLUSTERS, number_labels
from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.statistics import estimate_all
from dissensus.taxonomy.classification import _OPTIONS, QUESTIONS, Question, known_classifications


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
    people: Sequence[Pair],
    classifications: Iterable[Classification],
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Agreement]:
    """Compare categories with those that people gave to the same pairs, by id.

    Intervals are BCa bootstrap intervals over prompts (groups), widened for few prompts.

    Args:
        people: pairs with people's categories; others are passed over.
        classifications: of one origin for each question.
        n_resamples: of the bootstrap.
        level: of the intervals.
        seed: of the bootstrap.
    """
    said = {(c.pair_id, c.question): c.value for c in known_classifications(people)}
    groups = {pair.id: pair.group for pair in people}
    found = list(classifications)
    agreements = []
    for question in QUESTIONS:
        of_question = [c for c in found if c.question == question and (c.pair_id, question) in said]
        if not of_question:
            continue
        decided = [c for c in of_question if c.value is not None]
        agreements.append(
            _agreement(
                question,
                decided,
                [str(said[c.pair_id, question]) for c in decided],
                [groups[c.pair_id] for c in decided],
                len(of_question) - len(decided),
                (n_resamples, level, seed),
            )
        )
    return agreements


def _agreement(
    question: Question,
    decided: Sequence[Classification],
    people: Sequence[str],
    groups: Sequence[str],
    undecided: int,
    resampling: tuple[int, float, int],
) -> Agreement:
    n_resamples, level, seed = resampling
    options = _OPTIONS[question]
    first = np.array([options.index(value) for value in people], dtype=np.intp)
    second = np.array([options.index(c.value) for c in decided], dtype=np.intp)
    counts = {(options[i], options[j]): int(((first == i) & (second == j)).sum()) for i in range(2) for j in range(2)}
    value = float(cohen_kappa(first, second)) if first.size else float("nan")
    kappa, note = Estimate(value), ""
    names, clusters = number_labels(list(groups))
    if np.isnan(value):
        note = "kappa is undefined: all are in one category" if first.size else "no pair has a category by both"
    elif len(names) < FEWEST_CLUSTERS:
        note = f"no interval: only {len(names)} prompts"
    else:
        generator = np.random.default_rng(seed)
        kappa = estimate_all(
            {"kappa": partial(cohen_kappa, first, second)},
            clusters,
            np.zeros_like(clusters),
            n_resamples,
            generator,
            level,
        )["kappa"]
    return Agreement(
        question=question,
        origin=decided[0].origin if decided else "",
        n=int(first.size),
        raw=float((first == second).mean()) if first.size else float("nan"),
        kappa=kappa,
        counts=counts,
        undecided=undecided,
        note=note,
    )
