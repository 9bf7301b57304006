"""Overview of a project, for its organisers."""

from __future__ import annotations

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from sqlalchemy import Connection, func, select

from dissensus.annotate.analysis.annotator_agreement import Agreement, agreement
from dissensus.annotate.analysis.answer_patterns import AnswerPattern, answer_patterns, count_words
from dissensus.annotate.analysis.answer_rows import Row, read_rows
from dissensus.annotate.analysis.progress import (
    ItemProgress,
    PersonProgress,
    Totals,
    item_progress,
    person_progress,
    totals,
)
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.schema import revisions
from dissensus.annotate.project.store import AnnotationStore, now
from dissensus.annotate.web.auth import allow, cookie_in_openapi, store_of
from dissensus.annotate.web.http_errors import documented

router = APIRouter(prefix="/api/overview", tags=["organiser"], dependencies=[Depends(cookie_in_openapi)])

_FRESH_SECONDS = 2.0


class Overview(BaseModel):
    """Everything that the page of progress shows."""

    name: str
    annotators: int
    """Wanted per pair."""
    totals: Totals
    people: list[PersonProgress]
    pairs: list[ItemProgress]
    agreement: list[Agreement]
    patterns: list[AnswerPattern]
    at: int
    """When it was read."""


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

        def read(c: Connection) -> tuple[list[Row], int, list[PersonProgress], list[ItemProgress]]:
            rows = read_rows(c)
            newest = int(c.execute(select(func.coalesce(func.max(revisions.c.id), 0))).scalar_one())
            self._words = count_words(c, self._words)
            return rows, newest, person_progress(c, rows, at), item_progress(c, rows)

        rows, newest, people, pairs = store.read(read)
        # An answer may begin to count without anything new being said: a slot became free.
        seen = (newest, sum(row.counts for row in rows))
        if self._agreement is None or self._agreement[0] != seen:
            self._agreement = (seen, agreement(rows, own_choice=store.config.own_choice))
        return Overview(
            name=store.config.name,
            annotators=k,
            totals=totals(pairs, rows, k),
            people=people,
            pairs=pairs,
            agreement=self._agreement[1],
            patterns=answer_patterns(rows, self._words),
            at=at,
        )


@router.get("", responses=documented())
def overview(request: Request, _: Annotated[Person, Depends(allow("organiser"))]) -> Overview:
    """Return progress, agreement and answer patterns."""
    cache: OverviewCache = request.app.state.overview
    return cache.read(store_of(request))
