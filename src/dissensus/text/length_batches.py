"""Batches of rows of like length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def length_batches(
    lengths: Sequence[int] | Ints, budget: int, *, counts: Sequence[int] | None = None, alike: float = 0.0
) -> list[slice]:
    """Cut rows, longest first, into batches of at most ``budget`` padded tokens; a longer row stands alone.

    ``counts`` says how many rows of that length, or shorter, each stands for; ``alike`` which share of its longest
    row's tokens every row of a batch has.

    >>> length_batches([9, 4, 4, 3], 8)
    [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None)]
    """
    batches, begin, size = [], 0, 0
    for i, length in enumerate(lengths):
        count = 1 if counts is None else counts[i]
        if i > begin and ((size + count) * lengths[begin] > budget or length < alike * lengths[begin]):
            batches.append(slice(begin, i))
            begin, size = i, 0
        size += count
    return [*batches, slice(begin, len(lengths))] if len(lengths) else []


def order_by_length(lengths: Ints, window: int, rng: np.random.Generator) -> Ints:
    """Draw an order in which neighbours are of like length: each ``window`` of a random order is sorted by itself."""
    order = rng.permutation(len(lengths))
    parts = [order[i : i + window] for i in range(0, len(order), window)]
    return np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
