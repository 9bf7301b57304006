"""Assignments: the items that a person is given, on which side and for how long; exactly k people answer each.

Orders of items and first sides are drawn from the project's seed: for each person their own, the same every time.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, CursorResult, Select, and_, bindparam, exists, func, insert, or_, select, update

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.errors import NotAllowed, NotFound
from dissensus.annotate.project.schema import assignments, items, people
from dissensus.annotate.project.sides import State
from dissensus.annotate.project.slots import expire, lease_end, take
from dissensus.hashing import number_of
from dissensus.records import Order

_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class Assignment:
    """An item given to a person."""

    id: int
    key: str  # all that the person learns of the item
    item_id: int
    person_id: int
    number: int  # 1, 2, … in the person's own order
    shown: Order
    state: State
    revision: int
    leased_until: int | None
    practice: bool


@dataclass(frozen=True)
class Leased:
    """What a person has got."""

    tasks: list[Assignment]  # theirs from now on and not in the browser yet, in order
    gone: list[str]  # keys in the browser that are theirs no longer
    waiting: int
    """Pairs that this person may still be given: others hold them, or they are kept for others now. Counted only where
    fewer tasks came than were wanted; 0 means that there is nothing left for this person."""


_IDS: Any = bindparam("ids", expanding=True)
_OF_ITEM = assignments.c.item_id == items.c.id
_MINE = assignments.c.person_id == bindparam("person")
_IS_LEASED = assignments.c.state == "leased"
_OWN = (
    select(
        *assignments.c["id", "key", "item_id", "person_id", "number", "shown", "state", "revision", "leased_until"],
        items.c.practice,
    )
    .join(items, _OF_ITEM)
    .where(_MINE)
    .order_by(assignments.c.number)
)
_OWN_OPEN = _OWN.where(assignments.c.state.in_(("leased", "released")))
_OWN_OF_ITEMS = _OWN.where(assignments.c.item_id.in_(_IDS))
_OWN_ONE = _OWN.where(assignments.c.key == bindparam("key"))
_OWN_KEYS = select(assignments.c.key).where(_MINE, assignments.c.key.in_(bindparam("keys", expanding=True)))
_GIVEN = exists().where(_OF_ITEM, _MINE)
_PRACTICE = select(items.c.id).where(items.c.practice, ~_GIVEN).order_by(items.c.id).limit(bindparam("most"))
_PRACTISED = exists().where(_OF_ITEM, _MINE, assignments.c.state.in_(("answered", "skipped")))
_UNPRACTISED = select(items.c.id).where(items.c.practice, ~_PRACTISED).limit(1)
_UNSEEN_PRACTICE = select(func.count()).select_from(items).where(items.c.practice, ~_GIVEN)
_WITH_SLOTS = and_(~items.c.practice, items.c.taken < bindparam("k"))
_CANDIDATES = select(items.c.id).where(_WITH_SLOTS, ~_GIVEN).order_by(items.c.id)
_RELEASED = and_(_MINE, assignments.c.state == "released")
_FREE_OF_RELEASED = select(items.c.id).join(assignments, _OF_ITEM).where(_WITH_SLOTS, _RELEASED)
_FREE: Select[Any] = select(func.coalesce(func.sum(bindparam("k") - items.c.taken), 0)).where(_WITH_SLOTS)
_LEASED_NOW = select(func.count()).select_from(assignments.join(items, _OF_ITEM)).where(_IS_LEASED, ~items.c.practice)
_HELD = exists().where(_OF_ITEM, _IS_LEASED)
_DONE_OR_HELD_BY_ME = exists().where(_OF_ITEM, _MINE, assignments.c.state != "released")
_IS_OPEN = or_(items.c.taken < bindparam("k"), _HELD)
_WAITING = select(func.count()).select_from(items).where(~items.c.practice, _IS_OPEN, ~_DONE_OR_HELD_BY_ME)
_OPEN = select(func.count()).select_from(items).where(_WITH_SLOTS, ~_DONE_OR_HELD_BY_ME)
_IS_ACTIVE = and_(people.c.role == "annotator", people.c.revoked_at.is_(None), people.c.seen_at > bindparam("since"))
_ACTIVE = select(func.count()).select_from(people).where(_IS_ACTIVE)
_PERSON = select(people.c.role, people.c.revoked_at).where(people.c.id == bindparam("person"))
_SEEN = update(people).where(people.c.id == bindparam("person")).values(seen_at=bindparam("now"))
_LEASE = update(assignments).where(assignments.c.id.in_(_IDS)).values(state="leased", leased_until=bindparam("until"))
_LAST_NUMBER = select(func.coalesce(func.max(assignments.c.number), 0)).where(_MINE)
_OF_PRACTICE = assignments.c.item_id.in_(select(items.c.id).where(items.c.practice))
_SIDES = select(assignments.c.shown, func.count()).where(_MINE, ~_OF_PRACTICE).group_by(assignments.c.shown)
_SIDES_OF_ITEMS = (
    select(assignments.c.item_id, assignments.c.shown, func.count())
    .where(assignments.c.item_id.in_(_IDS))
    .group_by(assignments.c.item_id, assignments.c.shown)
)


def own(c: Connection, person_id: int) -> list[Assignment]:
    """Return all that a person was ever given, in their order."""
    return _assignments(c.execute(_OWN, {"person": person_id}))


def find(c: Connection, person_id: int, key: str) -> Assignment:
    """Return one of a person's assignments. Raises NotFound where it is none of theirs."""
    found = _assignments(c.execute(_OWN_ONE, {"person": person_id, "key": key}))
    if not found:
        raise no_such_task()
    return found[0]


def no_such_task() -> NotFound:
    """Say that a task is unknown, whether it is nobody's or somebody else's."""
    return NotFound("there is no such task; go back to your list of tasks")


def count_open(c: Connection, person_id: int, k: int) -> int:
    """Count the real items with a free slot that a person has neither done nor got."""
    return int(c.execute(_OPEN, {"person": person_id, "k": k}).scalar_one())


def count_unseen_practice(c: Connection, person_id: int) -> int:
    """Count the practice items that a person was never given."""
    return int(c.execute(_UNSEEN_PRACTICE, {"person": person_id}).scalar_one())


def lease(
    c: Connection, config: AnnotationConfig, seed: str, person_id: int, *, want: int, have: Sequence[str], now: int
) -> Leased:
    """Keep what a browser holds, and give it up to ``want`` more.

    ``have``: the keys in the browser; their leases start anew, and what ran out is theirs again where a slot is
    free. New ones are, in this order: theirs but not in the browser; theirs until the lease ran out; practice; and once
    that is over, items in their own shuffled order, never more than their share. Raises NotAllowed for who is no
    annotator or was revoked.
    """
    person = c.execute(_PERSON, {"person": person_id}).one_or_none()
    if person is None or person.revoked_at is not None or person.role != "annotator":
        raise NotAllowed("only people who were invited as annotators get tasks; ask the organiser for a link")
    expire(c, now, config.annotators)
    c.execute(_SEEN, {"person": person_id, "now": now})
    leasing = _Leasing(c, config, seed, person_id, now)
    gone = leasing.keep(set(have))
    tasks = [found for found in leasing.give(want) if found.key not in have]
    # Real items that this person has neither done nor got, and that have not all their answers.
    values = {"person": person_id, "k": config.annotators}
    waiting = int(c.execute(_WAITING, values).scalar_one()) if len(tasks) < want else 0
    return Leased(tasks, [key for key in have if key in gone], waiting)


class _Leasing:
    """One person's leases while a request for more is answered."""

    def __init__(self, c: Connection, config: AnnotationConfig, seed: str, person_id: int, now: int) -> None:
        self._c, self._config, self._seed, self._person, self._now = c, config, seed, person_id, now
        self._k = config.annotators
        open_ones = _assignments(c.execute(_OWN_OPEN, {"person": person_id}))
        self._leased = [a for a in open_ones if a.state == "leased"]
        self._released = [a for a in open_ones if a.state == "released"]
        self._given: list[int] = []

    def keep(self, have: Set[str]) -> set[str]:
        """Renew what the browser holds; returns the keys that are gone."""
        lapsed = [a for a in self._released if a.key in have]
        back = self._take_back(lapsed)
        self._lease([a.id for a in self._leased if a.key in have])
        self._released = [a for a in self._released if a.key not in have]
        self._new = [a for a in self._leased if a.key not in have]
        self._leased += back
        known = set(self._c.execute(_OWN_KEYS, {"person": self._person, "keys": sorted(have)}).scalars())
        return ({a.key for a in lapsed} - {a.key for a in back}) | (have - known)

    def give(self, want: int) -> list[Assignment]:
        """Find up to ``want`` tasks that are not in the browser, in the person's order."""
        already = self._new[:want]
        self._lease([a.id for a in already])
        self._given = [a.item_id for a in already]
        room = want - len(already)
        if room > 0 and self._released:
            room -= self._give_back_what_ran_out(room)
        if room > 0 and self._config.practice:
            room -= self._give_practice(room)
        if room > 0 and not self._is_practising:
            self._give_fresh(room)
        if not self._given:
            return []
        return _assignments(self._c.execute(_OWN_OF_ITEMS, {"person": self._person, "ids": self._given}))

    def _give_back_what_ran_out(self, room: int) -> int:
        real: list[Assignment] = []
        if not self._is_practising:
            free = set(self._c.execute(_FREE_OF_RELEASED, {"person": self._person, "k": self._k}).scalars())
            real = [a for a in self._released if a.item_id in free]
        practice = [a for a in self._released if a.practice]
        back = self._take_back([*practice[:room], *real[: self._share(room)]][:room])
        self._leased += back
        self._given += [a.item_id for a in back]
        return len(back)

    def _give_practice(self, room: int) -> int:
        found = self._c.execute(_PRACTICE, {"person": self._person, "most": room}).scalars().all()
        take(self._c, found, self._k)
        self._assign(found, [_coin(self._seed, self._person, item) for item in found])
        return len(found)

    def _give_fresh(self, room: int) -> None:
        share = self._share(room)
        if share <= 0:
            return
        candidates = self._c.execute(_CANDIDATES, {"person": self._person, "k": self._k}).scalars().all()
        order = shuffled(np.array(candidates, dtype=np.int64), self._seed, self._person)[:share].tolist()
        got = take(self._c, order, self._k)
        found = [item for item in order if item in got]
        self._assign(found, self._sides(found))

    @cached_property
    def _is_practising(self) -> bool:
        """Whether the practice is not over: nobody begins with real items before."""
        if not self._config.practice:
            return False
        return self._c.execute(_UNPRACTISED, {"person": self._person}).first() is not None

    def _share(self, room: int) -> int:
        """Count how many real items may be added: slots are few at the end, and others want some too."""
        free = int(self._c.execute(_FREE, {"k": self._k}).scalar_one())
        if not free:
            return 0
        since = self._now - (lease_end(self._config, 0))
        active = max(1, int(self._c.execute(_ACTIVE, {"since": since}).scalar_one()))
        leased = int(self._c.execute(_LEASED_NOW).scalar_one())
        held = sum(not a.practice for a in self._leased)
        most = min(self._config.prefetch, -(-(free + leased) // active))
        return min(room, most - held, -(-free // active))

    def _sides(self, item_ids: Sequence[int]) -> list[Order]:
        mine: Counter[str] = Counter(dict(self._c.execute(_SIDES, {"person": self._person}).all()))
        theirs: Counter[tuple[int, str]] = Counter()
        for item, shown, n in self._c.execute(_SIDES_OF_ITEMS, {"ids": list(item_ids)}):
            theirs[item, shown] = n
        sides: list[Order] = []
        for item in item_ids:
            lead = mine["ab"] - mine["ba"] or theirs[item, "ab"] - theirs[item, "ba"]
            side: Order = _coin(self._seed, self._person, item) if not lead else "ba" if lead > 0 else "ab"
            mine[side] += 1
            sides.append(side)
        return sides

    def _assign(self, item_ids: Sequence[int], sides: Sequence[Order]) -> None:
        if not item_ids:
            return
        last = self._c.execute(_LAST_NUMBER, {"person": self._person}).scalar_one()
        shared = {
            "person_id": self._person,
            "state": "leased",
            "leased_until": lease_end(self._config, self._now),
            "revision": 0,
            "created_at": self._now,
        }
        rows = [
            {**shared, "key": secrets.token_hex(8), "item_id": item, "number": last + n, "shown": side}
            for n, (item, side) in enumerate(zip(item_ids, sides, strict=True), 1)
        ]
        self._c.execute(insert(assignments), rows)
        self._given += item_ids

    def _take_back(self, lapsed: Sequence[Assignment]) -> list[Assignment]:
        got = take(self._c, [a.item_id for a in lapsed], self._k)
        back = [a for a in lapsed if a.item_id in got]
        self._lease([a.id for a in back])
        return back

    def _lease(self, ids: Sequence[int]) -> None:
        if ids:
            self._c.execute(_LEASE, {"ids": list(ids), "until": lease_end(self._config, self._now)})


def _assignments(rows: CursorResult[Any]) -> list[Assignment]:
    return [Assignment(**row) for row in rows.mappings()]


def shuffled(item_ids: NDArray[np.int64], seed: str, person_id: int) -> NDArray[np.int64]:
    """Put items of shape (n,) into a person's own order; items that are added later fall in between.

    Each item has a random number of its own (SplitMix64), so the order of two does not hang on which others are there.
    """
    start = np.uint64(number_of(f"{seed}/order/{person_id}"))
    mixed = (item_ids.astype(np.uint64) + start) * _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return item_ids[np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")]


def _coin(seed: str, person_id: int, item_id: int) -> Order:
    """Draw a side for a person and an item."""
    return "ba" if number_of(f"{seed}/side/{person_id}/{item_id}") % 2 else "ab"
