"""What people said, as pairs: with categories, votes and estimates, and with everything else for whoever goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from dissensus.annotate.adjudication import decisions
from dissensus.annotate.aggregation import Aggregate, Rules, aggregate
from dissensus.annotate.answered import Row, read_rows
from dissensus.annotate.history import Values, read_histories, read_project
from dissensus.annotate.schema import items
from dissensus.annotate.store import AnnotationStore
from dissensus.annotate.terms import Said
from dissensus.errors import InputError
from dissensus.files.columns import PAIR_COLUMNS
from dissensus.files.pairs import row_from_pair
from dissensus.files.reading import format_of
from dissensus.files.writing import check_writable_name, write_rows
from dissensus.records import Label, Pair, Vote, Votes

HISTORY = "annotation"
"""The column that holds everything beside the pair."""
OF_PEOPLE = ("category", "distinct", "votes_a", "votes_b", "votes_tie", "votes", "label_is_a_vote")
"""Columns of a pair that people's answers fill; what was there before is kept in the history."""


@dataclass(frozen=True)
class Annotated:
    """A pair with what people said about it."""

    item_id: int
    source: Pair
    """As it came in."""
    pair: Pair
    """With people's categories and votes; without any where nobody answered."""
    aggregate: Aggregate
    n: int
    """Answers that count."""


def annotated_pairs(c: Connection, rules: Rules | None = None) -> list[Annotated]:
    """Return the real pairs in the order in which they came, with what people said about each.

    Votes name the annotators and hold their estimates, whose mean is the pair's preference; a vote is the annotator's
    own choice where that was asked, else the side that the estimate is on. Where ``rules`` do not take the plain mean,
    or a decision takes its place, there is one vote by "aggregate" that holds the result.
    """
    rules = rules or Rules()
    by_item: defaultdict[int, list[Row]] = defaultdict(list)
    for row in read_rows(c):
        if row.counts and row.kind == "answer":
            by_item[row.item_id].append(row)
    decided = decisions(c)
    found = []
    query = select(items.c.id, items.c.pair).where(~items.c.practice).order_by(items.c.id)
    for item, text in c.execute(query):
        decision = decided[item].said if item in decided else None
        found.append(_annotate(item, Pair.model_validate_json(text), by_item[item], decision, rules))
    return found


def _annotate(item: int, source: Pair, rows: Sequence[Row], decision: Said | None, rules: Rules) -> Annotated:
    answers = [Said(correct=row.correct, distinct=row.distinct, estimate=row.estimate) for row in rows]
    found = aggregate(answers, decision, rules)
    # The label is none of these votes, whatever it was before.
    said = {"category": found.category, "distinct": found.distinct, "label_is_a_vote": None}
    pair = source.model_copy(update={**said, "votes": _votes(rows, decision, found, rules)})
    return Annotated(item, source, pair, found, len(rows))


def _votes(rows: Sequence[Row], decision: Said | None, found: Aggregate, rules: Rules) -> Votes | None:
    is_decided = rules.decisions and decision is not None and decision.estimate is not None
    if found.preference is not None and (is_decided or rules.estimates != "mean"):
        votes = [Vote(annotator="aggregate", vote=_side(found.preference), estimate=found.preference)]
    else:
        votes = _votes_of_people(sorted(rows, key=lambda row: row.name))
    counts = {side: sum(vote.vote == side for vote in votes) for side in ("a", "b", "tie")}
    return Votes(**counts, annotations=tuple(votes)) if votes else None


def _votes_of_people(rows: Sequence[Row]) -> list[Vote]:
    estimates = [
        Vote(annotator=row.name, vote=row.choice or _side(row.estimate / 10), estimate=row.estimate / 10)
        for row in rows
        if row.estimate is not None
    ]
    # Answers from other tools may have choices alone; the two kinds are not mixed in one pair.
    return estimates or [Vote(annotator=row.name, vote=row.choice) for row in rows if row.choice is not None]


def _side(preference: float) -> Label:
    return "tie" if preference == 0.5 else "a" if preference > 0.5 else "b"


def read_annotated(store: AnnotationStore, rules: Rules | None = None) -> list[Pair]:
    """Return the pairs that people answered, as evaluation reads them. Raises InputError where there are none."""
    found = [each.pair for each in store.read(lambda c: annotated_pairs(c, rules)) if each.n]
    if not found:
        raise InputError(f"{store.name}: nobody has answered anything yet; come back when somebody has")
    return found


@dataclass(frozen=True)
class Exported:
    """What an export holds."""

    pairs: int
    complete: int
    """Pairs with all the answers that were wanted."""
    answers: int
    tied: int
    """Categories that have no majority."""


def export(store: AnnotationStore, path: str | Path, rules: Rules | None = None) -> Exported:
    """Write a project to a .jsonl(.gz), .parquet or .csv file, atomically: one row per pair, in the order they came.

    The column ``annotation`` holds the history of the pair; the first row's has the project too. From it `imports`
    makes the project again. Raises InputError where there are no pairs, and OutputError.
    """
    check_writable_name(path)

    def read(c: Connection) -> tuple[list[Annotated], list[Values], dict[int, Values], Values]:
        known = c.execute(select(items.c.id, items.c.pair, items.c.known).where(items.c.practice).order_by(items.c.id))
        practice = [{"item": row.id, "pair": row.pair, "known": json.loads(row.known)} for row in known]
        return annotated_pairs(c, rules), practice, read_histories(c), read_project(c)

    found, practice, histories, project = store.read(read)
    if not found:
        raise InputError(f"{store.name}: there are no pairs to export; add some first")
    project["practice"] = [{**row, "history": histories[row["item"]]} for row in practice]
    is_nested = format_of(path) in ("jsonl", "jsonl.gz", "json")
    columns: dict[str, Any] = {**PAIR_COLUMNS, HISTORY: str}
    write_rows(path, _rows(found, histories, project, is_nested=is_nested), columns, for_spreadsheets=True)
    return Exported(
        pairs=len(found),
        complete=sum(each.n >= store.config.annotators for each in found),
        answers=sum(each.n for each in found),
        tied=sum(each.aggregate.tied for each in found),
    )


def _rows(
    found: Sequence[Annotated], histories: dict[int, Values], project: Values, *, is_nested: bool
) -> Iterator[Values]:
    for number, each in enumerate(found):
        source = row_from_pair(each.source)
        history = {**histories[each.item_id], "source": {name: source[name] for name in OF_PEOPLE}}
        if number == 0:
            history["project"] = project
        text = json.dumps(history, ensure_ascii=False)
        yield {**row_from_pair(each.pair), HISTORY: history if is_nested else text}
