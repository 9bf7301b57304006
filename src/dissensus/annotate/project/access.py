"""People with access: their links, which open once, and sessions. Tokens are given out and never stored."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, inspect, select, update

from dissensus.annotate.project import schema
from dissensus.annotate.project.errors import LinkExpired, LinkUsed, NotAllowed, NotFound
from dissensus.annotate.project.schema import assignments, invites, items, sessions
from dissensus.annotate.project.sides import Role
from dissensus.annotate.project.slots import expire, leave, read_config
from dissensus.annotate.project.store import AnnotationStore
from dissensus.errors import InputError

_LONGEST_NAME = 100
_HOUR = 3_600_000


@dataclass(frozen=True)
class Person:
    """Somebody who may work on the project, or might once."""

    id: int
    name: str
    role: Role
    created_at: int
    seen_at: int | None  # when they last asked for work or gave some
    revoked: bool
    answered: int = 0  # real items whose answer counts; filled by `people` alone, as the two below
    invite_expires_at: int | None = None  # of the newest link
    invite_used: bool = False

    def invite_state(self, now: int) -> Literal["open", "used", "expired"] | None:
        """Tell what became of the newest link."""
        if self.invite_expires_at is None:
            return None
        if self.invite_used:
            return "used"
        return "open" if now < self.invite_expires_at else "expired"


def add_person(c: Connection, name: str, role: Role, now: int) -> Person:
    """Add somebody. Raises InputError for a name that is empty, too long, unprintable or there already."""
    name = name.strip()
    if not name:
        raise InputError("the name is empty; expected one that tells the person from others")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"the name has {len(name)} characters; {_LONGEST_NAME} are allowed")
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        raise InputError("the name has characters that cannot be printed; leave them out")
    if c.execute(select(schema.people.c.id).where(schema.people.c.name == name)).first():
        raise InputError(f"there is somebody called {name!r} already; add something that tells the two apart")
    values = {"name": name, "role": role, "created_at": now}
    added = c.execute(insert(schema.people).values(**values).returning(schema.people.c.id)).scalar_one()
    return Person(added, name, role, now, None, revoked=False)


def person(c: Connection, person_id: int) -> Person:
    """Return one person. Raises NotFound."""
    row = c.execute(select(schema.people).where(schema.people.c.id == person_id)).one_or_none()
    if row is None:
        raise NotFound("there is no such person; reload the list of people")
    return _person(row)


def people(c: Connection) -> list[Person]:
    """Return everybody in the order they were added, with how many pairs they answered and their newest link."""
    answered: dict[int, int] = dict(
        c.execute(
            select(assignments.c.person_id, func.count())
            .join(items, items.c.id == assignments.c.item_id)
            .where(assignments.c.state == "answered", ~items.c.practice)
            .group_by(assignments.c.person_id)
        ).all()
    )
    links = {link.person_id: link for link in c.execute(select(invites).order_by(invites.c.id))}
    rows = c.execute(select(schema.people).order_by(schema.people.c.id))
    return [_person(row, answered.get(row.id, 0), links.get(row.id)) for row in rows]


def _person(row: Row[Any], answered: int = 0, link: Row[Any] | None = None) -> Person:
    return Person(
        id=row.id,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        seen_at=row.seen_at,
        revoked=row.revoked_at is not None,
        answered=answered,
        invite_expires_at=None if link is None else link.expires_at,
        invite_used=link is not None and link.used_at is not None,
    )


def invite(c: Connection, store: AnnotationStore, person_id: int, now: int) -> str:
    """Make a link's token, good once and for a time; older ones that were not used are no longer valid.

    Raises NotFound, and NotAllowed for somebody who was revoked.
    """
    if person(c, person_id).revoked:
        raise NotAllowed("this person's access was revoked; add them anew under another name")
    c.execute(delete(invites).where(invites.c.person_id == person_id, invites.c.used_at.is_(None)))
    token = secrets.token_urlsafe(32)
    c.execute(
        insert(invites).values(
            token_hash=store.hash_token(token),
            person_id=person_id,
            created_at=now,
            expires_at=now + round(store.config.invite_hours * _HOUR),
        )
    )
    return token


def invite_by_name(c: Connection, store: AnnotationStore, name: str, role: Role | None, now: int) -> str:
    """Find somebody or add them, as annotator unless ``role`` says otherwise; returns the token of a new link.

    Raises InputError where they have another role, or the name will not do.
    """
    known = next((person for person in people(c) if person.name == name.strip()), None)
    if known is not None and role not in (None, known.role):
        raise InputError(f"{name!r} is {known.role} already; invite them as that, or take another name")
    return invite(c, store, (known or add_person(c, name, role or "annotator", now)).id, now)


def redeem(c: Connection, store: AnnotationStore, token: str, now: int) -> str:
    """Use a link up and sign its person in; returns the new session's token.

    Raises NotFound for what is no link, or an older one than the newest; LinkUsed and LinkExpired.
    """
    link = c.execute(
        select(invites, schema.people.c.revoked_at)
        .join(schema.people, schema.people.c.id == invites.c.person_id)
        .where(invites.c.token_hash == store.hash_token(token))
    ).one_or_none()
    if link is None or link.revoked_at is not None:
        raise NotFound("this link is not valid; ask the organiser for a new one")
    if link.used_at is not None:
        raise LinkUsed("this link was used before; ask the organiser for a new one")
    if now >= link.expires_at:
        raise LinkExpired("this link has expired; ask the organiser for a new one")
    c.execute(update(invites).where(invites.c.id == link.id).values(used_at=now))
    c.execute(delete(sessions).where(sessions.c.expires_at <= now))
    session_token = secrets.token_urlsafe(32)
    c.execute(
        insert(sessions).values(
            token_hash=store.hash_token(session_token),
            person_id=link.person_id,
            created_at=now,
            expires_at=now + round(store.config.session_days * 24 * _HOUR),
        )
    )
    return session_token


_SIGNED_IN = (
    select(schema.people)
    .join(sessions, sessions.c.person_id == schema.people.c.id)
    .where(
        sessions.c.token_hash == bindparam("hash"),
        sessions.c.expires_at > bindparam("now"),
        schema.people.c.revoked_at.is_(None),
    )
)


def session(c: Connection, store: AnnotationStore, token: str, now: int) -> Person | None:
    """Return who is signed in with this token; None where nobody is."""
    row = c.execute(_SIGNED_IN, {"hash": store.hash_token(token), "now": now}).one_or_none()
    return None if row is None else _person(row)


def end_session(c: Connection, store: AnnotationStore, token: str) -> None:
    """Sign out."""
    c.execute(delete(sessions).where(sessions.c.token_hash == store.hash_token(token)))


def revoke(c: Connection, person_id: int, now: int) -> None:
    """Revoke access: sessions and open links end, slots are given back, answers stay. Raises NotFound."""
    if person(c, person_id).revoked:
        return
    c.execute(update(schema.people).where(schema.people.c.id == person_id).values(revoked_at=now))
    c.execute(delete(sessions).where(sessions.c.person_id == person_id))
    c.execute(delete(invites).where(invites.c.person_id == person_id, invites.c.used_at.is_(None)))
    k = read_config(c).annotators
    expire(c, now, k)
    leave(c, person_id, k)


def note_origin(c: Connection, origin: str, now: int) -> None:
    """Keep where the app was started, for links that are made beside it."""
    schema.metadata.create_all(c, tables=[schema.served])  # in a project of an older version, too
    c.execute(delete(schema.served))
    c.execute(insert(schema.served).values(id=1, origin=origin, at=now))


def noted_origin(c: Connection) -> str | None:
    """Return where the app was started last; None where it never was."""
    if not inspect(c).has_table(schema.served.name):
        return None
    return c.execute(select(schema.served.c.origin)).scalar_one_or_none()
