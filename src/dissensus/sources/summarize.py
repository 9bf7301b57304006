"""openai/summarize_from_feedback: two summaries of a Reddit post or a news article, compared by labelers.

``comparisons``: a labeler's choice; several labelers may judge the same two summaries. ``axis``: ratings of single
summaries from 1 to 7, out of which come pairs of the summaries of a text that one labeler rated.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field

from dissensus.records import Label, Margin, Pair, Vote
from dissensus.sources.row_reader import Labelled, Reading, SourceRow, merge_votes, side_of, votes_of

_RAW_SPLITS = {"train": ("train",), "validation": ("valid1", "valid2"), "test": ("test",)}
"""Splits on the Hub to those that rows of the raw files name."""
_STEPS = 6
"""From the lowest rating, 1, to the highest, 7."""


class Info(SourceRow):
    """What is summarised: a post with its subreddit, or an article."""

    id: str
    title: str | None = None
    post: str | None = None
    subreddit: str | None = None
    article: str | None = None


class Summary(SourceRow):
    """One of the two summaries that are compared."""

    text: str


class Comparison(SourceRow):
    """A labeler's choice between two summaries."""

    info: Info
    summaries: Annotated[list[Summary], Field(min_length=2, max_length=2)]
    choice: Annotated[int, Field(ge=0, le=1)]
    worker: str
    split: Literal["train", "valid1", "valid2", "test"]


class Axes(SourceRow):
    """Ratings; an axis that was not rated is missing or null."""

    overall: Annotated[int, Field(ge=1, le=7)] | None = None


class RatedSummary(Summary):
    """A summary with its ratings."""

    axes: Axes


class Rating(SourceRow):
    """A labeler's rating of one summary."""

    info: Info
    summary: RatedSummary
    worker: str
    split: Literal["train", "valid1", "valid2", "test"]


def read_comparisons(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons with a vote for each labeler."""
    return merge_votes(_comparisons(reading), reading)


def read_axis(reading: Reading) -> Iterator[Labelled]:
    """Read pairs of a labeler's ratings; equal ones are a tie, and the margin is the difference over 6."""
    return merge_votes(_rated_pairs(reading), reading)


def prompt_of(info: Info) -> str | None:
    """Write a text out as the prompt of its summary; None where it is neither post nor article."""
    if info.post is not None:
        return f"SUBREDDIT: r/{info.subreddit or ''}\n\nTITLE: {info.title or ''}\n\nPOST: {info.post}\n\nTL;DR:"
    if info.article is not None:
        return f"TITLE: {info.title or ''}\n\n{info.article}\n\nTL;DR:"
    return None


def _comparisons(reading: Reading) -> Iterator[Labelled]:
    wanted = _RAW_SPLITS[reading.tables[0].split]
    for row, found in reading.rows(Comparison):
        if found.split not in wanted:
            continue
        prompt = prompt_of(found.info)
        if prompt is None:
            reading.fault(row.place, "info has neither a post nor an article")
            continue
        label: Label = "a" if found.choice == 0 else "b"
        pair = reading.pair(
            row,
            prompt=prompt,
            a=found.summaries[0].text,
            b=found.summaries[1].text,
            label=label,
            votes=votes_of([Vote(annotator=found.worker, vote=label)]),
            group=found.info.id,
        )
        if pair is not None:
            yield pair, None


def _rated_pairs(reading: Reading) -> Iterator[Labelled]:
    wanted = _RAW_SPLITS[reading.tables[0].split]
    rated: dict[tuple[str, str], list[tuple[int, Rating, str]]] = {}
    places = {}
    for row, found in reading.rows(Rating):
        if found.split not in wanted:
            continue
        prompt = prompt_of(found.info)
        if prompt is None:
            reading.fault(row.place, "info has neither a post nor an article")
        elif found.summary.axes.overall is None:
            reading.count("dropped: a summary without an overall rating")
        else:
            rated.setdefault((found.info.id, found.worker), []).append((found.summary.axes.overall, found, prompt))
            places[id(found)] = row
    for ratings in rated.values():
        if len(ratings) < 2:
            reading.count("dropped: a labeler's only summary of a text")
        for (one, first, prompt), (two, second, _) in combinations(ratings, 2):
            label = side_of(one - two)
            pair: Pair | None = reading.pair(
                places[id(first)],
                prompt=prompt,
                a=first.summary.text,
                b=second.summary.text,
                label=label,
                votes=votes_of([Vote(annotator=first.worker, vote=label)]),
                group=first.info.id,
            )
            if pair is not None:
                yield pair, Margin(pair_id=pair.id, margin=abs(one - two) / _STEPS)
