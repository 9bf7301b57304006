"""Packing texts for causal backbones: no padding, and a shared beginning stands once.

Texts that begin alike are laid out as one *trunk*, their longest common prefix, whose hidden states depend on nothing
behind it, followed by their *branches*, the rest of each; all of a batch stand in one row of T tokens::

    text 0: p p p a a        row:       p p p a a b b b q c
    text 1: p p p b b b      positions: 0 1 2 3 4 3 4 5 0 1
    text 2: q c              last:            4     7   9

Rewards and gradients are those of each text alone, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PackingPlan:
    """Where each token of a batch of texts stands in one row of T tokens; NumPy only, made without torch."""

    input_ids: Ints
    """Shape (1, T)."""
    position_ids: Ints
    """Position of each token in its text, shape (1, T)."""
    groups: tuple[tuple[int, tuple[int, ...]], ...]
    """Tokens of each trunk and of its branches, in the order of the row. A trunk may be empty, a branch never is."""
    last: Ints
    """Where the reward of each text is read, shape (texts,), in the order in which the texts were given."""

    @property
    def tokens(self) -> int:
        """T, the tokens that the model reads."""
        return int(self.input_ids.shape[1])


def pack_texts(texts: Sequence[Sequence[int] | NDArray[np.int32]], *, pad_id: int | None = None) -> PackingPlan:
    """Lay out texts, given as token ids, so that shared beginnings stand once.

    The groups that share a trunk are chosen to leave the fewest tokens. ``pad_id`` at the end of a text is left
    out: transformers reads a reward from the last token that is not padding, and so do we. Raises ValueError for
    no texts or an empty one.

    >>> plan = pack_texts([[1, 2, 3, 4], [5, 6], [1, 2, 3, 7, 8]])
    >>> plan.input_ids.tolist(), plan.position_ids.tolist()
    ([[1, 2, 3, 4, 7, 8, 5, 6]], [[0, 1, 2, 3, 3, 4, 0, 1]])
    >>> plan.groups, plan.last.tolist()
    (((3, (1, 2)), (0, (2,))), [3, 7, 5])
    """
    if not len(texts):
        raise ValueError("there are no texts to pack")
    rows = [_without_padding(np.asarray(text, dtype=np.int64), pad_id) for text in texts]
    last = np.empty(len(rows), dtype=np.int64)
    ids, positions, groups, filled = [], [], [], 0
    for members, shared in _share(rows):
        trunk = rows[members[0]][:shared]
        for piece, first in ((trunk, 0), *((rows[i][shared:], shared) for i in members)):
            ids.append(piece)
            positions.append(np.arange(first, first + len(piece)))
        lengths = tuple(len(rows[i]) - shared for i in members)
        last[members] = filled + shared + np.cumsum(lengths) - 1
        groups.append((shared, lengths))
        filled += shared + sum(lengths)
    return PackingPlan(np.concatenate(ids)[None], np.concatenate(positions)[None], tuple(groups), last)


def _without_padding(ids: Ints, pad_id: int | None) -> Ints:
    if not len(ids):
        raise ValueError("a text has no tokens; every text needs one to read its reward from")
    if pad_id is None:
        return ids
    kept = np.flatnonzero(ids != pad_id)
    # Of padding alone, transformers reads the first token.
    return ids[: kept[-1] + 1 if len(kept) else 1]


def _share(rows: Sequence[Ints]) -> list[tuple[list[int], int]]:
    """Group texts by shared beginning: members of each group, and the tokens of its trunk, by their first text.

    The groups are runs of the lexicographic order, chosen by dynamic programming: a run of k texts saves (k - 1) times
    its common prefix, and among equal savings the smallest last run wins.
    """
    keys = [row.astype(">i8").tobytes() for row in rows]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    # common[j]: tokens that texts j and j + 1 of the order share, leaving one at least to each.
    common = np.array([_common_prefix(rows[i], rows[j]) for i, j in pairwise(order)], dtype=int)
    saved = np.zeros(len(rows) + 1, dtype=int)
    size = [0] * (len(rows) + 1)
    for n in range(1, len(rows) + 1):
        # A last run of 1, 2, ... texts that ends at text n.
        shared = np.concatenate([[0], np.minimum.accumulate(common[: n - 1][::-1])])
        savings = saved[:n][::-1] + np.arange(n) * shared
        size[n] = int(np.argmax(savings)) + 1
        saved[n] = savings[size[n] - 1]
    groups: list[tuple[list[int], int]] = []
    end = len(rows)
    while end:
        start = end - size[end]
        trunk = int(common[start : end - 1].min()) if size[end] > 1 else 0
        groups.append((sorted(order[start:end]), trunk))
        end = start
    return sorted(groups)


def _common_prefix(one: Ints, other: Ints) -> int:
    n = min(len(one), len(other)) - 1
    different = np.flatnonzero(one[:n] != other[:n])
    return int(different[0]) if len(different) else n
