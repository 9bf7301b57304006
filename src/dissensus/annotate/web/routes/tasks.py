"""Tasks of annotators and their answers, in the terms of the screen; nothing says where a response comes from."""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Connection, bindparam, func, select

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project import answers, assignment
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.answers import Submission
from dissensus.annotate.project.assignment import Assignment
from dissensus.annotate.project.schema import assignments, items, revisions
from dissensus.annotate.project.sides import Kind, KnownAnswer, Role, Shown, State, as_shown, state_shown, undo_sides
from dissensus.annotate.project.store import now
from dissensus.annotate.web.auth import cookie_in_openapi, read_as, store_of, write_as
from dissensus.annotate.web.http_errors import documented
from dissensus.annotate.web.markdown import Turn, render, render_turns
from dissensus.records import Pair

router = APIRouter(prefix="/api/tasks", tags=["tasks"], dependencies=[Depends(cookie_in_openapi)])

_ROLES: tuple[Role, ...] = ("annotator",)
Key = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="A task's key.")]
Base = Annotated[int, Field(ge=0, le=2**31 - 2)]
"""The revision that the person saw; 0 where there was none."""
_TIMED = 50
_UNSHOWABLE = "<p>This pair cannot be shown. Please skip it and say so; the organiser can see why.</p>"
_log = logging.getLogger("dissensus.annotate")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Act(_Body):
    """One act of saving."""

    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{8,64}$")]
    """Made by the browser, new for each act and the same whenever it is sent again."""
    base: Base


class Draft(_Body):
    """What is being written, and the revision that it started from."""

    base: Base
    body: Shown


class TaskEntry(BaseModel):
    """A task in the list of a person's own."""

    key: str
    number: int
    practice: bool
    revision: int
    state: State


class Task(TaskEntry):
    """A pair as one person sees it."""

    prompt: list[Turn]
    left: list[Turn]
    right: list[Turn]
    answer: Shown | None
    draft: Draft | None


class Progress(BaseModel):
    """How far a person is."""

    answered: int
    skipped: int
    practice_left: int
    left: int  # pairs that the person holds or could still be given
    seconds_per_item: float | None  # the median of their last answers' active time; None before the first


class CategoryFeedback(BaseModel):
    """Whether a category was right."""

    right: bool
    expected: str


class EstimateFeedback(BaseModel):
    """Whether an estimate was within what is accepted."""

    right: bool
    least: int
    most: int


class Feedback(BaseModel):
    """What is right about a practice pair, in the terms of the screen."""

    correct: CategoryFeedback
    distinct: CategoryFeedback
    left: EstimateFeedback
    because: str  # HTML


class Wanted(_Body):
    """What the browser holds, and how many more it wants."""

    have: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=200)] = []
    want: Annotated[int, Field(ge=0, le=50)] = 0


class Given(BaseModel):
    """New tasks, those that are the person's no longer, and how things stand."""

    tasks: list[Task]
    gone: list[str]
    waiting: int
    progress: Progress


class Project(BaseModel):
    """What the page has to know."""

    name: str
    own_choice: bool
    lease_minutes: float
    prefetch: int


class Own(BaseModel):
    """All that a person was ever given."""

    tasks: list[TaskEntry]
    progress: Progress
    project: Project


class Saying(Act):
    """An answer, a skip, or the undoing of either."""

    kind: Kind
    answer: Shown | None = None
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class Acknowledged(BaseModel):
    """What is in the database now."""

    revision: int
    saved_at: int
    state: State
    repeated: bool
    feedback: Feedback | None


@router.post("", responses=documented(507))
async def get_more(wanted: Wanted, request: Request) -> Given:
    """Keep what the browser holds, and give it more."""
    store = store_of(request)

    def lease(c: Connection, person: Person) -> Given:
        leased = assignment.lease(c, store.config, store.seed, person.id, want=wanted.want, have=wanted.have, now=now())
        progress = progress_of(c, store.config, person.id)
        return Given(tasks=_lay_out(c, leased.tasks), gone=leased.gone, waiting=leased.waiting, progress=progress)

    return await write_as(request, _ROLES, lease)


@router.get("", responses=documented())
async def list_own(request: Request) -> Own:
    """List what the person was given, in their order."""
    config = store_of(request).config

    def read(c: Connection, person: Person) -> Own:
        tasks = [
            TaskEntry(key=a.key, number=a.number, practice=a.practice, revision=a.revision, state=state_shown(a.state))
            for a in assignment.own(c, person.id)
        ]
        project = Project(**config.model_dump(include=set(Project.model_fields)))
        return Own(tasks=tasks, progress=progress_of(c, config, person.id), project=project)

    return await read_as(request, _ROLES, read)


@router.get("/{key}", responses=documented(404))
async def get_one(key: Key, request: Request) -> Task:
    """Return one task."""
    return await read_as(request, _ROLES, lambda c, me: _lay_out(c, [assignment.find(c, me.id, key)])[0])


@router.post("/{key}/revisions", responses=documented(404, 409, 507))
async def save(key: Key, saying: Saying, request: Request) -> Acknowledged:
    """Save an answer, a skip or the undoing of either: exactly once, however often it is sent."""
    config = store_of(request).config
    submission = Submission(saying.id, saying.base, saying.kind, saying.answer, saying.reason)

    def submit(c: Connection, person: Person) -> Acknowledged:
        saved = answers.submit(c, person.id, key, submission, now(), config)
        return Acknowledged(
            revision=saved.revision,
            saved_at=saved.saved_at,
            state=state_shown(saved.state),
            repeated=saved.repeated,
            feedback=_feedback(c, saved.task, saying.answer) if saved.task.practice and saying.answer else None,
        )

    return await write_as(request, _ROLES, submit)


@router.put("/{key}/draft", status_code=204, responses=documented(404, 409, 507))
async def keep_draft(key: Key, draft: Draft, request: Request) -> None:
    """Keep what is being written."""
    await write_as(
        request, _ROLES, lambda c, person: answers.save_draft(c, person.id, key, draft.body, draft.base, now())
    )


_PAIRS = select(items.c.id, items.c.pair).where(items.c.id.in_(bindparam("ids", expanding=True)))
_KNOWN = select(items.c.known).where(items.c.id == bindparam("item"))
_STATES = (
    select(items.c.practice, assignments.c.state, func.count())
    .join(items, items.c.id == assignments.c.item_id)
    .where(assignments.c.person_id == bindparam("person"))
    .group_by(items.c.practice, assignments.c.state)
)
_SECONDS = (
    select(revisions.c.seconds)
    .join(assignments, assignments.c.id == revisions.c.assignment_id)
    .where(
        assignments.c.person_id == bindparam("person"),
        assignments.c.item_id.not_in(select(items.c.id).where(items.c.practice)),
        revisions.c.kind == "answer",
        revisions.c.revision == 1,
        revisions.c.seconds.is_not(None),
    )
    .order_by(revisions.c.id.desc())
    .limit(_TIMED)
)


def _lay_out(c: Connection, tasks: Sequence[Assignment]) -> list[Task]:
    """Show tasks as their person sees them; a pair that cannot be shown says so in its place, and can be skipped."""
    texts = dict(c.execute(_PAIRS, {"ids": [task.item_id for task in tasks]}).all())
    kept = answers.drafts_of(c, [task.id for task in tasks])
    shown = []
    for task in tasks:
        prompt, left, right = _sides(task, texts[task.item_id])
        said = answers.newest(c, task.id) if task.revision else None
        base, body = kept.get(task.id, (0, None))
        shown.append(
            Task(
                key=task.key,
                number=task.number,
                practice=task.practice,
                revision=task.revision,
                state=state_shown(task.state),
                prompt=prompt,
                left=left,
                right=right,
                answer=None if said is None else as_shown(said, task.shown),
                draft=None if body is None else Draft(base=base, body=body),
            )
        )
    return shown


def _sides(task: Assignment, text: str) -> tuple[list[Turn], list[Turn], list[Turn]]:
    try:
        pair = Pair.model_validate_json(text)
        sides = (pair.response_a, pair.response_b)
        left, right = sides if task.shown == "ab" else sides[::-1]
        return render_turns(pair.prompt, "user"), render_turns(left), render_turns(right)
    except (ValueError, RecursionError, AttributeError, LookupError, TypeError):
        # Whatever the renderer meets in one text, it does not keep anybody from the other pairs.
        _log.exception("item %s cannot be shown", task.item_id)
        nothing = [Turn(role="assistant", html="<p>–</p>")]
        return [Turn(role="user", html=_UNSHOWABLE)], nothing, nothing


def progress_of(c: Connection, config: AnnotationConfig, person_id: int) -> Progress:
    """Count what a person did and what is left for them."""
    states = c.execute(_STATES, {"person": person_id})
    n = Counter({(bool(practice), state): count for practice, state, count in states})
    unseen = assignment.count_unseen_practice(c, person_id) if config.practice else 0
    seconds = c.execute(_SECONDS, {"person": person_id}).scalars().all()
    return Progress(
        answered=n[False, "answered"] + n[False, "surplus"],
        skipped=n[False, "skipped"],
        practice_left=unseen + n[True, "leased"] + n[True, "released"] if config.practice else 0,
        left=assignment.count_open(c, person_id, config.annotators) + n[False, "leased"],
        seconds_per_item=statistics.median(seconds) if seconds else None,
    )


def _feedback(c: Connection, task: answers.Task, shown: Shown) -> Feedback:
    """Compare an answer to a practice pair with what is known about it."""
    known = KnownAnswer.model_validate_json(c.execute(_KNOWN, {"item": task.item_id}).scalar_one())
    least, most = known.estimates
    if task.shown == "ba":
        least, most = 10 - most, 10 - least
    correct, distinct, left = known.marks(undo_sides(shown, task.shown))
    return Feedback(
        correct=CategoryFeedback(right=correct, expected=known.correct),
        distinct=CategoryFeedback(right=distinct, expected=known.distinct),
        left=EstimateFeedback(right=left, least=least, most=most),
        because=render(known.because),
    )
