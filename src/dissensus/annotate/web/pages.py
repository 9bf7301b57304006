"""HTML pages: templates, and what every one of them knows."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dissensus.annotate import practice, questions
from dissensus.annotate.project import adjudication
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.sides import Role
from dissensus.annotate.web.auth import read_as, store_of

router = APIRouter(include_in_schema=False)

HERE = Path(__file__).parent
HOME: dict[Role, str] = {"annotator": "/work", "adjudicator": "/adjudicate", "organiser": "/organise"}
_JUDGES: tuple[Role, ...] = ("adjudicator", "organiser")
_PAGES: dict[str, tuple[Role, ...]] = {
    "work": ("annotator",),
    "guide": tuple(HOME),
    "organise": ("organiser",),
    "people": ("organiser",),
    "adjudicate": _JUDGES,
}
_TITLES = {
    401: "You need a link",
    403: "Not for you",
    404: "Nothing here",
    410: "This link was used or has expired",
    429: "Too many tries",
    503: "Not now",
    507: "Not now",
}
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _page(request: Request, template: str, person: Person | None, status: int = 200, **values: Any) -> HTMLResponse:
    store = store_of(request)
    known = {
        "project": store.config.name,
        "config": store.config,
        "tasks": questions.tasks(store.config),
        "guide": practice.guide(store.config.guide),
        # Keeps what a browser holds for one project apart from what it holds for another under the same address.
        "tag": hashlib.sha256(store.seed.encode()).hexdigest()[:12],
        "person": person,
        "demo": request.app.state.demo,
        "path": request.url.path,
    }
    return HTMLResponse(_templates.get_template(template).render(**known, **values), status)


def message(request: Request, status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    """Say something in a page."""
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    response = _page(request, "message.html", None, status, title=title, words=words, is_signed_out=status == 401)
    response.headers.update(headers or {})
    return response


@router.get("/")
async def home(request: Request) -> Response:
    """Go where the person's work is."""
    person = await read_as(request, tuple(HOME), lambda c, person: person)
    return RedirectResponse(HOME[person.role], HTTPStatus.SEE_OTHER)


@router.get("/join")
async def join(request: Request) -> Response:
    """Show the page that a link opens; its token stays in the browser until somebody starts."""
    return _page(request, "join.html", None)


def _add(name: str, roles: tuple[Role, ...]) -> None:
    async def show(request: Request) -> Response:
        person = await read_as(request, roles, lambda c, person: person)
        return _page(request, f"{name}.html", person)

    router.add_api_route(f"/{name}", show, methods=["GET"])


for _name, _roles in _PAGES.items():
    _add(_name, _roles)


@router.get("/adjudicate/{key}")
async def adjudicate_item(key: Annotated[str, InPath(max_length=64)], request: Request) -> Response:
    """Show what was said about a pair."""
    person = await read_as(request, _JUDGES, lambda c, person: (adjudication.find_item(c, key), person)[1])
    return _page(request, "adjudicate_item.html", person, key=key)
