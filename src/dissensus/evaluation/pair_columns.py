"""What an evaluation needs of pairs, in columns: neither texts nor records, so that a million take little room."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.messages import log_length
from dissensus.records import LABEL_VALUE, Pair, Votes
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import IntArray, number_labels

FIELDS = ("dataset", "domain", "category", "distinct")
"""What groups pairs, beside their votes."""
_CODES = {"b": 0, "tie": 1, "a": 2}
"""Votes in the order that symmetric Dawid-Skene expects."""


@dataclass(frozen=True)
class Names:
    """A text of each of n pairs, or none: the distinct ones in sorted order, and which one each pair has."""

    names: Sequence[str]
    number: IntArray
    """Shape (n,): from 0; -1 where there is none."""

    def take(self, rows: IntArray) -> Names:
        """Return those of some pairs, with the names that these have."""
        used, number = np.unique(self.number[rows], return_inverse=True)
        none = int(used.size > 0 and used[0] == -1)
        return Names([self.names[i] for i in used[none:].tolist()], number.reshape(-1) - none)

    def filled(self) -> Names:
        """Take none for an empty text, which stands first."""
        if not (self.number < 0).any():
            return self
        if self.names[:1] == [""]:
            return Names(self.names, np.maximum(self.number, 0))
        return Names(["", *self.names], self.number + 1)


@dataclass(frozen=True)
class SingleVotes:
    """Votes one by one, of pairs whose source lists them: in the order of the pairs, and of a pair as it lists them."""

    pair: IntArray
    """The row of each vote's pair, ascending."""
    annotator: Names
    """Who gave it, where that is known."""
    vote: IntArray
    """0 for b, 1 for a tie, 2 for a."""
    rating: FloatArray
    """What was said, as a number: the estimate, or 1 for a, 0 for b, 1/2 for a tie."""

    def take(self, rows: IntArray, n: int) -> SingleVotes:
        """Return those on some of n pairs, which are numbered anew."""
        new = np.full(n, -1, dtype=np.int64)
        new[rows] = np.arange(rows.size)
        kept = np.flatnonzero(new[self.pair] >= 0)
        pair = new[self.pair[kept]]
        kept = kept[np.argsort(pair, kind="stable")]
        return SingleVotes(new[self.pair[kept]], self.annotator.take(kept), self.vote[kept], self.rating[kept])


@dataclass(frozen=True)
class PairColumns:
    """N pairs in columns. Arrays have shape (n,) unless it is said otherwise."""

    ids: Sequence[str]
    group: Names
    """The unit of resamples (``Pair.group``)."""
    dataset: Names
    domain: Names
    category: Names
    distinct: Names
    length_ratio: FloatArray
    """The logarithm of the length of response a over that of b (`dissensus.messages.log_length`)."""
    counts: IntArray
    """Votes for a, for b and for a tie, shape (n, 3); zero where nobody voted."""
    preference: FloatArray
    """The fraction that prefers response a (`Votes.preference`); NaN where nobody voted."""
    are_estimates: NDArray[np.bool_]
    """Whether annotators said what fraction of people prefers response a."""
    are_listed: NDArray[np.bool_]
    """Whether votes are there one by one."""
    votes: SingleVotes

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def voted(self) -> NDArray[np.bool_]:
        """Whether anybody voted."""
        return ~np.isnan(self.preference)

    @cached_property
    def sets(self) -> Names:
        """The data sets; an empty text for none."""
        return self.dataset.filled()

    def take(self, chosen: IntArray | NDArray[np.bool_]) -> PairColumns:
        """Return some of the pairs, by row or by mask."""
        rows: IntArray = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        taken: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            column = getattr(self, name)
            taken[name] = column[rows] if isinstance(column, np.ndarray) else column
            if isinstance(column, Names):
                taken[name] = column.take(rows)
        taken |= {"ids": [self.ids[i] for i in rows.tolist()], "votes": self.votes.take(rows, len(self))}
        return PairColumns(**taken)

    @classmethod
    def read(cls, pairs: Iterable[Pair]) -> PairColumns:
        """Go through pairs once, keeping of each what is needed."""
        builder = _Builder()
        for pair in pairs:
            builder.add(pair)
        return builder.columns()


def as_columns(pairs: Iterable[Pair] | PairColumns) -> PairColumns:
    """Put pairs into columns, unless they are."""
    return pairs if isinstance(pairs, PairColumns) else PairColumns.read(pairs)


class _Texts:
    """Texts as they come, each distinct one kept once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._numbers = array("q")

    def add(self, text: str | None) -> None:
        self._numbers.append(-1 if text is None else self._known.setdefault(text, len(self._known)))

    def sorted(self) -> Names:
        names, rank = number_labels(list(self._known))
        place = np.append(rank, -1)  # the last stands for none
        return Names(names, place[np.array(self._numbers, dtype=np.int64)])


class _Builder:
    def __init__(self) -> None:
        self._ids: list[str] = []
        self._group = _Texts()
        self._fields = {name: _Texts() for name in FIELDS}
        self._ratio, self._preference, self._counts = array("d"), array("d"), array("q")
        self._estimates, self._listed = bytearray(), bytearray()
        self._of, self._said, self._rating, self._annotator = array("q"), array("q"), array("d"), _Texts()

    def add(self, pair: Pair) -> None:
        votes = pair.votes
        if votes is not None:
            self._add_votes(votes)
        self._ids.append(pair.id)
        self._group.add(pair.group)
        for name, texts in self._fields.items():
            texts.add(getattr(pair, name))
        self._ratio.append(log_length(pair.response_a) - log_length(pair.response_b))
        self._counts.extend((0, 0, 0) if votes is None else (votes.a, votes.b, votes.tie))
        self._preference.append(np.nan if votes is None else votes.preference)
        self._estimates.append(votes is not None and votes.are_estimates)
        self._listed.append(votes is not None and votes.annotations is not None)

    def _add_votes(self, votes: Votes) -> None:
        for vote in votes.annotations or ():
            self._of.append(len(self._ids))
            self._annotator.add(vote.annotator)
            self._said.append(_CODES[vote.vote])
            self._rating.append(LABEL_VALUE[vote.vote] if vote.estimate is None else vote.estimate)

    def columns(self) -> PairColumns:
        return PairColumns(
            ids=self._ids,
            group=self._group.sorted(),
            **{name: texts.sorted() for name, texts in self._fields.items()},
            length_ratio=np.array(self._ratio, dtype=np.float64),
            counts=np.array(self._counts, dtype=np.int64).reshape(-1, 3),
            preference=np.array(self._preference, dtype=np.float64),
            are_estimates=np.array(self._estimates, dtype=np.bool_),
            are_listed=np.array(self._listed, dtype=np.bool_),
            votes=SingleVotes(
                np.array(self._of, dtype=np.int64),
                self._annotator.sorted(),
                np.array(self._said, dtype=np.int64),
                np.array(self._rating, dtype=np.float64),
            ),
        )
