"""Disagreements of people: pairs by how much they disagree, and one pair with its answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel
from sqlalchemy import Connection, select

from dissensus.annotate.analysis.answer_rows import Row, grouped, read_rows
from dissensus.annotate.analysis.combine_answers import aggregate_estimates, majority
from dissensus.annotate.project.adjudication import decisions, find_item, newest_decision
from dissensus.annotate.project.schema import items
from dissensus.annotate.project.sides import Correct, Distinct, Opinion, Said
from dissensus.annotate.web.markdown import Turn, render_turns
from dissensus.records import Pair

Show = Literal[
    "all", "disagreement", "correct", "distinct", "estimate", "choice", "undecided", "decided", "skipped", "notes"
]


class ItemSummary(BaseModel):
    """A pair in the list; ``split_…``: the answers to that question differ."""

    key: str
    answers: int
    skips: int
    notes: int
    split_correct: bool
    split_distinct: bool
    spread: float | None  # standard deviation (n - 1) of the estimates, in people of ten; None under two
    split_choice: bool
    decided: bool
    start: str  # the first words of the prompt


class AnswerShown(Said):
    """One person's answer to a pair, or their reason for skipping it."""

    annotator: str
    state: Literal["answered", "skipped", "surplus"]
    reason: str


class Suggestion(BaseModel):
    """What the answers come to: majority and mean."""

    correct: Correct | None
    distinct: Distinct | None
    estimate: float | None  # of ten, how many prefer response a


class DecisionShown(Opinion):
    """The newest decision."""

    revision: int
    decided_at: int


class ItemShown(BaseModel):
    """One pair with everything that was said about it."""

    key: str
    prompt: list[Turn]
    response_a: list[Turn]
    response_b: list[Turn]
    answers: list[AnswerShown]
    suggestion: Suggestion
    decision: DecisionShown | None


def summaries(c: Connection, show: Show = "all", least_spread: float = 2.0) -> list[ItemSummary]:
    """List the real pairs that somebody answered or skipped, those with the most disagreement first.

    ``disagreement``: a category on which answers differ, or estimates with a spread of at least ``least_spread``. That
    people prefer different responses themselves is no disagreement about the pair.
    """
    by_item = grouped(read_rows(c), lambda row: row.item_id)
    decided = decisions(c)
    found = []
    for item, key, pair in c.execute(select(items.c.id, items.c.key, items.c.pair).where(~items.c.practice)):
        summary = _summary(key, pair, by_item[item], decided=item in decided)
        if (summary.answers or summary.skips) and _is_shown(summary, show, least_spread):
            found.append(summary)
    return sorted(found, key=lambda s: (-(s.split_correct + s.split_distinct), -(s.spread or 0), s.key))


def _summary(key: str, pair: str, rows: Sequence[Row], *, decided: bool) -> ItemSummary:
    said = [row.said for row in rows if row.said is not None]
    estimates = [one.estimate for one in said if one.estimate is not None]
    turns = Pair.model_validate_json(pair).prompt
    start = turns if isinstance(turns, str) else turns[-1].said
    return ItemSummary(
        key=key,
        answers=len(said),
        skips=sum(row.state == "skipped" for row in rows),
        notes=sum(bool(one.note) for one in said),
        split_correct=len({one.correct for one in said} - {None}) > 1,
        split_distinct=len({one.distinct for one in said} - {None}) > 1,
        spread=float(np.std(estimates, ddof=1)) if len(estimates) > 1 else None,
        split_choice=len({one.choice for one in said} - {None}) > 1,
        decided=decided,
        start=" ".join(start.split())[:120],
    )


def _is_shown(summary: ItemSummary, show: Show, least_spread: float) -> bool:
    is_spread = (summary.spread or 0) >= least_spread
    return {
        "all": True,
        "disagreement": summary.split_correct or summary.split_distinct or is_spread,
        "correct": summary.split_correct,
        "distinct": summary.split_distinct,
        "estimate": is_spread,
        "choice": summary.split_choice,
        "undecided": not summary.decided,
        "decided": summary.decided,
        "skipped": summary.skips > 0,
        "notes": summary.notes > 0,
    }[show]


def show_item(c: Connection, key: str, *, names: bool) -> ItemShown:
    """Show a real pair with all answers. Raises NotFound.

    ``names``: the people's own; otherwise "Annotator 1", "Annotator 2", …, numbered anew for every pair.
    """
    item_id = find_item(c, key)
    pair = Pair.model_validate_json(c.execute(select(items.c.pair).where(items.c.id == item_id)).scalar_one())
    rows = [row for row in read_rows(c, item_id) if row.said is not None or row.state == "skipped"]
    counted = [row.said for row in rows if row.counts and row.said is not None]
    mean = aggregate_estimates([said.estimate for said in counted])
    decision = newest_decision(c, item_id)
    shown = None
    if decision is not None:
        about = {"revision": decision.revision, "decided_at": decision.decided_at}
        shown = DecisionShown.model_validate(about | decision.said.model_dump(exclude={"seconds"}))
    return ItemShown(
        key=key,
        prompt=render_turns(pair.prompt, "user"),
        response_a=render_turns(pair.response_a),
        response_b=render_turns(pair.response_b),
        answers=[_answer(row, row.name if names else f"Annotator {n}") for n, row in enumerate(rows, 1)],
        suggestion=Suggestion(
            correct=majority([said.correct for said in counted])[0],
            distinct=majority([said.distinct for said in counted])[0],
            estimate=None if mean is None else 10 * mean,
        ),
        decision=shown,
    )


def _answer(row: Row, name: str) -> AnswerShown:
    said = {} if row.said is None else row.said.model_dump()
    state = row.state if row.state in ("skipped", "surplus") else "answered"
    return AnswerShown.model_validate({**said, "annotator": name, "state": state, "reason": row.reason})
