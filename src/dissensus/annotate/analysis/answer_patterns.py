"""Answer patterns of people: whether they favour a side, always answer the same, or are faster than anybody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from sqlalchemy import Connection, select

from dissensus.annotate.analysis.answer_rows import Row, grouped
from dissensus.annotate.project.schema import items
from dissensus.records import Pair, plain_text
from dissensus.stats.agreement.position_bias import exact_interval, position_bias

FEWEST = 10
"""Answers below which nothing is noted."""
FASTEST_WORDS = 700
"""Words per minute that nobody reads with care."""
_SAME = 0.9


class AnswerPattern(BaseModel):
    """How one person answers real pairs."""

    person_id: int
    leans: int  # answers that prefer one side (an estimate other than 5)
    left: int  # those that prefer the left
    left_share: float | None  # theirs, both orders weighed alike (`position_bias`); None without answers in both
    left_low: float | None  # exact (Clopper-Pearson) 95 % interval of ``left`` of ``leans``
    left_high: float | None
    same: float | None  # share of the most frequent answer (both categories and the estimate)
    words_per_minute: float | None  # the median speed, over all words that were on the screen
    notes: list[str]


def answer_patterns(rows: Sequence[Row], words: Mapping[int, int]) -> list[AnswerPattern]:
    """Describe everybody who answered something. ``words``: how many each item has, by `count_words`."""
    said = grouped((row for row in rows if not row.practice and row.said is not None), lambda row: row.person_id)
    return [_pattern(person, answers, words) for person, answers in sorted(said.items())]


def count_words(c: Connection, counted: Mapping[int, int] | None = None) -> dict[int, int]:
    """Count the words of real pairs, by item id. Items do not change: those that were counted are not read again."""
    known = dict(counted or {})
    fresh = select(items.c.id, items.c.pair).where(~items.c.practice, items.c.id > max(known, default=0))
    for item, text in c.execute(fresh):
        pair = Pair.model_validate_json(text)
        texts = (pair.prompt, pair.response_a, pair.response_b)
        known[item] = sum(len(plain_text(each).split()) for each in texts)
    return known


def _pattern(person: int, rows: Sequence[Row], words: Mapping[int, int]) -> AnswerPattern:
    answers = [row.said for row in rows if row.said is not None]
    most = Counter((said.correct, said.distinct, said.estimate) for said in answers).most_common(1)
    same = most[0][1] / len(rows) if most else None
    speeds = sorted(60 * words[row.item_id] / row.seconds for row in rows if row.seconds and row.item_id in words)
    speed = speeds[len(speeds) // 2] if speeds else None
    lean = [(row, row.said.estimate > 5) for row in rows if row.said and row.said.estimate not in (None, 5)]
    left = sum(is_a == (row.shown == "ab") for row, is_a in lean)
    low, high = exact_interval(left, len(lean)) if lean else (None, None)
    return AnswerPattern(
        person_id=person,
        leans=len(lean),
        left=left,
        left_share=position_bias((row.item_id, row.shown, is_a, not is_a) for row, is_a in lean).first,
        left_low=low,
        left_high=high,
        same=same,
        words_per_minute=speed,
        notes=_notes(left, len(lean), low, high, same, speed) if len(rows) >= FEWEST else [],
    )


def _notes(
    left: int, leans: int, low: float | None, high: float | None, same: float | None, speed: float | None
) -> list[str]:
    notes = []
    if low is not None and high is not None and not low <= 0.5 <= high:
        side = "left" if low > 0.5 else "right"
        notes.append(f"prefers the {side} more often than chance would ({left} of {leans} left)")
    if same is not None and same >= _SAME:
        notes.append(f"gives one and the same answer to {same:.0%} of pairs")
    if speed is not None and speed > FASTEST_WORDS:
        notes.append(f"is faster than people read ({speed:.0f} words per minute on the screen)")
    return notes
