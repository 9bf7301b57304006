"""Items with the answers of all people, and decisions about them; for adjudicators and organisers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel
from sqlalchemy import Connection

from dissensus.annotate.analysis.disagreements import ItemShown, ItemSummary, Show, show_item, summaries
from dissensus.annotate.project import adjudication
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.adjudication import Decided
from dissensus.annotate.project.sides import Opinion, Role, Said
from dissensus.annotate.project.store import now
from dissensus.annotate.web.auth import cookie_in_openapi, read_as, write_as
from dissensus.annotate.web.http_errors import documented
from dissensus.annotate.web.routes.tasks import Act

router = APIRouter(prefix="/api/items", tags=["adjudication"], dependencies=[Depends(cookie_in_openapi)])

_ROLES: tuple[Role, ...] = ("adjudicator", "organiser")
Key = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="A pair's key.")]


class Listed(BaseModel):
    """A part of the list."""

    items: list[ItemSummary]
    total: int


class Deciding(Act):
    """One act of deciding."""

    decision: Opinion  # what stays empty is not decided


@router.get("", responses=documented())
async def list_items(
    request: Request,
    show: Annotated[Show, Query(description="Which pairs.")] = "disagreement",
    spread: Annotated[float, Query(ge=0, le=10, allow_inf_nan=False)] = 2.0,
    start: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    most: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Listed:
    """List the pairs that somebody answered or skipped, most disagreement first."""
    found = await read_as(request, _ROLES, lambda c, person: summaries(c, show, spread))
    return Listed(items=found[start : start + most], total=len(found))


@router.get("/{key}", responses=documented(404))
async def one(key: Key, request: Request) -> ItemShown:
    """Show one pair with all answers; people's names are for organisers."""
    return await read_as(request, _ROLES, lambda c, person: show_item(c, key, names=person.role == "organiser"))


@router.post("/{key}/decisions", responses=documented(404, 409, 507))
async def decide(key: Key, deciding: Deciding, request: Request) -> Decided:
    """Save a decision, exactly once however often it is sent."""
    said = Said(**deciding.decision.model_dump())

    def work(c: Connection, person: Person) -> Decided:
        return adjudication.decide(c, person.id, key, deciding.id, deciding.base, said, now())

    return await write_as(request, _ROLES, work)
