"""Organisers' routes: the overview of a project, the people who have access, downloads of the export."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, func, select
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from dissensus.annotate.analysis import progress
from dissensus.annotate.analysis.annotator_agreement import Agreement, agreement
from dissensus.annotate.analysis.answer_patterns import AnswerPattern, answer_patterns, count_words
from dissensus.annotate.analysis.answer_rows import Row, read_rows
from dissensus.annotate.exchange.export import export
from dissensus.annotate.project import access
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.schema import revisions
from dissensus.annotate.project.sides import Role
from dissensus.annotate.project.store import AnnotationStore, now
from dissensus.annotate.web.auth import allow, cookie_in_openapi, hosts_of, read_as, store_of, write_as
from dissensus.annotate.web.http_errors import documented
from dissensus.errors import InputError

router = APIRouter(prefix="/api", tags=["organiser"], dependencies=[Depends(cookie_in_openapi)])

_ROLES: tuple[Role, ...] = ("organiser",)
_Organiser = Annotated[Person, Depends(allow(*_ROLES))]
Number = Annotated[int, InPath(ge=1, le=2**31 - 1, description="A person's number.")]
_FRESH_SECONDS = 2.0
_TYPES = {"jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet", "csv": "text/csv"}


class Overview(BaseModel):
    """Everything that the page of progress shows."""

    name: str
    annotators: int  # wanted per pair
    totals: progress.Totals
    people: list[progress.PersonProgress]
    pairs: list[progress.ItemProgress]
    agreement: list[Agreement]
    patterns: list[AnswerPattern]
    at: int  # when it was read


class OverviewCache:
    """Keeps the newest overview for a moment, and agreement for as long as nothing was said."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._overview: tuple[float, Overview] | None = None
        self._agreement: tuple[object, list[Agreement]] | None = None
        self._words: dict[int, int] = {}

    def read(self, store: AnnotationStore) -> Overview:
        """Return an overview of now, or of two seconds ago."""
        with self._lock:
            if self._overview is None or self._overview[0] < time.monotonic() - _FRESH_SECONDS:
                self._overview = (time.monotonic(), self._make(store))
            return self._overview[1]

    def _make(self, store: AnnotationStore) -> Overview:
        at, k = now(), store.config.annotators

        def read(c: Connection) -> tuple[list[Row], int, list[progress.PersonProgress], list[progress.ItemProgress]]:
            rows = read_rows(c)
            newest = int(c.execute(select(func.coalesce(func.max(revisions.c.id), 0))).scalar_one())
            self._words = count_words(c, self._words)
            return rows, newest, progress.person_progress(c, rows, at), progress.item_progress(c, rows)

        rows, newest, people, pairs = store.read(read)
        # An answer may begin to count without anything new being said: a slot became free.
        seen = (newest, sum(row.counts for row in rows))
        if self._agreement is None or self._agreement[0] != seen:
            self._agreement = (seen, agreement(rows, own_choice=store.config.own_choice))
        return Overview(
            name=store.config.name,
            annotators=k,
            totals=progress.totals(pairs, rows, k),
            people=people,
            pairs=pairs,
            agreement=self._agreement[1],
            patterns=answer_patterns(rows, self._words),
            at=at,
        )


@router.get("/overview", responses=documented())
def overview(request: Request, _: _Organiser) -> Overview:
    """Return progress, agreement and answer patterns."""
    cache: OverviewCache = request.app.state.overview
    return cache.read(store_of(request))


class PersonShown(BaseModel):
    """Somebody who may come in, or could once."""

    id: int
    name: str
    role: Role
    revoked: bool
    answered: int
    seen_at: int | None
    link: Literal["open", "used", "expired"] | None
    is_self: bool


class NewPerson(BaseModel):
    """Somebody to invite."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    role: Role = "annotator"


class NewLink(BaseModel):
    """A link that lets somebody in once. It is shown this one time."""

    link: str


class Invited(NewLink):
    """Somebody, and their link."""

    person: PersonShown


@router.get("/people", responses=documented())
async def list_people(request: Request) -> list[PersonShown]:
    """List everybody, in the order in which they were added."""
    return await read_as(request, _ROLES, lambda c, me: [_shown(person, me) for person in access.people(c)])


@router.post("/people", responses=documented(507))
async def add(new: NewPerson, request: Request) -> Invited:
    """Add somebody and make a link for them."""
    store = store_of(request)

    def work(c: Connection, me: Person) -> Invited:
        added = access.add_person(c, new.name, new.role, now()).id
        token = access.invite(c, store, added, now())
        person = next(found for found in access.people(c) if found.id == added)
        return Invited(person=_shown(person, me), link=_link(request, token))

    return await write_as(request, _ROLES, work)


@router.post("/people/{number}/invite", responses=documented(404, 507))
async def invite(number: Number, request: Request) -> NewLink:
    """Make a new link for somebody; an earlier one that was not used is no longer valid."""
    store = store_of(request)
    token = await write_as(request, _ROLES, lambda c, me: access.invite(c, store, number, now()))
    return NewLink(link=_link(request, token))


@router.post("/people/{number}/revoke", status_code=204, responses=documented(404, 507))
async def revoke(number: Number, request: Request) -> None:
    """Revoke somebody's access. Their answers stay, what they hold goes to others."""

    def work(c: Connection, me: Person) -> None:
        if me.id == number:
            raise InputError("you cannot revoke your own access; another organiser can")
        access.revoke(c, number, now())

    await write_as(request, _ROLES, work)


def _shown(person: Person, me: Person) -> PersonShown:
    link = None if person.revoked else person.invite_state(now())
    return PersonShown.model_validate(vars(person) | {"link": link, "is_self": person.id == me.id})


def _link(request: Request, token: str) -> str:
    return f"{hosts_of(request).origin}/join#{token}"


@router.get(
    "/export/{form}",
    response_class=FileResponse,
    responses={**documented(507), 200: {"content": {kind: {} for kind in _TYPES.values()}}},
)
def download(form: Literal["jsonl", "parquet", "csv"], request: Request, _: _Organiser) -> FileResponse:
    """Download the whole project: pairs with categories, votes, estimates and history."""
    folder = tempfile.TemporaryDirectory(prefix="dissensus-export-")
    path = Path(folder.name) / f"annotations.{form}"
    try:
        export(store_of(request), path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, media_type=_TYPES[form], filename=path.name, background=BackgroundTask(folder.cleanup))
