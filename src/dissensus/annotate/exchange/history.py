"""Histories of projects and items as records: what an export carries beside the pairs, and an import puts back.

People are named by name; there are no tokens, hashes or sessions. All is in the order in which it came about, so equal
projects give equal bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Table, insert, select, update

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.answers import digest_of, said_in
from dissensus.annotate.project.items import item_columns
from dissensus.annotate.project.schema import adjudications, assignments, drafts, items, people, project, revisions
from dissensus.annotate.project.sides import Correct, Distinct, Kind, KnownAnswer, Note, Role, State
from dissensus.files.readers import Values
from dissensus.records import Label, Order, Pair

_Time = Annotated[int, Field(ge=0, lt=2**63)]
_Id = Annotated[int, Field(ge=1, lt=2**31)]
_Key = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
_TenPeople = Annotated[int, Field(ge=0, le=10)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, from_attributes=True)


class RevisionRecord(_Record):
    """One act of saving: an answer, a skip, or the undoing of either."""

    idempotency_key: str
    kind: Kind
    correct: Correct | None
    distinct: Distinct | None
    estimate: _TenPeople | None
    choice: Label | None
    note: Note
    reason: str
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None
    created_at: _Time


class DraftRecord(_Record):
    """What was being written."""

    base: Annotated[int, Field(ge=0)]
    body: str
    updated_at: _Time


class AssignmentRecord(_Record):
    """An item given to a person, and all that they said about it."""

    annotator: str
    key: _Key
    number: Annotated[int, Field(ge=1)]
    shown: Order
    state: State
    leased_until: _Time | None
    created_at: _Time
    revisions: list[RevisionRecord]
    draft: DraftRecord | None


class DecisionRecord(_Record):
    """One decision of an adjudicator."""

    annotator: str
    idempotency_key: str
    correct: Correct | None
    distinct: Distinct | None
    estimate: _TenPeople | None
    choice: Label | None
    note: Note
    created_at: _Time


class ItemHistory(_Record):
    """All that happened to an item."""

    item: _Id
    key: _Key
    assignments: list[AssignmentRecord]
    decisions: list[DecisionRecord]


class PersonRecord(_Record):
    """Somebody who has access, or had."""

    id: _Id
    name: str
    role: Role
    created_at: _Time
    seen_at: _Time | None
    revoked_at: _Time | None


class PracticeRecord(_Record):
    """A practice pair with what is known about it and its history."""

    item: _Id
    pair: str  # the Pair as JSON, as it was read
    known: KnownAnswer
    history: ItemHistory


class ProjectRecord(_Record):
    """Settings, seed, people and practice pairs."""

    config: AnnotationConfig
    seed: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    created_at: _Time
    people: list[PersonRecord]
    practice: list[PracticeRecord]


class RowHistory(ItemHistory):
    """The column ``annotation`` of an export's row."""

    source: Values  # columns of the pair that people's answers fill, as they were before
    project: ProjectRecord | None = None  # in the first row


Exported = tuple[Pair, KnownAnswer | None, ItemHistory]


def read_project(c: Connection, histories: dict[int, ItemHistory]) -> ProjectRecord:
    """Read the settings, the seed, the people and the practice pairs; ``histories`` are of `read_histories`."""
    row = c.execute(select(project)).one()
    everybody = c.execute(select(people).order_by(people.c.id))
    practice = c.execute(select(items.c.id, items.c.pair, items.c.known).where(items.c.practice).order_by(items.c.id))
    return ProjectRecord(
        config=AnnotationConfig.model_validate_json(row.config),
        seed=row.seed,
        created_at=row.created_at,
        people=[PersonRecord.model_validate(person) for person in everybody],
        practice=[
            PracticeRecord(item=item, pair=pair, known=KnownAnswer.model_validate_json(known), history=histories[item])
            for item, pair, known in practice
        ],
    )


def read_histories(c: Connection) -> dict[int, ItemHistory]:
    """Read what happened to each item, by its id."""
    said: defaultdict[int, list[RevisionRecord]] = defaultdict(list)
    for row in c.execute(select(revisions).order_by(revisions.c.assignment_id, revisions.c.revision)):
        said[row.assignment_id].append(RevisionRecord.model_validate(row))
    written = {row.assignment_id: DraftRecord.model_validate(row) for row in c.execute(select(drafts))}
    found = {
        row.id: ItemHistory(item=row.id, key=row.key, assignments=[], decisions=[])
        for row in c.execute(select(items.c.id, items.c.key))
    }
    given = select(assignments, people.c.name.label("annotator")).join(people, people.c.id == assignments.c.person_id)
    for row in c.execute(given.order_by(assignments.c.item_id, assignments.c.id)):
        found[row.item_id].assignments.append(
            AssignmentRecord(
                annotator=row.annotator,
                key=row.key,
                number=row.number,
                shown=row.shown,
                state=row.state,
                leased_until=row.leased_until,
                created_at=row.created_at,
                revisions=said[row.id],
                draft=written.get(row.id),
            )
        )
    decided = select(adjudications, people.c.name.label("annotator"))
    decided = decided.join(people, people.c.id == adjudications.c.person_id)
    for row in c.execute(decided.order_by(adjudications.c.item_id, adjudications.c.revision)):
        found[row.item_id].decisions.append(DecisionRecord.model_validate(row))
    return found


def write(c: Connection, settled: ProjectRecord, found: Sequence[Exported]) -> None:
    """Put a project, its pairs and their histories into a project that was just made and has none."""
    config = settled.config.model_dump_json()
    c.execute(update(project).values(config=config, seed=settled.seed, created_at=settled.created_at))
    if settled.people:
        c.execute(insert(people), [person.model_dump() for person in settled.people])
        _go_on_counting(c, people)
    # With the numbers that they had, so that shuffles stay the same.
    rows = [
        {
            **item_columns(pair, known),
            "id": history.item,
            "key": history.key,
            "taken": sum(given.state in ("leased", "answered") for given in history.assignments),
        }
        for pair, known, history in sorted(found, key=lambda each: each[2].item)
    ]
    if rows:
        c.execute(insert(items), rows)
        _go_on_counting(c, items)
    ids = {person.name: person.id for person in settled.people}
    for _, _, history in found:
        _write_history(c, history, ids)


def _write_history(c: Connection, history: ItemHistory, ids: dict[str, int]) -> None:
    for given in history.assignments:
        columns = given.model_dump(exclude={"annotator", "revisions", "draft"})
        columns |= {"item_id": history.item, "person_id": ids[given.annotator], "revision": len(given.revisions)}
        assignment = c.execute(insert(assignments).values(columns).returning(assignments.c.id)).scalar_one()
        for number, record in enumerate(given.revisions, 1):
            said = said_in(record) if record.kind == "answer" else None
            about = {"assignment_id": assignment, "revision": number}
            about["digest"] = digest_of(record.kind, said, record.reason)
            c.execute(insert(revisions), about | record.model_dump())
        if given.draft is not None:
            c.execute(insert(drafts).values(assignment_id=assignment, **given.draft.model_dump()))
    for number, decision in enumerate(history.decisions, 1):
        columns = decision.model_dump(exclude={"annotator"})
        columns |= {"item_id": history.item, "person_id": ids[decision.annotator], "revision": number}
        c.execute(insert(adjudications).values(columns | {"digest": digest_of("decision", said_in(decision))}))


def _go_on_counting(c: Connection, table: Table) -> None:
    # PostgreSQL numbers rows from a sequence of its own, which does not see ids that were given.
    if c.dialect.name == "postgresql":
        c.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT max(id) FROM {table.name}))"
        )
