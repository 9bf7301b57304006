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


class Judgment(SourceRow):
    """A row of mt_bench_human_judgments: one judge's vote on the first turn, or on both."""

    question_id: int
    winner: Literal["model_a", "model_b", "tie", "tie (inconsistent)"]
    judge: str | list[str]
    conversation_a: list[Turn]
    conversation_b: list[Turn]
    turn: Annotated[int, Field(ge=1, le=2)]


class Battle(SourceRow):
    """A row of chatbot_arena_conversations or arena-human-preference-100k."""

    question_id: str
    winner: Literal["model_a", "model_b", "tie", "tie (bothbad)"]
    conversation_a: Annotated[list[Turn], Field(min_length=2)]
    conversation_b: Annotated[list[Turn], Field(min_length=2)]
    judge: str | None = None
    judge_hash: str | None = None


class Part(SourceRow):
    """A piece of a message: text, or something else."""

    type: str
    text: str | None = None


class PartTurn(SourceRow):
    """A message of several pieces, perhaps of none."""

    role: Annotated[str, Field(min_length=1)]
    content: list[Part]


class PartBattle(SourceRow):
    """A row of arena-human-preference-140k."""

    id: str
    winner: Literal["model_a", "model_b", "tie", "both_bad"]
    evaluation_session_id: str
    conversation_a: Annotated[list[PartTurn], Field(min_length=2)]
    conversation_b: Annotated[list[PartTurn], Field(min_length=2)]


def _json_texts(value: Any) -> Any:
    return decode_json(value) if isinstance(value, str) else value


def _flag(value: Any) -> Any:
    return {"0": 0, "1": 1}.get(value, value) if isinstance(value, str) else value


_Texts = Annotated[list[str | None], Field(min_length=1), BeforeValidator(_json_texts)]
_Flag = Annotated[int, Field(ge=0, le=1), BeforeValidator(_flag)]


class TextBattle(SourceRow):
    """A row of arena-human-preference-55k: JSON lists in text, one element a turn."""

    id: Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) and not isinstance(v, bool) else v)]
    prompt: _Texts
    response_a: _Texts
    response_b: _Texts
    winner_model_a: _Flag
    winner_model_b: _Flag
    winner_tie: _Flag


def read_mt_bench(reading: Reading) -> Iterator[Labelled]:
    """Read judgments of people, each a vote on two conversations."""
    return _mt_bench(reading, people=True)


def read_mt_bench_gpt4(reading: Reading) -> Iterator[Labelled]:
    """Read GPT-4's judgments, as labels: it is no person."""
    return _mt_bench(reading, people=False)


def read_conversations(reading: Reading) -> Iterator[Labelled]:
    """Read battles with one vote each."""
    for row, found in reading.rows(Battle):
        a, b = messages(found.conversation_a), messages(found.conversation_b)
        yield from _battle(row, reading, found.question_id, a, b, found.winner, found.judge or found.judge_hash)


def read_parts(reading: Reading) -> Iterator[Labelled]:
    """Read battles whose messages have pieces; those with an image are dropped. A session's battles are one group."""
    for row, found in reading.rows(PartBattle):
        turns = (*found.conversation_a, *found.conversation_b)
        if any(part.type != "text" for turn in turns for part in turn.content):
            reading.count("dropped: a message with something other than text")
            continue
        a, b = (_joined(side) for side in (found.conversation_a, found.conversation_b))
        group = f"{reading.dataset}:{found.evaluation_session_id}"
        yield from _battle(row, reading, found.id, a, b, found.winner, None, group=group)


def read_texts(reading: Reading) -> Iterator[Labelled]:
    """Read battles out of lists of texts; a turn that is null was empty."""
    for row, found in reading.rows(TextBattle):
        if found.winner_model_a + found.winner_model_b + found.winner_tie != 1:
            reading.fault(row.place, "not exactly one of winner_model_a, winner_model_b and winner_tie is 1")
            continue
        if not len(found.prompt) == len(found.response_a) == len(found.response_b):
            reading.fault(row.place, "prompt, response_a and response_b have different numbers of turns")
            continue
        a, b = (_interleaved(found.prompt, replies) for replies in (found.response_a, found.response_b))
        winner = "model_a" if found.winner_model_a else "model_b" if found.winner_model_b else "tie"
        yield from _battle(row, reading, found.id, a, b, winner, None)


def _mt_bench(reading: Reading, *, people: bool) -> Iterator[Labelled]:
    for row, found in reading.rows(Judgment):
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
        # A list names a model and how it judged: ["gpt-4", "pair"].
        if people and not (isinstance(found.judge, str) and found.judge):
            reading.fault(row.place, f"judge is {kind_of(found.judge)}; expected the name of a person")
            continue
        yield from reading.pair(
            row,
            prompt=sides[0][0].content,
            a=sides[0][1:],
            b=sides[1][1:],
            label=label,
            votes=one_vote(label, str(found.judge)) if people else None,
            group=f"mt-bench:{found.question_id}",
        )


def _battle(
    row: Row,
    reading: Reading,
    name: str,
    a: Sequence[Message],
    b: Sequence[Message],
    winner: str,
    judge: str | None,
    **fields: Any,
) -> Iterator[Labelled]:
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
        prompt=a[0].content,
        a=tuple(a[1:]),
        b=tuple(b[1:]),
        label=label,
        votes=one_vote(label, judge),
        source_id=name,
        **fields,
    )


def _label(winner: str) -> Label:
    sides: dict[str, Label] = {"model_a": "a", "model_b": "b"}
    return sides.get(winner, "tie")


def _joined(turns: Sequence[PartTurn]) -> tuple[Message, ...]:
    return tuple(Message(role=t.role, content="".join(part.text or "" for part in t.content)) for t in turns)


def _interleaved(prompts: Sequence[str | None], replies: Sequence[str | None]) -> tuple[Message, ...]:
    turns = []
    for prompt, reply in zip(prompts, replies, strict=True):
        turns += [Message(role="user", content=prompt or ""), Message(role="assistant", content=reply or "")]
    return tuple(turns)


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
            "gpt4": one_table(read_mt_bench_gpt4, "gpt4_pair"),
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
