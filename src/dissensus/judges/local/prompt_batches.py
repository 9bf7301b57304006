"""Which prompts go into one forward pass: those that begin alike together, of like length, within a budget."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from dissensus.text.length_batches import length_batches

Ids = list[int]

_ALIKE = 0.8
"""Rows of one group stand in one batch if they have at least this share of the longest one's tokens."""
_WORTH = 0.1
"""The share of a batch's tokens that a common beginning must save to be computed by itself."""


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass, in groups that have a common beginning."""

    rows: tuple[int, ...]
    groups: tuple[int, ...]
    """For each row, which group it is of."""
    shared: tuple[int, ...]
    """For each group, how many tokens its rows begin with in common; all 0 where sharing saves too little."""


def plan_batches(
    rows: Sequence[Ids], groups: Sequence[Hashable], *, budget: int, tail: int, trunk: int = 0
) -> Iterator[Batch]:
    """Deal rows into batches of at most ``budget`` padded tokens, longest first; a longer row stands alone.

    Args:
        rows: token ids.
        groups: for each row what it is likely to begin like.
        budget: tokens, padding counted.
        tail: tokens at each end that are never shared.
        trunk: tokens that all rows begin with and that are computed elsewhere.
    """
    runs = _runs(rows, groups, budget)
    for part in length_batches([len(rows[run[0]]) for run in runs], budget, counts=list(map(len, runs))):
        yield _batch(rows, runs[part], tail, trunk)


def common_beginning(rows: Sequence[Ids], *, tail: int) -> int:
    """Count the tokens that all rows begin with, ``tail`` at the end of each left out.

    >>> common_beginning([[1, 2, 3, 4], [1, 2, 5]], tail=1)
    2
    >>> common_beginning([[1, 2, 3]], tail=1)
    2
    """
    first, last = min(rows), max(rows)
    shared = next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last)))
    return max(0, min(shared, min(map(len, rows)) - tail))


def _runs(rows: Sequence[Ids], groups: Sequence[Hashable], budget: int) -> list[list[int]]:
    """Cut each group into runs of rows of like length, none over the budget; longest run first."""
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    runs: list[list[int]] = []
    for indices in members.values():
        ordered = sorted(indices, key=lambda row: -len(rows[row]))
        lengths = [len(rows[row]) for row in ordered]
        runs += [ordered[part] for part in length_batches(lengths, budget, alike=_ALIKE)]
    return sorted(runs, key=lambda run: -len(rows[run[0]]))


def _batch(rows: Sequence[Ids], runs: list[list[int]], tail: int, trunk: int) -> Batch:
    shared = [common_beginning([rows[row] for row in run], tail=tail) if len(run) > 1 else trunk for run in runs]
    saved = sum((len(run) - 1) * max(count - trunk, 0) for run, count in zip(runs, shared, strict=True))
    total = sum(len(rows[row]) - trunk for run in runs for row in run)
    if saved < _WORTH * total:
        shared = [trunk] * len(runs)
    return Batch(
        rows=tuple(row for run in runs for row in run),
        groups=tuple(group for group, run in enumerate(runs) for _ in run),
        shared=tuple(shared),
    )
