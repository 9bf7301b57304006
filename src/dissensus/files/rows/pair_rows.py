"""A flat row to a Pair and back.

Votes come as counts (``votes_a``, ``votes_b``, ``votes_tie``), as a list of ``{"annotator", "vote", "estimate"}``, or
as both, which must agree. The list alone gives the counts; an estimate without a vote is a vote for the side it is on.
Counts that are null or all zero mean that nobody voted: the pair then has no votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.files.readers import decode_json, kind_of
from dissensus.files.rows.chat import decode_cell, text_of, text_value, tools_beside, tools_of, unicode_of
from dissensus.files.rows.choice_words import OURS
from dissensus.files.rows.columns import DESCRIPTIVE, PAIR_COLUMNS
from dissensus.files.rows.row_notes import Notes
from dissensus.files.rows.shared_prompt import split_texts
from dissensus.records import Message, Pair, Text, Vote, Votes, content_id, plain_text

__all__ = ["descriptive", "name_of", "pair_from_row", "row_from_pair", "text_of", "text_value", "texts_of"]

_SIDES = ("a", "b", "tie")
_COUNTS = {side: f"votes_{side}" for side in _SIDES}
_VOTE_KEYS = {"annotator", "vote", "estimate"}
_LABELS = (None, "a", "b", "tie")
_FLAGS = {"true": True, "false": False}
_EXACT = 2**53
"""From here on a float is no exact whole number."""


def pair_from_row(row: Mapping[str, Any], notes: Notes | None = None) -> Pair:
    """Build a pair from a flat row; raises ValueError with one line on a bad value.

    What is not read of it (``competence`` of a vote, …) is added to ``notes``, as is a prompt that the responses
    have again.
    """
    prompt, a, b = texts_of(row, ("response_a", "response_b"), notes)
    label = None if row.get("label") == "" else row.get("label")
    if label not in _LABELS:
        raise ValueError(f"label is {kind_of(label)}; expected a, b, tie or nothing")
    return Pair(
        id=name_of(row.get("id"), "id", notes) or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        label_is_a_vote=_flag(row.get("label_is_a_vote"), "label_is_a_vote"),
        votes=_votes(row, notes),
        **descriptive(row, notes),
    )


def texts_of(row: Mapping[str, Any], names: tuple[str, str], notes: Notes | None = None) -> tuple[Text, Text, Text]:
    """Read prompt and both responses, whose columns are ``names``; the tools of a chat go onto its first turn.

    Without a prompt of its own, a trainer's row has it at the start of both. Raises ValueError.
    """
    is_given = names == ("response_a", "response_b") or row.get("prompt") not in (None, "", [])
    prompt = text_of(row.get("prompt"), "prompt", notes) if is_given else None
    one, two = text_of(row.get(names[0]), names[0], notes), text_of(row.get(names[1]), names[1], notes)
    if one == two and not is_given:
        raise ValueError(f"{names[0]} and {names[1]} are the same")
    prompt, one, two = split_texts(prompt, one, two, names, notes)
    tools = row.get("tools")
    if tools is None and not isinstance(prompt, str):
        tools = next(filter(None, (tools_beside(row.get(name)) for name in ("prompt", *names))), None)
    return _with_tools(prompt, tools, (one, two), notes), one, two


def _with_tools(prompt: Text, given: Any, responses: tuple[Text, Text], notes: Notes | None) -> Text:
    if given is None or not (tools := tools_of(given)):
        return prompt
    if isinstance(prompt, str):
        if not any(turn.tool_calls for text in responses if not isinstance(text, str) for turn in text):
            if notes is not None:
                notes.count("pairs of plain text had tools, which only a chat can be told of; they are left alone")
            return prompt
        prompt = (Message(role="user", content=prompt),)
    return (prompt[0].model_copy(update={"tools": tools}), *prompt[1:])


def descriptive(row: Mapping[str, Any], notes: Notes | None = None) -> dict[str, Any]:
    """Take the columns that describe a pair (data set, domain, …), those that are not empty. Raises ValueError."""
    named = {}
    for column in DESCRIPTIVE:
        if (value := row.get(column)) is None or (name := name_of(value, column, notes)) is None:
            continue
        if column in OURS and name not in OURS[column]:
            raise ValueError(
                f"{column} is {kind_of(name)}; expected {' or '.join(OURS[column])}; leave the column alone: "
                f"--column {column}="
            )
        named[column] = name
    return named


def name_of(value: Any, column: str, notes: Notes | None = None) -> str | None:
    """Read a name: text, or a whole number as text (``1.0`` as 1); empty is None. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return unicode_of(value, column)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        if notes is not None:
            notes.count(f"values of {column} were whole numbers with a point, read without it: 1.0 as 1")
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    ours = column.partition("[")[0]
    remedy = f"; leave the column alone: --column {ours}=" if ours in PAIR_COLUMNS else ""
    raise ValueError(f"{column} is {kind_of(value)}; expected text{remedy}")


def _flag(value: Any, column: str) -> bool | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _FLAGS:  # a CSV cell
        return _FLAGS[value.lower()]
    raise ValueError(
        f"{column} is {kind_of(value)}; expected true, false or nothing; leave the column alone: --column {column}="
    )


def _votes(row: Mapping[str, Any], notes: Notes | None) -> Votes | None:
    given = {side: _count(value, column) for side, column in _COUNTS.items() if (value := row.get(column)) is not None}
    listed = _vote_list(row.get("votes"), notes)
    if listed:
        said = [vote["vote"] for vote in listed]
        counts = {side: said.count(side) for side in _SIDES} | given
        return Votes.model_validate({**counts, "annotations": listed})
    if not any(given.values()):
        return None
    for side in ("a", "b"):
        if side not in given:
            raise ValueError(f"votes_{side} is missing beside other counts; write 0 where nobody voted so")
    return Votes.model_validate(given)


def _count(value: Any, column: str) -> int:
    number = _whole_number(value)
    if number is None:
        raise ValueError(
            f"{column} is {kind_of(value)}; expected a whole number of votes; leave the column alone: "
            f"--column {column}="
        )
    if number < 0:
        raise ValueError(f"{column} is {number}; votes cannot be negative")
    return number


def _whole_number(value: Any) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, str):  # a CSV cell
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def _vote_list(value: Any, notes: Notes | None) -> list[dict[str, Any]]:
    if isinstance(value, str):  # a CSV cell
        found = decode_cell(value)
        value = decode_json(value) if found is None else found
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(
            f"votes is {kind_of(value)}; expected a list of objects with vote and annotator; leave the column alone: "
            "--column votes="
        )
    votes = []
    for i, vote in enumerate(value):
        if not isinstance(vote, Mapping):
            raise ValueError(f"votes[{i}].vote is {kind_of(vote)}; expected a, b or tie")
        side, annotator, estimate = vote.get("vote"), vote.get("annotator"), vote.get("estimate")
        if estimate is not None:
            estimate = _estimate(estimate, f"votes[{i}].estimate")
            side = _side_of(estimate) if side is None else side
        if side not in _SIDES:
            raise ValueError(f"votes[{i}].vote is {kind_of(side)}; expected a, b or tie")
        if annotator is not None:
            annotator = name_of(annotator, f"votes[{i}].annotator")
        votes.append({"annotator": annotator, "vote": side, "estimate": estimate})
        if notes is not None and not vote.keys() <= _VOTE_KEYS:
            notes.unused.update(vote.keys() - _VOTE_KEYS)
    return votes


def _estimate(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{place} is {kind_of(value)}; expected the fraction of people that prefers a, from 0 to 1")
    return float(value)


def _side_of(estimate: float) -> str:
    return "tie" if estimate == 0.5 else "a" if estimate > 0.5 else "b"


def _listed(vote: Vote) -> dict[str, Any]:
    said = {"annotator": vote.annotator, "vote": vote.vote}
    return said if vote.estimate is None else {**said, "estimate": vote.estimate}


def row_from_pair(pair: Pair) -> dict[str, Any]:
    """Flatten a pair. The group is null where it is the prompt, so that the prompt is not stored twice.

    >>> row = row_from_pair(Pair(id="1", prompt="Why?", response_a="So.", response_b="No.", votes=Votes(a=2, b=1)))
    >>> row["votes_a"], row["group"], row["votes"]
    (2, None, None)
    """
    votes = pair.votes
    listed = votes.annotations if votes else None
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
        "votes": [_listed(vote) for vote in listed] if listed else None,
    }
