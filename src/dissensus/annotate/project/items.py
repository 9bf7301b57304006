"""Items of a project: its pairs, in the order in which they came, and practice pairs with their known answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from itertools import islice

from sqlalchemy import Connection, func, insert, select

from dissensus.annotate.project.schema import items
from dissensus.annotate.project.sides import KnownAnswer
from dissensus.errors import InputError
from dissensus.files.readers import Values
from dissensus.records import Pair, content_id

_MOST_PARAMETERS = 500


def add_items(c: Connection, pairs: Iterable[Pair], known: Mapping[str, KnownAnswer] | None = None) -> int:
    """Add the pairs that are new, in their order; those with a known answer are practice. Returns how many were new.

    Raises InputError where a pair has the id of another with other texts.
    """
    rest, added = iter(pairs), 0
    while some := list(islice(rest, _MOST_PARAMETERS)):
        rows = c.execute(select(items.c.pair_id, items.c.pair).where(items.c.pair_id.in_([pair.id for pair in some])))
        there = {pair_id: Pair.model_validate_json(pair) for pair_id, pair in rows}
        new: dict[str, Pair] = {}
        for pair in some:
            earlier = there.get(pair.id) or new.setdefault(pair.id, pair)
            texts = [content_id(one.prompt, one.response_a, one.response_b) for one in (earlier, pair)]
            if texts[0] != texts[1]:
                raise InputError(
                    f"pair {pair.id!r} is there already with other texts; give it another id, or leave it out"
                )
        if new:
            c.execute(insert(items), [item_columns(pair, (known or {}).get(pair.id)) for pair in new.values()])
        added += len(new)
    return added


def count_pairs(c: Connection) -> int:
    """Count the real pairs of a project."""
    return int(c.execute(select(func.count()).where(~items.c.practice)).scalar_one())


def item_columns(pair: Pair, known: KnownAnswer | None) -> Values:
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
