"""People with access: inviting them and revoking it, for organisers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from dissensus.annotate.project import access
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.sides import Role
from dissensus.annotate.project.store import now
from dissensus.annotate.web.auth import cookie_in_openapi, hosts_of, read_as, store_of, write_as
from dissensus.annotate.web.http_errors import documented
from dissensus.errors import InputError

router = APIRouter(prefix="/api/people", tags=["organiser"], dependencies=[Depends(cookie_in_openapi)])

_ROLES: tuple[Role, ...] = ("organiser",)
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="A person's number.")]


class PersonShown(BaseModel):
    """Somebody who may come in, or could once."""

    id: int
    name: str
    role: Role
    revoked: bool
    answered: int
    seen_at: int | None
    link: str | None
    """``open``, ``used`` or ``expired``; None where there is none."""
    is_self: bool


class NewPerson(BaseModel):
    """Somebody to invite."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    role: Role = "annotator"


class Invited(BaseModel):
    """Somebody, and the link that lets them in once. It is shown this one time."""

    person: PersonShown
    link: str


class NewLink(BaseModel):
    """A link that lets somebody in once."""

    link: str


@router.get("", responses=documented())
async def list_people(request: Request) -> list[PersonShown]:
    """List everybody, in the order in which they were added."""
    return await read_as(request, _ROLES, lambda c, me: [_shown(person, me) for person in access.people(c)])


@router.post("", responses=documented(507))
async def add(new: NewPerson, request: Request) -> Invited:
    """Add somebody and make a link for them."""
    store = store_of(request)

    def work(c: Connection, me: Person) -> tuple[Person, str, Person]:
        person = access.add_person(c, new.name, new.role, now())
        token = access.invite(c, store, person.id, now())
        return next(found for found in access.people(c) if found.id == person.id), token, me

    person, token, me = await write_as(request, _ROLES, work)
    return Invited(person=_shown(person, me), link=_link(request, token))


@router.post("/{number}/invite", responses=documented(404, 507))
async def invite(number: Number, request: Request) -> NewLink:
    """Make a new link for somebody; an earlier one that was not used is no longer valid."""
    store = store_of(request)
    token = await write_as(request, _ROLES, lambda c, me: access.invite(c, store, number, now()))
    return NewLink(link=_link(request, token))


@router.post("/{number}/revoke", status_code=204, responses=documented(404, 507))
async def revoke(number: Number, request: Request) -> None:
    """Revoke somebody's access. Their answers stay, what they hold goes to others."""

    def work(c: Connection, me: Person) -> None:
        if me.id == number:
            raise InputError("you cannot revoke your own access; another organiser can")
        access.revoke(c, number, now())

    await write_as(request, _ROLES, work)


def _shown(person: Person, me: Person) -> PersonShown:
    return PersonShown(
        id=person.id,
        name=person.name,
        role=person.role,
        revoked=person.revoked,
        answered=person.answered,
        seen_at=person.seen_at,
        link=None if person.revoked else person.invite_state(now()),
        is_self=person.id == me.id,
    )


def _link(request: Request, token: str) -> str:
    return f"{hosts_of(request).origin}/join#{token}"
