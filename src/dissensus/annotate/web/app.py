"""The FastAPI application of an annotation project."""

from __future__ import annotations

from fastapi import FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import select

from dissensus import __version__
from dissensus.annotate.project.schema import project
from dissensus.annotate.project.store import AnnotationStore
from dissensus.annotate.web import pages
from dissensus.annotate.web.hosts import Hosts
from dissensus.annotate.web.http_errors import documented, handle_errors
from dissensus.annotate.web.routes import exports, invitations, items, overview, session, tasks
from dissensus.annotate.web.security import Guard
from dissensus.annotate.web.throttle import Throttle


class Health(BaseModel):
    """That the app and its database answer."""

    status: str


def create_app(store: AnnotationStore, *, hosts: Hosts, demo: bool = False) -> FastAPI:
    """Make the app of a project that is open; closing it is the caller's.

    ``hosts``: the names it answers under; requests under others are refused.
    """
    app = FastAPI(
        title="dissensus annotate",
        version=__version__,
        description="What an annotation project's pages ask for. Sessions begin with an invite link.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.store, app.state.hosts, app.state.demo = store, hosts, demo
    app.state.throttle, app.state.overview = Throttle(), overview.OverviewCache()
    for part in (session, tasks, overview, invitations, items, exports, pages):
        app.include_router(part.router)
    app.mount("/static", pages.Assets(directory=pages.STATIC), name="static")
    app.add_api_route("/healthz", _health, methods=["GET"], responses=documented(507), tags=["health"])
    handle_errors(app)
    app.add_middleware(Guard, hosts=hosts)
    return app


async def _health(request: Request) -> Health:
    """Tell whether the app and its database answer."""
    store: AnnotationStore = request.app.state.store
    await store.read_async(lambda c: c.execute(select(project.c.id)).scalar_one())
    return Health(status="ok")
