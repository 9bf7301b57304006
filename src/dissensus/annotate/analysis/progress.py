"""Progress of people and pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel
from sqlalchemy import Connection, select

from dissensus.annotate.analysis.answer_rows import Row, grouped
from dissensus.annotate.project import access
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.schema import items
from dissensus.annotate.project.sides import KnownAnswer, Role

_HOUR = 3_600_000


class PersonProgress(BaseModel):
    """What one person did with real pairs, and in the practice."""

    id: int
    name: str
    role: Role
    revoked: bool
    answered: int  # answers that count
    surplus: int  # that came when all slots of the pair were taken; kept, not counted
    skipped: int
    leased: int
    last_hour: int  # answers of the last hour
    seconds: tuple[float, float, float] | None  # active time per pair: quartiles; None before the first answer
    practice_done: int
    practice_right: float | None  # share of the practice tasks answered as expected; None before the first
    seen_at: int | None


class ItemProgress(BaseModel):
    """What was done about one pair."""

    key: str
    number: int  # 1, 2, … in the order of the file
    answered: int
    leased: int
    skipped: int


class Totals(BaseModel):
    """The whole project."""

    pairs: int
    wanted: int  # answers: pairs times people per pair
    answered: int
    leased: int
    skipped: int
    surplus: int
    complete: int  # pairs with all their answers
    seconds_left: float | None  # of one person's active time, at the median pace; None before the first answer


def person_progress(c: Connection, rows: Sequence[Row], now: int) -> list[PersonProgress]:
    """Count what each person did."""
    by_person = grouped(rows, lambda row: row.person_id)
    practice = c.execute(select(items.c.id, items.c.known).where(items.c.known.is_not(None)))
    known = {item: KnownAnswer.model_validate_json(text) for item, text in practice}
    return [_person(person, by_person[person.id], known, now) for person in access.people(c)]


def _person(person: Person, rows: Sequence[Row], known: Mapping[int, KnownAnswer], now: int) -> PersonProgress:
    real = Counter(row.state for row in rows if not row.practice)
    said = [row for row in rows if not row.practice and row.said is not None]
    practice = {row.item_id: row.said for row in rows if row.practice and row.said is not None}
    right = [mark for item, answer in practice.items() if item in known for mark in known[item].marks(answer)]
    return PersonProgress(
        id=person.id,
        name=person.name,
        role=person.role,
        revoked=person.revoked,
        answered=real["answered"],
        surplus=real["surplus"],
        skipped=real["skipped"],
        leased=real["leased"],
        last_hour=sum(row.said_at is not None and row.said_at > now - _HOUR for row in said),
        seconds=_quartiles(row.seconds for row in said),
        practice_done=len(practice),
        practice_right=float(np.mean(right)) if right else None,
        seen_at=person.seen_at,
    )


def _quartiles(values: Iterable[float | None]) -> tuple[float, float, float] | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    low, middle, high = (float(q) for q in np.percentile(found, [25, 50, 75]))
    return low, middle, high


def item_progress(c: Connection, rows: Sequence[Row]) -> list[ItemProgress]:
    """Count what was done about each real pair, in the order of the file."""
    states = Counter((row.item_id, row.state) for row in rows)
    found = c.execute(select(items.c.id, items.c.key).where(~items.c.practice).order_by(items.c.id))
    return [
        ItemProgress(
            key=key,
            number=number,
            answered=states[item, "answered"],
            leased=states[item, "leased"],
            skipped=states[item, "skipped"],
        )
        for number, (item, key) in enumerate(found, 1)
    ]


def totals(pairs: Sequence[ItemProgress], rows: Sequence[Row], k: int) -> Totals:
    """Add everything up; ``k``: people per pair."""
    answered = sum(pair.answered for pair in pairs)
    pace = _quartiles(row.seconds for row in rows if row.counts)
    return Totals(
        pairs=len(pairs),
        wanted=len(pairs) * k,
        answered=answered,
        leased=sum(pair.leased for pair in pairs),
        skipped=sum(pair.skipped for pair in pairs),
        surplus=sum(row.state == "surplus" for row in rows),
        complete=sum(pair.answered >= k for pair in pairs),
        seconds_left=None if pace is None else pace[1] * (len(pairs) * k - answered),
    )
