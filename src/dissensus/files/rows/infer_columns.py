"""A source's rows in our terms: the first rows say of all of them which columns mean what ours do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from dissensus.files.readers import Row, Values
from dissensus.files.rows.bad_rows import Faults
from dissensus.files.rows.choice_columns import ChoiceColumns
from dissensus.files.rows.choices import texts_key
from dissensus.files.rows.columns import ColumnMap
from dissensus.files.rows.text_columns import TextColumns
from dissensus.files.rows.votes import flat_votes

_HEAD = 1000
"""Rows that are looked at together: before the first pair is given, and where a column says something at last."""
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
        mapping: ColumnMap,
        check: Callable[[Values], object],
        scan: Callable[[Iterable[Values]], None],
    ) -> None:
        self._read = read
        self._mapping = mapping
        self._check = check
        self._scan = scan
        self._texts = TextColumns(mapping)
        self._choices = ChoiceColumns(mapping)
        self._has_looked = self._is_scanned = False
        self._ids_are_made = self._is_plain = False

    def read(self, faults: Faults) -> Iterator[Given]:
        """Stream the rows; ids that name prompts are found out, and choices of the same pair, before they are given.

        Raises InputError where columns are not what somebody has said of them, or may mean several things.
        """
        yield from self._looked_at(self._renamed(faults), self._settle)
        self._choices.close()

    def in_our_terms(self, row: Values) -> Values:
        """Return a row that was given in our terms. Raises ValueError for a choice that cannot be read."""
        if self._is_plain and self._choices.is_fine(row):
            return row
        row = self._texts.read(row)
        if self._ids_are_made:
            row.pop("id", None)
        return self._choices.read(row)

    def _renamed(self, faults: Faults) -> Iterator[Given]:
        return ((row, flat_votes(self._mapping.rename(row))) for row in self._read(faults))

    def _looked_at(
        self, rows: Iterator[Given], settle: Callable[[Sequence[Given], int], None] | None = None
    ) -> Iterator[Given]:
        """Yield rows; what is news is looked at, and settled, together with what follows it.

        ``settle`` is called with rows that were looked at, and how many were before them.
        """
        n = 0
        for first in rows:
            head: Sequence[Given] = [first]
            if self._choices.is_news(first[1]):
                head = [first, *islice(rows, _HEAD - 1)]
                self._look(head, n)
                if settle is not None:
                    settle(head, n)
            n += len(head)
            yield from head

    def _look(self, head: Sequence[Given], before: int) -> None:
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
        self._is_plain = self._texts.are_plain and self._choices.are_plain and not self._ids_are_made

    def _settle(self, head: Sequence[Given], before: int) -> None:
        """Say of rows that were looked at together, and of those behind them, what ids and choices are."""
        if before == 0 and self._ids_name_prompts(head):
            self._ids_are_made, self._is_plain = True, False
            self._mapping.say(
                "column id names several pairs at a time, as a prompt's id does: it is left alone and ids are made "
                "from the texts; columns={'group': 'id'} takes it as the group"
            )
        if self._choices.are_repeated and not self._is_scanned:
            self._is_scanned = True
            every: Iterable[Given] = head
            if before or len(head) >= _HEAD:
                every = self._looked_at(islice(self._renamed(Faults(skip=True)), before, None))
            self._scan(self._readable(every))

    def _readable(self, rows: Iterable[Given]) -> Iterator[Values]:
        for _, row in rows:
            with suppress(ValueError):  # reported when its turn comes
                yield self.in_our_terms(row)

    def _ids_name_prompts(self, head: Sequence[Given]) -> bool:
        """Whether one in ten of the first rows has the id of another pair: then ids are no pair's own."""
        ids = Counter(str(row["id"]) for _, row in head if row.get("id") not in (None, ""))
        often = {name for name, n in ids.items() if n > 1}
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
