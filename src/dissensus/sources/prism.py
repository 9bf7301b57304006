"""HannahRoseKirk/prism-alignment: people from many countries rate, 1 to 100, what models answer to their own prompts.

Scores are compared within a person's turn alone. The first turn has up to four models' answers, later ones two of the
chosen model's; the prompt of a turn is the conversation with the chosen answers so far. The survey gives annotators
their attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Any

from pydantic import BaseModel, Field

from dissensus.files.readers import Row
from dissensus.files.source import Labelled
from dissensus.records import Annotator, Message
from dissensus.sources.hub_table import Table
from dissensus.sources.public_set import Part, Source
from dissensus.sources.row_reader import Reading, SourceRow, one_vote, side_of

EMPTY = "EMPTY STRING"
"""What stands for a missing or empty text in this data set."""
_SCALE = 99
"""From the lowest score, 1, to the highest, 100."""


class _Utterance(SourceRow):
    interaction_id: str
    conversation_id: str
    user_id: str
    turn: Annotated[int, Field(ge=0)]
    user_prompt: str
    model_response: str
    score: Annotated[int, Field(ge=1, le=100)]
    if_chosen: bool


class _Categories(SourceRow):
    categorised: str | None = None
    simplified: str | None = None


class _Location(SourceRow):
    birth_country: str | None = None
    reside_country: str | None = None
    birth_subregion: str | None = None
    reside_subregion: str | None = None
    special_region: str | None = None


class _Participant(SourceRow):
    user_id: str
    age: str | None = None
    gender: str | None = None
    education: str | None = None
    employment_status: str | None = None
    marital_status: str | None = None
    english_proficiency: str | None = None
    lm_familiarity: str | None = None
    study_locale: str | None = None
    religion: _Categories | None = None
    ethnicity: _Categories | None = None
    location: _Location | None = None


def read(reading: Reading) -> Iterator[Labelled]:
    """Read all pairs of each turn, with the person's vote; the margin is the difference of scores over 99."""
    conversations: dict[str, dict[int, list[tuple[Row, _Utterance]]]] = {}
    for row, found in reading.rows(_Utterance, "utterances"):
        turns = conversations.setdefault(found.conversation_id, {})
        turns.setdefault(found.turn, []).append((row, found))
    for turns in conversations.values():
        yield from _conversation(turns, reading)
    voted = set(reading.annotators)
    for _, participant in reading.rows(_Participant, "survey"):
        if participant.user_id in voted:
            attributes = dict(_attributes(participant))
            reading.annotators[participant.user_id] = Annotator(id=participant.user_id, attributes=attributes)


def _conversation(turns: dict[int, list[tuple[Row, _Utterance]]], reading: Reading) -> Iterator[Labelled]:
    context: tuple[Message, ...] = ()
    for number, (turn, answers) in enumerate(sorted(turns.items())):
        said = answers[0][1]
        other = [row for row, one in answers if (one.user_prompt, one.user_id) != (said.user_prompt, said.user_id)]
        if other:
            reading.fault(other[0].place, f"turn {turn} of {said.conversation_id} has another prompt or user elsewhere")
        if turn != number or other:
            _drop(turns, turn, reading)
            return
        if said.user_prompt == EMPTY:
            reading.count("dropped: an empty prompt", len(answers) * (len(answers) - 1) // 2)
            _drop(turns, turn + 1, reading)
            return
        prompt = (*context, Message(role="user", content=said.user_prompt))
        yield from _turn(prompt, answers, reading)
        chosen = next((answer for _, answer in answers if answer.if_chosen), None)
        if chosen is None or chosen.model_response == EMPTY:
            _drop(turns, turn + 1, reading)
            return
        context = (*prompt, Message(role="assistant", content=chosen.model_response))


def _drop(turns: dict[int, list[tuple[Row, _Utterance]]], first: int, reading: Reading) -> None:
    """Count the pairs of all turns from ``first`` on: what they answer is not known."""
    lost = sum(len(answers) * (len(answers) - 1) // 2 for turn, answers in turns.items() if turn >= first)
    if lost:
        reading.count("dropped: a turn whose conversation is not there", lost)


def _turn(prompt: tuple[Message, ...], answers: list[tuple[Row, _Utterance]], reading: Reading) -> Iterator[Labelled]:
    best = max(answer.score for _, answer in answers)
    if any(answer.if_chosen and answer.score < best for _, answer in answers):
        reading.count("turns whose chosen answer was scored below another (the scores count)")
    for (row, one), (_, two) in combinations(answers, 2):
        if EMPTY in (one.model_response, two.model_response):
            reading.count("dropped: an empty response")
            continue
        label = side_of(one.score - two.score)
        yield from reading.pair(
            row,
            (prompt, one.model_response, two.model_response),
            label=label,
            votes=one_vote(label, one.user_id),
            group=f"prism:{one.conversation_id}",
            margin=abs(one.score - two.score) / _SCALE,
        )


def _attributes(value: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten what was answered: ``gender``, ``religion_simplified``, ``reside_country``."""
    for name in type(value).model_fields:
        inside: Any = getattr(value, name)
        if isinstance(inside, _Categories):
            yield from _attributes(inside, f"{name}_")
        elif isinstance(inside, _Location):
            yield from _attributes(inside)
        elif inside not in (None, "", EMPTY) and name != "user_id":
            yield prefix + name, inside


SOURCES = (
    Source(
        name="prism",
        hub="HannahRoseKirk/prism-alignment",
        what="people of 75 countries talk with models and rate each answer",
        rows="utterances 68,371 of 1,396 people",
        licence="CC BY 4.0 (people), CC BY-NC 4.0 (models)",
        votes="1 person, scores 1 to 100; ties; with demographics",
        parts={
            "utterances": Part(
                read,
                (
                    Table("train", "utterances", config="utterances", files=("utterances.jsonl",)),
                    Table("train", "survey", config="survey", files=("survey.jsonl",), is_optional=True),
                ),
                has_people=True,
            )
        },
        paper="out",
        sizes={"train": 67000},
    ),
)
