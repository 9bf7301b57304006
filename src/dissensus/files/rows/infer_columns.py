"""A source's rows in our terms: the first rows say of all of them which columns mean what ours do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from dissensus.files.readers import Row, Values
from dissensus.files.rows.bad_rows import Faults
from dissensus.files.rows.choice_columns import ChoiceColumns
from dissensus.files.rows.choices import texts_key
from dissensus.files.rows.columns import Asked
from dissensus.files.rows.text_columns import TextColumns
from dissensus.files.rows.votes import flat_votes

_HEAD = 1000
"""Rows that are looked at together: before the first pair is given, and where a column says something at last."""
_IDS_ARE_MADE = (
    "column id names several pairs at a time, as a prompt's id does: it is left alone and ids are made from the texts; "
    "--column group=id takes it as the group"
)
Given = tuple[Row, Values]
"""A row, and its values under our names."""


class InferredRows:
    """The rows of a source, each given when the columns are understood that it needs.

    ``read`` reads the source from its beginning, as often as needed; ``check`` raises ValueError for a row in our terms
    that is no pair. Once columns are understood and rows turn out to be choices of one pair each, ``scan`` is called
    with all of them.
    """

    def __init__(
        self,
        read: Callable[[Faults], Iterator[Row]],
        asked: Asked,
        check: Callable[[Values], object],
        scan: Callable[[Iterable[Values]], None],
    ) -> None:
        self._read = read
        self._asked = asked
        self._check = check
        self._scan_all = scan
        self._texts = TextColumns(asked)
        self._choices = ChoiceColumns(asked)
        self._has_looked = self._is_scanned = False
        self._ids_are_made = self._is_plain = False

    def read(self, faults: Faults) -> Iterator[Given]:
        """Stream the rows; ids that name prompts are found out, and choices of the same pair, before they are given.

        Raises InputError where columns are not what somebody has said of them, or may mean several things.
        """
        yield from self._looked_at(self._renamed(faults), self._settle_head)
        self._choices.close()

    def in_our_terms(self, row: Values) -> Values:
        """Return a row that was given in our terms. Raises ValueError for a choice that cannot be read."""
        if self._is_plain and self._choices.is_fine(row):
            return row
        row = self._texts.read(row)
        if self._ids_are_made:
            row.pop("id", None)
        return self._choices.read(row)

    def _settle_head(self, head: Sequence[Given], before: int) -> None:
        """Say of rows that were looked at together, and of those behind them, what ids and choices are."""
        if before == 0 and self._ids_name_prompts(head):
            self._ids_are_made = True
            self._settle()
            self._asked.notice(_IDS_ARE_MADE)
        if self._choices.are_repeated and not self._is_scanned:
            self._scan(head, before)

    def _settle(self) -> None:
        self._is_plain = self._texts.are_plain and self._choices.are_plain and not self._ids_are_made

    def _renamed(self, faults: Faults) -> Iterator[Given]:
        return ((row, flat_votes(self._asked.mapping.rename(row))) for row in self._read(faults))

    def _looked_at(
        self, rows: Iterator[Given], then: Callable[[Sequence[Given], int], None] | None = None
    ) -> Iterator[Given]:
        """Yield rows; what is news is looked at, and settled, together with what follows it.

        ``then`` is called with rows that were looked at, and how many were before them.
        """
        n = 0
        for first in rows:
            if self._choices.is_news(first[1]):
                head = self._look(first, rows, n)
                if then is not None:
                    then(head, n)
                n += len(head)
                yield from head
            else:
                n += 1
                yield first

    def _look(self, first: Given, rows: Iterator[Given], before: int) -> Sequence[Given]:
        head = [first, *islice(rows, _HEAD - 1)]
        values = [row for _, row in head]
        if not self._has_looked:
            self._texts.look(values)
            self._has_looked = True
        self._choices.look(values, self._texts.prompt)
        # Rows that are looked at further are read again later: of a file of any size no more than its head is held.
        further = self._renamed(Faults(skip=True)) if self._choices.is_open else iter(())
        for _, row in islice(further, before + len(head), None):
            self._choices.observe(row)
            if not self._choices.is_open:
                break
        self._choices.decide()
        self._settle()
        return head

    def _scan(self, head: Sequence[Given], before: int) -> None:
        """Show the rows from a head on to whoever finds the pairs that come several times among them."""
        self._is_scanned = True
        every: Iterable[Given] = head
        if before or len(head) >= _HEAD:
            every = self._looked_at(islice(self._renamed(Faults(skip=True)), before, None))
        self._scan_all(self._readable(every))

    def _readable(self, rows: Iterable[Given]) -> Iterator[Values]:
        for _, row in rows:
            with suppress(ValueError):  # reported when its turn comes
                yield self.in_our_terms(row)

    def _ids_name_prompts(self, head: Sequence[Given]) -> bool:
        """Whether one in ten of the first rows has the id of another pair: then ids are no pair's own."""
        often = {name for name, n in Counter(str(row.get("id")) for _, row in head if row.get("id")).items() if n > 1}
        often |= {"0"} if sum(row.get("id") == 0 for _, row in head) > 1 else set()
        texts: dict[str, int] = {}
        clashes = 0
        for _, row in head:
            if str(row.get("id")) not in often:
                continue
            try:
                ours = self.in_our_terms(row)
                self._check(ours)
            except ValueError:
                continue
            if ours.get("id") is None:
                return False  # left alone already
            key, _ = texts_key(ours)
            clashes += texts.setdefault(str(row["id"]), key) != key
        return clashes * 10 >= len(head) and clashes > 0

    def annotator_of(self, row: Values) -> Any:
        """Return who voted in a row, as it stands there."""
        annotator = self._asked.voters.annotator
        return row.get(annotator) if annotator else None
