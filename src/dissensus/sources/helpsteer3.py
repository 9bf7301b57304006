"""nvidia/HelpSteer3, preference: up to three people's preferences, -3 to 3, negative where response 1 is better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from dissensus.files.rows.merge import votes_of
from dissensus.files.source import Labelled
from dissensus.records import Vote
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, Turn, messages, side_of

_STRONGEST = 3
_Strength = Annotated[int, Field(ge=-3, le=3)]


class _Opinion(SourceRow):
    score: _Strength


class _Preference(SourceRow):
    domain: str
    context: Annotated[list[Turn], Field(min_length=1)]
    response1: str
    response2: str
    overall_preference: _Strength
    individual_preference: list[_Opinion]


def read(reading: Reading) -> Iterator[Labelled]:
    """Read preferences with a vote for each person; the category is the source's domain (code, stem, …)."""
    for row, found in reading.rows(_Preference):
        if found.context[-1].role != "user":
            reading.fault(row.place, f"context ends with the role {found.context[-1].role!r}; expected user")
            continue
        yield from reading.pair(
            row,
            (messages(found.context), found.response1, found.response2),
            label=side_of(-found.overall_preference),
            votes=votes_of([Vote(vote=side_of(-opinion.score)) for opinion in found.individual_preference]),
            category=found.domain,
            margin=abs(found.overall_preference) / _STRONGEST,
        )


SOURCES = (
    Source(
        name="helpsteer3",
        hub="nvidia/HelpSteer3",
        what="general, STEM, code and multilingual prompts",
        rows="train 38,459, validation 2,017",
        licence="CC BY 4.0",
        votes="up to 3 people, strengths -3 to 3; ties",
        parts={
            "preference": one_table(
                read,
                "train",
                "validation",
                has_people=True,
                config="preference",
                files=("preference/{split}.jsonl.gz", "preference/{split}.jsonl"),
            )
        },
        sizes={"train": 38459, "validation": 2017},
    ),
)
