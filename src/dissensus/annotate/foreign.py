"""Answers given in other tools: their fields and questions by our names, their values as ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dissensus.annotate.terms import Said
from dissensus.annotate.wording import DISTINGUISHABILITY, PREFERENCE, SUBJECTIVITY
from dissensus.errors import InputError
from dissensus.files.pairs import descriptive, name_of, text_of
from dissensus.files.reading import decode_json, kind_of
from dissensus.records import Order, Pair, content_id

FIELDS = ("prompt", "response_a", "response_b")
QUESTIONS = ("correct", "distinct", "estimate", "choice", "note")

_WORDS: dict[str, dict[str, str]] = {
    "correct": {option.words.lower(): option.value for option in SUBJECTIVITY.options},
    "distinct": {option.words.lower(): option.value for option in DISTINGUISHABILITY.options},
    "estimate": {option.words.lower(): option.value for option in PREFERENCE.options},
    "choice": {"left": "a", "right": "b", "response_a": "a", "response_b": "b", "equal": "tie", "neither": "tie"},
}
_OURS: dict[str, tuple[str, ...]] = {
    "correct": ("single", "multiple"),
    "distinct": ("yes", "no"),
    "choice": ("a", "b", "tie"),
    "estimate": tuple(str(n) for n in range(11)),
}


@dataclass(frozen=True)
class Names:
    """What the other tool calls things, by our names; what is not named is called as we call it."""

    fields: Mapping[str, str] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(our question, their value) to our value."""

    def check(self) -> None:
        """Raise InputError for names that are none of ours."""
        for given, known, option in ((self.fields, FIELDS, "--field"), (self.questions, QUESTIONS, "--question")):
            for name in given:
                if name not in known:
                    raise InputError(f"{option} {name}: is none of ours; choose from {', '.join(known)}")
        for question, _ in self.values:
            if question not in _OURS:
                raise InputError(f"--value {question}: is none of our questions; choose from {', '.join(_OURS)}")

    def pair(self, data: Mapping[str, Any], identity: Any, place: str) -> Pair:
        """Make a pair of a tool's fields. Raises InputError."""
        lacking = [self.fields.get(name, name) for name in FIELDS if self.fields.get(name, name) not in data]
        if lacking:
            ours = next(name for name in FIELDS if self.fields.get(name, name) == lacking[0])
            found = ", ".join(map(str, data)) or "none"
            raise InputError(f"{place}: no field {lacking[0]!r}; found {found}; name it: --field {ours}=NAME")
        try:
            texts = {name: text_of(_spoken(data[self.fields.get(name, name)]), name) for name in FIELDS}
            return Pair(
                id=name_of(identity, "id") or content_id(*texts.values()),
                **texts,
                **descriptive({name: value for name, value in data.items() if name not in ("category", "distinct")}),
            )
        except ValueError as error:
            raise InputError(f"{place}: {error}; mend the row") from error

    def said(self, values: Mapping[str, Any], seconds: float | None, place: str) -> Said | None:
        """Make what one person said of the values by the tool's question names; None where nothing of ours is in it."""
        ours = {
            name: values[self.questions.get(name, name)]
            for name in QUESTIONS
            if self.questions.get(name, name) in values
        }
        if not ours:
            return None
        told: dict[str, Any] = {
            name: str(value) if name == "note" else self._value(name, value, place) for name, value in ours.items()
        }
        try:
            return Said(**told, seconds=seconds)
        except ValidationError as error:
            raise InputError(f"{place}: {error.errors()[0]['msg']}; mend the answer") from error

    def _value(self, question: str, value: Any, place: str) -> str | int:
        number = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        text = str(int(value)) if number else str(value).strip()
        known = self.values.get((question, text)) or _WORDS[question].get(text.lower(), text.lower())
        if known not in _OURS[question]:
            raise InputError(
                f"{place}: {self.questions.get(question, question)} is {kind_of(value)}; expected "
                f"{', '.join(_OURS[question])}; map it: --value {question}:{text}={_OURS[question][0]}"
            )
        return int(known) if question == "estimate" else known


def _spoken(value: Any) -> Any:
    # Chat fields carry more keys than role and content in some tools.
    if isinstance(value, list) and all(isinstance(turn, Mapping) and "content" in turn for turn in value):
        return [{"role": turn.get("role", "user"), "content": turn["content"]} for turn in value]
    return value


@dataclass(frozen=True)
class Foreign:
    """One person's answer to one pair, from another tool."""

    pair_id: str
    annotator: str
    kind: Literal["answer", "skip"]
    said: Said | None
    shown: Order = "ab"
    reason: str = ""
    at: int | None = None
    """Milliseconds since 1970; None where the tool does not say."""


@dataclass(frozen=True)
class Found:
    """What is in another tool's export."""

    pairs: list[Pair]
    answers: list[Foreign]
    left_out: int
    """Answers that are drafts, empty, or not the newest of a person."""


def newest(answers: Iterable[Foreign]) -> tuple[list[Foreign], int]:
    """Keep the newest answer of each person to each pair; returns them and how many were left out."""
    given = list(answers)
    kept: dict[tuple[str, str], Foreign] = {}
    for answer in given:
        earlier = kept.get((answer.pair_id, answer.annotator))
        if earlier is None or (answer.at or 0) >= (earlier.at or 0):
            kept[answer.pair_id, answer.annotator] = answer
    return list(kept.values()), len(given) - len(kept)


def read_list(path: Path, tool: str) -> list[dict[str, Any]]:
    """Read a JSON list of objects, or one object a line. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text; export it from {tool} as JSON") from error
    try:
        is_lines = path.suffix == ".jsonl"
        found = [decode_json(line) for line in text.splitlines() if line.strip()] if is_lines else decode_json(text)
    except (ValueError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: {error}; export it from {tool} as JSON") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(f"{path}: expected a list of objects, as {tool} exports it")
    return found
