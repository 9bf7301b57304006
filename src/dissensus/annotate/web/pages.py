"""HTML pages: templates, what every one of them knows, and the files that they load."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dissensus.annotate import practice, questions
from dissensus.annotate.project import adjudication
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.sides import Role
from dissensus.annotate.web.auth import read_as, store_of

router = APIRouter(include_in_schema=False)

HERE = Path(__file__).parent
STATIC = HERE / "static"
HOME: dict[Role, str] = {"annotator": "/work", "adjudicator": "/adjudicate", "organiser": "/organise"}
_EVERYBODY: tuple[Role, ...] = ("annotator", "adjudicator", "organiser")
_JUDGES: tuple[Role, ...] = ("adjudicator", "organiser")
_TITLES = {
    401: "You need a link",
    403: "Not for you",
    404: "Nothing here",
    410: "This link was used or has expired",
    429: "Too many tries",
    503: "Not now",
    507: "Not now",
}


class Assets(StaticFiles):
    """Static files, kept by browsers for good: their addresses carry a hash of the content."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        """Return the file."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        fresh = b"v=" in scope.get("query_string", b"")
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if fresh else "no-cache"
        return response


@lru_cache(maxsize=256)
def _asset(name: str, changed: int) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """Return the address of a static file."""
    return f"/static/{name}?v={_asset(name, (STATIC / name).stat().st_mtime_ns)}"


_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(request: Request, template: str, person: Person | None, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page."""
    known = {
        "project": store_of(request).config.name,
        "person": person,
        "asset": asset,
        "demo": request.app.state.demo,
        "path": request.url.path,
    }
    return HTMLResponse(_templates.get_template(template).render(**known, **values), status)


def message(request: Request, status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    """Say something in a page."""
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    response = page(request, "message.html", None, status, title=title, words=words, is_signed_out=status == 401)
    response.headers.update(headers or {})
    return response


@router.get("/")
async def home(request: Request) -> Response:
    """Go where the person's work is."""
    person = await read_as(request, _EVERYBODY, lambda c, person: person)
    return RedirectResponse(HOME[person.role], HTTPStatus.SEE_OTHER)


@router.get("/join")
async def join(request: Request) -> Response:
    """Show the page that a link opens; its token stays in the browser until somebody starts."""
    return page(request, "join.html", None)


@router.get("/work")
async def work(request: Request) -> Response:
    """Show the annotator's page."""
    person = await read_as(request, ("annotator",), lambda c, person: person)
    store = store_of(request)
    # Keeps what a browser holds for one project apart from what it holds for another under the same address.
    tag = hashlib.sha256(store.seed.encode()).hexdigest()[:12]
    tasks, text = questions.tasks(store.config), practice.guide(store.config.guide)
    return page(request, "work.html", person, tasks=tasks, guide=text, tag=tag)


@router.get("/guide")
async def guide(request: Request) -> Response:
    """Show the guide."""
    person = await read_as(request, _EVERYBODY, lambda c, person: person)
    return page(request, "guide.html", person, guide=practice.guide(store_of(request).config.guide))


@router.get("/organise")
async def organise(request: Request) -> Response:
    """Show how the project stands."""
    person = await read_as(request, ("organiser",), lambda c, person: person)
    return page(request, "organise.html", person, config=store_of(request).config)


@router.get("/people")
async def people(request: Request) -> Response:
    """Show who may come in."""
    person = await read_as(request, ("organiser",), lambda c, person: person)
    return page(request, "people.html", person)


@router.get("/adjudicate")
async def adjudicate(request: Request) -> Response:
    """Show the pairs by how much people disagree."""
    person = await read_as(request, _JUDGES, lambda c, person: person)
    return page(request, "adjudicate.html", person, config=store_of(request).config)


@router.get("/adjudicate/{key}")
async def adjudicate_item(key: Annotated[str, InPath(max_length=64)], request: Request) -> Response:
    """Show what was said about a pair."""
    person = await read_as(request, _JUDGES, lambda c, person: (adjudication.find_item(c, key), person)[1])
    config = store_of(request).config
    return page(request, "adjudicate_item.html", person, key=key, config=config, tasks=questions.tasks(config))
