"""Everything about a project as plain values: what an export carries beside the pairs, and an import puts back.

People are named by name. There are no tokens, hashes or sessions in it. Everything is in the order in which it came
about, so equal projects give equal bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, RowMapping, Table, insert, select, update

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project.answers import digest_of
from dissensus.annotate.project.assignment import item_columns
from dissensus.annotate.project.schema import adjudications, assignments, drafts, items, people, project, revisions
from dissensus.annotate.project.sides import Correct, Distinct, Kind, KnownAnswer, Note, Role, Said, State
from dissensus.records import Label, Order, Pair

Values = dict[str, Any]

_Time = Annotated[int, Field(ge=0, lt=2**63)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _RevisionTold(_Told):
    idempotency_key: str
    kind: Kind
    correct: Correct | None
    distinct: Distinct | None
    estimate: Annotated[int, Field(ge=0, le=10)] | None
    choice: Label | None
    note: Note
    reason: str
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None
    created_at: _Time


class _DraftTold(_Told):
    base: Annotated[int, Field(ge=0)]
    body: str
    updated_at: _Time


class _AssignmentTold(_Told):
    annotator: str
    key: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    number: Annotated[int, Field(ge=1)]
    shown: Order
    state: State
    leased_until: _Time | None
    created_at: _Time
    revisions: list[_RevisionTold]
    draft: _DraftTold | None


class _DecisionTold(_Told):
    annotator: str
    idempotency_key: str
    correct: Correct | None
    distinct: Distinct | None
    estimate: Annotated[int, Field(ge=0, le=10)] | None
    choice: Label | None
    note: Note
    created_at: _Time


class _ItemTold(_Told):
    item: Annotated[int, Field(ge=1, lt=2**31)]
    key: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    assignments: list[_AssignmentTold]
    decisions: list[_DecisionTold]


class _PersonTold(_Told):
    id: Annotated[int, Field(ge=1, lt=2**31)]
    name: str
    role: Role
    created_at: _Time
    seen_at: _Time | None
    revoked_at: _Time | None


class _ProjectTold(_Told):
    config: dict[str, Any]
    seed: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    created_at: _Time
    people: list[_PersonTold]


def check_project(values: Values) -> set[str]:
    """Return the names of a project's people. Raises ValueError for what is no project, or not whole."""
    told = _ProjectTold.model_validate(values)
    AnnotationConfig.model_validate(told.config)
    return {person.name for person in told.people}


def check_item(values: Values, names: Collection[str]) -> None:
    """Raise ValueError for what is no history of an item, or names people who are not in the project."""
    told = _ItemTold.model_validate(values)
    for name in [*(each.annotator for each in told.assignments), *(each.annotator for each in told.decisions)]:
        if name not in names:
            raise ValueError(f"{name!r} is none of the project's people")


_SAID = ("correct", "distinct_", "estimate", "choice", "note")
_REVISION = ("idempotency_key", "kind", *_SAID, "reason", "seconds", "created_at")
_DECISION = ("idempotency_key", *_SAID, "created_at")
_ASSIGNMENT = ("key", "number", "shown", "state", "leased_until", "created_at")
_PERSON = ("id", "name", "role", "created_at", "seen_at", "revoked_at")


def read_project(c: Connection) -> Values:
    """Return the settings, the seed and the people."""
    row = c.execute(select(project)).one()
    config = AnnotationConfig.model_validate_json(row.config).model_dump(mode="json")
    everybody = c.execute(select(people).order_by(people.c.id)).mappings()
    return {
        "config": config,
        "seed": row.seed,
        "created_at": row.created_at,
        "people": [{name: person[name] for name in _PERSON} for person in everybody],
    }


def read_histories(c: Connection) -> dict[int, Values]:
    """Return what happened to each item, by its id."""
    said: defaultdict[int, list[Values]] = defaultdict(list)
    for row in c.execute(select(revisions).order_by(revisions.c.assignment_id, revisions.c.revision)).mappings():
        said[row["assignment_id"]].append(_told(row, _REVISION))
    written = {row.assignment_id: row for row in c.execute(select(drafts))}
    found: defaultdict[int, Values] = defaultdict(lambda: {"assignments": [], "decisions": []})
    named = select(assignments, people.c.name).join(people, people.c.id == assignments.c.person_id)
    for row in c.execute(named.order_by(assignments.c.item_id, assignments.c.id)).mappings():
        draft = written.get(row["id"])
        found[row["item_id"]]["assignments"].append(
            {
                "annotator": row["name"],
                **{name: row[name] for name in _ASSIGNMENT},
                "revisions": said[row["id"]],
                "draft": None
                if draft is None
                else {"base": draft.base, "body": draft.body, "updated_at": draft.updated_at},
            }
        )
    deciders = select(adjudications, people.c.name).join(people, people.c.id == adjudications.c.person_id)
    for row in c.execute(deciders.order_by(adjudications.c.item_id, adjudications.c.revision)).mappings():
        decision = {"annotator": row["name"], **_told(row, _DECISION)}
        found[row["item_id"]]["decisions"].append(decision)
    keys = c.execute(select(items.c.id, items.c.key))
    return {item: {"item": item, "key": key, **found[item]} for item, key in keys}


def write(c: Connection, project: Values, found: Sequence[tuple[Pair, KnownAnswer | None, Values]]) -> None:
    """Put a project, its pairs and their histories into a project that was just made and has none."""
    _write_project(c, project)
    _write_items(c, found)


def _write_project(c: Connection, values: Values) -> None:
    config = AnnotationConfig.model_validate(values["config"])
    c.execute(
        update(project).values(
            config=config.model_dump_json(), seed=str(values["seed"]), created_at=int(values["created_at"])
        )
    )
    if values["people"]:
        c.execute(insert(people), [{name: person[name] for name in _PERSON} for person in values["people"]])
        _go_on_counting(c, people)


def _write_items(c: Connection, found: Sequence[tuple[Pair, KnownAnswer | None, Values]]) -> None:
    # With the numbers that they had, so that shuffles stay the same.
    rows = [
        {**item_columns(pair, known), "id": history["item"], "key": history["key"], "taken": _held(history)}
        for pair, known, history in sorted(found, key=lambda each: int(each[2]["item"]))
    ]
    if rows:
        c.execute(insert(items), rows)
        _go_on_counting(c, items)
    by_name = {name: person for person, name in c.execute(select(people.c.id, people.c.name))}
    for _, _, history in found:
        _write_history(c, history, by_name)


def _held(history: Values) -> int:
    return sum(given["state"] in ("leased", "answered") for given in history["assignments"])


def _write_history(c: Connection, history: Values, by_name: dict[str, int]) -> None:
    for given in history["assignments"]:
        values = {name: given[name] for name in _ASSIGNMENT} | {
            "item_id": history["item"],
            "person_id": by_name[given["annotator"]],
            "revision": len(given["revisions"]),
        }
        assignment = c.execute(insert(assignments).values(values).returning(assignments.c.id)).scalar_one()
        said = [_revision(assignment, number, row) for number, row in enumerate(given["revisions"], 1)]
        if said:
            c.execute(insert(revisions), said)
        if given["draft"] is not None:
            c.execute(insert(drafts).values(assignment_id=assignment, **given["draft"]))
    for number, row in enumerate(history["decisions"], 1):
        values = _columns(row, _DECISION) | {"item_id": history["item"], "person_id": by_name[row["annotator"]]}
        values |= {"revision": number}
        c.execute(insert(adjudications).values(**values, digest=digest_of("decision", _said(row))))


def _revision(assignment: int, number: int, row: Values) -> Values:
    said = _said(row) if row["kind"] == "answer" else None
    digest = digest_of(row["kind"], said, row["reason"])
    return {"assignment_id": assignment, "revision": number, "digest": digest, **_columns(row, _REVISION)}


def _told(row: RowMapping, columns: Sequence[str]) -> Values:
    return {column.rstrip("_"): row[column] for column in columns}


def _columns(row: Values, columns: Sequence[str]) -> Values:
    return {column: row[column.rstrip("_")] for column in columns}


def _said(row: Values) -> Said:
    return Said(
        correct=row["correct"],
        distinct=row["distinct"],
        estimate=row["estimate"],
        choice=row["choice"],
        note=row["note"],
        seconds=row.get("seconds"),
    )


def _go_on_counting(c: Connection, table: Table) -> None:
    # PostgreSQL numbers rows from a sequence of its own, which does not see ids that were given.
    if c.dialect.name == "postgresql":
        c.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT max(id) FROM {table.name}))"
        )
