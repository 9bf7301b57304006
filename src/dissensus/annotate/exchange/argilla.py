"""Argilla's exports of records.

::

    2.x flat     to_list(flatten=True), to_datasets: columns Q.responses, Q.responses.users, Q.responses.status
    2.x nested   to_json, to_list: responses is {question: [{value, user_id}]}, and no status of any of them
    1.x records  responses is [{user_id, status, values: {question: {value}}}]
    1.x Hub      a column for each question: [{user_id, value, status}], or an object of three lists

Discarded responses are skips here; drafts are left out. Where the file has no statuses, neither can be told from an
answer, except on a record that is completed and has responses of one person: theirs was submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dissensus.annotate.exchange.other_tools import Found, Gathering, Names, as_rows, read_objects
from dissensus.errors import InputError
from dissensus.files.readers import Values, kind_of

_COLUMN = ".responses"


class _Response(NamedTuple):
    """What one user said to one question; nothing but a status where they said nothing."""

    user: str
    status: Any
    question: str | None
    value: Any


@dataclass
class _Given:
    """What one user gave to one record."""

    values: Values = field(default_factory=dict)
    status: str | None = None


def read_argilla(path: Path, names: Names | None = None, *, assume_submitted: bool = False) -> Found:
    """Read pairs and answers. Raises InputError with file and record.

    ``assume_submitted``: take responses whose status the file does not say as submitted; else they are refused.
    """
    gathering = Gathering(path, names or Names())
    for number, record in enumerate(read_objects(path, "Argilla"), 1):
        identity = record.get("external_id") or record.get("id")
        place = f"{path}: record {identity or number}"
        fields = record.get("fields")
        pair = gathering.pair(fields if isinstance(fields, dict) else record, identity, place)
        users = _by_user(record, gathering, place)
        is_submitted = record.get("status") == "completed" and len(users) == 1
        for user, given in users.items():
            if given.status is None and not is_submitted:
                if not assume_submitted:
                    raise InputError(
                        f"{place}: responses have no status, so discarded ones and drafts cannot be told from answers; "
                        "export with to_list(flatten=True) or to_datasets(), which have it, or take all for "
                        "submitted: --assume-submitted"
                    )
                gathering.assumed += 1
            if given.status == "discarded":
                gathering.skip(pair, user, "discarded in Argilla", place)
            elif given.status in (None, "submitted"):
                gathering.add(pair, user, given.values, place, None, None)
            else:
                gathering.left_out["drafts"] += 1
    return gathering.found()


def _by_user(record: Mapping[str, Any], gathering: Gathering, place: str) -> dict[str, _Given]:
    users: dict[str, _Given] = {}
    for user, status, question, value in _responses(record, place):
        if question is not None:
            gathering.asked[question] = None
        if status is None and value is None:
            continue
        given = users.setdefault(user, _Given())
        given.status = given.status if status is None else str(status).lower()
        if question is not None and value is not None:
            given.values[question] = value
    return users


def _responses(record: Mapping[str, Any], place: str) -> Iterator[_Response]:
    responses = record.get("responses")
    if isinstance(responses, Mapping) and not _is_of_users(responses):
        for question, given in responses.items():
            yield from _of_question(question, given, place)
    elif responses is not None:
        yield from _of_users(responses, place)
    else:
        for column, given in record.items():
            if column.endswith(_COLUMN):
                yield from _of_columns(column, record, place)
            elif _is_of_users(given):
                yield from _of_question(column, given, place)


def _is_of_users(value: Any) -> bool:
    rows = as_rows(value)
    if rows is None:
        return isinstance(value, Mapping) and {"user_id", "value"} <= value.keys()
    return bool(rows) and all(isinstance(row, Mapping) and "user_id" in row for row in rows)


def _of_question(question: str, given: Any, place: str) -> Iterator[_Response]:
    """Read ``[{user_id, value, status}]``, of 2.x without a status."""
    rows = as_rows(given)
    for number, response in enumerate([given] if rows is None and given is not None else rows or [], 1):
        if not isinstance(response, Mapping) or "user_id" not in response:
            raise InputError(f"{place}: a response to {question} is {kind_of(response)}; expected value and user_id")
        user = _user(response["user_id"], number)
        yield _Response(user, response.get("status"), question, response.get("value"))


def _of_users(responses: Any, place: str) -> Iterator[_Response]:
    """Read ``[{user_id, status, values}]``."""
    rows = as_rows(responses)
    for number, response in enumerate([responses] if rows is None else rows, 1):
        values = response.get("values") if isinstance(response, Mapping) else response
        if not isinstance(response, Mapping) or not isinstance(values, Mapping | None):
            raise InputError(f"{place}: a response is {kind_of(response)}; expected user_id, status and values")
        user, status = _user(response.get("user_id"), number), response.get("status")
        yield _Response(user, status, None, None)
        for question, given in (values or {}).items():
            is_wrapped = isinstance(given, Mapping) and "value" in given and "rank" not in given
            yield _Response(user, status, question, given["value"] if is_wrapped else given)


def _of_columns(column: str, record: Mapping[str, Any], place: str) -> Iterator[_Response]:
    values, users, statuses = (record.get(name) or [] for name in (column, f"{column}.users", f"{column}.status"))
    if not isinstance(values, list) or not isinstance(users, list) or len(users) != len(values):
        raise InputError(f"{place}: {column} does not say whose they are ({column}.users); export it again")
    if not isinstance(statuses, list) or len(statuses) not in (0, len(values)):
        raise InputError(f"{place}: {column}.status does not say it of each of them; export it again")
    given = zip(values, users, statuses or [None] * len(values), strict=True)
    for number, (value, user, status) in enumerate(given, 1):
        yield _Response(_user(user, number), status, column.removesuffix(_COLUMN), value)


def _user(user: Any, number: int) -> str:
    # Argilla 1 lets a response be without its user; two of those on a record may be of two people.
    return f"unknown {number}" if user in (None, "") else str(user)
