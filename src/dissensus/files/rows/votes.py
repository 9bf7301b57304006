"""Votes in the cells of one row: counts, lists, objects by annotator, and `Votes` as they are dumped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dissensus.files.readers import Values, decode_json, kind_of
from dissensus.files.rows.cells import decode_cell, is_whole, name_of
from dissensus.files.rows.choice_words import SIDES, sides_named
from dissensus.files.rows.row_notes import Notes
from dissensus.records import Votes

COUNTS = tuple(f"votes_{side}" for side in SIDES)
_VOTE_KEYS = ("vote", "label", "choice", "preference", "winner")
_ANNOTATOR_KEYS = ("annotator", "annotator_id", "worker", "worker_id", "rater", "rater_id", "user_id", "user")
_READ_KEYS = {"annotator", "vote", "estimate"}
_LEAVE = "leave the column alone: --column"


def have_votes(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any row has votes, as counts or in ``votes``."""
    return any(row.get(name) for row in rows for name in ("votes", *COUNTS))


def flat_votes(row: Values) -> Values:
    """Write votes that are one object, as `Pair.model_dump` makes it, in our columns of counts and the list.

    >>> flat_votes({"votes": {"a": 2, "b": 1, "tie": 0, "annotations": None}})
    {'votes': None, 'votes_a': 2, 'votes_b': 1, 'votes_tie': 0}
    """
    value = row.get("votes")
    if isinstance(value, str) and "annotations" in value:
        value = decode_cell(value)
    if not isinstance(value, Mapping) or not {"a", "b", "annotations"} <= value.keys() <= Votes.model_fields.keys():
        return row
    listed = value["annotations"]
    counts = {f"votes_{side}": value.get(side) for side in SIDES if f"votes_{side}" not in row}
    return {**row, "votes": listed if listed is None else list(listed), **counts}


def listed(value: Any) -> list[Any] | None:
    """Return a list, also one that stands as text in a cell; None where the value is none."""
    found = decode_cell(value) if isinstance(value, str) else value
    return found if isinstance(found, list) else None


def are_preferences(votes: Any) -> bool:
    """Whether votes are objects that call what somebody said a preference."""
    return any(isinstance(vote, Mapping) and vote.get("preference") is not None for vote in listed(votes) or ())


def counts_by_side(value: Any, names: Mapping[str, str]) -> dict[str, int] | None:
    """Return votes that are counts by side, as in ``{"a": 2, "model_b": 1}``, whatever the sides are called.

    Raises ValueError where a name may be either side's.
    """
    found = decode_cell(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping) or not all(n is None or is_whole(n) for n in found.values()):
        return None
    others = [name for name in found if name not in names]
    sides = sides_named(others)
    if sides is None:
        return None
    known = {**names, **dict(zip(others, sides, strict=True))}
    counts = {known[name]: int(n or 0) for name, n in found.items()}
    return counts if len(counts) == len(found) else None


def as_counts(counts: Mapping[str, int]) -> Values:
    """Write counts as our columns of them, with no list beside."""
    return {"votes": None} | {f"votes_{side}": counts.get(side, 0) for side in SIDES}


def entries(value: Any, names: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    """Yield (who, or all that is said of the vote; the vote) of votes in any shape but counts."""
    found = decode_cell(value) if isinstance(value, str) else value
    if isinstance(found, Mapping):
        if counts_by_side(found, names) is None:
            yield from ((who, vote) for who, vote in found.items() if vote is not None)
        return
    if not isinstance(found, list):
        raise ValueError(
            f"votes is {kind_of(value)}; expected a list of votes, or of objects with vote and annotator; {_LEAVE} "
            "votes="
        )
    for entry in found:
        if not isinstance(entry, Mapping):
            yield None, entry
            continue
        vote = next((key for key in _VOTE_KEYS if entry.get(key) is not None), "vote")
        who = next((key for key in _ANNOTATOR_KEYS if entry.get(key) is not None), "annotator")
        rest = {key: part for key, part in entry.items() if key not in (vote, who)}
        yield {**rest, "annotator": entry.get(who)}, entry.get(vote)


def votes_of_row(row: Mapping[str, Any], notes: Notes | None) -> Votes | None:
    """Read the votes of a row in our terms: counts, a list of annotator, vote and estimate, or both, which must agree.

    The list alone gives the counts; an estimate without a vote is a vote for the side it is on. Counts that are null or
    all zero mean that nobody voted. Raises ValueError.
    """
    given = {
        side: _count(value, column)
        for side, column in zip(SIDES, COUNTS, strict=True)
        if (value := row.get(column)) is not None
    }
    votes = _vote_list(row.get("votes"), notes)
    if votes:
        said = [vote["vote"] for vote in votes]
        return Votes.model_validate({**{side: said.count(side) for side in SIDES}, **given, "annotations": votes})
    if not any(given.values()):
        return None
    for side in ("a", "b"):
        if side not in given:
            raise ValueError(f"votes_{side} is missing beside other counts; write 0 where nobody voted so")
    return Votes.model_validate(given)


def _count(value: Any, column: str) -> int:
    number = value
    if isinstance(value, str):  # a CSV cell
        try:
            number = float(value)
        except ValueError:
            number = None
    if not is_whole(number):
        raise ValueError(f"{column} is {kind_of(value)}; expected a whole number of votes; {_LEAVE} {column}=")
    if number < 0:
        raise ValueError(f"{column} is {int(number)}; votes cannot be negative")
    return int(number)


def _vote_list(value: Any, notes: Notes | None) -> list[Values]:
    if isinstance(value, str):  # a CSV cell
        found = decode_cell(value)
        value = decode_json(value) if found is None else found
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(
            f"votes is {kind_of(value)}; expected a list of objects with vote and annotator; {_LEAVE} votes="
        )
    votes = []
    for i, vote in enumerate(value):
        if not isinstance(vote, Mapping):
            raise ValueError(f"votes[{i}].vote is {kind_of(vote)}; expected a, b or tie")
        side, annotator, estimate = vote.get("vote"), vote.get("annotator"), vote.get("estimate")
        if estimate is not None:
            estimate = _estimate(estimate, f"votes[{i}].estimate")
            side = _side_of(estimate) if side is None else side
        if side not in SIDES:
            raise ValueError(f"votes[{i}].vote is {kind_of(side)}; expected a, b or tie")
        if annotator is not None:
            annotator = name_of(annotator, f"votes[{i}].annotator")
        votes.append({"annotator": annotator, "vote": side, "estimate": estimate})
        if notes is not None and not vote.keys() <= _READ_KEYS:
            notes.unused.update(vote.keys() - _READ_KEYS)
    return votes


def _estimate(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{place} is {kind_of(value)}; expected the fraction of people that prefers a, from 0 to 1")
    return float(value)


def _side_of(estimate: float) -> str:
    return "tie" if estimate == 0.5 else "a" if estimate > 0.5 else "b"
