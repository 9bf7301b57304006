"""Items of a project: its pairs, in the order in which they came, and practice pairs with their known answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, func, insert, select

from dissensus.annotate.project.schema import items
from dissensus.annotate.project.sides import KnownAnswer
from dissensus.errors import InputError
from dissensus.records import Pair, content_id

T = TypeVar("T")

_MOST_PARAMETERS = 500


def add_items(c: Connection, pairs: Iterable[Pair], known: Mapping[str, KnownAnswer] | None = None) -> int:
    """Add the pairs that are new, in their order; those with a known answer are practice. Returns how many were new.

    Raises InputError where a pair has the id of another with other texts.
    """
    return sum(_add_some(c, some, known or {}) for some in in_chunks(pairs))


def count_pairs(c: Connection) -> int:
    """Count the real pairs of a project."""
    return int(c.execute(select(func.count()).where(~items.c.practice)).scalar_one())


def _add_some(c: Connection, pairs: Sequence[Pair], known: Mapping[str, KnownAnswer]) -> int:
    ids = [pair.id for pair in pairs]
    rows = c.execute(select(items.c.pair_id, items.c.pair).where(items.c.pair_id.in_(ids)))
    there = {pair_id: Pair.model_validate_json(pair) for pair_id, pair in rows}
    new: dict[str, Pair] = {}
    for pair in pairs:
        earlier = there.get(pair.id) or new.setdefault(pair.id, pair)
        if _content(earlier) != _content(pair):
            raise InputError(f"pair {pair.id!r} is there already with other texts; give it another id, or leave it out")
    if new:
        c.execute(insert(items), [item_columns(pair, known.get(pair.id)) for pair in new.values()])
    return len(new)


def _content(pair: Pair) -> str:
    return content_id(pair.prompt, pair.response_a, pair.response_b)


def item_columns(pair: Pair, known: KnownAnswer | None) -> dict[str, Any]:
    """Lay a pair out as a row of items. Raises InputError for an id that databases do not keep."""
    if "\0" in pair.id:
        raise InputError(f"pair {pair.id!r}: its id has a zero character, which databases do not keep; rename it")
    return {
        "key": secrets.token_hex(8),
        "pair_id": pair.id,
        "pair": json.dumps(pair.model_dump(mode="json", exclude_none=True)),
        "practice": known is not None,
        "known": None if known is None else known.model_dump_json(),
        "taken": 0,
    }


def in_chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Split values into as many as a statement may have parameters."""
    rest = iter(values)
    while some := list(islice(rest, _MOST_PARAMETERS)):
        yield some
