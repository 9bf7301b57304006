"""Argilla's export of records (2.x): nested, as ``records.to_json`` writes it, or flat, as ``to_datasets`` does.

Nested records have ``fields`` and ``responses`` (question → list of value and user). Flat ones have a column for each
field, and for each question columns ``Q.responses``, ``Q.responses.users`` and ``Q.responses.status``. Discarded
responses are skips here; drafts are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissensus.annotate.foreign import Foreign, Found, Names, newest, read_list
from dissensus.errors import InputError
from dissensus.files.reading import kind_of

TOOL = "Argilla"
_COLUMN = ".responses"


@dataclass
class _Given:
    """What one user gave to one record."""

    values: dict[str, Any] = field(default_factory=dict)
    status: str = "submitted"


def read_argilla(path: Path, names: Names | None = None) -> Found:
    """Read pairs and answers. Raises InputError with file and record."""
    names = names or Names()
    names.check()
    pairs, answers, left_out = [], [], 0
    for number, record in enumerate(read_list(path, TOOL), 1):
        place = f"{path}: record {record.get('id') or number}"
        pair = names.pair(_fields(record), record.get("id"), place)
        pairs.append(pair)
        for user, given in _by_user(record, place).items():
            if given.status == "discarded":
                answers.append(Foreign(pair.id, user, "skip", None, reason="discarded in Argilla"))
                continue
            said = None if given.status != "submitted" else names.said(given.values, None, place)
            left_out += said is None
            answers += [] if said is None else [Foreign(pair.id, user, "answer", said)]
    kept, replaced = newest(answers)
    return Found(pairs, kept, left_out + replaced)


def _fields(record: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = record.get("fields")
    return fields if isinstance(fields, dict) else record


def _by_user(record: Mapping[str, Any], place: str) -> dict[str, _Given]:
    users: defaultdict[str, _Given] = defaultdict(_Given)
    nested = record.get("responses")
    if isinstance(nested, dict):
        for question, responses in nested.items():
            for response in responses or []:
                _take(users, question, response, place)
        return users
    for column, values in record.items():
        if column.endswith(_COLUMN) and values:
            question = column.removesuffix(_COLUMN)
            ids, statuses = record.get(f"{column}.users"), record.get(f"{column}.status")
            if not isinstance(ids, list) or len(ids) != len(values):
                raise InputError(f"{place}: {column} does not say whose they are ({column}.users); export it again")
            for n, value in enumerate(values):
                status = statuses[n] if isinstance(statuses, list) and n < len(statuses) else "submitted"
                _take(users, question, {"value": value, "user_id": ids[n], "status": status}, place)
    return users


def _take(users: Mapping[str, _Given], question: str, response: Any, place: str) -> None:
    if not isinstance(response, dict) or "user_id" not in response:
        raise InputError(f"{place}: a response to {question} is {kind_of(response)}; expected value and user_id")
    given = users[str(response["user_id"])]
    value = response.get("value")
    given.status = str(response.get("status") or given.status)
    if value is not None:
        given.values[question] = value
