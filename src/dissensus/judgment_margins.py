"""Judgments to margins: how far n judgments agree about a pair. (Paper, eq. 3.)"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import JudgeError
from dissensus.records import ChoiceProbabilities, Judgment, Label, Margin, Order

VoteCounts = Counter[tuple[Order, Label | None]]
"""How many judgments of a pair, in each order shown, name each winner, or none."""
_NAMED = 3


def vote_margin(votes_a: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Compute m = |sum j - n/2| / (n/2) from ``votes_a`` = sum j votes for response a among ``n``. (Paper, eq. 3.)

    Both broadcast to one shape, the result's. 1 where the votes agree, 0 where they split evenly. An odd n has no even
    split: its smallest margin is 1/n.

    Raises:
        ValueError: n is not positive, or votes_a is not within 0 and n.

    >>> vote_margin([10, 8, 5, 0], 10).tolist()
    [1.0, 0.6, 0.0, 1.0]
    """
    votes, total = np.broadcast_arrays(np.asarray(votes_a, np.float64), np.asarray(n, np.float64))
    if not (np.all(total > 0) and np.all(votes >= 0) and np.all(votes <= total)):
        raise ValueError("votes_a must lie within 0 and n, and n must be positive")
    margin: NDArray[np.float64] = np.abs(votes - total / 2) / (total / 2)
    return margin


def margins_from_judgments(
    judgments: Iterable[Judgment], pair_ids: Iterable[str], *, allow_missing: bool = False
) -> list[Margin]:
    """Turn one judge's judgments into a margin for each of ``pair_ids``, in their order.

    Where a pair was judged in both presentation orders, each order counts one half, so that invalid replies in one of
    them bring no position bias back; with as many valid votes in both this is equation 3 over all votes. A tie is a
    vote that counts one half for each response, as in `Votes.preference`: ten ties have a margin of 0. Judgments
    without a choice are counted and have no other part. Judgments of other pairs are passed over.

    Raises:
        JudgeError: a pair has no valid judgment (with ``allow_missing`` it is left out instead), or the judgments come
            from several judges.
    """
    wanted = dict.fromkeys(pair_ids)
    counts: dict[str, VoteCounts] = {}
    judges: set[str] = set()
    for judgment in judgments:
        if judgment.pair_id in wanted:
            counts.setdefault(judgment.pair_id, Counter())[judgment.order, judgment.choice] += 1
            judges.add(judgment.judge)
    _check_one(judges)
    return margins_from_counts(counts, wanted, allow_missing=allow_missing)


def margins_from_counts(
    counts: Mapping[str, VoteCounts], pair_ids: Iterable[str], *, allow_missing: bool = False
) -> list[Margin]:
    """Turn one judge's judgments, counted by pair, into margins; as `margins_from_judgments`."""
    margins = {pair_id: _margin(pair_id, counts.get(pair_id, Counter())) for pair_id in dict.fromkeys(pair_ids)}
    missing = [pair_id for pair_id, margin in margins.items() if margin is None]
    if missing and not allow_missing:
        raise JudgeError(_describe(missing, len(margins), sum(pair_id in counts for pair_id in missing)))
    return [margin for margin in margins.values() if margin is not None]


class MarginColumns(Sequence[Margin]):
    """Margins in columns, for a million pairs; each is made a record when it is asked for."""

    def __init__(self, pair_ids: Sequence[str], kinds: Sequence[Margin], kind: NDArray[np.integer]) -> None:
        """Take pairs, the margins that there are, and which of these each pair has, shape (n,)."""
        self._ids, self._kinds, self._kind = pair_ids, kinds, kind

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Margin: ...
    @overload
    def __getitem__(self, place: slice) -> MarginColumns: ...
    def __getitem__(self, place: int | slice) -> Margin | MarginColumns:
        if isinstance(place, slice):
            return MarginColumns(self._ids[place], self._kinds, self._kind[place])
        kind = self._kinds[int(self._kind[place])]
        return kind.model_copy(update={"pair_id": self._ids[place]})

    def columns(self) -> dict[str, Sequence[Any]]:
        """List the columns of a file of margins, each of length n."""
        found: dict[str, Sequence[Any]] = {"pair_id": self._ids}
        for name in Margin.model_fields:
            if name != "pair_id":
                values = np.array([getattr(kind, name) for kind in self._kinds], dtype=object)
                found[name] = values[self._kind]
        return found

    def total(self, name: str) -> float:
        """Add up a field over all pairs; None counts as 0."""
        values = np.array([getattr(kind, name) or 0 for kind in self._kinds], dtype=np.float64)
        return float(values @ np.bincount(self._kind, minlength=values.size)) if len(self) else 0.0


def margins_from_counted(
    pair_ids: Sequence[str], counts: NDArray[np.integer], *, allow_missing: bool = False
) -> MarginColumns:
    """Turn one judge's judgments, counted, into margins; as `margins_from_counts`.

    Args:
        pair_ids: n pairs.
        counts: shape (n, 2, 4): judgments by the order shown (ab, ba) and the choice (a, b, tie, none).
        allow_missing: leave pairs without a valid judgment out.
    """
    # Like counts have like margins: those of n votes are few.
    flat = counts.reshape(len(pair_ids), 8)
    kinds, first, kind = _distinct_rows(flat)
    margins = [_margin(pair_ids[row], _counter(counted)) for row, counted in zip(first.tolist(), kinds, strict=True)]
    there = np.array([margin is not None for margin in margins], dtype=np.bool_)
    if not there.all():
        missing = np.flatnonzero(~there[kind])
        if not allow_missing:
            undecided = int((flat[missing].sum(axis=1) > 0).sum())
            raise JudgeError(_describe([pair_ids[row] for row in missing.tolist()], len(pair_ids), undecided))
        kept = np.flatnonzero(there[kind])
        pair_ids, kind = [pair_ids[row] for row in kept.tolist()], (np.cumsum(there) - 1)[kind[kept]]
    return MarginColumns(pair_ids, [margin for margin in margins if margin is not None], kind)


def _distinct_rows(
    counts: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.intp], NDArray[np.intp]]:
    """Find the distinct rows of counts, shape (n, 8), where each is first, and which one each row is."""
    base = int(counts.max(initial=0)) + 1
    if base**8 < 2**62:  # as one number, which sorts faster
        codes = counts @ (base ** np.arange(8, dtype=np.int64))
        _, first, kind = np.unique(codes, return_index=True, return_inverse=True)
        return counts[first], first, kind.reshape(-1)
    kinds, first, kind = np.unique(counts, axis=0, return_index=True, return_inverse=True)
    return kinds, first, kind.reshape(-1)


def _counter(counted: NDArray[np.integer]) -> VoteCounts:
    sides: tuple[Label | None, ...] = ("a", "b", "tie", None)
    orders: tuple[Order, ...] = ("ab", "ba")
    places = itertools.product(orders, sides)
    return Counter({place: count for place, count in zip(places, counted.tolist(), strict=True) if count})


def margins_from_stated_probabilities(
    judgments: Iterable[Judgment], pair_ids: Iterable[str], *, allow_missing: bool = False
) -> list[Margin]:
    """Turn judgments of one judge that say how probable they are into the limits of margins, |2q - 1|.

    A member of a committee, a label graph or a published verdict has a probability; a sampled reply has none. q is the
    mean within each presentation order, then over the orders. Judgments that name no winner are counted and have no
    other part; those of other pairs are passed over.

    Raises:
        JudgeError: a judgment that names a winner has no probability, or a pair has no valid judgment (with
            ``allow_missing`` it is left out instead).
    """
    ids = list(dict.fromkeys(pair_ids))
    valid, invalid = Counter[str](), Counter[str]()
    rows: list[ChoiceProbabilities] = []
    for judgment in judgments:
        is_valid, a = judgment.choice is not None, judgment.probability_a
        if is_valid and a is None:
            raise JudgeError(
                f"{judgment.judge}: has sampled judgments and no probabilities; judge with --mode exact for these"
            )
        (valid if is_valid else invalid)[judgment.pair_id] += 1
        for_a, for_b = (a, 1 - a) if is_valid and a is not None else (0.0, 0.0)
        rows.append(
            ChoiceProbabilities(
                pair_id=judgment.pair_id,
                judge=judgment.judge,
                order=judgment.order,
                probability_a=for_a,
                probability_b=for_b,
                probability_none=float(not is_valid),
                certified=True,
            )
        )
    _check_one({row.judge for row in rows})
    made = margins_from_probabilities(rows, ids, allow_missing=allow_missing)
    return [
        margin.model_copy(update={"n_judgments": valid[margin.pair_id], "n_invalid": invalid[margin.pair_id]})
        for margin in made
    ]


def margins_from_probabilities(
    probabilities: Iterable[ChoiceProbabilities],
    pair_ids: Iterable[str],
    *,
    n: int | None = None,
    allow_missing: bool = False,
) -> list[Margin]:
    """Turn one judge's probabilities into a margin for each of ``pair_ids``, in their order, without drawing votes.

    Args:
        probabilities: for each pair one or more, of both presentation orders or one.
        pair_ids: the pairs that get a margin.
        n: the margin is the mean of the margins that n drawn votes would give, split evenly over what was read. None:
            it is the limit of many votes, |2q - 1|, where q is the order-balanced share of valid votes for a.
        allow_missing: leave pairs without probabilities out.

    Raises:
        JudgeError: a pair has no probabilities, or no valid vote could ever be drawn from them.
    """
    views: dict[str, list[ChoiceProbabilities]] = {pair_id: [] for pair_id in pair_ids}
    for row in probabilities:
        if row.pair_id in views:
            views[row.pair_id].append(row)
    usable = {p: rows for p, rows in views.items() if any(r.probability_a + r.probability_b > 0 for r in rows)}
    missing = [pair_id for pair_id in views if pair_id not in usable]
    if missing and not allow_missing:
        raise JudgeError(_describe(missing, len(views), sum(bool(views[pair_id]) for pair_id in missing)))
    return [_margin_of(pair_id, rows, n) for pair_id, rows in usable.items()]


def expected_margin(probability_a: ArrayLike, probability_b: ArrayLike, *, orders: ArrayLike | None = None) -> float:
    """Compute the mean margin of n drawn votes: E|2k/n - 1|, exactly, over the draws with a valid vote.

    It is larger than the limit |2q - 1|: few votes look more agreed than the people behind them are. (Jensen.)

    Args:
        probability_a: of each vote to be for a, shape (n,); what is left to both sides is no vote.
        probability_b: of each vote to be for b, shape (n,).
        orders: the presentation order (0 or 1) of each vote, shape (n,): each order counts one half. One by default.

    >>> round(expected_margin([0.5, 0.5], [0.5, 0.5]), 3)
    0.5
    """
    for_a, for_b = np.asarray(probability_a, np.float64), np.asarray(probability_b, np.float64)
    order = np.zeros(for_a.shape, int) if orders is None else np.asarray(orders)
    first, second = (_count_distribution(for_a[order == side], for_b[order == side]) for side in (0, 1))
    weight = first[:, :, None, None] * second
    share, other = _shares(len(first))[:, :, None, None], _shares(len(second))
    preference = np.where(np.isnan(share), other, np.where(np.isnan(other), share, (share + other) / 2))
    valid = ~np.isnan(preference)
    return float((weight[valid] * np.abs(2 * preference[valid] - 1)).sum() / weight[valid].sum())


def _count_distribution(for_a: NDArray[np.float64], for_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each number of votes for a and for b; shape (n + 1, n + 1)."""
    grid = np.zeros((len(for_a) + 1, len(for_a) + 1))
    grid[0, 0] = 1.0
    for a, b in zip(for_a, for_b, strict=True):
        drawn = (1 - a - b) * grid
        drawn[1:] += a * grid[:-1]
        drawn[:, 1:] += b * grid[:, :-1]
        grid = drawn
    return grid


def _shares(size: int) -> NDArray[np.float64]:
    """The share of votes for a where there are i for a and j for b; NaN where there are none; shape (size, size)."""
    a, b = np.indices((size, size))
    shares: NDArray[np.float64] = np.divide(a, a + b, out=np.full((size, size), np.nan), where=a + b > 0)
    return shares


def _margin_of(pair_id: str, views: list[ChoiceProbabilities], n: int | None) -> Margin:
    orders: dict[Order, list[ChoiceProbabilities]] = {}
    for view in views:
        orders.setdefault(view.order, []).append(view)
    shares = []
    for rows in orders.values():
        for_a, for_b = sum(r.probability_a for r in rows), sum(r.probability_b for r in rows)
        if for_a + for_b > 0:
            shares.append(for_a / (for_a + for_b))
    preference = sum(shares) / len(shares)
    margin = limit = abs(2 * preference - 1)
    if n is not None:  # votes are dealt to the orders in turn, and within an order to what was read there
        sides = [vote % len(orders) for vote in range(n)]
        turns = [itertools.cycle(rows) for rows in orders.values()]
        dealt = [next(turns[side]) for side in sides]
        margin = expected_margin([v.probability_a for v in dealt], [v.probability_b for v in dealt], orders=sides)
    return Margin(
        pair_id=pair_id, margin=margin, margin_limit=limit, preference_a=preference, n_judgments=0 if n is None else n
    )


def _margin(pair_id: str, counts: VoteCounts) -> Margin | None:
    """Make the margin of a pair; None where no judgment is valid."""
    shares: list[Fraction] = []
    n = 0
    for order in ("ab", "ba"):
        for_a, for_b, ties = (counts[order, side] for side in ("a", "b", "tie"))
        if valid := for_a + for_b + ties:
            shares.append(Fraction(2 * for_a + ties, 2 * valid))
            n += valid
    if not shares:
        return None
    preference = sum(shares, Fraction(0)) / len(shares)
    return Margin(
        pair_id=pair_id,
        margin=float(abs(2 * preference - 1)),
        preference_a=float(preference),
        n_judgments=n,
        n_invalid=counts["ab", None] + counts["ba", None],
    )


def _check_one(judges: set[str]) -> None:
    if len(judges) > 1:
        raise JudgeError(
            f"the judgments come from {len(judges)} judges ({', '.join(sorted(judges))}); choose one with --judge"
        )


def _describe(missing: list[str], total: int, undecided: int) -> str:
    named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    judged = f", {undecided} of them were judged without a winner" if undecided else ""
    return (
        f"{len(missing)} of {total} pairs have no valid judgment ({named}){judged}; "
        "judge them first, or leave them out with allow_missing=True"
    )
