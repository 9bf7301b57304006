"""Judgments to margins: how far n judgments agree about a pair. (Paper, eq. 3.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import JudgeError
from dissensus.records import Judgment, Margin

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

    Judgments without a choice are counted and have no other part. Judgments of other pairs are passed over.

    Raises:
        JudgeError: a pair has no valid judgment (with ``allow_missing`` it is left out instead), or the judgments come
            from several judges.
    """
    wanted = dict.fromkeys(pair_ids)
    counts: Counter[tuple[str, str | None]] = Counter()
    judges: set[str] = set()
    for judgment in judgments:
        if judgment.pair_id in wanted:
            counts[judgment.pair_id, judgment.choice] += 1
            judges.add(judgment.judge)
    if len(judges) > 1:
        raise JudgeError(
            f"the judgments come from {len(judges)} judges ({', '.join(sorted(judges))}); choose one with --judge"
        )
    missing = [pair_id for pair_id in wanted if not counts[pair_id, "a"] + counts[pair_id, "b"]]
    if missing and not allow_missing:
        undecided = sum(counts[pair_id, None] > 0 for pair_id in missing)
        raise JudgeError(_describe(missing, len(wanted), undecided))
    left_out = set(missing)
    return [
        _margin(pair_id, counts[pair_id, "a"], counts[pair_id, "b"], counts[pair_id, None])
        for pair_id in wanted
        if pair_id not in left_out
    ]


def _margin(pair_id: str, for_a: int, for_b: int, invalid: int) -> Margin:
    n = for_a + for_b
    return Margin(
        pair_id=pair_id, margin=float(vote_margin(for_a, n)), preference_a=for_a / n, n_judgments=n, n_invalid=invalid
    )


def _describe(missing: list[str], total: int, undecided: int) -> str:
    named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    judged = f", {undecided} of them were judged without a winner" if undecided else ""
    return (
        f"{len(missing)} of {total} pairs have no valid judgment ({named}){judged}; "
        "judge them first, or leave them out with --allow-missing"
    )
