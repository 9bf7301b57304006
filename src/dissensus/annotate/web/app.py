"""The FastAPI application of an annotation project."""

from __future__ import annotations

from fastapi import FastAPI, Request
from sqlalchemy import select
from starlette.staticfiles import StaticFiles

from dissensus import __version__
from dissensus.annotate.project.schema import project
from dissensus.annotate.project.store import AnnotationStore
from dissensus.annotate.web import pages
from dissensus.annotate.web.auth import Throttle, store_of
from dissensus.annotate.web.http_errors import documented, handle_errors
from dissensus.annotate.web.routes import items, organiser, session, tasks
from dissensus.annotate.web.security import Guard, Hosts


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
    app.state.throttle, app.state.overview = Throttle(), organiser.OverviewCache()
    for part in (session, tasks, organiser, items, pages):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=pages.HERE / "static"), name="static")
    app.add_api_route("/healthz", _health, methods=["GET"], responses=documented(507), tags=["health"])
    handle_errors(app)
    app.add_middleware(Guard, hosts=hosts)
    return app


async def _health(request: Request) -> dict[str, str]:
    """Tell whether the app and its database answer."""
    await store_of(request).read_async(lambda c: c.execute(select(project.c.id)).scalar_one())
    return {"status": "ok"}
