"""Answers of people about their items: revisions, only ever added to, each act of saving exactly once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.assignment import find, no_such_task
from dissensus.annotate.project.errors import Current, DuplicateRequest, EditConflict, InvalidAnswer, SlotTaken
from dissensus.annotate.project.schema import assignments, drafts, items, people, revisions
from dissensus.annotate.project.sides import Kind, Said, Shown, State, undo_sides
from dissensus.annotate.project.slots import expire, give_back, lease_end, read_config, take
from dissensus.files.readers import Values
from dissensus.records import Order

_SEEN_EVERY = 60_000
_HOLDING = frozenset({"leased", "answered"})


@dataclass(frozen=True)
class Submission:
    """One act of saving."""

    id: str  # chosen by the client, new for each act and the same whenever it is sent again
    base: int  # the revision that the person saw; 0 where nothing was said yet
    kind: Kind
    answer: Said | Shown | None = None  # `Shown` comes from a screen: its sides are undone when it is saved
    reason: str = ""  # of a skip


@dataclass(frozen=True)
class Task:
    """The item that an answer is about, and the side that it was shown on."""

    item_id: int
    shown: Order
    practice: bool


@dataclass(frozen=True)
class Saved:
    """An answer as it is in the database."""

    revision: int
    saved_at: int
    state: State  # of the assignment now
    repeated: bool  # whether it was there before
    task: Task


_TASK = (
    select(
        *assignments.c["id", "item_id", "state", "shown", "leased_until", "revision"],
        items.c.practice,
        people.c.seen_at,
        drafts.c.base.label("draft"),
        revisions.c.revision.label("saved"),
        revisions.c.created_at.label("saved_at"),
        revisions.c.digest,
    )
    .join(people, people.c.id == assignments.c.person_id)
    .join(items, items.c.id == assignments.c.item_id)
    .outerjoin(drafts, drafts.c.assignment_id == assignments.c.id)
    .outerjoin(
        revisions,
        and_(revisions.c.assignment_id == assignments.c.id, revisions.c.idempotency_key == bindparam("act")),
    )
    .where(assignments.c.key == bindparam("key"), assignments.c.person_id == bindparam("person"))
)
_ADD = insert(revisions)
_POINT = (
    update(assignments)
    .where(assignments.c.id == bindparam("assignment"))
    .values(state=bindparam("to"), revision=bindparam("newest"), leased_until=bindparam("until"))
)
_NEWEST = (
    select(revisions)
    .where(revisions.c.assignment_id == bindparam("assignment"))
    .order_by(revisions.c.revision.desc())
    .limit(1)
)
_DRAFTS = select(drafts).where(drafts.c.assignment_id.in_(bindparam("ids", expanding=True)))
_FORGET_DRAFT = delete(drafts).where(drafts.c.assignment_id == bindparam("assignment"))
_SEEN = update(people).where(people.c.id == bindparam("person")).values(seen_at=bindparam("now"))
_RENEW = (
    update(assignments)
    .where(
        assignments.c.person_id == bindparam("person"),
        assignments.c.state == "leased",
        assignments.c.leased_until > bindparam("now"),
    )
    .values(leased_until=bindparam("until"))
)


def submit(
    c: Connection, person_id: int, key: str, submission: Submission, now: int, config: AnnotationConfig
) -> Saved:
    """Save an answer, a skip or the undoing of either, exactly once however often it is sent.

    Raises NotFound where the task is not theirs, InvalidAnswer where something is missing, EditConflict where somebody
    saved since ``submission.base``, DuplicateRequest where its id came before with other content, and SlotTaken where a
    skip is undone and the slot was given to somebody else. An answer whose lease ran out counts where a slot is free;
    else it is kept as surplus, and counts as soon as one is.
    """
    row: Any = c.execute(_TASK, {"person": person_id, "key": key, "act": submission.id}).one_or_none()
    if row is None:
        raise no_such_task()
    task = Task(row.item_id, row.shown, row.practice)
    said = submission.answer
    said = undo_sides(said, task.shown) if isinstance(said, Shown) else said
    _check(submission, said, config)
    columns = revision_columns(submission.kind, said, submission.reason)
    if row.saved is not None:
        if row.digest != columns["digest"]:
            message = "this was sent before with other content; reload the page and save again"
            raise DuplicateRequest(message, _current(c, row))
        return Saved(row.saved, row.saved_at, row.state, repeated=True, task=task)
    if submission.base != row.revision:
        message = "this pair was saved somewhere else in the meantime; look at both and save again"
        raise EditConflict(message, _current(c, row))
    state = _next_state(c, row, submission.kind, now, config)
    revision = row.revision + 1
    about = {"assignment_id": row.id, "revision": revision, "idempotency_key": submission.id, "created_at": now}
    c.execute(_ADD, {**about, **columns})
    until = lease_end(config, now) if state == "leased" else None
    c.execute(_POINT, {"assignment": row.id, "to": state, "newest": revision, "until": until})
    if row.state in _HOLDING and state not in _HOLDING:
        give_back(c, [row.item_id], config.annotators)
    if row.draft is not None:
        c.execute(_FORGET_DRAFT, {"assignment": row.id})
    if row.seen_at is None or row.seen_at < now - _SEEN_EVERY:
        _hear_of(c, person_id, now, config)
    return Saved(revision, now, state, repeated=False, task=task)


def _next_state(c: Connection, row: Any, kind: Kind, now: int, config: AnnotationConfig) -> State:
    def takes_slot() -> bool:
        expire(c, now, config.annotators, row.item_id)
        return bool(take(c, [row.item_id], config.annotators))

    if kind == "skip":
        return "skipped"
    if kind == "answer":
        return "answered" if row.state in _HOLDING or takes_slot() else "surplus"
    if row.state in ("leased", "released"):
        raise InvalidAnswer("there is nothing to undo: nothing was said about this pair yet")
    if row.state == "answered" or takes_slot():
        return "leased"
    if row.state == "skipped":
        raise SlotTaken("this pair was given to somebody else in the meantime; go on with the next", _current(c, row))
    return "released"


def _hear_of(c: Connection, person_id: int, now: int, config: AnnotationConfig) -> None:
    c.execute(_SEEN, {"person": person_id, "now": now})
    c.execute(_RENEW, {"person": person_id, "now": now, "until": lease_end(config, now)})


def _check(submission: Submission, answer: Said | None, config: AnnotationConfig) -> None:
    if submission.kind != "answer":
        if answer is not None:
            raise InvalidAnswer(f"a {submission.kind} comes without an answer")
        if submission.kind == "skip" and not submission.reason.strip():
            raise InvalidAnswer("a skip comes with a reason; say why this pair cannot be judged")
        return
    asked = {"correct": "task 1", "distinct": "task 2", "estimate": "task 3"}
    if config.own_choice:
        asked["choice"] = "your own choice"
    missing = [task for name, task in asked.items() if getattr(answer, name, None) is None]
    if missing:
        raise InvalidAnswer(f"the answer is not complete; not answered yet: {', '.join(missing)}")


def digest_of(kind: str, said: Said | None, reason: str = "") -> bytes:
    """Hash what an act of saving says."""
    content = [kind, None if said is None else said.model_dump(mode="json"), reason]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def revision_columns(kind: Kind, said: Said | None, reason: str) -> Values:
    """Lay out what an act of saving says as columns of revisions. Zero characters are left out of texts."""
    columns = {"kind": kind, "digest": digest_of(kind, said, reason), "reason": reason.replace("\0", "")}
    return columns | said_columns(said)


def said_columns(said: Said | None) -> Values:
    """Lay out what was said as columns. Zero characters, which PostgreSQL does not keep, are left out."""
    values = (said or Said()).model_dump()
    return values | {"note": values["note"].replace("\0", "")}


def said_in(row: object) -> Said:
    """Read what was said from a row of revisions or adjudications, or from their record."""
    return Said.model_validate(row, from_attributes=True)


def newest(c: Connection, assignment_id: int) -> Said | None:
    """Return what is said now, in the pair's own terms; None where nothing, or where it was skipped or withdrawn."""
    row = c.execute(_NEWEST, {"assignment": assignment_id}).one_or_none()
    return said_in(row) if row is not None and row.kind == "answer" else None


def _current(c: Connection, row: Any) -> Current:
    return Current(row.revision, row.state, newest(c, row.id), row.shown)


def save_draft(c: Connection, person_id: int, key: str, body: Shown, base: int, now: int) -> None:
    """Keep what is being written; a sign of life that renews their leases too.

    ``body``: in the terms of the screen, with what has no answer yet left empty. Raises NotFound and EditConflict.
    """
    task = find(c, person_id, key)
    if base != task.revision:
        current = Current(task.revision, task.state, newest(c, task.id), task.shown)
        raise EditConflict("this pair was saved somewhere else in the meantime; the draft was not kept", current)
    text = json.dumps(body.model_dump(mode="json"))
    c.execute(_FORGET_DRAFT, {"assignment": task.id})
    c.execute(insert(drafts).values(assignment_id=task.id, base=base, body=text, updated_at=now))
    _hear_of(c, person_id, now, read_config(c))


def drafts_of(c: Connection, assignment_ids: Sequence[int]) -> dict[int, tuple[int, Shown]]:
    """Return what is being written as (base, body) by assignment id; what cannot be read is left out."""
    found: dict[int, tuple[int, Shown]] = {}
    for row in c.execute(_DRAFTS, {"ids": list(assignment_ids)}):
        with suppress(ValidationError):  # nobody is kept from a pair by what they once began to write
            found[row.assignment_id] = row.base, Shown.model_validate_json(row.body)
    return found
