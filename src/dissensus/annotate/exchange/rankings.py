"""Rankings of responses as other tools write them: lists of names, of names with ranks, or both as columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dissensus.records import Label


def as_rows(value: Any) -> list[Any] | None:
    """Read a list, or an object of lists of one length (as Arrow keeps lists of objects), as a list; else None.

    >>> as_rows({"value": ["x", "y"], "rank": [1, 2]})
    [{'value': 'x', 'rank': 1}, {'value': 'y', 'rank': 2}]
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping) or not value or not all(isinstance(column, list) for column in value.values()):
        return None
    if len({len(column) for column in value.values()}) > 1:
        return None
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def tiers(value: Any) -> list[list[str]] | None:
    """Read a ranking of two names or more, the best first; names in one tier are equal. None where it is none.

    >>> tiers(["y", "x"]), tiers([{"value": "x", "rank": 1}, {"value": "y", "rank": 1}])
    ([['y'], ['x']], [['x', 'y']])
    """
    rows = as_rows(value)
    if rows is None or len(rows) < 2:
        return None
    if all(isinstance(row, str) for row in rows):
        return [[row] for row in rows]
    if not all(isinstance(row, Mapping) and isinstance(row.get("value"), str) for row in rows):
        return None
    ranks = [row.get("rank") for row in rows]
    if all(rank is None for rank in ranks):
        return [[row["value"]] for row in rows]
    numbers = [_whole(rank) for rank in ranks]
    found: defaultdict[int, list[str]] = defaultdict(list)
    for row, number in zip(rows, numbers, strict=True):
        if number is None:
            return None
        found[number].append(row["value"])
    return [found[number] for number in sorted(found)]


def _whole(rank: Any) -> int | None:
    if isinstance(rank, bool):
        return None
    try:
        number = float(rank)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def preferred(ranking: Sequence[Sequence[str]], side_of: Callable[[str], Label | None]) -> Label | None:
    """Return the response that a ranking prefers, or that it holds them equal; None where it does not name both once.

    >>> preferred([["y"], ["z"], ["x"]], {"x": "a", "y": "b"}.get)
    'b'
    """
    places: dict[str, int] = {}
    for place, names in enumerate(ranking):
        for side in map(side_of, names):
            if side == "tie" or side in places:
                return None
            if side is not None:
                places[side] = place
    if len(places) < 2:
        return None
    return "tie" if places["a"] == places["b"] else "a" if places["a"] < places["b"] else "b"
