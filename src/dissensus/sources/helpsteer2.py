"""nvidia/HelpSteer2: preferences of three to five people on pairs, and ratings of single responses.

``preference``: a strength from -3 to 3, negative where response 1 is better, with every person's own. ``ratings`` and
``disagreements``: rows that follow each other share a prompt; the pair's label is the more helpful of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dissensus.files.readers import Row
from dissensus.files.rows.cells import decode_cell
from dissensus.files.rows.merge import votes_of
from dissensus.files.source import Labelled
from dissensus.records import Message, Vote
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, side_of

_TURN = re.compile(r"\n<extra_id_1>(Assistant|User)(?=\n)")
_ROLES = {"Assistant": "assistant", "User": "user"}
_NEITHER = -100
"""A person's strength where neither response is valid: no vote."""
_STRONGEST, _HIGHEST = 3, 4
_SPLITS = {"train": "train", "validation": "val"}


def _as_list(value: Any) -> Any:
    """Take a list that came through CSV: JSON, or Python's own notation."""
    found = decode_cell(value) if isinstance(value, str) else None
    return value if found is None else found


def _check_strength(value: int) -> int:
    if value != _NEITHER and abs(value) > _STRONGEST:
        raise ValueError(f"is {value}; expected -3 to 3, or -100 where neither response is valid")
    return value


class _Opinion(SourceRow):
    strength: Annotated[int, AfterValidator(_check_strength)]


class _Preference(SourceRow):
    split: Literal["train", "val"]
    prompt: str
    response_1: str
    response_2: str
    preference_strength: Annotated[int, Field(ge=-3, le=3)]
    all_preferences_unprocessed: Annotated[list[_Opinion], BeforeValidator(_as_list)]


_Score = Annotated[int, Field(ge=0, le=4)]


class _Rated(SourceRow):
    prompt: str
    response: str
    helpfulness: _Score | Annotated[list[_Score], Field(min_length=1), BeforeValidator(_as_list)]

    @property
    def score(self) -> float:
        """The score, or the mean of the people's."""
        return fmean(self.helpfulness) if isinstance(self.helpfulness, list) else self.helpfulness


def read_preferences(reading: Reading) -> Iterator[Labelled]:
    """Read preferences with a vote for each person; the margin is the size of the strength over 3."""
    wanted = _SPLITS[reading.tables[0].split]
    for row, found in reading.rows(_Preference):
        if found.split != wanted:
            continue
        strengths = [opinion.strength for opinion in found.all_preferences_unprocessed]
        said = [Vote(vote=side_of(-strength)) for strength in strengths if strength != _NEITHER]
        reading.count("people who found neither response valid (no vote)", len(strengths) - len(said))
        yield from reading.pair(
            row,
            (split_turns(found.prompt), found.response_1, found.response_2),
            label=side_of(-found.preference_strength),
            votes=votes_of(said),
            margin=abs(found.preference_strength) / _STRONGEST,
        )


def read_ratings(reading: Reading) -> Iterator[Labelled]:
    """Read rows by twos; the margin is the difference in helpfulness over 4."""
    waiting: tuple[Row, _Rated] | None = None
    for row, found in reading.rows(_Rated):
        if waiting is None or waiting[1].prompt != found.prompt:
            reading.count("dropped: a response without a second one to its prompt", int(waiting is not None))
            waiting = row, found
            continue
        (first_row, first), waiting = waiting, None
        gap = first.score - found.score
        yield from reading.pair(
            first_row,
            (split_turns(found.prompt), first.response, found.response),
            label=side_of(gap),
            margin=abs(gap) / _HIGHEST,
        )
    reading.count("dropped: a response without a second one to its prompt", int(waiting is not None))


def split_turns(prompt: str) -> tuple[Message, ...]:
    """Cut a prompt into messages at its tags; without tags it is one message of the user.

    >>> [turn.role for turn in split_turns("Hi\\n<extra_id_1>Assistant\\nYes?\\n<extra_id_1>User\\nBye")]
    ['user', 'assistant', 'user']
    >>> [turn.role for turn in split_turns("Hi\\n<extra_id_1>User\\n<extra_id_1>Assistant\\nYes?")]
    ['user', 'user', 'assistant']
    """
    first, *parts = _TURN.split(prompt)
    turns = [Message(role="user", content=first)] if first or not parts else []
    turns += [Message(role=_ROLES[tag], content=text[1:]) for tag, text in zip(parts[::2], parts[1::2], strict=True)]
    return tuple(turns)


SOURCES = (
    Source(
        name="helpsteer2",
        hub="nvidia/HelpSteer2",
        what="responses to prompts of one turn or several; preferences, and ratings of single responses",
        rows="preference ~9,125; ratings: train 20,324, validation 1,038; disagreements ~21,000",
        licence="CC BY 4.0",
        votes="3 to 5 people, strengths -3 to 3; ties",
        parts={
            # On the Hub one split holds both; the rows say which they belong to.
            "preference": one_table(
                read_preferences,
                "train",
                "validation",
                has_people=True,
                hub_split="train",
                data_dir="preference",
                files=("preference/preference.jsonl.gz", "preference/preference.jsonl"),
            ),
            "ratings": one_table(read_ratings, "train", "validation", files=("{split}.jsonl.gz", "{split}.jsonl")),
            "disagreements": one_table(
                read_ratings,
                "train",
                data_dir="disagreements",
                files=("disagreements/disagreements.jsonl.gz", "disagreements/disagreements.jsonl"),
            ),
        },
        sizes={"train": 8700, "validation": 450},
    ),
)
