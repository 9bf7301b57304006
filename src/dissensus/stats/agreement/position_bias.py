"""Position bias: what the order in which two responses are shown does to verdicts, of a judge or of a person."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import groupby

from dissensus.records import Order

Verdicts = tuple[Hashable, Order, float, float]
"""What the verdicts are of, the order that was shown, and the weights for a and for b."""


@dataclass(frozen=True)
class PositionBias:
    """What the order did to verdicts."""

    compared: int
    """Pairs with a winner in both orders."""
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


def position_bias(verdicts: Iterable[Verdicts]) -> PositionBias:
    """Measure position bias from verdicts, those of one pair (or of whatever is compared) one after the other.

    The winner of an order has the larger weight; an even split has none.
    """
    compared = flips = 0
    votes = {"ab": [0.0, 0.0], "ba": [0.0, 0.0]}
    for _, orders in groupby(verdicts, key=lambda row: row[0]):
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


def exact_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's interval (1934) of a share."""
    from scipy.special import betaincinv  # a second of imports that starting the annotation app need not wait for

    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high
