"""What adjudicators look at: pairs by how much people disagree, and one pair with its answers side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel
from sqlalchemy import Connection, select

from dissensus.annotate.analysis.answer_rows import Row, read_rows
from dissensus.annotate.analysis.combine_answers import aggregate_estimates, majority
from dissensus.annotate.project.adjudication import decisions, find_item, newest_decision
from dissensus.annotate.project.schema import items
from dissensus.annotate.project.sides import Correct, Distinct
from dissensus.annotate.web.markdown import Turn, render_turns
from dissensus.records import Label, Pair

Show = Literal[
    "all", "disagreement", "correct", "distinct", "estimate", "choice", "undecided", "decided", "skipped", "notes"
]


class ItemSummary(BaseModel):
    """A pair in the list."""

    key: str
    answers: int
    skips: int
    notes: int
    split_correct: bool
    """Whether the answers to task 1 differ."""
    split_distinct: bool
    spread: float | None
    """Standard deviation (n - 1) of the estimates, in people of ten; None under two."""
    split_choice: bool
    decided: bool
    start: str
    """The first words of the prompt."""


class AnswerShown(BaseModel):
    """What one person said about a pair, in the pair's own terms."""

    annotator: str
    state: Literal["answered", "skipped", "surplus"]
    correct: Correct | None
    distinct: Distinct | None
    estimate: int | None
    choice: Label | None
    note: str
    reason: str
    seconds: float | None


class Suggestion(BaseModel):
    """What the answers come to: majority and mean."""

    correct: Correct | None
    distinct: Distinct | None
    estimate: float | None
    """Of ten, how many prefer response a."""


class DecisionShown(BaseModel):
    """The newest decision."""

    revision: int
    correct: Correct | None
    distinct: Distinct | None
    estimate: int | None
    choice: Label | None
    note: str
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
    by_item: defaultdict[int, list[Row]] = defaultdict(list)
    for row in read_rows(c):
        by_item[row.item_id].append(row)
    decided = decisions(c)
    found = []
    for item, key, pair in c.execute(select(items.c.id, items.c.key, items.c.pair).where(~items.c.practice)):
        if summary := _summary(key, pair, by_item[item], decided=item in decided):
            found.append(summary)
    wanted = [summary for summary in found if _is_shown(summary, show, least_spread)]
    return sorted(wanted, key=lambda s: (-(s.split_correct + s.split_distinct), -(s.spread or 0), s.key))


def _summary(key: str, pair: str, rows: Sequence[Row], *, decided: bool) -> ItemSummary | None:
    said = [row for row in rows if row.kind == "answer"]
    skips = [row for row in rows if row.state == "skipped"]
    if not said and not skips:
        return None
    estimates = [row.estimate for row in said if row.estimate is not None]
    turns = Pair.model_validate_json(pair).prompt
    start = turns if isinstance(turns, str) else turns[-1].said
    return ItemSummary(
        key=key,
        answers=len(said),
        skips=len(skips),
        notes=sum(bool(row.note) for row in said),
        split_correct=_differ([row.correct for row in said]),
        split_distinct=_differ([row.distinct for row in said]),
        spread=float(np.std(estimates, ddof=1)) if len(estimates) > 1 else None,
        split_choice=_differ([row.choice for row in said]),
        decided=decided,
        start=" ".join(start.split())[:120],
    )


def _differ(values: Sequence[str | None]) -> bool:
    return len({value for value in values if value is not None}) > 1


def _is_shown(summary: ItemSummary, show: Show, least_spread: float) -> bool:
    return {
        "all": True,
        "disagreement": summary.split_correct or summary.split_distinct or (summary.spread or 0) >= least_spread,
        "correct": summary.split_correct,
        "distinct": summary.split_distinct,
        "estimate": (summary.spread or 0) >= least_spread,
        "choice": summary.split_choice,
        "undecided": not summary.decided,
        "decided": summary.decided,
        "skipped": summary.skips > 0,
        "notes": summary.notes > 0,
    }[show]


def show_item(c: Connection, key: str, *, names: bool) -> ItemShown:
    """Show a real pair with all answers. Raises Unknown.

    ``names``: the people's own; otherwise "Annotator 1", "Annotator 2", …, numbered anew for every pair.
    """
    item_id = find_item(c, key)
    pair = Pair.model_validate_json(c.execute(select(items.c.pair).where(items.c.id == item_id)).scalar_one())
    said = [row for row in read_rows(c, item_id) if row.kind == "answer" or row.state == "skipped"]
    counted = [row for row in said if row.counts]
    decision = newest_decision(c, item_id)
    return ItemShown(
        key=key,
        prompt=render_turns(pair.prompt, "user"),
        response_a=render_turns(pair.response_a),
        response_b=render_turns(pair.response_b),
        answers=[_answer(row, row.name if names else f"Annotator {n}") for n, row in enumerate(said, 1)],
        suggestion=_suggest(counted),
        decision=None
        if decision is None
        else DecisionShown(
            revision=decision.revision,
            decided_at=decision.decided_at,
            **decision.said.model_dump(include={"correct", "distinct", "estimate", "choice", "note"}),
        ),
    )


def _answer(row: Row, name: str) -> AnswerShown:
    return AnswerShown(
        annotator=name,
        state="skipped" if row.state == "skipped" else "surplus" if row.state == "surplus" else "answered",
        correct=row.correct,
        distinct=row.distinct,
        estimate=row.estimate,
        choice=row.choice,
        note=row.note or "",
        reason=row.reason or "",
        seconds=row.seconds,
    )


def _suggest(rows: Sequence[Row]) -> Suggestion:
    mean = aggregate_estimates([row.estimate for row in rows])
    return Suggestion(
        correct=majority([row.correct for row in rows]).value,
        distinct=majority([row.distinct for row in rows]).value,
        estimate=None if mean is None else 10 * mean,
    )
