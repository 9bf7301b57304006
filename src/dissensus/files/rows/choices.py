"""Rows that are one choice each: the same two responses may come again, chosen the other way, by somebody else.

A first look at all rows finds which come several times, by hashes of their texts; only those are held until all of
their rows are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

from dissensus.files.readers import Values
from dissensus.files.rows.bad_rows import Notes
from dissensus.files.rows.merge import Merged, turned, votes_counted, votes_of
from dissensus.files.rows.pair_rows import texts_of
from dissensus.files.rows.votes import COUNTS
from dissensus.files.trl import orient
from dissensus.records import Margin, Pair, Vote

_SIDES = {"a": 1, "b": 2, "tie": 4}


class Choices:
    """The votes that rows of one source are; ``always`` says that they are votes even where nobody disagrees."""

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
        counts: Counter[int] = Counter()
        verdicts: dict[int, int] = {}
        differ = self._always
        for row in rows:
            key, verdict = _key_of(row)
            counts[key] += 1
            if verdict:
                differ |= verdicts.setdefault(key, verdict) != verdict
        self._left = {key: n for key, n in counts.items() if n > 1} if differ else {}

    def add(self, row: Values, pair: Pair, margin: Margin | None) -> tuple[Pair, Margin | None] | None:
        """Take one row's choice; returns the pair when all of its rows are there, at once where it comes once."""
        key = _key_of(row)[0] if self._left else 0
        if key not in self._left:
            return pair, margin
        self.rows += 1
        merged = self._held.setdefault(key, Merged(pair, margin))
        voted = pair
        if pair.votes is None and pair.label is not None:
            voted = pair.model_copy(update={"votes": votes_counted({pair.label: 1})})
        said = voted.votes.annotations or () if voted.votes else ()
        is_crowd = pair.votes is not None and pair.votes.n > 1 and all(vote.annotator is None for vote in said)
        if is_crowd and voted.votes in merged.rows:
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
        # The order of rows decides nothing: a pair is as most of its rows have it, so that it goes with other files of
        # the same pairs; where as many have it either way, as TRL's rows are.
        straight = len(merged.rows) - merged.turned
        is_turned = merged.turned > straight
        if merged.turned == straight:
            first, _, _ = orient(merged.first.prompt, merged.first.response_a, merged.first.response_b)
            is_turned = first != merged.first.response_a
        pair = turned(pair) if is_turned else pair
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


def _without_nobody(pair: Pair) -> Pair:
    """Leave only the counts of votes of which no annotator is known."""
    said = pair.votes.annotations if pair.votes else None
    if pair.votes is None or not said or any(v.annotator is not None or v.estimate is not None for v in said):
        return pair
    return pair.model_copy(update={"votes": pair.votes.model_copy(update={"annotations": None})})


def texts_key(row: Values) -> tuple[int, bool]:
    """Hash the texts of a row as they are read, whichever response comes first; and whether its first one does."""
    names = ("chosen", "rejected") if "chosen" in row else ("response_a", "response_b")
    texts = [row.get("prompt"), row.get(names[0]), row.get(names[1])]
    if not _stand_as_read(*texts):
        with suppress(ValueError):  # reported when its turn comes
            texts = [*texts_of(row, names)]
    prompt, one, two = (hash(text if isinstance(text, str | tuple) else repr(text)) for text in texts)
    is_first = one <= two
    return hash((prompt, one, two) if is_first else (prompt, two, one)), is_first


def _stand_as_read(prompt: object, one: object, two: object) -> bool:
    """Whether texts are read as they stand, which is quickly seen: neither response begins with the prompt's word."""
    if not isinstance(one, str) or not isinstance(two, str) or (prompt and not isinstance(prompt, str)):
        return False
    start = str(prompt).split(maxsplit=1)[:1] if prompt else []
    return not start or not (one.lstrip().startswith(start[0]) and two.lstrip().startswith(start[0]))


def _key_of(row: Values) -> tuple[int, int]:
    key, is_first = texts_key(row)
    votes = [row.get(name) for name in ("votes", *COUNTS)]
    if any(votes):
        return key, hash((is_first, repr(votes)))
    label = "a" if "chosen" in row else row.get("label")
    side = _SIDES.get(label, 0) if isinstance(label, str) else 0
    return key, side if is_first or side not in (1, 2) else 3 - side
