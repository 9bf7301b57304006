"""MT-bench's human judgments and Chatbot Arena's battles: whole conversations with two models, and who won.

Responses are all that a model said and was answered after the first message, as chat messages: where conversations have
several turns they differ from the first reply on. A vote that both are bad is a tie; it is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dissensus.files.readers import Row, decode_json, kind_of
from dissensus.files.source import Labelled
from dissensus.records import Label, Message
from dissensus.sources.public_set import Source, one_table
from dissensus.sources.row_reader import Reading, SourceRow, Turn, messages, one_vote

_BAD = ("tie (bothbad)", "both_bad")
_ROLES = ("user", "assistant")


class _MtBenchRow(SourceRow):
    question_id: int
    winner: Literal["model_a", "model_b", "tie", "tie (inconsistent)"]
    judge: str | list[str]
    conversation_a: list[Turn]
    conversation_b: list[Turn]
    turn: Annotated[int, Field(ge=1, le=2)]


class _ArenaRow(SourceRow):
    question_id: str
    winner: Literal["model_a", "model_b", "tie", "tie (bothbad)"]
    conversation_a: Annotated[list[Turn], Field(min_length=2)]
    conversation_b: Annotated[list[Turn], Field(min_length=2)]
    judge: str | None = None
    judge_hash: str | None = None


class _Part(SourceRow):
    type: str
    text: str | None = None


class _PartsTurn(SourceRow):
    role: Annotated[str, Field(min_length=1)]
    content: list[_Part]


class _PartsRow(SourceRow):
    id: str
    winner: Literal["model_a", "model_b", "tie", "both_bad"]
    evaluation_session_id: str
    conversation_a: Annotated[list[_PartsTurn], Field(min_length=2)]
    conversation_b: Annotated[list[_PartsTurn], Field(min_length=2)]


def _decoded(cell: Any) -> Any:
    return decode_json(cell) if isinstance(cell, str) else cell


_Texts = Annotated[list[str | None], Field(min_length=1), BeforeValidator(_decoded)]
_Flag = Annotated[int, Field(ge=0, le=1), BeforeValidator(lambda v: int(v) if v in ("0", "1") else v)]


class _TextsRow(SourceRow):
    id: Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)]
    prompt: _Texts
    response_a: _Texts
    response_b: _Texts
    winner_model_a: _Flag
    winner_model_b: _Flag
    winner_tie: _Flag


def read_conversations(reading: Reading) -> Iterator[Labelled]:
    """Read battles with one vote each."""
    for row, found in reading.rows(_ArenaRow):
        sides = [messages(found.conversation_a), messages(found.conversation_b)]
        yield from _battle(row, reading, found.question_id, sides, found.winner, found.judge or found.judge_hash)


def read_parts(reading: Reading) -> Iterator[Labelled]:
    """Read battles whose messages have pieces; those with an image are dropped. A session's battles are one group."""
    for row, found in reading.rows(_PartsRow):
        turns = (*found.conversation_a, *found.conversation_b)
        if any(part.type != "text" for turn in turns for part in turn.content):
            reading.count("dropped: a message with something other than text")
            continue
        sides = [
            [Message(role=turn.role, content="".join(part.text or "" for part in turn.content)) for turn in side]
            for side in (found.conversation_a, found.conversation_b)
        ]
        group = f"{reading.dataset}:{found.evaluation_session_id}"
        yield from _battle(row, reading, found.id, sides, found.winner, None, group=group)


def read_texts(reading: Reading) -> Iterator[Labelled]:
    """Read battles out of lists of texts; a turn that is null was empty."""
    for row, found in reading.rows(_TextsRow):
        if found.winner_model_a + found.winner_model_b + found.winner_tie != 1:
            reading.fault(row.place, "not exactly one of winner_model_a, winner_model_b and winner_tie is 1")
            continue
        if not len(found.prompt) == len(found.response_a) == len(found.response_b):
            reading.fault(row.place, "prompt, response_a and response_b have different numbers of turns")
            continue
        sides = [
            [
                Message(role=role, content=text or "")
                for turn in zip(found.prompt, replies, strict=True)
                for role, text in zip(_ROLES, turn, strict=True)
            ]
            for replies in (found.response_a, found.response_b)
        ]
        winner = "model_a" if found.winner_model_a else "model_b" if found.winner_model_b else "tie"
        yield from _battle(row, reading, found.id, sides, winner, None)


def read_mt_bench(reading: Reading) -> Iterator[Labelled]:
    """Read judgments, on the first turn or on both: people's are votes, GPT-4's a label, as it is no person."""
    for row, found in reading.rows(_MtBenchRow):
        sides = [messages(turns)[: 2 * found.turn] for turns in (found.conversation_a, found.conversation_b)]
        if any([turn.role for turn in side] != [*_ROLES] * found.turn for side in sides):
            reading.fault(row.place, f"a conversation has no {2 * found.turn} messages of user and assistant in turn")
            continue
        if sides[0][0] != sides[1][0]:
            reading.fault(row.place, "the two conversations begin with different messages")
            continue
        if found.winner == "tie (inconsistent)":
            reading.count("ties that were two verdicts for different sides")
        label = _label(found.winner)
        people = reading.has_people
        # A list names a model and how it judged: ["gpt-4", "pair"].
        if people and not (isinstance(found.judge, str) and found.judge):
            reading.fault(row.place, f"judge is {kind_of(found.judge)}; expected the name of a person")
            continue
        yield from reading.pair(
            row,
            (sides[0][0].content, sides[0][1:], sides[1][1:]),
            label=label,
            votes=one_vote(label, str(found.judge)) if people else None,
            group=f"mt-bench:{found.question_id}",
        )


def _battle(
    row: Row,
    reading: Reading,
    name: str,
    sides: Sequence[Sequence[Message]],
    winner: str,
    judge: str | None,
    group: str | None = None,
) -> Iterator[Labelled]:
    a, b = sides
    for side, turns in (("a", a), ("b", b)):
        if [turn.role for turn in turns[:2]] != [*_ROLES]:
            reading.fault(row.place, f"conversation {side} does not begin with a user's message and an assistant's")
            return
    if [turn for turn in a if turn.role == "user"] != [turn for turn in b if turn.role == "user"]:
        reading.fault(row.place, "the user said different things to the two models")
        return
    if not all(any(turn.content.strip() for turn in side if turn.role == "assistant") for side in (a, b)):
        reading.count("dropped: an empty response")
        return
    if winner in _BAD:
        reading.count("ties where both were called bad")
    label = _label(winner)
    yield from reading.pair(
        row,
        (a[0].content, tuple(a[1:]), tuple(b[1:])),
        label=label,
        votes=one_vote(label, judge),
        source_id=name,
        group=group,
    )


def _label(winner: str) -> Label:
    return "a" if winner == "model_a" else "b" if winner == "model_b" else "tie"


SOURCES = (
    Source(
        name="mt-bench",
        hub="lmsys/mt_bench_human_judgments",
        what="80 questions of two turns, six models",
        rows="human 3,355, gpt4_pair 2,400",
        licence="CC BY 4.0",
        votes="people by name, one or more; ties; gpt4: GPT-4's verdicts",
        parts={
            "human": one_table(read_mt_bench, "human", has_people=True),
            "gpt4": one_table(read_mt_bench, "gpt4_pair"),
        },
    ),
    Source(
        name="chatbot-arena",
        hub="lmsys/chatbot_arena_conversations",
        what="battles of two models in the words of 13,383 users",
        rows="train 33,000",
        licence="CC BY 4.0 (prompts), CC BY-NC 4.0 (outputs)",
        votes="1 person by name; ties",
        parts={"battles": one_table(read_conversations, "train", has_people=True)},
    ),
    Source(
        name="arena-55k",
        hub="lmarena-ai/arena-human-preference-55k",
        what="battles of two models",
        rows="train 57,477",
        licence="Apache-2.0",
        votes="1 person; ties",
        parts={"battles": one_table(read_texts, "train", has_people=True, files=("train.csv",))},
    ),
    Source(
        name="arena-100k",
        hub="lmarena-ai/arena-human-preference-100k",
        what="battles of two models, summer 2024",
        rows="train ~106,134",
        licence="mixed",
        votes="1 person by name; ties",
        parts={"battles": one_table(read_conversations, "train", has_people=True)},
    ),
    Source(
        name="arena-140k",
        hub="lmarena-ai/arena-human-preference-140k",
        what="battles of two models, 2025",
        rows="train ~136,000",
        licence="CC BY 4.0 (prompts); outputs under providers' terms",
        votes="1 person; ties",
        parts={"battles": one_table(read_parts, "train", has_people=True)},
    ),
)
