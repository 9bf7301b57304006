"""The annotator's view: tasks as they are shown, progress, and feedback on practice pairs."""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, bindparam, func, select

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project import answers
from dissensus.annotate.project.assignment import Assignment, count_open, count_unseen_practice
from dissensus.annotate.project.schema import assignments, items, revisions
from dissensus.annotate.project.sides import KnownAnswer, Shown, State, as_shown, state_shown, undo_sides
from dissensus.annotate.web.markdown import Turn, render, render_turns
from dissensus.records import Pair

_TIMED = 50
_UNSHOWABLE = "<p>This pair cannot be shown. Please skip it and say so; the organiser can see why.</p>"
_log = logging.getLogger("dissensus.annotate")


class Draft(BaseModel):
    """What is being written, and the revision that it started from."""

    model_config = ConfigDict(extra="forbid")

    base: Annotated[int, Field(ge=0, le=2**31 - 2)]
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
    left: int
    """Pairs that the person holds or could still be given."""
    seconds_per_item: float | None
    """The median of their last answers' active time; None before the first."""


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
    because: str
    """HTML."""


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


def lay_out(c: Connection, tasks: Sequence[Assignment]) -> list[Task]:
    """Show tasks as their person sees them; a pair that cannot be shown says so in its place, and can be skipped."""
    if not tasks:
        return []
    texts = dict(c.execute(_PAIRS, {"ids": [task.item_id for task in tasks]}).all())
    kept = answers.drafts_of(c, [task.id for task in tasks])
    return [_task(c, task, texts[task.item_id], kept.get(task.id)) for task in tasks]


def _task(c: Connection, task: Assignment, text: str, kept: tuple[int, Shown] | None) -> Task:
    prompt, left, right = _sides(task, text)
    said = answers.newest(c, task.id) if task.revision else None
    return Task(
        key=task.key,
        number=task.number,
        practice=task.practice,
        revision=task.revision,
        state=state_shown(task.state),
        prompt=prompt,
        left=left,
        right=right,
        answer=None if said is None else as_shown(said, task.shown),
        draft=None if kept is None else Draft(base=kept[0], body=kept[1]),
    )


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
    unseen = count_unseen_practice(c, person_id) if config.practice else 0
    seconds = c.execute(_SECONDS, {"person": person_id}).scalars().all()
    return Progress(
        answered=n[False, "answered"] + n[False, "surplus"],
        skipped=n[False, "skipped"],
        practice_left=unseen + n[True, "leased"] + n[True, "released"] if config.practice else 0,
        left=count_open(c, person_id, config.annotators) + n[False, "leased"],
        seconds_per_item=statistics.median(seconds) if seconds else None,
    )


def feedback(c: Connection, task: answers.Task, shown: Shown) -> Feedback:
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
