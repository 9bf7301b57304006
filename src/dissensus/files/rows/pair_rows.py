"""Rows to records and back: a Pair is flattened, every other record has a column for each field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from dissensus.files.readers import Values, kind_of
from dissensus.files.rows.bad_rows import Notes
from dissensus.files.rows.cells import flag_of, name_of
from dissensus.files.rows.chat import text_of, text_value, tools_beside, tools_of
from dissensus.files.rows.choice_words import OURS, SIDES
from dissensus.files.rows.columns import DESCRIPTIVE, PAIR_COLUMNS, leave_alone
from dissensus.files.rows.shared_prompt import split_texts
from dissensus.files.rows.votes import votes_of_row
from dissensus.records import Message, Pair, Record, Text, content_id, plain_text

R = TypeVar("R", bound=Record)


def pair_from_row(row: Mapping[str, Any], notes: Notes | None = None) -> Pair:
    """Build a pair from a flat row; raises ValueError with one line on a bad value.

    What is not read of it (``competence`` of a vote, …) is added to ``notes``, as is a prompt that the responses
    have again.
    """
    notes = notes or Notes()
    prompt, a, b = texts_of(row, ("response_a", "response_b"), notes)
    label = None if row.get("label") == "" else row.get("label")
    if label not in (None, *SIDES):
        raise ValueError(f"label is {kind_of(label)}; expected a, b, tie or nothing")
    return Pair(
        id=name_of(row.get("id"), "id", notes) or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        label_is_a_vote=flag_of(row.get("label_is_a_vote"), "label_is_a_vote"),
        votes=votes_of_row(row, notes),
        **descriptive(row, notes),
    )


def texts_of(row: Mapping[str, Any], names: tuple[str, str], notes: Notes | None = None) -> tuple[Text, Text, Text]:
    """Read prompt and both responses, whose columns are ``names``; the tools of a chat go onto its first turn.

    Without a prompt of its own, a trainer's row has it at the start of both. Raises ValueError.
    """
    notes = notes or Notes()
    is_given = names == ("response_a", "response_b") or row.get("prompt") not in (None, "", [])
    prompt = text_of(row.get("prompt"), "prompt", notes) if is_given else None
    one, two = text_of(row.get(names[0]), names[0], notes), text_of(row.get(names[1]), names[1], notes)
    if one == two and not is_given:
        raise ValueError(f"{names[0]} and {names[1]} are the same")
    prompt, one, two = split_texts(prompt, one, two, names, notes)
    given = row.get("tools")
    if given is None and not isinstance(prompt, str):
        given = next(filter(None, (tools_beside(row.get(name)) for name in ("prompt", *names))), None)
    tools = None if given is None else tools_of(given)
    if tools is None:
        return prompt, one, two
    if isinstance(prompt, str):
        if not any(turn.tool_calls for text in (one, two) if not isinstance(text, str) for turn in text):
            notes.count("pairs of plain text had tools, which only a chat can have; they are left alone")
            return prompt, one, two
        prompt = (Message(role="user", content=prompt),)
    return (prompt[0].model_copy(update={"tools": tools}), *prompt[1:]), one, two


def descriptive(row: Mapping[str, Any], notes: Notes | None = None) -> Values:
    """Take the columns that describe a pair (data set, domain, …), those that are not empty. Raises ValueError."""
    named = {}
    for column in DESCRIPTIVE:
        if (name := name_of(row.get(column), column, notes)) is None:
            continue
        if column in OURS and name not in OURS[column]:
            raise ValueError(
                f"{column} is {kind_of(name)}; expected {' or '.join(OURS[column])}; {leave_alone(column)}"
            )
        named[column] = name
    return named


def row_from_pair(pair: Pair) -> Values:
    """Flatten a pair. The group is null where it is the prompt, so that the prompt is not stored twice.

    >>> row = row_from_pair(Pair(id="1", prompt="Why?", response_a="So.", response_b="No.", votes={"a": 2, "b": 1}))
    >>> row["votes_a"], row["group"], row["votes"]
    (2, None, None)
    """
    votes = pair.votes
    listed = [vote.model_dump(exclude_none=True) for vote in votes.annotations or ()] if votes else []
    return {
        "id": pair.id,
        "prompt": text_value(pair.prompt),
        "response_a": text_value(pair.response_a),
        "response_b": text_value(pair.response_b),
        "label": pair.label,
        "label_is_a_vote": pair.label_is_a_vote,
        "dataset": pair.dataset,
        "domain": pair.domain,
        "category": pair.category,
        "distinct": pair.distinct,
        "group": None if pair.group == plain_text(pair.prompt) else pair.group,
        "votes_a": votes.a if votes else None,
        "votes_b": votes.b if votes else None,
        "votes_tie": votes.tie if votes else None,
        "votes": [{"annotator": None, **vote} for vote in listed] or None,
    }


def columns_of(record_type: type[Record]) -> Mapping[str, Any]:
    """Map the columns of a record's rows to their types."""
    if issubclass(record_type, Pair):
        return PAIR_COLUMNS
    return {name: field.annotation for name, field in record_type.model_fields.items()}


def row_of(record: Record) -> Values:
    """Return the row of a record."""
    return row_from_pair(record) if isinstance(record, Pair) else record.model_dump()


def record_of(values: Mapping[str, Any], record_type: type[R]) -> R:
    """Make a record of its row. Raises ValueError."""
    if issubclass(record_type, Pair):
        if unknown := values.keys() - PAIR_COLUMNS:
            raise ValueError(f"column {min(unknown)!r} is unknown")
        return pair_from_row(values)  # type: ignore[return-value]
    given = {}
    for name, value in values.items():
        field = record_type.model_fields.get(name)
        default = None if field is None else field.default
        if value is None and field is not None and type(None) not in get_args(field.annotation):
            # An empty text or map and nothing are the same, and CSV cannot tell them apart; another default would
            # say what the file does not.
            if not field.is_required() and default not in ("", {}, ()):
                raise ValueError(
                    f"{name} is null or empty; give its value, or leave the column out for {default!r} throughout"
                )
        else:
            given[name] = _decoded(value, default) if isinstance(default, dict | tuple) else value
    return record_type.model_validate(given)


def _decoded(value: Any, default: Values | tuple[Any, ...]) -> Any:
    """Take a map or list as CSV gives it back (JSON), and a map as Parquet does: name and value, once pairs of them."""
    found = json.loads(value) if isinstance(value, str) else value
    if isinstance(default, tuple) or not isinstance(found, list):
        return found
    return dict((entry["name"], entry["value"]) if isinstance(entry, dict) else entry for entry in found)
