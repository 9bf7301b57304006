"""Several families of hypotheses, each behind a gate, with one family-wise error rate over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dissensus.stats.resampling.paired_differences import holm


def gated_holm(families: Sequence[Sequence[float]]) -> list[list[float]]:
    """Adjust p-values of families whose first hypothesis is a gate: the others wait until it is rejected.

    With m families and level α, each family starts with α / m. There its gate is tested first and then, where that is
    rejected, the others by Holm's method. The level of a family that is rejected whole goes to the families that are
    left, in equal parts. This is a graphical procedure (Bretz, Maurer, Brannath and Posch, "A graphical approach to
    sequentially rejective multiple test procedures", Statistics in Medicine 28, 2009), so the chance of any false
    rejection is at most α whichever hypotheses are true and however the p-values depend on each other. Directly: k
    families hold a true hypothesis. Before the first false rejection none of these is rejected whole, so none has a
    level above α / k, and within each the first false rejection has at most the chance of the family's level.

    Args:
        families: p-values from 0 to 1, the gate first; each of one or more.

    Returns:
        Adjusted p-values of the same shapes, none below its p-value or its gate's.

    >>> for family in gated_holm([[0.01, 0.02, 0.001], [0.02, 0.5]]):
    ...     print(*(round(p, 3) for p in family))
    0.02 0.04 0.02
    0.04 0.5
    """
    local = [[gate, *(max(gate, p) for p in holm(others))] for gate, *others in families]  # each as if alone
    whole = [max(family) for family in local]
    order = sorted(range(len(local)), key=whole.__getitem__)
    m = len(local)
    # spent[k]: the level at which the k families that are easiest to reject are rejected whole.
    spent = np.maximum.accumulate([0.0, *((m - k) * whole[i] for k, i in enumerate(order))])
    adjusted: list[list[float]] = [[] for _ in local]
    for rank, i in enumerate(order):
        helped = np.arange(rank + 1)
        adjusted[i] = [float(min(1.0, np.maximum(spent[helped], (m - helped) * p).min())) for p in local[i]]
    return adjusted
