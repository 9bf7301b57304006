"""Export of a project: annotated pairs with categories, votes and estimates, and with their whole history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from dissensus.annotate.analysis.answer_rows import Row, grouped, read_rows
from dissensus.annotate.analysis.combine_answers import Aggregate, Rules, aggregate
from dissensus.annotate.exchange.history import ItemHistory, ProjectRecord, RowHistory, read_histories, read_project
from dissensus.annotate.project.adjudication import decisions
from dissensus.annotate.project.schema import items
from dissensus.annotate.project.sides import Said
from dissensus.annotate.project.store import AnnotationStore
from dissensus.errors import InputError
from dissensus.files.readers import Values, format_of
from dissensus.files.rows.columns import PAIR_COLUMNS
from dissensus.files.rows.merge import votes_of
from dissensus.files.rows.pair_rows import row_from_pair
from dissensus.files.writers import check_writable_name, write_rows
from dissensus.places.addresses import path_of
from dissensus.records import Label, Pair, Vote, Votes

HISTORY = "annotation"
"""The column that holds everything beside the pair."""
OF_PEOPLE = ("category", "distinct", "votes_a", "votes_b", "votes_tie", "votes", "label_is_a_vote")
"""Columns of a pair that people's answers fill; what was there before is kept in the history."""


@dataclass(frozen=True)
class Annotated:
    """A pair with its annotations."""

    item_id: int
    source: Pair  # as it came in
    pair: Pair  # with the annotators' categories and votes; without any where nobody answered
    aggregate: Aggregate
    n: int  # answers that count
    mixed: bool  # some of them have an estimate and others a choice alone, so that votes are choices of all


def annotated_pairs(c: Connection, rules: Rules | None = None) -> list[Annotated]:
    """Return the real pairs in the order in which they came, with their annotations.

    Votes name the annotators and hold their estimates, whose mean is the pair's preference; a vote is the annotator's
    own choice where that was asked, else the side that the estimate is on. Of a pair that some people chose for without
    an estimate, votes are what all of them have in common: they hold no estimates. Where ``rules`` do not take the
    plain mean, or a decision takes its place, there is one vote by "aggregate" that holds the result.
    """
    rules = rules or Rules()
    by_item = grouped((row for row in read_rows(c) if row.counts), lambda row: row.item_id)
    decided = {item: decision.said for item, decision in decisions(c).items()}
    query = select(items.c.id, items.c.pair).where(~items.c.practice).order_by(items.c.id)
    return [
        _annotate(item, Pair.model_validate_json(text), by_item[item], decided.get(item), rules)
        for item, text in c.execute(query)
    ]


def _annotate(item: int, source: Pair, rows: Sequence[Row], decision: Said | None, rules: Rules) -> Annotated:
    answers = {row.name: row.said for row in rows if row.said is not None}
    found = aggregate(list(answers.values()), decision, rules)
    # The label is none of these votes, whatever it was before.
    said = {"category": found.category, "distinct": found.distinct, "label_is_a_vote": None}
    pair = source.model_copy(update={**said, "votes": _votes(answers, decision, found, rules)})
    has_estimates = any(answer.estimate is not None for answer in answers.values())
    mixed = has_estimates and pair.votes is not None and not pair.votes.are_estimates
    return Annotated(item, source, pair, found, len(rows), mixed)


def _votes(answers: Mapping[str, Said], decision: Said | None, found: Aggregate, rules: Rules) -> Votes | None:
    said = {name: said for name, said in sorted(answers.items()) if said.estimate is not None or said.choice}
    # Answers from other tools may have choices alone. A mean of some people's estimates would be without the others.
    by_estimate = all(one.estimate is not None for one in said.values())
    is_decided = rules.decisions and decision is not None and decision.estimate is not None
    if found.preference is not None and (is_decided or (by_estimate and rules.estimates != "mean")):
        return votes_of([Vote(annotator="aggregate", vote=_side(found.preference), estimate=found.preference)])
    votes = []
    for name, one in said.items():
        estimate = None if one.estimate is None else one.estimate / 10
        vote = one.choice or ("tie" if estimate is None else _side(estimate))
        votes.append(Vote(annotator=name, vote=vote, estimate=estimate if by_estimate else None))
    return votes_of(votes)


def _side(preference: float) -> Label:
    return "tie" if preference == 0.5 else "a" if preference > 0.5 else "b"


def read_annotated(store: AnnotationStore, rules: Rules | None = None) -> list[Pair]:
    """Return the pairs that people answered, as evaluation reads them. Raises InputError where there are none."""
    found = [each.pair for each in store.read(lambda c: annotated_pairs(c, rules)) if each.n]
    if not found:
        raise InputError(f"{store.name}: nobody has answered anything yet; invite people: dissensus annotations invite")
    return found


@dataclass(frozen=True)
class Exported:
    """An export, and what it holds."""

    out: Path
    annotators: int  # wanted per pair
    pairs: int
    complete: int  # pairs with all the answers that were wanted
    answers: int
    tied: int  # categories that have no majority
    mixed: int  # pairs with estimates of some people and choices alone of others

    def lines(self) -> list[str]:
        """Count what was written."""
        complete = f"{self.complete:,} pairs with all {self.annotators}"
        return [f"{self.out}: {self.pairs:,} pairs, {self.answers:,} answers, {complete}"]

    @property
    def notes(self) -> list[str]:
        """What is missing from the file, or is other than one may expect."""
        notes = [f"{self.tied:,} categories have no majority and are left empty"] if self.tied else []
        if self.mixed:
            notes.append(
                f"{self.mixed:,} pairs have estimates of some people and choices alone of others: their votes are "
                "everybody's choice, of an estimate its side"
            )
        return notes


def export(store: AnnotationStore, path: str | Path, rules: Rules | None = None) -> Exported:
    """Write a project to a .jsonl(.gz), .parquet or .csv file, atomically: one row per pair, in the order they came.

    The column ``annotation`` holds the history of the pair; the first row's has the project too. From it `imports`
    makes the project again. Raises InputError where there are no pairs, and OutputError.
    """
    check_writable_name(path)

    def read(c: Connection) -> tuple[list[Annotated], dict[int, ItemHistory], ProjectRecord]:
        histories = read_histories(c)
        return annotated_pairs(c, rules), histories, read_project(c, histories)

    found, histories, project = store.read(read)
    if not found:
        raise InputError(f"{store.name}: there are no pairs to export; add some: dissensus annotate PAIRS --db …")
    is_nested = format_of(path) in ("jsonl", "jsonl.gz", "json")
    rows = _rows(found, histories, project, is_nested=is_nested)
    write_rows(path, rows, {**PAIR_COLUMNS, HISTORY: str}, for_spreadsheets=True)
    return Exported(
        out=path_of(path),
        annotators=store.config.annotators,
        pairs=len(found),
        complete=sum(each.n >= store.config.annotators for each in found),
        answers=sum(each.n for each in found),
        tied=sum(each.aggregate.tied for each in found),
        mixed=sum(each.mixed for each in found),
    )


def _rows(
    found: Sequence[Annotated], histories: Mapping[int, ItemHistory], project: ProjectRecord, *, is_nested: bool
) -> Iterator[Values]:
    for number, each in enumerate(found):
        columns, item = row_from_pair(each.source), dict(histories[each.item_id])
        source = {name: columns[name] for name in OF_PEOPLE}
        whole = RowHistory(**item, source=source, project=None if number else project)
        history = whole.model_dump(mode="json", exclude={"project"} if number else None)
        text = json.dumps(history, ensure_ascii=False)
        yield {**row_from_pair(each.pair), HISTORY: history if is_nested else text}
