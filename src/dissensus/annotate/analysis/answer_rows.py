"""Answer rows: everything that was said, as it stands now, one row per assignment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, and_, select

from dissensus.annotate.project.answers import said_in
from dissensus.annotate.project.schema import assignments, items, people, revisions
from dissensus.annotate.project.sides import Said, State
from dissensus.records import Order

K = TypeVar("K")


class Row(NamedTuple):
    """An assignment with the newest that was said about it."""

    item_id: int
    practice: bool
    person_id: int
    name: str
    shown: Order
    state: State
    said: Said | None  # None where nothing was said yet, and where it was skipped or withdrawn
    reason: str  # of a skip
    said_at: int | None

    @property
    def counts(self) -> bool:
        """Whether it is one of the k answers to a real pair."""
        return self.state == "answered" and self.said is not None and not self.practice

    @property
    def seconds(self) -> float | None:
        """Active time of the answer."""
        return None if self.said is None else self.said.seconds


_SAID = revisions.c["kind", "correct", "distinct", "estimate", "choice", "note", "reason", "seconds", "created_at"]
_ROWS = (
    select(*assignments.c["item_id", "person_id", "shown", "state"], items.c.practice, people.c.name, *_SAID)
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
    return [
        Row(
            item_id=row.item_id,
            practice=row.practice,
            person_id=row.person_id,
            name=row.name,
            shown=row.shown,
            state=row.state,
            said=said_in(row) if row.kind == "answer" else None,
            reason=row.reason or "",
            said_at=row.created_at,
        )
        for row in c.execute(query)
    ]


def grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> defaultdict[K, list[Row]]:
    """Sort rows into lists by item or person, in their order."""
    found: defaultdict[K, list[Row]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found
