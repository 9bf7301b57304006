"""Rows that are one choice each: the same two responses may come again, chosen the other way, by somebody else.

A first look at all rows finds which come several times, by hashes of their texts; only those are held until all of
their rows are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dissensus.files.readers import Values
from dissensus.files.rows.merge import Merged, turned, votes_counted, votes_of
from dissensus.files.rows.pair_rows import texts_of
from dissensus.files.rows.row_notes import Notes
from dissensus.files.trl import orient
from dissensus.records import Margin, Pair, Vote

_SIDES = {"a": 1, "b": 2, "tie": 4}


class Choices:
    """The votes that rows of one source are."""

    def __init__(self, notes: Notes, *, always: bool) -> None:
        self._notes = notes
        self._always = always
        self._left: dict[int, int] = {}
        self._held: dict[int, Merged] = {}
        self.rows = 0
        """Rows that came to pairs with others."""
        self.pairs = 0
        """The pairs that they became."""
        self.votes = 0
        """The votes on these pairs."""

    def scan(self, rows: Iterable[Values]) -> None:
        """Find the pairs that come several times; unless `always`, only where some pair is chosen both ways.

        Takes some two hundred bytes a pair, and keeps what it needs of those that come again.
        """
        counts: dict[int, int] = {}
        verdicts: dict[int, int] = {}
        differ = self._always
        for row in rows:
            key, verdict = _key_of(row)
            counts[key] = counts.get(key, 0) + 1
            if verdict:
                differ |= verdicts.setdefault(key, verdict) != verdict
        self._left = {key: n for key, n in counts.items() if n > 1} if differ else {}

    def key_of(self, row: Values) -> int | None:
        """Return what the row is held under; None where its pair comes once."""
        if not self._left:
            return None
        key, _ = _key_of(row)
        return key if key in self._left else None

    def add(self, key: int, pair: Pair, margin: Margin | None) -> tuple[Pair, Margin | None] | None:
        """Take one row's choice; returns the pair when all of its rows are there."""
        self.rows += 1
        merged = self._held.setdefault(key, Merged(pair, margin))
        voted = _as_votes(pair)
        if pair.votes is not None and pair.votes.n > 1 and not _is_named(voted) and voted.votes in merged.rows:
            self._notes.count("pairs came before with the same votes of several people, and are dropped")
        else:
            merged.add(voted, margin, self._notes.count)
        self._left[key] -= 1
        return None if self._left[key] else self._settle(self._held.pop(key))

    def rest(self) -> Iterator[tuple[Pair, Margin | None]]:
        """Yield the pairs of which not all rows were usable."""
        while self._held:
            yield self._settle(self._held.pop(next(iter(self._held))))

    def _settle(self, merged: Merged) -> tuple[Pair, Margin | None]:
        pair, margin = merged.settle(self._notes.count)
        pair = turned(pair) if _is_turned(merged) else pair
        self.pairs += 1
        self.votes += pair.votes.n if pair.votes else 0
        return _without_nobody(pair), margin


def with_vote(pair: Pair, annotator: str | None) -> Pair:
    """Make what a row says the vote of somebody: its label, or the one vote of nobody; without either nobody voted."""
    said = pair.votes.annotations if pair.votes else None
    if pair.votes is None and pair.label is not None:
        said = (Vote(annotator=annotator, vote=pair.label),)
    elif said and len(said) == 1 and said[0].annotator is None:
        said = (said[0].model_copy(update={"annotator": annotator}),)
    else:
        return pair
    return _without_nobody(pair.model_copy(update={"votes": votes_of(said)}))


def _is_turned(merged: Merged) -> bool:
    """Whether a pair is to be the other way round than in its first row, so that the order of rows decides nothing.

    It is as most of its rows have it, so that it goes with other files of the same pairs; where as many have it either
    way, as TRL's rows are.
    """
    straight = len(merged.rows) - merged.turned
    if merged.turned == straight:
        first, _, _ = orient(merged.first.prompt, merged.first.response_a, merged.first.response_b)
        return first != merged.first.response_a
    return merged.turned > straight


def _without_nobody(pair: Pair) -> Pair:
    """Leave only the counts of votes of which no annotator is known."""
    said = pair.votes.annotations if pair.votes else None
    if pair.votes is None or not said or any(v.annotator is not None or v.estimate is not None for v in said):
        return pair
    return pair.model_copy(update={"votes": pair.votes.model_copy(update={"annotations": None})})


def _is_named(pair: Pair) -> bool:
    said = pair.votes.annotations if pair.votes else None
    return any(vote.annotator is not None for vote in said or ())


def _as_votes(pair: Pair) -> Pair:
    if pair.votes is not None or pair.label is None:
        return pair
    return pair.model_copy(update={"votes": votes_counted({pair.label: 1})})


def texts_key(row: Values) -> tuple[int, bool]:
    """Hash the texts of a row as they are read, whichever response comes first; and whether its first one does."""
    names = ("chosen", "rejected") if "chosen" in row else ("response_a", "response_b")
    prompt, one, two = map(_hash_of, _texts(row, names))
    is_first = one <= two
    return hash((prompt, one, two) if is_first else (prompt, two, one)), is_first


def _texts(row: Values, names: tuple[str, str]) -> tuple[Any, Any, Any]:
    """The prompt and the two responses: as they stand where that is how they are read, for speed; else read."""
    prompt, one, two = row.get("prompt"), row.get(names[0]), row.get(names[1])
    if isinstance(one, str) and isinstance(two, str) and (not prompt or isinstance(prompt, str)):
        start = prompt.split(maxsplit=1)[:1] if prompt else []
        if not start or not (one.lstrip().startswith(start[0]) and two.lstrip().startswith(start[0])):
            return prompt, one, two
    try:
        return texts_of(row, names)
    except ValueError:  # reported when its turn comes
        return prompt, one, two


def _key_of(row: Values) -> tuple[int, int]:
    key, is_first = texts_key(row)
    if row.get("votes") or row.get("votes_a") or row.get("votes_b") or row.get("votes_tie"):
        votes = [row.get(name) for name in ("votes", "votes_a", "votes_b", "votes_tie")]
        return key, hash((is_first, repr(votes)))
    label = "a" if "chosen" in row else row.get("label")
    side = _SIDES.get(label, 0) if isinstance(label, str) else 0
    return key, side if is_first or side not in (1, 2) else 3 - side


def _hash_of(value: Any) -> int:
    return hash(value if isinstance(value, str | tuple) else repr(value))
