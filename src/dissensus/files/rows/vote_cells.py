"""Votes as files have them in the cells of one row: lists, objects by annotator, counts by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dissensus.files.readers import kind_of
from dissensus.files.rows.chat import decode_cell
from dissensus.files.rows.choice_words import SIDES, sides_named

COUNTS = ("votes_a", "votes_b", "votes_tie")
_VOTE_KEYS = ("vote", "label", "choice", "preference", "winner")
_ANNOTATOR_KEYS = ("annotator", "annotator_id", "worker", "worker_id", "rater", "rater_id", "user_id", "user")


def have_votes(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any row has votes, as counts or in ``votes``."""
    return any(row.get(name) for row in rows for name in ("votes", *COUNTS))


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


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of either type."""
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def as_counts(counts: Mapping[str, int]) -> dict[str, Any]:
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
            f"votes is {kind_of(value)}; expected a list of votes, or of objects with vote and annotator; leave the "
            "column alone: --column votes="
        )
    for entry in found:
        if not isinstance(entry, Mapping):
            yield None, entry
            continue
        vote = next((key for key in _VOTE_KEYS if entry.get(key) is not None), "vote")
        who = next((key for key in _ANNOTATOR_KEYS if entry.get(key) is not None), "annotator")
        rest = {key: part for key, part in entry.items() if key not in (vote, who)}
        yield {**rest, "annotator": entry.get(who)}, entry.get(vote)
