"""Decisions of adjudicators about an item: revisions, as annotators' answers are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select

from dissensus.annotate.project.answers import digest_of, said_columns, said_in
from dissensus.annotate.project.errors import Current, DuplicateRequest, EditConflict, InvalidAnswer, NotFound
from dissensus.annotate.project.schema import adjudications, items
from dissensus.annotate.project.sides import Said


@dataclass(frozen=True)
class Decision:
    """The newest of an item."""

    item_id: int
    person_id: int
    revision: int
    said: Said
    decided_at: int


@dataclass(frozen=True)
class Decided:
    """A decision as it is in the database."""

    revision: int
    saved_at: int
    repeated: bool  # whether it was there before


def decide(c: Connection, person_id: int, item_key: str, id: str, base: int, decision: Said, now: int) -> Decided:
    """Save a decision, exactly once however often it is sent; ``id`` and ``base`` are as in `answers.Submission`.

    Raises NotFound where there is no such item (practice pairs are not decided), InvalidAnswer, EditConflict, and
    DuplicateRequest.
    """
    if not decision.model_dump(include={"correct", "distinct", "estimate", "choice"}, exclude_none=True):
        raise InvalidAnswer("the decision is empty: settle at least one of the tasks")
    item_id = find_item(c, item_key)
    latest = newest_decision(c, item_id)
    current = Current(0 if latest is None else latest.revision, "answered", None if latest is None else latest.said)
    digest = digest_of("decision", decision)
    earlier = c.execute(
        select(adjudications).where(adjudications.c.item_id == item_id, adjudications.c.idempotency_key == id)
    ).one_or_none()
    if earlier is not None:
        if earlier.digest != digest:
            raise DuplicateRequest("this was sent before with other content; reload the page and save again", current)
        return Decided(earlier.revision, earlier.created_at, repeated=True)
    if base != current.revision:
        raise EditConflict("somebody decided this pair in the meantime; look at both and save again", current)
    values = {"item_id": item_id, "person_id": person_id, "revision": base + 1, "idempotency_key": id}
    said = {name: value for name, value in said_columns(decision).items() if name != "seconds"}
    c.execute(insert(adjudications).values(**values, digest=digest, created_at=now, **said))
    return Decided(base + 1, now, repeated=False)


def find_item(c: Connection, key: str) -> int:
    """Return the id of a real item. Raises NotFound."""
    query = select(items.c.id).where(items.c.key == key, ~items.c.practice)
    found = c.execute(query).scalar_one_or_none() if re.fullmatch("[0-9a-f]{16}", key) else None
    if found is None:
        raise NotFound("there is no such pair; go back to the list")
    return int(found)


def newest_decision(c: Connection, item_id: int) -> Decision | None:
    """Return what was decided about an item; None where nothing was."""
    query = select(adjudications).where(adjudications.c.item_id == item_id)
    row = c.execute(query.order_by(adjudications.c.revision.desc()).limit(1)).one_or_none()
    return None if row is None else _decision(row)


def decisions(c: Connection) -> dict[int, Decision]:
    """Return the newest decision of every item that has one, by item id."""
    newest = (
        select(adjudications.c.item_id, func.max(adjudications.c.revision).label("revision"))
        .group_by(adjudications.c.item_id)
        .subquery()
    )
    same = and_(newest.c.item_id == adjudications.c.item_id, newest.c.revision == adjudications.c.revision)
    rows = c.execute(select(adjudications).join(newest, same).order_by(adjudications.c.item_id))
    return {row.item_id: _decision(row) for row in rows}


def _decision(row: Row[Any]) -> Decision:
    return Decision(row.item_id, row.person_id, row.revision, said_in(row), row.created_at)
