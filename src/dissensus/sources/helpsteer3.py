"""nvidia/HelpSteer3, preference: up to three people's preferences, -3 to 3, negative where response 1 is better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from dissensus.records import Margin, Vote
from dissensus.sources.row_reader import Labelled, Reading, SourceRow, Turn, merge_votes, messages, side_of, votes_of

_STRONGEST = 3
_Strength = Annotated[int, Field(ge=-3, le=3)]


class Opinion(SourceRow):
    """One person's preference."""

    score: _Strength


class Preference(SourceRow):
    """A row."""

    domain: str
    context: Annotated[list[Turn], Field(min_length=1)]
    response1: str
    response2: str
    overall_preference: _Strength
    individual_preference: list[Opinion]


def read(reading: Reading) -> Iterator[Labelled]:
    """Read preferences with a vote for each person; the category is the source's domain (code, stem, …)."""
    return merge_votes(_preferences(reading), reading)


def _preferences(reading: Reading) -> Iterator[Labelled]:
    for row, found in reading.rows(Preference):
        if found.context[-1].role != "user":
            reading.fault(row.place, f"context ends with the role {found.context[-1].role!r}; expected user")
            continue
        pair = reading.pair(
            row,
            prompt=messages(found.context),
            a=found.response1,
            b=found.response2,
            label=side_of(-found.overall_preference),
            votes=votes_of([Vote(vote=side_of(-opinion.score)) for opinion in found.individual_preference]),
            category=found.domain,
        )
        if pair is not None:
            yield pair, Margin(pair_id=pair.id, margin=abs(found.overall_preference) / _STRONGEST)
