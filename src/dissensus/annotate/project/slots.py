"""The slots of an item: taken, given back, and given to answers that came too late for one.

An item has k slots. One is taken while an assignment is leased or answered, and ``items.taken`` counts them; it
changes here alone. Practice items have slots without end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import Connection, bindparam, or_, select, update

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.schema import assignments, items, project

_TAKE = (
    update(items)
    .where(items.c.id.in_(bindparam("ids", expanding=True)), or_(items.c.practice, items.c.taken < bindparam("k")))
    .values(taken=items.c.taken + 1)
    .returning(items.c.id)
)
_GIVE_BACK = update(items).where(items.c.id == bindparam("item")).values(taken=items.c.taken - bindparam("n"))
_TOO_LATE = (
    select(assignments.c.id, assignments.c.item_id)
    .where(assignments.c.item_id.in_(bindparam("ids", expanding=True)), assignments.c.state == "surplus")
    .order_by(assignments.c.id)
)
_COUNT = update(assignments).where(assignments.c.id == bindparam("assignment")).values(state="answered")
_IS_LEASED = assignments.c.state == "leased"
_RELEASE = update(assignments).values(state="released", leased_until=None).returning(assignments.c.item_id)
_EXPIRE = _RELEASE.where(_IS_LEASED, assignments.c.leased_until <= bindparam("now"))
_EXPIRE_ONE = _EXPIRE.where(assignments.c.item_id == bindparam("item"))
_LEAVE = _RELEASE.where(_IS_LEASED, assignments.c.person_id == bindparam("person"))


def read_config(c: Connection) -> AnnotationConfig:
    """Read the project's settings."""
    return AnnotationConfig.model_validate_json(c.execute(select(project.c.config)).scalar_one())


def lease_end(config: AnnotationConfig, now: int) -> int:
    """Return until when a lease that is given or renewed now lasts."""
    return now + round(config.lease_minutes * 60_000)


def take(c: Connection, item_ids: Collection[int], k: int) -> set[int]:
    """Take a slot of each of these items that has one; returns the items that had."""
    if not item_ids:
        return set()
    return set(c.execute(_TAKE, {"ids": list(item_ids), "k": k}).scalars())


def give_back(c: Connection, item_ids: Collection[int], k: int) -> None:
    """Give a slot back, once for each time that an item is named; answers that came too late for one come first."""
    if not item_ids:
        return
    c.execute(_GIVE_BACK, [{"item": item, "n": n} for item, n in Counter(item_ids).items()])
    for late in c.execute(_TOO_LATE, {"ids": list(set(item_ids))}).all():
        if take(c, [late.item_id], k):
            c.execute(_COUNT, {"assignment": late.id})


def expire(c: Connection, now: int, k: int, item_id: int | None = None) -> None:
    """Release all whose lease has run out, or those of one item."""
    found = (
        c.execute(_EXPIRE, {"now": now}) if item_id is None else c.execute(_EXPIRE_ONE, {"now": now, "item": item_id})
    )
    give_back(c, found.scalars().all(), k)


def leave(c: Connection, person_id: int, k: int) -> None:
    """Release all that a person holds."""
    give_back(c, c.execute(_LEAVE, {"person": person_id}).scalars().all(), k)
