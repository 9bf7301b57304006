"""Answers of other tools: their fields and questions under our names, their values as ours."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dissensus.annotate.exchange.rankings import preferred, tiers
from dissensus.annotate.project.sides import Said
from dissensus.annotate.questions import DISTINGUISHABILITY, PREFERENCE, SUBJECTIVITY
from dissensus.errors import InputError
from dissensus.files.readers import format_of, kind_of, read_rows
from dissensus.files.rows.bad_rows import Faults, describe
from dissensus.files.rows.cells import name_of, unicode_of
from dissensus.files.rows.chat import text_of
from dissensus.files.rows.choice_words import side_named
from dissensus.files.rows.pair_rows import descriptive
from dissensus.records import Label, Pair, content_id

FIELDS = ("prompt", "response_a", "response_b")
_DESCRIPTIVE = ("dataset", "domain", "group")
QUESTIONS = ("correct", "distinct", "estimate", "choice", "note")

_WORDS: dict[str, dict[str, str]] = {
    "correct": {option.words.lower(): option.value for option in SUBJECTIVITY.options},
    "distinct": {option.words.lower(): option.value for option in DISTINGUISHABILITY.options},
    "estimate": {option.words.lower(): option.value for option in PREFERENCE.options},
    "choice": {"left": "a", "right": "b"},
}
_SIDES = ("left", "right")
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

    def theirs(self, ours: str) -> str:
        """Return what they call a field or question."""
        return self.fields.get(ours) or self.questions.get(ours, ours)

    def check(self) -> None:
        """Raise InputError for names that are none of ours."""
        for given, known, option in ((self.fields, FIELDS, "--field"), (self.questions, QUESTIONS, "--question")):
            for name in given:
                if name not in known:
                    raise InputError(f"{option} {name}: unknown name; choose from {', '.join(known)}")
        for question, _ in self.values:
            if question not in _OURS:
                raise InputError(f"--value {question}: unknown question; choose from {', '.join(_OURS)}")

    def pair(self, data: Mapping[str, Any], identity: Any, place: str, unfit: set[str]) -> Pair:
        """Make a pair of a tool's fields. Raises InputError.

        Columns that are called as ours and mean something else are left out, and added to ``unfit``.
        """
        lacking = [name for name in FIELDS if self.theirs(name) not in data]
        if lacking:
            found = ", ".join(map(str, data)) or "none"
            field = f"--field {lacking[0]}=NAME"
            raise InputError(f"{place}: no field {self.theirs(lacking[0])!r}; found {found}; name it: {field}")
        try:
            texts = {name: text_of(_spoken(data[self.theirs(name)]), name) for name in FIELDS}
            return Pair(id=name_of(identity, "id") or content_id(*texts.values()), **texts, **_described(data, unfit))
        except ValueError as error:
            raise InputError(f"{place}: {describe(error)}; fix the row") from error

    def said(self, values: Mapping[str, Any], seconds: float | None, place: str) -> Said | None:
        """Make what one person said of the values by the tool's question names; None where nothing of ours is in it."""
        ours = {name: values[self.theirs(name)] for name in QUESTIONS if not _is_nothing(values.get(self.theirs(name)))}
        if not ours:
            return None
        values_of: dict[str, Any] = {
            name: _words(value) if name == "note" else self._value(name, value, place) for name, value in ours.items()
        }
        try:
            return Said(**values_of, seconds=seconds)
        except ValidationError as error:
            raise InputError(f"{place}: {error.errors()[0]['msg']}; fix the answer") from error

    def response_at(self, place: Any, shown: Sequence[str]) -> str | None:
        """Name the response on the left or right of two that are shown under names; None where those do not say.

        What `values` have for left or right goes before.
        """
        known = [name.strip() for name in shown]
        if place not in _SIDES or any(("choice", each) in self.values for each in _SIDES):
            return None
        is_clear = len(known) == 2 and {self._side(name) for name in known} == {"a", "b"}
        return known[_SIDES.index(place)] if is_clear else None

    def _value(self, question: str, value: Any, place: str) -> str | int:
        ranking = tiers(value)
        if ranking is not None:
            return self._ranked(question, ranking, place)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        theirs, expected = self.theirs(question), ", ".join(_OURS[question])
        if isinstance(value, list | Mapping):
            raise InputError(
                f"{place}: {theirs} is {kind_of(value)}; expected one of {expected}; name another question"
            )
        text = _text(value)
        known = self._side(text) if question == "choice" else self._ours(question, text)
        if known not in _OURS[question]:
            raise InputError(
                f"{place}: {theirs} is {kind_of(value)}; expected {expected}; "
                f"map it: --value {_quoted(f'{question}:{text}={_OURS[question][0]}')}"
            )
        return int(known) if question == "estimate" else known

    def _ours(self, question: str, text: str) -> str:
        return self.values.get((question, text)) or _WORDS[question].get(text.lower(), text.lower())

    def _side(self, text: str) -> Label | None:
        of_fields = {self.theirs(name): side for name, side in (("response_a", "a"), ("response_b", "b"))}
        named = self.values.get(("choice", text)) or of_fields.get(text)
        found = named or side_named(text) or self._ours("choice", text)
        return found if found in _OURS["choice"] else None  # type: ignore[return-value]

    def _ranked(self, question: str, ranking: Sequence[Sequence[str]], place: str) -> Label:
        names = [name for names in ranking for name in names]
        theirs = self.theirs(question)
        if question != "choice":
            raise InputError(
                f"{place}: {theirs} ranks {', '.join(names)}; a ranking is a choice: --question "
                + shlex.quote(f"choice={theirs}")
            )
        found = preferred(ranking, self._side)
        if found is None:
            raise InputError(
                f"{place}: {theirs} ranks {', '.join(names)}; which of them the two responses are is not known; "
                f"name them: --value {_quoted(f'choice:{names[0]}=a')} --value {_quoted(f'choice:{names[1]}=b')}"
            )
        return found


def _described(data: Mapping[str, Any], unfit: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in _DESCRIPTIVE:
        try:
            value = descriptive({column: data.get(column)})
        except ValueError:
            unfit.add(column)
        else:
            found |= value
    return found


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", []) or (isinstance(value, float) and math.isnan(value))


def _quoted(text: str) -> str:
    # Always in quotes, for whoever puts another value in.
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _text(value: Any) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value).strip()


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


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
    reason: str = ""
    at: int | None = None
    """Milliseconds since 1970; None where the tool does not say."""


@dataclass(frozen=True)
class Found:
    """What is in another tool's export."""

    pairs: list[Pair]
    answers: list[Foreign]
    left_out: Mapping[str, int]
    """Answers that do not come in, by reason."""
    unread: tuple[str, ...] = ()
    """Questions of the file that were not asked for."""
    assumed: int = 0
    """Answers whose status the file does not say."""
    unfit: tuple[str, ...] = ()
    """Columns that are called as ours and mean something else."""
    unnamed: int = 0
    """Answers and skips that do not say whose they are."""


class Gathering:
    """What is gathered of an export while it is read."""

    def __init__(self, path: Path, names: Names) -> None:
        names.check()
        self._path, self._names = path, names
        self._pairs: dict[str, Pair] = {}
        self._answers: list[Foreign] = []
        self._questions: dict[str, None] = {}
        self._columns: dict[str, None] = {}
        self._left_out: Counter[str] = Counter()
        self._lengths: set[int] = set()
        self._unfit: set[str] = set()
        self._unnamed: Counter[str] = Counter()
        self._given = 0
        self.assumed = 0

    def pair(self, data: Mapping[str, Any], identity: Any, place: str) -> Pair:
        """Add the pair of a tool's fields, once. Raises InputError."""
        pair = self._names.pair(data, identity, place, self._unfit)
        earlier = self._pairs.setdefault(pair.id, pair)
        if (earlier.prompt, earlier.response_a, earlier.response_b) != (pair.prompt, pair.response_a, pair.response_b):
            raise InputError(
                f"{place}: pair {pair.id!r} stands in the file with other texts; give each an id of its own"
            )
        return earlier

    def asked(self, questions: Iterable[str]) -> None:
        """Note the names of questions that the file has."""
        self._questions.update(dict.fromkeys(questions))

    def may_ask(self, columns: Iterable[str]) -> None:
        """Note the names of columns that may be questions."""
        self._columns.update(dict.fromkeys(columns))

    def somebody(self, pair: Pair) -> str:
        """Name whoever the tool does not: two of those to a pair may be two people."""
        self._unnamed[pair.id] += 1
        return f"unknown {self._unnamed[pair.id]}"

    def leave_out(self, reason: str, n: int = 1) -> None:
        """Count answers that do not come in."""
        self._left_out[reason] += n

    def add(
        self, pair: Pair, person: str, values: Mapping[str, Any], place: str, seconds: float | None, at: int | None
    ) -> None:
        """Add what a person said, by the tool's question names. Raises InputError."""
        _check_name(person, place)
        choice = values.get(self._names.theirs("choice"))
        if isinstance(choice, list):
            self._lengths.add(len(choice))
        said = self._names.said(values, seconds, place)
        self._given += bool(values)
        if said is None:
            self.leave_out("without an answer to what was asked for")
        else:
            self._answers.append(Foreign(pair.id, person, "answer", said, at=at))

    def skip(self, pair: Pair, person: str, reason: str, place: str, at: int | None = None) -> None:
        """Add that a person skipped a pair. Raises InputError."""
        _check_name(person, place)
        self._answers.append(Foreign(pair.id, person, "skip", None, reason=reason, at=at))

    def found(self) -> Found:
        """Return what was gathered. Raises InputError where the file's questions are not the ones asked for."""
        there = self._questions | self._columns
        for ours, theirs in self._names.questions.items():
            if there and theirs not in there:
                raise InputError(f"{self._path}: --question {ours}={theirs}: no such question; found {_listed(there)}")
        known = {self._names.theirs(name) for name in QUESTIONS}
        votes = known - {self._names.theirs("note")}
        unread = tuple(name for name in self._questions if name not in known)
        if self._given and not votes & set(there):
            first = next((name for name in there if name not in known), "NAME")
            raise InputError(
                f"{self._path}: none of its questions is called {', '.join(_OURS)}; found {_listed(there)}; "
                f"say which is which: --question {shlex.quote(f'choice={first}')}"
            )
        if 1 in self._lengths and len(self._lengths) > 1:
            theirs = self._names.theirs("choice")
            raise InputError(
                f"{self._path}: {theirs} is one name in some answers and several in others, so several are no ranking; "
                "leave those out, or ask for another question: --question choice=NAME"
            )
        kept, replaced = newest(self._answers)
        if replaced:
            self.leave_out("replaced by a newer one of the same person", replaced)
        return Found(
            pairs=list(self._pairs.values()),
            answers=kept,
            left_out=dict(self._left_out),
            unread=unread,
            assumed=self.assumed,
            unfit=tuple(sorted(self._unfit)),
            unnamed=self._unnamed.total(),
        )


def _check_name(person: str, place: str) -> None:
    try:
        unicode_of(person, "the annotator's name")
    except ValueError as error:
        raise InputError(f"{place}: {error}; fix the name") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def newest(answers: Iterable[Foreign]) -> tuple[list[Foreign], int]:
    """Keep the newest answer of each person to each pair; returns them and how many were left out."""
    given = list(answers)
    kept: dict[tuple[str, str], Foreign] = {}
    for answer in given:
        earlier = kept.get((answer.pair_id, answer.annotator))
        if earlier is None or (answer.at or 0) >= (earlier.at or 0):
            kept[answer.pair_id, answer.annotator] = answer
    return list(kept.values()), len(given) - len(kept)


def read_objects(path: Path, tool: str) -> list[dict[str, Any]]:
    """Read a JSON list of objects, one object a line (under .json, too), Parquet or CSV. Raises InputError."""
    form = format_of(path) or "json"
    if form == "json" and not _is_list(path):
        form = "jsonl"
    return [row.values for row in read_rows(path, Faults(remedy=f"export it from {tool} as JSON again"), form=form)]


def _is_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError:
        return True  # `read_rows` reports it
