"""Answers of other tools: their fields and questions under our names, their values and rankings as ours."""

from __future__ import annotations

import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dissensus.annotate.project.sides import Said
from dissensus.annotate.questions import DISTINGUISHABILITY, PREFERENCE, SUBJECTIVITY
from dissensus.errors import InputError
from dissensus.files.readers import Values, format_of, kind_of, read_rows
from dissensus.files.rows.bad_rows import Faults, describe
from dissensus.files.rows.cells import bare_number, name_of, unicode_of
from dissensus.files.rows.chat import text_of
from dissensus.files.rows.choice_words import side_named
from dissensus.files.rows.pair_rows import descriptive
from dissensus.records import Label, Pair, content_id

FIELDS = ("prompt", "response_a", "response_b")
QUESTIONS = ("correct", "distinct", "estimate", "choice", "note")
_SIDES = ("left", "right")
_OURS: dict[str, tuple[str, ...]] = {
    "correct": ("single", "multiple"),
    "distinct": ("yes", "no"),
    "choice": ("a", "b", "tie"),
    "estimate": tuple(str(n) for n in range(11)),
}
_WORDS: dict[str, dict[str, str]] = {
    name: {option.words.lower(): option.value for option in task.options}
    for name, task in (("correct", SUBJECTIVITY), ("distinct", DISTINGUISHABILITY), ("estimate", PREFERENCE))
} | {"choice": {"left": "a", "right": "b"}}


@dataclass(frozen=True)
class Names:
    """What the other tool calls things, by our names; what is not named is called as we call it."""

    fields: Mapping[str, str] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (our question, their value) to our value

    def theirs(self, ours: str) -> str:
        """Return what they call a field or question."""
        return self.fields.get(ours) or self.questions.get(ours, ours)

    def check(self) -> None:
        """Raise InputError for names that are none of ours."""
        for option, given, known in (
            ("--field", self.fields, FIELDS),
            ("--question", self.questions, QUESTIONS),
            ("--value", [question for question, _ in self.values], _OURS),
        ):
            for name in given:
                if name not in known:
                    raise InputError(f"{option} {name}: unknown name; choose from {', '.join(known)}")

    def said(self, values: Mapping[str, Any], seconds: float | None, place: str) -> Said | None:
        """Make what one person said of the values by the tool's question names; None where nothing of ours is in it."""
        theirs = {name: values.get(self.theirs(name)) for name in QUESTIONS}
        ours = {name: self._value(name, value, place) for name, value in theirs.items() if not _is_nothing(value)}
        if not ours:
            return None
        try:
            return Said.model_validate({**ours, "seconds": seconds})
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
        if question == "note":
            return " ".join(map(str, value)) if isinstance(value, list) else str(value)
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
        text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
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
        ranks = f"{self.theirs(question)} ranks {', '.join(names)}"
        if question != "choice":
            option = shlex.quote(f"choice={self.theirs(question)}")
            raise InputError(f"{place}: {ranks}; a ranking is a choice: --question {option}")
        found = preferred(ranking, self._side)
        if found is None:
            raise InputError(
                f"{place}: {ranks}; which of them the two responses are is not known; "
                f"name them: --value {_quoted(f'choice:{names[0]}=a')} --value {_quoted(f'choice:{names[1]}=b')}"
            )
        return found


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", []) or (isinstance(value, float) and math.isnan(value))


def _quoted(text: str) -> str:
    # Always in quotes, for whoever puts another value in.
    return "'" + text.replace("'", "'\"'\"'") + "'"


@dataclass(frozen=True)
class Foreign:
    """One person's answer to one pair, from another tool."""

    pair_id: str
    annotator: str
    kind: Literal["answer", "skip"]
    said: Said | None
    reason: str = ""
    at: int | None = None  # milliseconds since 1970; None where the tool does not say


@dataclass(frozen=True)
class Found:
    """What is in another tool's export."""

    pairs: list[Pair]
    answers: list[Foreign]
    left_out: Mapping[str, int]  # answers that do not come in, by reason
    unread: tuple[str, ...] = ()  # questions of the file that were not asked for
    assumed: int = 0  # answers whose status the file does not say
    unfit: tuple[str, ...] = ()  # columns that are called as ours and mean something else
    unnamed: int = 0  # answers and skips that do not say whose they are


class Gathering:
    """What is gathered of an export while it is read."""

    def __init__(self, path: Path, names: Names) -> None:
        names.check()
        self._path, self._names = path, names
        self._pairs: dict[str, Pair] = {}
        self._answers: list[Foreign] = []
        self.asked: dict[str, None] = {}  # names of the questions that the file has, in their order
        self.may_ask: dict[str, None] = {}  # names of columns that may be questions
        self.left_out: Counter[str] = Counter()  # answers that do not come in, by reason
        self.assumed = 0
        self._lengths: set[int] = set()
        self._unfit: set[str] = set()
        self._unnamed: Counter[str] = Counter()
        self._has_values = False

    def pair(self, data: Mapping[str, Any], identity: Any, place: str) -> Pair:
        """Add the pair of a tool's fields, once. Raises InputError.

        Columns that are called as ours and mean something else are left out, and counted.
        """
        theirs = {name: self._names.theirs(name) for name in FIELDS}
        lacking = next((name for name in FIELDS if theirs[name] not in data), None)
        if lacking is not None:
            found = ", ".join(map(str, data)) or "none"
            option = f"--field {lacking}=NAME"
            raise InputError(f"{place}: no field {theirs[lacking]!r}; found {found}; name it: {option}")
        described: Values = {}
        for column in ("dataset", "domain", "group"):
            try:
                described |= descriptive({column: data.get(column)})
            except ValueError:
                self._unfit.add(column)
        try:
            texts = {name: text_of(_spoken(data[theirs[name]]), name) for name in FIELDS}
            pair = Pair(id=name_of(identity, "id") or content_id(*texts.values()), **texts, **described)
        except ValueError as error:
            raise InputError(f"{place}: {describe(error)}; fix the row") from error
        earlier = self._pairs.setdefault(pair.id, pair)
        if any(getattr(earlier, name) != getattr(pair, name) for name in FIELDS):
            raise InputError(
                f"{place}: pair {pair.id!r} stands in the file with other texts; give each an id of its own"
            )
        return earlier

    def somebody(self, pair: Pair) -> str:
        """Name whoever the tool does not: two of those to a pair may be two people."""
        self._unnamed[pair.id] += 1
        return f"unknown {self._unnamed[pair.id]}"

    def add(
        self, pair: Pair, person: str, values: Mapping[str, Any], place: str, seconds: float | None, at: int | None
    ) -> None:
        """Add what a person said, by the tool's question names. Raises InputError."""
        choice = values.get(self._names.theirs("choice"))
        if isinstance(choice, list):
            self._lengths.add(len(choice))
        said = self._names.said(values, seconds, place)
        self._has_values = self._has_values or bool(values)
        if said is None:
            self.left_out["without an answer to what was asked for"] += 1
        else:
            self._keep(Foreign(pair.id, person, "answer", said, at=at), place)

    def skip(self, pair: Pair, person: str, reason: str, place: str, at: int | None = None) -> None:
        """Add that a person skipped a pair. Raises InputError."""
        self._keep(Foreign(pair.id, person, "skip", None, reason=reason, at=at), place)

    def _keep(self, answer: Foreign, place: str) -> None:
        try:
            unicode_of(answer.annotator, "the annotator's name")
        except ValueError as error:
            raise InputError(f"{place}: {error}; fix the name") from error
        self._answers.append(answer)

    def found(self) -> Found:
        """Return what was gathered. Raises InputError where the file's questions are not the ones asked for."""
        self._check_questions()
        newest: dict[tuple[str, str], Foreign] = {}
        for answer in self._answers:
            earlier = newest.get((answer.pair_id, answer.annotator))
            if earlier is None or (answer.at or 0) >= (earlier.at or 0):
                newest[answer.pair_id, answer.annotator] = answer
        if replaced := len(self._answers) - len(newest):
            self.left_out["replaced by a newer one of the same person"] += replaced
        known = {self._names.theirs(name) for name in QUESTIONS}
        return Found(
            pairs=list(self._pairs.values()),
            answers=list(newest.values()),
            left_out=dict(self.left_out),
            unread=tuple(name for name in self.asked if name not in known),
            assumed=self.assumed,
            unfit=tuple(sorted(self._unfit)),
            unnamed=self._unnamed.total(),
        )

    def _check_questions(self) -> None:
        there = self.asked | self.may_ask
        listed = ", ".join(there) or "none"
        for ours, theirs in self._names.questions.items():
            if there and theirs not in there:
                raise InputError(f"{self._path}: --question {ours}={theirs}: no such question; found {listed}")
        if self._has_values and not any(self._names.theirs(name) in there for name in _OURS):
            first = next((name for name in there if name != self._names.theirs("note")), "NAME")
            raise InputError(
                f"{self._path}: none of its questions is called {', '.join(_OURS)}; found {listed}; "
                f"say which is which: --question {shlex.quote(f'choice={first}')}"
            )
        if 1 in self._lengths and len(self._lengths) > 1:
            raise InputError(
                f"{self._path}: {self._names.theirs('choice')} is one name in some answers and several in others, so "
                "several are no ranking; leave those out, or ask for another question: --question choice=NAME"
            )


def _spoken(value: Any) -> Any:
    # Chat fields carry more keys than role and content in some tools.
    if isinstance(value, list) and all(isinstance(turn, Mapping) and "content" in turn for turn in value):
        return [{"role": turn.get("role", "user"), "content": turn["content"]} for turn in value]
    return value


def read_objects(path: Path, tool: str) -> list[Values]:
    """Read a JSON list of objects, one object a line (under .json, too), Parquet or CSV. Raises InputError."""
    form = format_of(path) or "json"
    if form == "json":
        with suppress(OSError), path.open("rb") as file:  # `read_rows` reports it
            if not file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                form = "jsonl"
    return [row.values for row in read_rows(path, Faults(remedy=f"export it from {tool} as JSON again"), form=form)]


def as_rows(value: Any) -> list[Any] | None:
    """Read a list, or an object of lists of one length (as Arrow keeps lists of objects), as a list; else None.

    >>> as_rows({"value": ["x", "y"], "rank": [1, 2]})
    [{'value': 'x', 'rank': 1}, {'value': 'y', 'rank': 2}]
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping) or not value or not all(isinstance(column, list) for column in value.values()):
        return None
    if len({len(column) for column in value.values()}) > 1:
        return None
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def tiers(value: Any) -> list[list[str]] | None:
    """Read a ranking of two names or more, the best first; names in one tier are equal. None where it is none.

    >>> tiers(["y", "x"]), tiers([{"value": "x", "rank": 1}, {"value": "y", "rank": 1}])
    ([['y'], ['x']], [['x', 'y']])
    """
    rows = as_rows(value)
    if rows is None or len(rows) < 2:
        return None
    if all(isinstance(row, str) for row in rows):
        return [[row] for row in rows]
    if not all(isinstance(row, Mapping) and isinstance(row.get("value"), str) for row in rows):
        return None
    ranks = [row.get("rank") for row in rows]
    if all(rank is None for rank in ranks):
        return [[row["value"]] for row in rows]
    found: defaultdict[float, list[str]] = defaultdict(list)
    for row, rank in zip(rows, ranks, strict=True):
        number = bare_number(rank)
        if number is None or not number.is_integer():
            return None
        found[number].append(row["value"])
    return [found[number] for number in sorted(found)]


def preferred(ranking: Sequence[Sequence[str]], side_of: Callable[[str], Label | None]) -> Label | None:
    """Return the response that a ranking prefers, or that it holds them equal; None where it does not name both once.

    >>> preferred([["y"], ["z"], ["x"]], {"x": "a", "y": "b"}.get)
    'b'
    """
    places: dict[str, int] = {}
    for place, names in enumerate(ranking):
        for side in map(side_of, names):
            if side == "tie" or side in places:
                return None
            if side is not None:
                places[side] = place
    if len(places) < 2:
        return None
    return "tie" if places["a"] == places["b"] else "a" if places["a"] < places["b"] else "b"
