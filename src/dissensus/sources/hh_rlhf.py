"""Anthropic/hh-rlhf: two transcripts that differ in the assistant's last reply; a crowdworker chose one.

The prompt is everything before the last reply, as chat messages. Where the transcripts differ before it, there is no
common prompt: such rows are dropped, and counted. Which response is a is a matter of their hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

from pydantic import model_validator

from dissensus.files.source import Labelled
from dissensus.records import Message
from dissensus.sources.hub_table import Table
from dissensus.sources.public_set import Part, Source
from dissensus.sources.row_reader import Reading, SourceRow

_REPLY = "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class _Comparison(SourceRow):
    chosen: str
    rejected: str

    @model_validator(mode="after")
    def _are_transcripts(self) -> Self:
        for name, text in (("chosen", self.chosen), ("rejected", self.rejected)):
            if not text.startswith("\n\nHuman:"):
                raise ValueError(f"{name} does not begin with a blank line and 'Human:'")
            if _REPLY not in text:
                raise ValueError(f"{name} has no reply of the assistant")
        return self


def read(reading: Reading) -> Iterator[Labelled]:
    """Read comparisons; splits go by how a conversation opens."""
    for row, found in reading.rows(_Comparison):
        (prompt, _, chosen), (other, _, rejected) = (text.rpartition(_REPLY) for text in (found.chosen, found.rejected))
        if prompt != other:
            reading.count("dropped: transcripts that differ before the last reply")
            continue
        if "\n\nHuman:" in chosen or "\n\nHuman:" in rejected:
            reading.count("dropped: a transcript that ends with the human")
            continue
        turns = split_turns(prompt)
        if any(one.role == two.role for one, two in pairwise(turns)):
            reading.count("prompts with two turns of one speaker in a row")
        chosen, rejected = chosen.removeprefix(" "), rejected.removeprefix(" ")
        yield from reading.oriented(row, (turns, chosen, rejected), group=turns[0].content)


def split_turns(transcript: str) -> tuple[Message, ...]:
    """Cut a transcript into messages; the space behind a speaker's name is no part of what was said.

    >>> [turn.role for turn in split_turns("\\n\\nHuman: Hi\\n\\nAssistant: Yes?\\n\\nHuman: Bye")]
    ['user', 'assistant', 'user']
    """
    _, *parts = _TURN.split(transcript)
    return tuple(
        Message(role=_ROLES[speaker], content=text.removeprefix(" "))
        for speaker, text in zip(parts[::2], parts[1::2], strict=True)
    )


def _hh(*parts: str) -> Part:
    tables = tuple(
        Table(split, data_dir=part, files=(f"{part}/{split}.jsonl.gz", f"{part}/{split}.jsonl"))
        for split in ("train", "test")
        for part in parts
    )
    return Part(read, tables)


_PARTS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")

SOURCES = (
    Source(
        name="hh-rlhf",
        hub="Anthropic/hh-rlhf",
        what="dialogues; the more helpful, or the less harmful, last reply",
        rows="train 160,800, test 8,552",
        licence="MIT",
        votes="1 person; no ties",
        parts={"all": _hh(*_PARTS), **{part: _hh(part) for part in _PARTS}},
        paper="in",
        sizes={"train": 160800, "test": 8552},
    ),
)
