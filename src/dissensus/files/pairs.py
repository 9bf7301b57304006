"""A flat row to a Pair and back.

Votes come as counts (``votes_a``, ``votes_b``, ``votes_tie``), as a list of ``{"annotator", "vote", "estimate"}``, or
as both, which must agree. The list alone gives the counts; an estimate without a vote is a vote for the side it is on.
Counts that are null or all zero mean that nobody voted: the pair then has no votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.files.chat import decode_cell, text_of, text_value, tools_of, unicode_of
from dissensus.files.columns import DESCRIPTIVE
from dissensus.files.prompts import split_texts
from dissensus.files.reading import decode_json, kind_of
from dissensus.files.remarks import Remarks
from dissensus.files.words import OURS
from dissensus.records import Message, Pair, Text, Vote, Votes, content_id, plain_text

__all__ = ["descriptive", "name_of", "pair_from_row", "row_from_pair", "text_of", "text_value", "texts_of"]

_SIDES = ("a", "b", "tie")
_VOTE_KEYS = {"annotator", "vote", "estimate"}
_LABELS = (None, "a", "b", "tie")
_FLAGS = {"true": True, "false": False}
_EXACT = 2**53
"""From here on a float is no exact whole number."""


def pair_from_row(row: Mapping[str, Any], remarks: Remarks | None = None) -> Pair:
    """Build a pair from a flat row; raises ValueError with one line on a bad value.

    What is not read of it (``competence`` of a vote, …) is added to ``remarks``, as is a prompt that the responses
    have again.
    """
    prompt, a, b = texts_of(row, ("response_a", "response_b"), remarks)
    label = None if row.get("label") == "" else row.get("label")
    if label not in _LABELS:
        raise ValueError(f"label is {kind_of(label)}; expected a, b, tie or nothing")
    return Pair(
        id=name_of(row.get("id"), "id", remarks) or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        label_is_a_vote=_flag(row.get("label_is_a_vote"), "label_is_a_vote"),
        votes=_votes(row, remarks),
        **descriptive(row, remarks),
    )


def texts_of(row: Mapping[str, Any], names: tuple[str, str], remarks: Remarks | None = None) -> tuple[Text, Text, Text]:
    """Read prompt and both responses, whose columns are ``names``; the tools of a chat go onto its first turn.

    Without a prompt of its own, a trainer's row has it at the start of both. Raises ValueError.
    """
    is_given = names == ("response_a", "response_b") or row.get("prompt") not in (None, "", [])
    prompt = text_of(row.get("prompt"), "prompt", remarks) if is_given else None
    one, two = text_of(row.get(names[0]), names[0], remarks), text_of(row.get(names[1]), names[1], remarks)
    if one == two and not is_given:
        raise ValueError(f"{names[0]} and {names[1]} are the same")
    prompt, one, two = split_texts(prompt, one, two, names, remarks)
    return _with_tools(prompt, row.get("tools"), (one, two), remarks), one, two


def _with_tools(prompt: Text, given: Any, responses: tuple[Text, Text], remarks: Remarks | None) -> Text:
    if given is None or not (tools := tools_of(given)):
        return prompt
    if isinstance(prompt, str):
        if not any(turn.tool_calls for text in responses if not isinstance(text, str) for turn in text):
            if remarks is not None:
                remarks.count("pairs of plain text had tools, which only a chat can be told of; they are left alone")
            return prompt
        prompt = (Message(role="user", content=prompt),)
    return (prompt[0].model_copy(update={"tools": tools}), *prompt[1:])


def descriptive(row: Mapping[str, Any], remarks: Remarks | None = None) -> dict[str, Any]:
    """Take the columns that describe a pair (data set, domain, …), those that are not empty. Raises ValueError."""
    named = {name: name_of(row.get(name), name, remarks) for name in DESCRIPTIVE}
    for name in ("domain", "distinct"):
        if named[name] is not None and named[name] not in OURS[name]:
            raise ValueError(
                f"{name} is {kind_of(named[name])}; expected {' or '.join(OURS[name])}; leave the column alone: "
                f"--column {name}="
            )
    return {name: value for name, value in named.items() if value is not None}


def name_of(value: Any, column: str, remarks: Remarks | None = None) -> str | None:
    """Read a name: text, or a whole number as text (``1.0`` as 1); empty is None. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return unicode_of(value, column)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        if remarks is not None:
            remarks.count(f"values of {column} were whole numbers with a point, read without it: 1.0 as 1")
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{column} is {kind_of(value)}; expected text; leave the column alone: --column {column}=")


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


def _votes(row: Mapping[str, Any], remarks: Remarks | None) -> Votes | None:
    given = {side: _count(row.get(f"votes_{side}"), f"votes_{side}") for side in _SIDES}
    listed = _vote_list(row.get("votes"), remarks)
    if listed:
        said = [vote["vote"] for vote in listed]
        counts = {side: said.count(side) if given[side] is None else given[side] for side in _SIDES}
        return Votes.model_validate({**counts, "annotations": listed})
    if not any(given.values()):
        return None
    for side in ("a", "b"):
        if given[side] is None:
            raise ValueError(f"votes_{side} is missing beside other counts; write 0 where nobody voted so")
    return Votes.model_validate({**given, "tie": given["tie"] or 0})


def _count(value: Any, column: str) -> int | None:
    if value is None:
        return None
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


def _vote_list(value: Any, remarks: Remarks | None) -> list[dict[str, Any]]:
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
        estimate = _estimate(vote.get("estimate"), f"votes[{i}].estimate")
        side = vote.get("vote") if estimate is None or vote.get("vote") is not None else _side_of(estimate)
        if side not in _SIDES:
            raise ValueError(f"votes[{i}].vote is {kind_of(side)}; expected a, b or tie")
        annotator = name_of(vote.get("annotator"), f"votes[{i}].annotator")
        votes.append({"annotator": annotator, "vote": side, "estimate": estimate})
        if remarks is not None and len(vote) > 1:
            remarks.unused.update(vote.keys() - _VOTE_KEYS)
    return votes


def _estimate(value: Any, place: str) -> float | None:
    if value is None:
        return None
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
