"""A binary label out of several people's votes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from dissensus.hashing import number_of
from dissensus.records import Label, Pair


def one_vote_label(pair: Pair, *, seed: int) -> Label | None:
    """Draw one annotator's vote for a or b as the binary label; ``tie`` where nobody chose, None without votes.

    The draw depends on the seed and the pair's id alone, so the rows may stand in any order.
    """
    if pair.votes is None:
        return None
    chosen = pair.votes.a + pair.votes.b
    if not chosen:
        return "tie"
    drawn = np.random.default_rng([seed, number_of(pair.id)]).integers(chosen)
    return "a" if drawn < pair.votes.a else "b"


def draw_labels(pairs: Iterable[Pair], *, seed: int) -> Iterator[Pair]:
    """Give pairs one of their votes as the label; a pair without votes keeps the label that it has.

    The votes stay whole, and the pair says so: whoever counts them beside the label has to leave it out.
    """
    return (pair if pair.votes is None else with_drawn_label(pair, seed=seed) for pair in pairs)


def with_drawn_label(pair: Pair, *, seed: int) -> Pair:
    """Give a pair with votes one of them as its label, and mark it as that."""
    return pair.model_copy(update={"label": one_vote_label(pair, seed=seed), "label_is_a_vote": True})
