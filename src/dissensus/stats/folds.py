"""Folds: whole groups dealt into parts of about equal size."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]


def deal(sizes: Sequence[int] | Ints, order: Iterable[int], n_folds: int) -> Ints:
    """Deal groups one after the other, each into the fold that is smallest so far; returns their folds, from 0.

    The largest and the smallest fold differ by no more than the largest group. Largest first makes folds most alike
    (Graham's rule); of folds that are equally small the first is taken.

    Args:
        sizes: of each group, shape (groups,).
        order: the groups' numbers, each once, in the order in which they are dealt.
        n_folds: how many folds there are.
    """
    folds = [(0, fold) for fold in range(n_folds)]
    fold_of = np.zeros(len(sizes), dtype=np.intp)
    for group in order:
        size, fold = heapq.heappop(folds)
        fold_of[group] = fold
        heapq.heappush(folds, (size + int(sizes[group]), fold))
    return fold_of
