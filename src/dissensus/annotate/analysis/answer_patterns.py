"""How people answer: whether they favour a side, say always the same, or are faster than anybody reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from sqlalchemy import Connection, select

from dissensus.annotate.analysis.answer_rows import Row
from dissensus.annotate.project.schema import items
from dissensus.records import Pair, plain_text

FEWEST = 10
"""Answers below which nothing is said of a habit."""
FASTEST_WORDS = 700
"""Words per minute that nobody reads with care."""
_SAME = 0.9


class Habits(BaseModel):
    """How one person answers real pairs."""

    person_id: int
    leans: int
    """Answers that prefer one side (an estimate other than 5)."""
    left: int
    """Those that prefer the left."""
    left_low: float | None
    left_high: float | None
    """Exact (Clopper-Pearson) 95 % interval of the share that prefers the left; None without answers."""
    same: float | None
    """The share of the most frequent complete answer (both categories and the estimate); None without answers."""
    words_per_minute: float | None
    """The median speed, over all words that were on the screen; None where no time is known."""
    remarks: list[str]


def habits(rows: Sequence[Row], words: Mapping[int, int]) -> list[Habits]:
    """Describe everybody who answered something. ``words``: how many each item has, by `count_words`."""
    said: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.practice and row.kind == "answer":
            said[row.person_id].append(row)
    return [_habits(person, answers, words) for person, answers in sorted(said.items())]


def count_words(c: Connection, counted: Mapping[int, int] | None = None) -> dict[int, int]:
    """Count the words of real pairs, by item id. Items do not change: those that were counted are not read again."""
    known = dict(counted or {})
    fresh = select(items.c.id, items.c.pair).where(~items.c.practice, items.c.id > max(known, default=0))
    return known | {item: _count(Pair.model_validate_json(pair)) for item, pair in c.execute(fresh)}


def _count(pair: Pair) -> int:
    return sum(len(plain_text(text).split()) for text in (pair.prompt, pair.response_a, pair.response_b))


def _habits(person: int, rows: Sequence[Row], words: Mapping[int, int]) -> Habits:
    lean = [row.left for row in rows if row.left is not None and row.left != 5]
    left = sum(value > 5 for value in lean)
    low, high = exact_interval(left, len(lean)) if lean else (None, None)
    most = Counter((row.correct, row.distinct, row.estimate) for row in rows).most_common(1)
    speeds = sorted(60 * words[row.item_id] / row.seconds for row in rows if row.seconds and row.item_id in words)
    found = Habits(
        person_id=person,
        leans=len(lean),
        left=left,
        left_low=low,
        left_high=high,
        same=most[0][1] / len(rows) if most else None,
        words_per_minute=speeds[len(speeds) // 2] if speeds else None,
        remarks=[],
    )
    return found.model_copy(update={"remarks": _remarks(found, len(rows))})


def exact_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's interval (1934) of a share.

    >>> tuple(round(bound, 3) for bound in exact_interval(7, 10))
    (0.348, 0.933)
    """
    from scipy.special import betaincinv  # a second of imports that starting the app need not wait for

    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def _remarks(habits: Habits, n: int) -> list[str]:
    if n < FEWEST:
        return []
    remarks = []
    if habits.left_low is not None and habits.left_high is not None and not habits.left_low <= 0.5 <= habits.left_high:
        side = "left" if habits.left_low > 0.5 else "right"
        remarks.append(f"prefers the {side} more often than chance would ({habits.left} of {habits.leans} left)")
    if habits.same is not None and habits.same >= _SAME:
        remarks.append(f"gives one and the same answer to {habits.same:.0%} of pairs")
    if habits.words_per_minute is not None and habits.words_per_minute > FASTEST_WORDS:
        remarks.append(f"is faster than people read ({habits.words_per_minute:.0f} words per minute on the screen)")
    return remarks
