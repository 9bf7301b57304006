"""Orders of items and first sides, drawn from the project's seed: for each person their own, the same every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dissensus.hashing import number_of
from dissensus.records import Order

_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def shuffled(item_ids: NDArray[np.int64], seed: str, person_id: int) -> NDArray[np.int64]:
    """Put items of shape (n,) into a person's own order; items that are added later fall in between.

    Each item has a random number of its own (SplitMix64), so the order of two does not hang on which others are there.
    """
    start = np.uint64(number_of(f"{seed}/order/{person_id}"))
    mixed = (item_ids.astype(np.uint64) + start) * _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return item_ids[np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")]


def coin(seed: str, person_id: int, item_id: int) -> Order:
    """Draw a side for a person and an item."""
    return "ba" if number_of(f"{seed}/side/{person_id}/{item_id}") % 2 else "ab"
