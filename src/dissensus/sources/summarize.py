"""openai/summarize_from_feedback: two summaries of a Reddit post or a news article, compared by labelers.

``comparisons``: a labeler's choice; several labelers may judge the same two summaries. ``axis``: ratings of single
summaries from 1 to 7, out of which come pairs of the summaries of a text that one labeler rated.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from dissensus.files.readers import Row
from dissensus.files.source import Labelled
from dissensus.records import Label
from dissensus.sources.public_set import Part, Reader, Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, one_vote, side_of

_RAW_SPLITS = {"train": ("train",), "validation": ("valid1", "valid2"), "test": ("test",)}
"""Splits on the Hub to those that rows of the raw files name."""
_STEPS = 6
"""From the lowest rating, 1, to the highest, 7."""


class _Info(SourceRow):
    id: str
    title: str | None = None
    post: str | None = None
    subreddit: str | None = None
    article: str | None = None


class _Summary(SourceRow):
    text: str


class _Judged(SourceRow):
    info: _Info
    worker: str
    split: Literal["train", "valid1", "valid2", "test"]


class _Comparison(_Judged):
    summaries: Annotated[list[_Summary], Field(min_length=2, max_length=2)]
    choice: Annotated[int, Field(ge=0, le=1)]


class _Axes(SourceRow):
    overall: Annotated[int, Field(ge=1, le=7)] | None = None


class _RatedSummary(_Summary):
    axes: _Axes


class _Rating(_Judged):
    summary: _RatedSummary


R = TypeVar("R", bound=_Judged)


def _rows(reading: Reading, model: type[R]) -> Iterator[tuple[Row, R, str]]:
    """Stream the rows of the split that is read, with their prompts."""
    wanted = _RAW_SPLITS[reading.tables[0].split]
    for row, found in reading.rows(model):
        if found.split not in wanted:
            continue
        info, title = found.info, f"TITLE: {found.info.title or ''}\n\n"
        if info.post is not None:
            yield row, found, f"SUBREDDIT: r/{info.subreddit or ''}\n\n{title}POST: {info.post}\n\nTL;DR:"
        elif info.article is not None:
            yield row, found, f"{title}{info.article}\n\nTL;DR:"
        else:
            reading.fault(row.place, "info has neither a post nor an article")


def read_comparisons(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons with a vote for each labeler."""
    for row, found, prompt in _rows(reading, _Comparison):
        label: Label = "a" if found.choice == 0 else "b"
        yield from reading.pair(
            row,
            (prompt, found.summaries[0].text, found.summaries[1].text),
            label=label,
            votes=one_vote(label, found.worker),
            group=found.info.id,
        )


def read_axis(reading: Reading) -> Iterator[Labelled]:
    """Read pairs of a labeler's ratings; equal ones are a tie, and the margin is the difference over 6."""
    rated: dict[tuple[str, str], list[tuple[int, _Rating, str, Row]]] = {}
    for row, found, prompt in _rows(reading, _Rating):
        if found.summary.axes.overall is None:
            reading.count("dropped: a summary without an overall rating")
        else:
            key = found.info.id, found.worker
            rated.setdefault(key, []).append((found.summary.axes.overall, found, prompt, row))
    for ratings in rated.values():
        if len(ratings) < 2:
            reading.count("dropped: a labeler's only summary of a text")
        for (one, first, prompt, row), (two, second, _, _) in combinations(ratings, 2):
            label = side_of(one - two)
            yield from reading.pair(
                row,
                (prompt, first.summary.text, second.summary.text),
                label=label,
                votes=one_vote(label, first.worker),
                group=first.info.id,
                margin=abs(one - two) / _STEPS,
            )


def _part(read: Reader, config: str, splits: tuple[str, ...], folders: tuple[str, ...]) -> Part:
    files = tuple(f"{folder}/*.{form}" for folder in folders for form in ("json", "jsonl"))
    return one_table(read, *splits, has_people=True, config=config, files=files, lines_in="jsonl", is_script=True)


SOURCES = (
    Source(
        name="summarize-from-feedback",
        hub="openai/summarize_from_feedback",
        what="summaries of Reddit posts and of news articles",
        rows="comparisons: train 92,858, validation 86,086; axis: validation ~8,585, test ~6,313",
        licence="modified MIT; posts CC BY 4.0",
        votes="1 labeler or more, by name; axis: ratings 1 to 7",
        parts={
            "comparisons": _part(read_comparisons, "comparisons", ("train", "validation"), ("comparisons",)),
            "axis": _part(read_axis, "axis", ("validation", "test"), ("axis_evals", "axis")),
        },
        paper="in",
        sizes={"train": 92858, "validation": 86086},
    ),
)
