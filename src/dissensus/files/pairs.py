"""A flat row to a Pair and back.

Votes come as counts (``votes_a``, ``votes_b``, ``votes_tie``), as a list of ``{"annotator", "vote", "estimate"}``, or
as both, which must agree. The list alone gives the counts; an estimate without a vote is a vote for the side it is on.
Counts that are null or all zero mean that nobody voted: the pair then has no votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.files.columns import DESCRIPTIVE
from dissensus.files.reading import decode_json, kind_of
from dissensus.records import Message, Pair, Text, Vote, Votes, content_id, plain_text

_SIDES = ("a", "b", "tie")
_VOTE_KEYS = {"annotator", "vote", "estimate"}
_LABELS = (None, "a", "b", "tie")


def pair_from_row(row: Mapping[str, Any], unused: set[str] | None = None) -> Pair:
    """Build a pair from a flat row; raises ValueError with one line on a bad value.

    Keys of single votes and of chat messages that are not read (``competence``, …) are added to ``unused``.
    """
    prompt, a, b = (text_of(row.get(name), name, unused) for name in ("prompt", "response_a", "response_b"))
    label = None if row.get("label") == "" else row.get("label")
    if label not in _LABELS:
        raise ValueError(f"label is {kind_of(label)}; expected a, b, tie or nothing")
    return Pair(
        id=name_of(row.get("id"), "id") or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        votes=_votes(row, unused),
        **descriptive(row),
    )


def descriptive(row: Mapping[str, Any]) -> dict[str, Any]:
    """Take the columns that describe a pair (data set, domain, …), those that are not empty."""
    named = {name: name_of(row.get(name), name) for name in DESCRIPTIVE}
    return {name: value for name, value in named.items() if value is not None}


def name_of(value: Any, column: str) -> str | None:
    """Read a name: text, or a whole number as text; empty is None. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _unicode(value, column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{column} is {kind_of(value)}; expected text")


def text_of(value: Any, column: str, unused: set[str] | None = None) -> Text:
    """Read plain text or chat messages; raises ValueError on anything else. ``unused`` as in ``pair_from_row``."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"{column} is empty")
        return _unicode(value, column)
    if isinstance(value, list):
        messages = tuple(_message(turn, f"{column}[{i}]", unused) for i, turn in enumerate(value))
        if not any(message.content.strip() for message in messages):
            raise ValueError(f"{column} is empty")
        return messages
    if value is None:
        raise ValueError(f"{column} is missing or null")
    raise ValueError(f"{column} is {kind_of(value)}; expected text or a list of role and content")


def _message(turn: Any, place: str, unused: set[str] | None) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError(f"{place} is {kind_of(turn)}; expected an object with role and content")
    for key in ("role", "content"):
        if not isinstance(turn.get(key), str):
            raise ValueError(f"{place}.{key} is {kind_of(turn.get(key))}; expected text")
        _unicode(turn[key], f"{place}.{key}")
    if unused is not None and len(turn) > 2:
        # Arrow fills the keys that a turn does not have with null.
        unused.update(key for key, value in turn.items() if key not in ("role", "content") and value is not None)
    return Message(role=turn["role"], content=turn["content"])


def _unicode(text: str, column: str) -> str:
    """Refuse half a surrogate pair, which JSON can escape and UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{column} holds half a character (\\u{ord(text[error.start]):04x})") from error
    return text


def _votes(row: Mapping[str, Any], unused: set[str] | None) -> Votes | None:
    given = {side: _count(row.get(f"votes_{side}"), f"votes_{side}") for side in _SIDES}
    listed = _vote_list(row.get("votes"), unused)
    if listed:
        counted = {side: sum(vote["vote"] == side for vote in listed) for side in _SIDES}
        counts = {side: counted[side] if given[side] is None else given[side] for side in _SIDES}
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
        raise ValueError(f"{column} is {kind_of(value)}; expected a whole number of votes")
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


def _vote_list(value: Any, unused: set[str] | None) -> list[dict[str, Any]]:
    if isinstance(value, str):  # a CSV cell
        value = decode_json(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"votes is {kind_of(value)}; expected a list of objects with vote and annotator")
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
        if unused is not None and len(vote) > 1:
            unused.update(vote.keys() - _VOTE_KEYS)
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


def text_value(text: Text) -> str | list[dict[str, str]]:
    """Turn a text into what a file holds: itself, or a list of role and content."""
    return text if isinstance(text, str) else [{"role": turn.role, "content": turn.content} for turn in text]
