"""Verification of a project's database: that it is whole, and that its tables say the same."""

from __future__ import annotations

from sqlalchemy import Connection, case, func, or_, select

from dissensus.annotate.project.schema import adjudications, assignments, items, revisions
from dissensus.annotate.project.store import AnnotationStore

_HOLDING = assignments.c.state.in_(("leased", "answered"))
_SAYS = {"answer": ("answered", "surplus"), "skip": ("skipped",), "withdraw": ("leased", "released")}


def check(store: AnnotationStore) -> list[str]:
    """Look for faults; returns a line for each, and none where all is well."""
    k = store.config.annotators
    return store.read(lambda c: [*_database(c), *_slots(c, k), *_assignments(c), *_decisions(c)])


def _database(c: Connection) -> list[str]:
    if c.dialect.name != "sqlite":
        return []
    found = [line for (line,) in c.exec_driver_sql("PRAGMA integrity_check") if line != "ok"]
    broken = c.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [*(f"SQLite: {line}" for line in found), *(f"{row[0]} {row[1]}: names no row of {row[2]}" for row in broken)]


def _slots(c: Connection, k: int) -> list[str]:
    def count(condition: object) -> object:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)  # type: ignore[arg-type]

    rows = c.execute(
        select(
            items.c.id,
            items.c.practice,
            items.c.taken,
            count(_HOLDING).label("held"),  # type: ignore[attr-defined]
            count(assignments.c.state == "answered").label("answered"),  # type: ignore[attr-defined]
            count(assignments.c.state == "surplus").label("surplus"),  # type: ignore[attr-defined]
        )
        .outerjoin(assignments, assignments.c.item_id == items.c.id)
        .group_by(items.c.id)
        .order_by(items.c.id)
    )
    faults = []
    for item, practice, taken, held, answered, surplus in rows:
        if taken != held:
            faults.append(f"item {item}: {taken} slots are counted as taken, but {held} are")
        if not practice and answered > k:
            faults.append(f"item {item}: {answered} answers count, but {k} are wanted")
        if surplus and (practice or held < k):
            faults.append(f"item {item}: an answer does not count, although a slot is free")
    return faults


def _assignments(c: Connection) -> list[str]:
    newest = case((revisions.c.revision == assignments.c.revision, revisions.c.kind))
    rows = c.execute(
        select(
            *assignments.c["id", "revision", "state", "leased_until"],
            func.count(revisions.c.id).label("n"),
            func.coalesce(func.min(revisions.c.revision), 1).label("first"),
            func.coalesce(func.max(revisions.c.revision), 0).label("last"),
            func.max(newest).label("kind"),
        )
        .outerjoin(revisions, revisions.c.assignment_id == assignments.c.id)
        .group_by(assignments.c.id)
        .order_by(assignments.c.id)
    )
    faults = []
    for row in rows:
        name = f"assignment {row.id}"
        if not (row.first == 1 and row.n == row.last == row.revision):
            had = f"{row.n} revisions, from {row.first} to {row.last}"
            faults.append(f"{name}: is at revision {row.revision}, but has {had}")
        if row.state not in _SAYS[row.kind or "withdraw"]:
            faults.append(f"{name}: is {row.state}, but the last thing saved is {row.kind or 'nothing'}")
        if (row.leased_until is not None) != (row.state == "leased"):
            faults.append(f"{name}: is {row.state}, and its lease ends at {row.leased_until}")
    return faults


def _decisions(c: Connection) -> list[str]:
    number = adjudications.c.revision
    rows = c.execute(
        select(adjudications.c.item_id, func.count(), func.min(number), func.max(number))
        .group_by(adjudications.c.item_id)
        .having(or_(func.min(number) != 1, func.max(number) != func.count()))
    )
    return [f"item {item}: has {n} decisions, from {first} to {last}" for item, n, first, last in rows]
