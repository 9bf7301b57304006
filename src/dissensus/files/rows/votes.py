"""Votes in the cells of one row: counts, lists, objects by annotator, and `Votes` as they are dumped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dissensus.files.readers import Values, decode_json, kind_of
from dissensus.files.rows.bad_rows import Notes
from dissensus.files.rows.cells import decode_cell, is_whole, name_of
from dissensus.files.rows.choice_words import SIDES, side_of, sides_named
from dissensus.files.rows.columns import leave_alone
from dissensus.records import Votes

COUNTS = tuple(f"votes_{side}" for side in SIDES)
_VOTE_KEYS = ("vote", "label", "choice", "preference", "winner")
_ANNOTATOR_KEYS = ("annotator", "annotator_id", "worker", "worker_id", "rater", "rater_id", "user_id", "user")
_READ_KEYS = {"annotator", "vote", "estimate"}


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
    given = value["annotations"]
    counts = {f"votes_{side}": value.get(side) for side in SIDES if f"votes_{side}" not in row}
    return {**row, "votes": given if given is None else list(given), **counts}


def _found_in(cell: Any) -> Any:
    return decode_cell(cell) if isinstance(cell, str) else cell


def listed(cell: Any) -> list[Any] | None:
    """Return a list, also one that stands as text in a cell; None where the value is none."""
    found = _found_in(cell)
    return found if isinstance(found, list) else None


def are_preferences(votes: Any) -> bool:
    """Whether votes are objects that call what somebody said a preference."""
    return any(isinstance(vote, Mapping) and vote.get("preference") is not None for vote in listed(votes) or ())


def counts_by_side(cell: Any, names: Mapping[str, str]) -> dict[str, int] | None:
    """Return votes that are counts by side, as in ``{"a": 2, "model_b": 1}``, whatever the sides are called.

    Raises ValueError where a name may be either side's.
    """
    found = _found_in(cell)
    if not isinstance(found, Mapping) or not all(n is None or is_whole(n) for n in found.values()):
        return None
    others = [name for name in found if name not in names]
    sides = sides_named(others)
    if sides is None:
        return None
    known = {**names, **dict(zip(others, sides, strict=True))}
    counts = {known[name]: int(n or 0) for name, n in found.items()}
    return counts if len(counts) == len(found) else None


def entries(cell: Any, names: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    """Yield (who, or all that is said of the vote; the vote) of votes in any shape but counts."""
    found = _found_in(cell)
    if isinstance(found, Mapping):
        if counts_by_side(found, names) is None:
            yield from ((who, vote) for who, vote in found.items() if vote is not None)
        return
    for entry in _checked_list(found, "votes, or of objects with vote and annotator"):
        if not isinstance(entry, Mapping):
            yield None, entry
            continue
        vote = next((key for key in _VOTE_KEYS if entry.get(key) is not None), "vote")
        who = next((key for key in _ANNOTATOR_KEYS if entry.get(key) is not None), "annotator")
        rest = {key: part for key, part in entry.items() if key not in (vote, who)}
        yield {**rest, "annotator": entry.get(who)}, entry.get(vote)


def _checked_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"votes is {kind_of(value)}; expected a list of {what}; {leave_alone('votes')}")
    return value


def votes_of_row(row: Mapping[str, Any], notes: Notes) -> Votes | None:
    """Read the votes of a row in our terms: counts, a list of annotator, vote and estimate, or both, which must agree.

    The list alone gives the counts; an estimate without a vote is a vote for the side it is on. Counts that are null or
    all zero mean that nobody voted. Raises ValueError.
    """
    given = {
        side: _count(row[name], name) for side, name in zip(SIDES, COUNTS, strict=True) if row.get(name) is not None
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
        raise ValueError(f"{column} is {kind_of(value)}; expected a whole number of votes; {leave_alone(column)}")
    if number < 0:
        raise ValueError(f"{column} is {int(number)}; votes cannot be negative")
    return int(number)


def _vote_list(value: Any, notes: Notes) -> list[Values]:
    if isinstance(value, str):  # a CSV cell
        found = decode_cell(value)
        value = decode_json(value) if found is None else found
    votes = []
    for i, vote in enumerate([] if value is None else _checked_list(value, "objects with vote and annotator")):
        side = vote.get("vote") if isinstance(vote, Mapping) else vote
        estimate = vote.get("estimate") if isinstance(vote, Mapping) else None
        if estimate is not None:
            if isinstance(estimate, bool) or not isinstance(estimate, int | float) or not 0 <= estimate <= 1:
                raise ValueError(
                    f"votes[{i}].estimate is {kind_of(estimate)}; expected the fraction of people that prefers a, from "
                    "0 to 1"
                )
            side = side_of(estimate) if side is None else side
        if side not in SIDES or not isinstance(vote, Mapping):
            raise ValueError(f"votes[{i}].vote is {kind_of(side)}; expected a, b or tie")
        annotator = name_of(vote.get("annotator"), f"votes[{i}].annotator")
        votes.append({"annotator": annotator, "vote": side, "estimate": estimate})
        notes.unused.update(vote.keys() - _READ_KEYS)
    return votes
