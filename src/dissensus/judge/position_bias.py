"""Position bias: what the order in which two responses are shown does to a judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from dissensus.judge.language.choice_distribution import verdict_probabilities
from dissensus.judge.store.store import JudgmentStore


@dataclass(frozen=True)
class PositionBias:
    """What the order did to a judge's verdicts."""

    compared: int
    """Pairs with a majority in both orders (under one persona)."""
    flips: int
    """How many of them have another winner when the order is swapped."""
    first: float | None
    """The share of votes for the response shown first, both orders weighed alike; 0.5 without a bias, None without
    votes in both orders."""

    @property
    def flip_share(self) -> float | None:
        """The share of pairs that flip."""
        return self.flips / self.compared if self.compared else None

    def in_words(self) -> str:
        """Say it in a line; nothing without votes in both orders."""
        flips = f"; {self.flip_share:.1%} of {self.compared:,} verdicts flip on a swap" if self.compared else ""
        return "" if self.first is None else f"first shown wins {self.first:.1%}{flips}"


def position_bias(store: JudgmentStore, judge: str, *, temperature: float = 1.0, top_p: float = 1.0) -> PositionBias:
    """Measure the position bias of a judge from all that the store has of it.

    The winner of an order is the majority of its votes, or the more probable verdict of its choice distribution at the
    given temperature and top-p; an even split has none.
    """
    compared = flips = 0
    votes = {"ab": [0.0, 0.0], "ba": [0.0, 0.0]}
    for _, orders in groupby(_weights(store, judge, temperature, top_p), key=lambda row: row[0]):
        sides = [(order, a, b) for _, order, a, b in orders]
        for order, a, b in sides:
            votes[order][0] += a if order == "ab" else b
            votes[order][1] += a + b
        winners = {order: a > b for order, a, b in sides if a != b}
        if len(winners) == 2:
            compared += 1
            flips += winners["ab"] != winners["ba"]
    if not (votes["ab"][1] and votes["ba"][1]):
        return PositionBias(compared, flips, None)
    return PositionBias(compared, flips, sum(first / cast for first, cast in votes.values()) / 2)


Weights = tuple[tuple[str, str, str], str, float, float]
"""What it is of, the order, and the weight of votes for a and b."""


def _weights(store: JudgmentStore, judge: str, temperature: float, top_p: float) -> Iterator[Weights]:
    yield from _vote_weights(store, judge)
    yield from _distribution_weights(store, judge, temperature, top_p)


def _vote_weights(store: JudgmentStore, judge: str) -> Iterator[Weights]:
    rows = store.rows(
        "SELECT pair_id, content, persona, shown, SUM((choice = 'a') + 0.5 * (choice = 'tie')), "
        "SUM((choice = 'b') + 0.5 * (choice = 'tie')) FROM judgments "
        "WHERE judge = ? AND choice IS NOT NULL GROUP BY pair_id, content, persona, shown "
        "ORDER BY pair_id, content, persona, shown",
        (judge,),
    )
    return (((pair, content, persona), shown, a, b) for pair, content, persona, shown, a, b in rows)


def _distribution_weights(store: JudgmentStore, judge: str, temperature: float, top_p: float) -> Iterator[Weights]:
    for view in store.distributions(judge=judge):
        shares = verdict_probabilities(view.distribution, temperature=temperature, top_p=top_p)
        a, b = (shares.a, shares.b) if view.order == "ab" else (shares.b, shares.a)
        yield (view.pair_id, view.content, view.persona), view.order, a, b
