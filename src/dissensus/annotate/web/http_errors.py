"""HTTP responses to errors: which status each has, and its words."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from dissensus.annotate.project.database import StorageFull, StorageMoved, StorageUnavailable
from dissensus.annotate.project.errors import Conflict, LinkExpired, LinkUsed, NotAllowed, NotFound
from dissensus.annotate.project.sides import Said, Shown, State, as_shown, state_shown
from dissensus.annotate.web import pages
from dissensus.annotate.web.auth import SignedOut, Throttled
from dissensus.errors import DissensusError

_log = logging.getLogger("dissensus.annotate")
_RETRY_SECONDS = 2

_STATUS: dict[type[DissensusError], HTTPStatus] = {
    SignedOut: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    LinkExpired: HTTPStatus.GONE,
    LinkUsed: HTTPStatus.GONE,
    Throttled: HTTPStatus.TOO_MANY_REQUESTS,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Problem(BaseModel):
    """Why something was refused."""

    detail: str


class CurrentAnswer(BaseModel):
    """What is there now."""

    revision: int
    state: State
    answer: Shown | Said | None


class ConflictProblem(Problem):
    """Why something was refused, and what is there now."""

    current: CurrentAnswer


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's description of the errors of a route; those of every route are among them."""
    found = {*statuses, 400, 401, 403, 411, 413, 415, 421, 422, 503}
    return {status: {"model": ConflictProblem if status == 409 else Problem} for status in sorted(found)}


def handle_errors(app: FastAPI) -> None:
    """Answer errors in words, as JSON under /api and as a page elsewhere."""
    app.add_exception_handler(DissensusError, _refused)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _fault)


def _reply(request: Request, status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    if request.url.path.startswith(("/api/", "/healthz")):
        return JSONResponse({"detail": words}, status, headers)
    return pages.message(request, status, words, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, DissensusError)
    headers: dict[str, str] = {}
    if isinstance(error, Throttled):
        headers["retry-after"] = str(error.seconds)
    words = str(error)
    if isinstance(error, StorageFull | StorageUnavailable):
        headers["retry-after"] = str(_RETRY_SECONDS)
        _log.error("%s", words)
        words = "nothing was saved: the server's storage cannot be used now; try again soon"
        if isinstance(error, StorageMoved):
            words = f"nothing was saved: {error.file} is no longer where it was on the server; tell the organiser"
    known = (_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return _reply(request, next(known, HTTPStatus.UNPROCESSABLE_ENTITY), words, headers)


async def _conflict(request: Request, error: Exception) -> Response:
    """Answer in the terms of the screen that the request came from."""
    assert isinstance(error, Conflict)
    now = error.current
    answer = now.answer if now.answer is None or now.shown is None else as_shown(now.answer, now.shown)
    current = CurrentAnswer(revision=now.revision, state=state_shown(now.state), answer=answer)
    problem = ConflictProblem(detail=str(error), current=current)
    return JSONResponse(problem.model_dump(mode="json"), HTTPStatus.CONFLICT)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    words = f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return _reply(request, HTTPStatus.UNPROCESSABLE_ENTITY, words)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is no such page", 405: "this cannot be done here"}.get(error.status_code, str(error.detail))
    return _reply(request, error.status_code, words, dict(error.headers or {}))


async def _fault(request: Request, _: Exception) -> Response:
    return _reply(request, HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here; nothing was saved")
