"""Signing in with a link, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from dissensus.annotate.project import access
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.errors import LinkExpired, LinkUsed, NotFound
from dissensus.annotate.project.sides import Role
from dissensus.annotate.project.store import now
from dissensus.annotate.web import auth
from dissensus.annotate.web.auth import cookie_in_openapi, store_of, token_of
from dissensus.annotate.web.http_errors import documented
from dissensus.annotate.web.pages import HOME

router = APIRouter(prefix="/api/session", tags=["session"])

_anybody = auth.allow(*HOME)


class Link(BaseModel):
    """What a link carries behind its #."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=1, max_length=100)]


class SignedIn(BaseModel):
    """Who is signed in."""

    name: str
    role: Role


class Welcome(SignedIn):
    """The same, and where to go."""

    home: str


@router.post("", responses=documented(404, 410, 429, 507))
async def sign_in(link: Link, request: Request, response: Response) -> Welcome:
    """Use a link up. The browser's earlier session, if any, ends."""
    store, earlier = store_of(request), token_of(request)
    throttle: auth.Throttle = request.app.state.throttle
    address = request.client.host if request.client else ""
    throttle.check(address)

    def redeem(c: Connection) -> tuple[str, Person]:
        token = access.redeem(c, store, link.token, now())
        if earlier:
            access.end_session(c, store, earlier)
        return token, auth.who(c, store, token, tuple(HOME))

    try:
        token, person = await store.write_async(redeem)
    except (NotFound, LinkExpired, LinkUsed):
        throttle.failed(address)
        raise
    _set_cookie(request, response, token, round(store.config.session_days * 86_400))
    return Welcome(name=person.name, role=person.role, home=HOME[person.role])


@router.get("", responses=documented(), dependencies=[Depends(cookie_in_openapi)])
async def signed_in(person: Annotated[Person, Depends(_anybody)]) -> SignedIn:
    """Tell who is signed in."""
    return SignedIn(name=person.name, role=person.role)


@router.delete("", status_code=204, responses=documented(507), dependencies=[Depends(cookie_in_openapi)])
async def sign_out(request: Request, response: Response) -> None:
    """End the session."""
    store, token = store_of(request), token_of(request)
    if token:
        await store.write_async(lambda c: access.end_session(c, store, token))
    _set_cookie(request, response, "", 0)


def _set_cookie(request: Request, response: Response, token: str, seconds: int) -> None:
    hosts = auth.hosts_of(request)
    response.set_cookie(
        auth.cookie_name(hosts), token, max_age=seconds, path="/", secure=hosts.secure, httponly=True, samesite="strict"
    )
