"""Everything that was said, as it stands now: one row per assignment."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, and_, select

from dissensus.annotate.project.schema import assignments, items, people, revisions
from dissensus.annotate.project.sides import Correct, Distinct, Kind, State
from dissensus.records import Label, Order


class Row(NamedTuple):
    """An assignment with the newest that was said about it, in the pair's own terms."""

    assignment_id: int
    item_id: int
    practice: bool
    person_id: int
    name: str
    shown: Order
    state: State
    kind: Kind | None
    """None where nothing was said yet."""
    correct: Correct | None
    distinct: Distinct | None
    estimate: int | None
    choice: Label | None
    note: str | None
    reason: str | None
    seconds: float | None
    said_at: int | None

    @property
    def counts(self) -> bool:
        """Whether it is one of the k answers to a real pair."""
        return self.state == "answered" and not self.practice

    @property
    def left(self) -> int | None:
        """Of ten, how many prefer the response that was on the left."""
        if self.estimate is None:
            return None
        return self.estimate if self.shown == "ab" else 10 - self.estimate


_ROWS = (
    select(
        assignments.c.id,
        assignments.c.item_id,
        items.c.practice,
        assignments.c.person_id,
        people.c.name,
        assignments.c.shown,
        assignments.c.state,
        revisions.c.kind,
        revisions.c.correct,
        revisions.c.distinct_,
        revisions.c.estimate,
        revisions.c.choice,
        revisions.c.note,
        revisions.c.reason,
        revisions.c.seconds,
        revisions.c.created_at,
    )
    .join(items, items.c.id == assignments.c.item_id)
    .join(people, people.c.id == assignments.c.person_id)
    .outerjoin(
        revisions,
        and_(revisions.c.assignment_id == assignments.c.id, revisions.c.revision == assignments.c.revision),
    )
    .order_by(assignments.c.item_id, assignments.c.id)
)


def read_rows(c: Connection, item_id: int | None = None) -> list[Row]:
    """Read all assignments, or those of one item, by item and in the order in which they were given."""
    query = _ROWS if item_id is None else _ROWS.where(assignments.c.item_id == item_id)
    return [Row._make(row) for row in c.execute(query)]
