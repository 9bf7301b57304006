"""The judgments of a judge counted by pair, without a record for each: ten million are a scan and a few columns."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import InputError
from dissensus.judges.language.plan import Planned
from dissensus.judges.store.keys import Contents, content_of
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Label, Order, Pair

Counts = NDArray[np.int32]
"""Judgments of n pairs: shape (n, 2, 4) by order shown (`ORDERS`) and choice (`CHOICES`)."""
ORDERS: tuple[Order, Order] = ("ab", "ba")
CHOICES: tuple[Label | None, ...] = ("a", "b", "tie", None)

_ROWS = 50_000
"""Judgments that are read together."""
_MOSTLY = 4
"""A judge that has one in so many of a store's judgments is read by a scan, others by the index."""
_CODE = (
    "CASE shown WHEN 'ab' THEN 0 WHEN 'ba' THEN 4 END + "
    "CASE WHEN choice IS NULL THEN 3 WHEN choice = 'a' THEN 0 WHEN choice = 'b' THEN 1 WHEN choice = 'tie' THEN 2 END"
)
_ODD = np.uint64(0x9E3779B97F4A7C15)


class PairContents(Mapping[str, str]):
    """By the id of each pair the digest of its texts, as a list and a column: eighty bytes a pair."""

    def __init__(self, ids: list[str], digests: array[int]) -> None:
        """Take the ids of pairs, each of its own, and their digests as numbers."""
        self.ids, self.digests = ids, np.array(digests, dtype=np.uint64)

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> PairContents:
        """Go through pairs once."""
        ids, digests = list[str](), array("Q")
        for pair in pairs:
            ids.append(pair.id)
            digests.append(int(content_of(pair), 16))
        return cls(ids, digests)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {pair_id: row for row, pair_id in enumerate(self.ids)}

    def __getitem__(self, pair_id: str) -> str:
        return f"{int(self.digests[self._row[pair_id]]):016x}"

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def items(self) -> ItemsView[str, str]:
        """List ids and digests, without a look at each."""
        return dict(zip(self.ids, (f"{digest:016x}" for digest in self.digests.tolist()), strict=True)).items()


class VoteTable(Mapping[str, Counter[tuple[Order, Label | None]]]):
    """How many judgments of a pair, in each order shown, name each winner, or none; of pairs that have some."""

    def __init__(self, ids: list[str], counts: Counts) -> None:
        self.ids, self.counts = ids, counts
        self.made: NDArray[np.int64] = counts.sum(axis=(1, 2), dtype=np.int64)
        """How many judgments each pair has, shape (n,)."""

    @cached_property
    def _row(self) -> dict[str, int]:
        return {self.ids[row]: row for row in np.flatnonzero(self.made).tolist()}

    def __getitem__(self, pair_id: str) -> Counter[tuple[Order, Label | None]]:
        return counter_of(self.counts[self._row[pair_id]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return int((self.made > 0).sum())


def counter_of(counts: NDArray[np.integer]) -> Counter[tuple[Order, Label | None]]:
    """Take one pair's counts, shape (2, 4), as a counter of orders and choices."""
    return Counter(
        {
            (order, choice): int(counts[i, k])
            for i, order in enumerate(ORDERS)
            for k, choice in enumerate(CHOICES)
            if counts[i, k]
        }
    )


def count_votes(
    store: JudgmentStore,
    judge: str,
    contents: Contents,
    *,
    n: int | None = None,
    plan: Callable[[str], Iterable[Planned]] | None = None,
) -> VoteTable:
    """Count a judge's judgments of pairs, as `JudgmentStore.judgments` gives them.

    Args:
        store: where they are.
        judge: its full name.
        contents: by the id of each pair, the digest of its texts.
        n: only the first ``n`` samples of each pair.
        plan: what of a pair counts, by the digest of its texts, whose first digit decides; everything by default.

    Raises:
        InputError: a row is damaged.
    """
    ids = list(contents)
    by_text = judge in store.text_judges()
    keys, row = np.unique(_keys(None if by_text else ids, _digests(contents)), return_inverse=True)
    counts = np.zeros((keys.size, 8), dtype=np.int32)
    allowed = None if plan is None else _Plan(plan)
    # What is not needed is not read: each text of ten million rows costs seconds.
    columns = [f"sample * 8 + {_CODE}", "content", *([] if by_text else ["pair_id"])]
    columns += [] if allowed is None or allowed.persona is not None else ["persona"]
    only = [] if allowed is None or allowed.persona is None else [allowed.persona]
    query = f"SELECT {', '.join(columns)} {_source(store, judge)} AND sample < ?" + " AND persona = ?" * len(only)
    for batch in store.batches(query, (judge, 2**32 if n is None else n, *only), _ROWS):
        lists = list(zip(*batch, strict=True))
        digests, said = _decode(store, lists[1], lists[0])
        found = _keys(None if by_text else lists[2], digests)
        place = np.minimum(np.searchsorted(keys, found), max(0, keys.size - 1))
        wanted = keys[place] == found if keys.size else np.zeros(found.size, dtype=np.bool_)
        if allowed is not None:
            wanted &= allowed(digests, said // 8, said % 8 >= 4, None if only else lists[-1])
        np.add.at(counts, (place[wanted], said[wanted] % 8), 1)
    return VoteTable(ids, counts.reshape(-1, 2, 4)[row.reshape(-1)])


def _source(store: JudgmentStore, judge: str) -> str:
    """Scan the table where the judge has much of it: by the index each row is a look-up of its own."""
    ((mine, every),) = store.rows(
        "SELECT (SELECT COUNT(*) FROM judgments WHERE judge = ?), (SELECT COUNT(*) FROM judgments)", (judge,)
    )
    scan = " || ''" if mine * _MOSTLY >= every else ""
    # An expression keeps a database from the index.
    return f"FROM judgments WHERE judge{scan} = ?"


def _digests(contents: Contents) -> NDArray[np.uint64]:
    if isinstance(contents, PairContents):
        return contents.digests
    return np.array([int(content, 16) for content in contents.values()], dtype=np.uint64)


def _decode(store: JudgmentStore, texts: tuple[Any, ...], codes: tuple[Any, ...]) -> tuple[Any, NDArray[np.int64]]:
    try:
        digests = np.frombuffer(bytes.fromhex("".join(texts)), dtype=">u8").astype(np.uint64)
        code = np.array(codes, dtype=np.int64)
        if digests.size == len(texts):
            return digests, code
    except (TypeError, ValueError):
        pass
    raise InputError(
        f"{store.path}: a judgment is damaged (its texts' digest, order or choice is none); find out more with: "
        f"dissensus judgments verify --store {store.path}"
    )


def _keys(pair_ids: Iterable[str] | None, digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What an answer is about in 64 bits: the texts, and of judges that know a pair by its id that, too."""
    if pair_ids is None:
        return digests
    hashes = np.array([hash(pair_id) for pair_id in pair_ids], dtype=np.int64).astype(np.uint64)
    return hashes ^ (digests * _ODD)


class _Plan:
    """Which judgments are planned, by the first digit of a pair's digest, sample, order and persona."""

    def __init__(self, plan: Callable[[str], Iterable[Planned]]) -> None:
        plans = [list(plan(digit)) for digit in "01"]
        self._personas: dict[str, int] = {}
        for planned in (one for some in plans for one in some):
            self._personas.setdefault(planned.persona, len(self._personas))
        self.persona = next(iter(self._personas), "") if len(self._personas) < 2 else None
        """The one persona that there is, perhaps none by that name; None where there are several."""
        samples = 1 + max((one.sample for some in plans for one in some), default=-1)
        # A row more of each for what is planned nowhere.
        self._allowed = np.zeros((2, samples + 1, 2, len(self._personas) + 1), dtype=np.bool_)
        for number, some in enumerate(plans):
            for one in some:
                self._allowed[number, one.sample, ORDERS.index(one.order), self._personas[one.persona]] = True

    def __call__(
        self,
        digests: NDArray[np.uint64],
        sample: NDArray[np.int64],
        is_ba: NDArray[np.bool_],
        personas: Iterable[str] | None,
    ) -> NDArray[np.bool_]:
        """Tell which rows are planned; personas are those of each row, unless there is but one."""
        last = self._allowed.shape[1] - 1
        person = np.zeros(sample.size, dtype=np.int64)
        if personas is not None:
            person = np.array([self._personas.get(persona, -1) for persona in personas], dtype=np.int64)
        is_odd = ((digests >> np.uint64(60)) & np.uint64(1)).astype(np.int64)
        found: NDArray[np.bool_] = self._allowed[is_odd, np.minimum(sample, last), is_ba.astype(np.int64), person]
        return found
