"""Who said what about which pair: people's votes, or the judgments of a model's personas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dissensus.aggregation.preferences import FloatArray, IntArray
from dissensus.errors import EvaluationError
from dissensus.records import Annotator, Judgment, Pair


@dataclass(frozen=True)
class Ballots:
    """Votes on pairs, sparse; arrays of shape (votes,)."""

    pair_ids: list[str]
    voters: list[str | None]
    """Annotators by id; None for a vote that names nobody, who is then one of a kind."""
    rating: FloatArray
    """1 for response a, 0 for b, 1/2 for a tie, or an estimate of the fraction that prefers a."""
    pair: IntArray
    """Index in ``pair_ids``."""
    voter: IntArray
    """Index in ``voters``."""
    annotators: dict[str, Annotator]
    """What is known of the voters, by id."""


def ballots_from_votes(pairs: Iterable[Pair], annotators: Iterable[Annotator] = ()) -> Ballots:
    """Lay out the votes of pairs; pairs without votes are left out. Raises an EvaluationError where none has any."""
    ids: list[str] = []
    cast: list[tuple[int, str | None, float]] = []
    for pair in pairs:
        if pair.votes is None:
            continue
        named = pair.votes.annotations
        who = [vote.annotator for vote in named] if named else [None] * pair.votes.n
        cast += [(len(ids), name, rating) for name, rating in zip(who, pair.votes.ratings, strict=True)]
        ids.append(pair.id)
    if not ids:
        raise EvaluationError(
            "no pair has votes to aggregate; give pairs with votes, or --store for a model's personas"
        )
    return _ballots(ids, cast, {one.id: one for one in annotators})


def ballots_from_judgments(judgments: Iterable[Judgment]) -> Ballots:
    """Lay out the judgments of a judge's personas: each is an annotator with the attribute ``persona``.

    A persona's judgments of a pair are averaged first, each presentation order counting half, a tie counting half for
    each response; replies without a winner are no vote. Raises an EvaluationError where the judge has no personas, or
    has named no winner.
    """
    said: dict[tuple[str, str], dict[str, list[float]]] = {}
    for judgment in judgments:
        if judgment.value is not None:
            orders = said.setdefault((judgment.pair_id, judgment.persona), {})
            orders.setdefault(judgment.order, []).append(judgment.value)
    personas = {persona for _, persona in said}
    if not personas - {""}:
        raise EvaluationError("the judge had no personas, so there is nobody to aggregate; judge with --persona")
    ids = list(dict.fromkeys(pair_id for pair_id, _ in said))
    place = {pair_id: index for index, pair_id in enumerate(ids)}
    cast = [
        (place[pair_id], persona or None, float(np.mean([np.mean(votes) for votes in orders.values()])))
        for (pair_id, persona), orders in said.items()
    ]
    return _ballots(ids, cast, {p: Annotator(id=p, attributes={"persona": p}) for p in personas if p})


def _ballots(
    ids: list[str], cast: Sequence[tuple[int, str | None, float]], annotators: dict[str, Annotator]
) -> Ballots:
    voters: list[str | None] = []
    known: dict[str, int] = {}
    numbers = []
    for _, name, _ in cast:
        number = len(voters) if name is None else known.setdefault(name, len(voters))
        numbers.append(number)
        if number == len(voters):
            voters.append(name)
    return Ballots(
        pair_ids=ids,
        voters=voters,
        rating=np.array([rating for _, _, rating in cast], dtype=np.float64),
        pair=np.array([pair for pair, _, _ in cast], dtype=np.int64),
        voter=np.array(numbers, dtype=np.int64),
        annotators=annotators,
    )
