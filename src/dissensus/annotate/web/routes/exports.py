"""Downloads of exports, for organisers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from dissensus.annotate.exchange.export import export
from dissensus.annotate.project.access import Person
from dissensus.annotate.web.auth import allow, cookie_in_openapi, store_of
from dissensus.annotate.web.http_errors import documented

router = APIRouter(prefix="/api/export", tags=["organiser"], dependencies=[Depends(cookie_in_openapi)])

_TYPES = {"jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet", "csv": "text/csv"}


@router.get(
    "/{form}",
    response_class=FileResponse,
    responses={**documented(507), 200: {"content": {kind: {} for kind in _TYPES.values()}}},
)
def download(
    form: Literal["jsonl", "parquet", "csv"],
    request: Request,
    _: Annotated[Person, Depends(allow("organiser"))],
) -> FileResponse:
    """Download the whole project: pairs with categories, votes, estimates and history."""
    folder = tempfile.TemporaryDirectory(prefix="dissensus-export-")
    path = Path(folder.name) / f"annotations.{form}"
    try:
        export(store_of(request), path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, media_type=_TYPES[form], filename=path.name, background=BackgroundTask(folder.cleanup))
