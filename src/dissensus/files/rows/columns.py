"""Columns of a source: which of them we know, which look misspelt, and what somebody has said of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from dissensus.errors import InputError
from dissensus.files.readers import Row, Values
from dissensus.records import Text, Vote

Layout = Literal["pairs", "trl"]
Notice = Callable[[str], None]

PAIR_COLUMNS: Mapping[str, Any] = {
    "id": str,
    "prompt": Text,
    "response_a": Text,
    "response_b": Text,
    "label": str | None,
    "label_is_a_vote": bool | None,
    "dataset": str | None,
    "domain": str | None,
    "category": str | None,
    "distinct": str | None,
    "group": str | None,
    "votes_a": int | None,
    "votes_b": int | None,
    "votes_tie": int | None,
    "votes": tuple[Vote, ...] | None,
}
"""The columns of a flat pair with their types."""

CHOICES = ("winner", "preference", "preferred", "choice", "better", "vote")
"""Columns of other people's that hold who won, where there is neither a label nor votes."""
CONVERSATIONS = ("conversations", "conversation", "messages")
"""Columns that hold the prompt of chosen and rejected replies, in ShareGPT's and other layouts."""

DESCRIPTIVE = ("dataset", "domain", "category", "distinct", "group")
"""Columns that a pair takes over as they are, from either layout."""

_KNOWN: dict[Layout, tuple[str, ...]] = {
    "pairs": (*PAIR_COLUMNS, "tools"),
    "trl": ("id", "prompt", "chosen", "rejected", "margin", "tools", *DESCRIPTIVE),
}
_OPENAI = {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}
"""What OpenAI's files for preference tuning call our columns."""
_PROMPTS = ("question", "instruction", "query", "input", "prompts", "context", "post", "problem", "text", "user")
_NO_TEXTS = ("model", "vote", "score", "rating", "winner", "annotator", "rater", "worker", "label")
_PERSON = re.compile(
    r"(annotator|rater|worker|labeler|labeller|votes?|label|participant|reviewer|evaluator|expert|coder|person|user)"
    r"_?\d+(_(?:vote|label|choice|preference))?"
)
_REQUIRED: dict[Layout, tuple[str, ...]] = {
    "pairs": ("prompt", "response_a", "response_b"),
    "trl": ("chosen", "rejected"),
}


def near_misses(absent: Collection[str], unknown: Collection[str]) -> dict[str, str]:
    """Match each absent column with the unknown one that looks like a misspelling of it.

    >>> near_misses(["prompt", "votes_a", "label"], ["promt", "vote_a", "Lable", "judges"])
    {'prompt': 'promt', 'votes_a': 'vote_a', 'label': 'Lable'}
    """
    left = list(unknown)
    found = {}
    for ours in absent:
        match = max(left, key=lambda theirs: _likeness(ours, theirs), default="")
        if match and _likeness(ours, match) > 0.85:
            found[ours] = match
            left.remove(match)
    return found


def _likeness(ours: str, theirs: str) -> float:
    plain = plain_name(theirs)
    if sorted(plain) == sorted(ours):  # letters swapped: lable
        return 1.0
    return SequenceMatcher(None, ours, plain).ratio()


def plain_name(name: str) -> str:
    """Write a column's name as ours are written."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def is_person(name: str) -> bool:
    """Whether a column is named like one annotator's of several: ``annotator_1``, ``Rater 2``, ``vote3``."""
    return _PERSON.fullmatch(plain_name(name)) is not None


def people_among(names: Collection[str]) -> list[str]:
    """Keep the columns that are named like one annotator's; beside ``rater_1_choice``, ``rater_1`` says who that was.

    >>> people_among(["rater_1", "rater_1_choice", "rater_2", "note"])
    ['rater_1_choice', 'rater_2']
    """
    matches = {name: match for name in names if (match := _PERSON.fullmatch(plain_name(name)))}
    choosers = {plain_name(name).removesuffix(match[2]) for name, match in matches.items() if match[2]}
    return [name for name, match in matches.items() if match[2] or plain_name(name) not in choosers]


def may_be_responses(names: Sequence[str]) -> bool:
    """Whether columns named like annotators' may as well hold a number for each response: ``label_0`` and ``label_1``.

    >>> may_be_responses(["votes_1", "votes_2"]), may_be_responses(["rater_1", "rater_2"])
    (True, False)
    """
    matches = [_PERSON.fullmatch(plain_name(name)) for name in names]
    return len(names) == 2 and all(match and match[1] in ("label", "vote", "votes") for match in matches)


def _is_candidate(name: str) -> bool:
    """Whether a column may hold who won, or a conversation, under a name of its own; its values will tell."""
    return plain_name(name) in (*CHOICES, *CONVERSATIONS) or is_person(name)


class ColumnMap:
    """Renames the columns of a source to ours, and checks each new set of names once.

    ``columns`` maps our name to theirs; to nothing, our column is not read at all. Unknown columns are named once
    through ``notice`` and left alone. ``people`` are columns that somebody has asked for besides.
    """

    def __init__(self, columns: Mapping[str, str] | None, notice: Notice, people: Collection[str] = ()) -> None:
        self.ours = {ours: theirs for ours, theirs in (columns or {}).items() if theirs}
        self.left_alone = {ours for ours, theirs in (columns or {}).items() if not theirs}
        """Our columns that are not to be read."""
        self._people = frozenset(people)
        self._notice = notice
        self._named: set[str] = set()
        self._checked: set[tuple[str, ...]] = set()
        self.layout: Layout | None = None
        """Set by the first row: flat pairs, or a trainer's chosen and rejected."""
        self.candidates: dict[str, None] = {}
        """Columns that may hold what ours do under names of their own, in the order of the file."""
        self.likely_prompts: list[str] = []
        """Columns named as others call the prompt, where there is none."""
        self._refuse_unknown_names()

    def _refuse_unknown_names(self) -> None:
        known = dict.fromkeys((*_KNOWN["pairs"], *_KNOWN["trl"]))
        for ours in (*self.ours, *self.left_alone):
            if ours not in known:
                raise InputError(f"column mapping: {ours!r} is none of our columns; choose from {', '.join(known)}")

    def rename(self, row: Row) -> Values:
        """Return the row's values under our names.

        Raises InputError where the first row lacks a required column, or where any row holds a near miss.
        """
        if self.layout is None:
            self._take_openai(row.values)
        values = self._renamed(row) if self.ours or self.left_alone or self._people else row.values
        names = tuple(values)
        if names not in self._checked:
            self._check(names, row.place)
            self._checked.add(names)
        return values

    def _take_openai(self, names: Collection[str]) -> None:
        """Read OpenAI's columns as ours, unless somebody has said what is what."""
        sides = (*_OPENAI, "response_a", "response_b")
        is_other = any(self.ours.get(ours, _OPENAI.get(ours)) != _OPENAI.get(ours) for ours in sides)
        if is_other or not set(_OPENAI.values()) <= {*names} or not {*names, *self.left_alone}.isdisjoint(sides):
            return
        if not _OPENAI.items() <= self.ours.items():
            self._notice(f"columns {', '.join(_OPENAI.values())} are read as {', '.join(_OPENAI)}")
        self.ours |= _OPENAI

    def leave(self, names: Collection[str]) -> None:
        """Say that candidates turned out to hold nothing of ours."""
        self._name_unknown(list(names))

    def _renamed(self, row: Row) -> Values:
        values = row.values
        if self.layout is None:
            for theirs, use in (*((t, f"use as {o}") for o, t in self.ours.items()), *((t, "") for t in self._people)):
                if theirs not in values:
                    raise InputError(
                        f"{row.place}: no column {theirs!r} to {use or 'read votes from'}; found {', '.join(values)}; "
                        "fix the mapping"
                    )
        taken = {*self.ours.values(), *self.ours, *self.left_alone} - self._people
        rest = {name: value for name, value in values.items() if name not in taken}
        return rest | {ours: values.get(theirs) for ours, theirs in self.ours.items()}

    def _check(self, names: tuple[str, ...], place: str) -> None:
        layout = self.layout or ("trl" if _is_trl(names) else "pairs")
        known = _KNOWN[layout]
        unknown = [name for name in names if name not in known and name not in self._people]
        candidates = [name for name in unknown if _is_candidate(name)]
        unknown = [name for name in unknown if name not in candidates]
        absent = [name for name in known if name not in names and name not in self.left_alone]
        for ours, theirs in near_misses(absent, unknown).items():
            raise InputError(
                f"{place}: there is no column {ours!r} but {theirs!r} looks like it; rename it, or pass "
                f"--column {ours}={shlex.quote(theirs)}, or leave it alone with --column {ours}="
            )
        if self.layout is None:
            _refuse_missing(layout, names, place)
        self.layout = layout
        self.candidates.update(dict.fromkeys(candidates))
        if layout == "trl" and "prompt" in absent:
            self.likely_prompts += [name for name in unknown if plain_name(name) in _PROMPTS]
        self._name_unknown(unknown)

    def _name_unknown(self, unknown: list[str]) -> None:
        new = [name for name in unknown if name not in self._named]
        self._named.update(new)
        if new:
            self._notice(f"columns left alone, unknown here: {', '.join(new)}")


def _is_trl(names: Collection[str]) -> bool:
    return not {"response_a", "response_b"} & set(names) and bool({"chosen", "rejected"} & set(names))


def _refuse_missing(layout: Layout, names: Collection[str], place: str) -> None:
    missing = [name for name in _REQUIRED[layout] if name not in names]
    if missing:
        other = (
            " (nor chosen and rejected)" if layout == "pairs" and not {"response_a", "response_b"} & set(names) else ""
        )
        options = " ".join(
            f"--column {ours}={shlex.quote(theirs)}" for ours, theirs in likely_columns(missing, names).items()
        )
        raise InputError(
            f"{place}: no column {' or '.join(missing)}{other}; found {', '.join(names) or 'none'}; name it: {options}"
        )


def likely_columns(missing: Collection[str], names: Collection[str]) -> dict[str, str]:
    """Say which of a file's columns each missing one may be; NAME where none looks like it.

    >>> likely_columns(["prompt", "response_a", "response_b"], ["question", "answer_1", "answer_2"])
    {'prompt': 'question', 'response_a': 'answer_1', 'response_b': 'answer_2'}
    """
    two = ("NAME", "NAME")
    for one in names:
        twin = _twin(one)
        if twin in names and twin is not None and not one.lower().startswith(_NO_TEXTS):
            two = (one, twin)
            break
    sides = {"response_a": two[0], "response_b": two[1]}
    prompt = next((name for name in names if plain_name(name) in _PROMPTS), "NAME")
    return {ours: prompt if ours == "prompt" else sides.get(ours, "NAME") for ours in missing}


def _twin(name: str) -> str | None:
    """Name the other response's column: ``answer_2`` of ``answer_1``."""
    following = {"a": "b", "A": "B", "0": "1", "1": "2"}.get(name[-1:])
    return None if following is None else name[:-1] + following


@dataclass(frozen=True)
class Voters:
    """Where a source has its people, as somebody has said (``--annotator``, ``--vote``)."""

    annotator: str | None = None
    """The column that names who voted: each row is one vote."""
    votes: tuple[str, ...] = ()
    """The column of the vote; several are one for each annotator."""

    @property
    def are_columns(self) -> bool:
        """Whether each annotator has a column."""
        return len(self.votes) > 1

    @property
    def are_rows(self) -> bool:
        """Whether each row is one vote."""
        return not self.are_columns and (self.annotator is not None or bool(self.votes))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read beside ours."""
        return self.votes if self.are_columns else (self.annotator,) if self.annotator else ()


@dataclass(frozen=True)
class Asked:
    """All that is known of a source before its rows are looked at."""

    mapping: ColumnMap
    values: Mapping[str, Mapping[str, str]]
    """A column's values to ours (``--value``), by our name of the column or theirs."""
    voters: Voters
    notice: Notice

    def meanings(self, *names: str) -> dict[str, str]:
        """Collect what was given for a column, by any of its names."""
        return {str(theirs).lower(): ours for name in names for theirs, ours in self.values.get(name, {}).items()}
