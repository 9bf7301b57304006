"""Import into projects: an export of our own, and answers of other tools."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, and_, func, insert, select, update

from dissensus.annotate.exchange import history
from dissensus.annotate.exchange.export import HISTORY
from dissensus.annotate.exchange.other_tools import Foreign, Found
from dissensus.annotate.project.answers import digest_of, revision_columns
from dissensus.annotate.project.items import add_items
from dissensus.annotate.project.schema import assignments, items, people, revisions
from dissensus.annotate.project.store import AnnotationStore, now
from dissensus.errors import InputError
from dissensus.files.readers import Row, decode_json, kind_of, read_rows
from dissensus.files.rows.bad_rows import Faults, describe
from dissensus.files.rows.pair_rows import pair_from_row
from dissensus.records import Pair


@dataclass(frozen=True)
class Imported:
    """What came in."""

    pairs: int
    answers: int
    people: int
    skips: int = 0
    surplus: int = 0  # answers that do not count, for their pairs have all that are wanted
    most: int = 0  # answers to the pair that has most of them in the file
    there: int = 0  # passed over, for the same people had answered or skipped the same pairs
    changed: int = 0  # those of them that say something else than what is there


def import_export(path: Path, database: str | Path, *, secret: Path | None = None) -> Imported:
    """Make a project out of an export: what is exported of it is the same to the byte.

    Raises InputError with file and line for what is no export or not whole (no project is made then), and where there
    is a project already.
    """
    rows = [(row, _history(row)) for row in read_rows(path, Faults(remedy="export the project again"))]
    project = next((found.project for _, found in rows if found.project is not None), None)
    if project is None:
        raise InputError(f"{path}: no row has the project; export it again, and import the whole file")
    names = {person.name for person in project.people}
    found: list[history.Exported] = []
    for practice in project.practice:
        with _placed(f"{path}: practice pair {practice.item}"):
            _refuse_strangers(practice.history, names)
            found.append((Pair.model_validate_json(practice.pair), practice.known, practice.history))
    for row, item in rows:
        with _placed(row.place):
            _refuse_strangers(item, names)
            found.append((pair_from_row({**row.values, **item.source}), None, item))
    for column, values in (("item", [item.item for *_, item in found]), ("key", [item.key for *_, item in found])):
        if len(set(values)) < len(values):
            raise InputError(f"{path}: two rows are of one {column}; export the project again")
    create = partial(history.write, settled=project, found=found)
    AnnotationStore.create(database, project.config, secret=secret, fill=create).close()
    answers = sum(given.state == "answered" for _, item in rows for given in item.assignments)
    return Imported(len(rows), answers, len(project.people))


def _history(row: Row) -> history.RowHistory:
    item = row.values.get(HISTORY)
    with _placed(f"{row.place}: {HISTORY}"):
        item = decode_json(item) if isinstance(item, str) else item
        if isinstance(item, dict):
            return history.RowHistory.model_validate(item)
    raise InputError(
        f"{row.place}: {HISTORY} is {kind_of(item)}; expected the history that an export has; to annotate plain "
        "pairs: dissensus annotate PAIRS --db …"
    )


@contextmanager
def _placed(place: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        problem = describe(error) if isinstance(error, ValueError) else error
        raise InputError(f"{place}: {problem}; export the project again") from error


def _refuse_strangers(item: history.ItemHistory, names: Set[str]) -> None:
    told = {each.annotator for each in item.assignments} | {each.annotator for each in item.decisions}
    if strangers := told - names:
        raise ValueError(f"{min(strangers)!r} is none of the project's people")


def most_answers(found: Found) -> int:
    """Count the answers to the pair that has most of them."""
    counts = Counter(answer.pair_id for answer in found.answers if answer.kind == "answer")
    return max(counts.values(), default=0)


_SAID = select(assignments.c.item_id, assignments.c.person_id, revisions.c.digest).outerjoin(
    revisions, and_(revisions.c.assignment_id == assignments.c.id, revisions.c.revision == assignments.c.revision)
)


def write_foreign(c: Connection, found: Found, k: int) -> Imported:
    """Add pairs and the answers that another tool holds; people are added by name, without a link.

    Every answer counts that finds a slot (``k`` people per pair); the others are kept as surplus, and counted. What
    somebody said of a pair stays where it is there already, as when the next export of one project is imported: it is
    passed over and counted.
    """
    add_items(c, found.pairs)
    states = _write_answers(c, found.answers, k)
    return Imported(
        pairs=len(found.pairs),
        answers=states["answered"] + states["surplus"],
        people=len({answer.annotator for answer in found.answers}),
        skips=states["skipped"],
        surplus=states["surplus"],
        most=most_answers(found),
        there=states["there"],
        changed=states["changed"],
    )


def _write_answers(c: Connection, given: Sequence[Foreign], k: int) -> Counter[str]:
    at = now()
    by_name = {name: person for person, name in c.execute(select(people.c.id, people.c.name))}
    ids = {pair_id: item for item, pair_id in c.execute(select(items.c.id, items.c.pair_id))}
    taken = dict(c.execute(select(items.c.id, items.c.taken)).all())
    last = select(assignments.c.person_id, func.max(assignments.c.number)).group_by(assignments.c.person_id)
    numbers = Counter(dict(c.execute(last).all()))
    there = {(row.item_id, row.person_id): row.digest for row in c.execute(_SAID)}
    states: Counter[str] = Counter()
    for answer in given:
        if answer.annotator not in by_name:
            values = {"name": answer.annotator, "role": "annotator", "created_at": at}
            added = c.execute(insert(people).values(values).returning(people.c.id))
            by_name[answer.annotator] = int(added.scalar_one())
        person, item = by_name[answer.annotator], ids[answer.pair_id]
        if (item, person) in there:
            states["there"] += 1
            states["changed"] += there[item, person] != digest_of(answer.kind, answer.said, answer.reason)
            continue
        numbers[person] += 1
        state = "skipped" if answer.kind == "skip" else "answered" if taken[item] < k else "surplus"
        taken[item] += state == "answered"
        states[state] += 1
        _write_answer(c, answer, item, person, numbers[person], state, answer.at or at)
    for item, n in taken.items():
        c.execute(update(items).where(items.c.id == item).values(taken=n))
    return states


def _write_answer(c: Connection, answer: Foreign, item: int, person: int, number: int, state: str, at: int) -> None:
    values = {"key": secrets.token_hex(8), "item_id": item, "person_id": person, "number": number, "revision": 1}
    values |= {"shown": "ab", "state": state, "created_at": at}
    assignment = c.execute(insert(assignments).values(values).returning(assignments.c.id)).scalar_one()
    about = {"assignment_id": assignment, "revision": 1, "idempotency_key": secrets.token_hex(16), "created_at": at}
    columns = revision_columns(answer.kind, answer.said, answer.reason)
    c.execute(insert(revisions).values(about | columns))
