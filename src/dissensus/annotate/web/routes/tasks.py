"""Tasks of annotators and their answers, in the terms of the screen; nothing says where a response comes from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Connection

from dissensus.annotate.project import answers, assignment
from dissensus.annotate.project.access import Person
from dissensus.annotate.project.answers import Saved, Submission
from dissensus.annotate.project.sides import Kind, Role, Shown, State, state_shown
from dissensus.annotate.project.store import now
from dissensus.annotate.web import task_view
from dissensus.annotate.web.auth import cookie_in_openapi, read_as, store_of, write_as
from dissensus.annotate.web.http_errors import documented
from dissensus.annotate.web.task_view import Draft, Feedback, Progress, Task, TaskEntry

router = APIRouter(prefix="/api/tasks", tags=["tasks"], dependencies=[Depends(cookie_in_openapi)])

_ROLES: tuple[Role, ...] = ("annotator",)
Key = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="A task's key.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


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


class Saying(_Body):
    """One act of saving."""

    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{8,64}$")]
    """Made by the browser, new for each act and the same whenever it is sent again."""
    base: Annotated[int, Field(ge=0, le=2**31 - 2)]
    """The revision that the person saw; 0 where there was none."""
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
        tasks = task_view.lay_out(c, leased.tasks)
        progress = task_view.progress_of(c, store.config, person.id)
        return Given(tasks=tasks, gone=leased.gone, waiting=leased.waiting, progress=progress)

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
        return Own(tasks=tasks, progress=task_view.progress_of(c, config, person.id), project=project)

    return await read_as(request, _ROLES, read)


@router.get("/{key}", responses=documented(404))
async def get_one(key: Key, request: Request) -> Task:
    """Return one task."""

    def read(c: Connection, person: Person) -> Task:
        return task_view.lay_out(c, [assignment.find(c, person.id, key)])[0]

    return await read_as(request, _ROLES, read)


@router.post("/{key}/revisions", responses=documented(404, 409, 507))
async def save(key: Key, saying: Saying, request: Request) -> Acknowledged:
    """Save an answer, a skip or the undoing of either: exactly once, however often it is sent."""
    config = store_of(request).config
    submission = Submission(saying.id, saying.base, saying.kind, saying.answer, saying.reason)

    def submit(c: Connection, person: Person) -> tuple[Saved, Feedback | None]:
        saved = answers.submit(c, person.id, key, submission, now(), config)
        feedback = task_view.feedback(c, saved.task, saying.answer) if saved.task.practice and saying.answer else None
        return saved, feedback

    saved, feedback = await write_as(request, _ROLES, submit)
    return Acknowledged(
        revision=saved.revision,
        saved_at=saved.saved_at,
        state=state_shown(saved.state),
        repeated=saved.repeated,
        feedback=feedback,
    )


@router.put("/{key}/draft", status_code=204, responses=documented(404, 409, 507))
async def keep_draft(key: Key, draft: Draft, request: Request) -> None:
    """Keep what is being written."""

    def keep(c: Connection, person: Person) -> None:
        answers.save_draft(c, person.id, key, draft.body, draft.base, now())

    await write_as(request, _ROLES, keep)
