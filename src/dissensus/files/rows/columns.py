"""Columns of a source: which of them we know, which look misspelt, and what somebody has said of them."""

from __future__ import annotations

import re
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

_SIDES = ("response_a", "response_b")
_KNOWN: dict[Layout, tuple[str, ...]] = {
    "pairs": (*PAIR_COLUMNS, "tools"),
    "trl": ("id", "prompt", "chosen", "rejected", "margin", "tools", *DESCRIPTIVE),
}
_REQUIRED: dict[Layout, tuple[str, ...]] = {"pairs": ("prompt", *_SIDES), "trl": ("chosen", "rejected")}
_OPENAI = {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}
"""What OpenAI's files for preference tuning call our columns."""
_PROMPTS = ("question", "instruction", "query", "input", "prompts", "context", "post", "problem", "text", "user")
_NO_TEXTS = ("model", "vote", "score", "rating", "winner", "annotator", "rater", "worker", "label")
_PERSON = re.compile(
    r"(annotator|rater|worker|labeler|labeller|votes?|label|participant|reviewer|evaluator|expert|coder|person|user)"
    r"_?\d+(_(?:vote|label|choice|preference))?"
)
_said: set[tuple[tuple[str, ...], str]] = set()
"""Notices about tables in memory, with the tables' columns: a frame that is passed on is read again and again."""


def leave_alone(column: str) -> str:
    """Say how to have a column of ours not read, as Python writes it; the command line makes an option of it."""
    return f"leave the column alone: columns={ {column: ''} }"


def near_misses(absent: Collection[str], unknown: Collection[str]) -> dict[str, str]:
    """Match each absent column with the unknown one that looks like a misspelling of it.

    >>> near_misses(["prompt", "votes_a", "label"], ["promt", "vote_a", "Lable", "judges"])
    {'prompt': 'promt', 'votes_a': 'vote_a', 'label': 'Lable'}
    """
    left, found = list(unknown), {}
    for ours in absent:
        match = max(left, key=lambda theirs: _likeness(ours, theirs), default="")
        if match and _likeness(ours, match) > 0.85:
            found[ours] = match
            left.remove(match)
    return found


def _likeness(ours: str, theirs: str) -> float:
    plain = plain_name(theirs)
    is_swapped = sorted(plain) == sorted(ours)  # letters in another order: lable
    return 1.0 if is_swapped else SequenceMatcher(None, ours, plain).ratio()


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


@dataclass(frozen=True)
class Voters:
    """Where a source has its people, as somebody has said (``annotator`` and ``votes``)."""

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


class ColumnMap:
    """Renames the columns of a source to ours, checks each new set of names once, and holds what was said of them.

    Args:
        columns: our name to theirs; to nothing, our column is not read at all.
        notice: called with what is left alone or understood in one of several ways.
        voters: where people's votes are.
        values: a column's values to ours, by our name of the column or theirs.
        says_once: a notice that was given of a table with the same columns is not given again.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        notice: Notice,
        voters: Voters,
        values: Mapping[str, Mapping[str, str]],
        *,
        says_once: bool = False,
    ) -> None:
        self.ours = {ours: theirs for ours, theirs in columns.items() if theirs}
        self.left_alone = {ours for ours, theirs in columns.items() if not theirs}
        """Our columns that are not to be read."""
        self.voters = voters
        self.values = values
        self._people = voters.votes if voters.are_columns else tuple(filter(None, [voters.annotator]))
        """Columns that are read beside ours."""
        self._notice = notice
        self._says_once = says_once
        self._first: tuple[str, ...] = ()
        self._named: set[str] = set()
        self._checked: set[tuple[str, ...]] = set()
        self.layout: Layout | None = None
        """Set by the first row: flat pairs, or a trainer's chosen and rejected."""
        self.candidates: dict[str, None] = {}
        """Columns that may hold what ours do under names of their own, in the order of the file."""
        self.likely_prompts: list[str] = []
        """Columns named as others call the prompt, where there is none."""
        known = dict.fromkeys((*_KNOWN["pairs"], *_KNOWN["trl"]))
        if unknown := [ours for ours in columns if ours not in known]:
            raise InputError(f"column mapping: {unknown[0]!r} is none of our columns; choose from {', '.join(known)}")

    def say(self, text: str) -> None:
        """Give a notice about the columns."""
        if not (self._says_once and (self._first, text) in _said):
            self._notice(text)
        if self._says_once:
            _said.add((self._first, text))

    def meanings(self, *names: str) -> dict[str, str]:
        """Collect what was given for the values of a column, by any of its names."""
        return {str(theirs).lower(): ours for name in names for theirs, ours in self.values.get(name, {}).items()}

    def rename(self, row: Row) -> Values:
        """Return the row's values under our names.

        Raises InputError where the first row lacks a required column, or where any row holds a near miss.
        """
        if self.layout is None:
            self._first = tuple(row.values)
            self._take_openai(row.values)
            self._refuse_absent(row)
        values = row.values
        if self.ours or self.left_alone or self._people:
            taken = {*self.ours.values(), *self.ours, *self.left_alone}.difference(self._people)
            rest = {name: value for name, value in values.items() if name not in taken}
            values = rest | {ours: values.get(theirs) for ours, theirs in self.ours.items()}
        names = tuple(values)
        if names not in self._checked:
            self._check(names, row.place)
            self._checked.add(names)
        return values

    def _take_openai(self, names: Collection[str]) -> None:
        """Read OpenAI's columns as ours, unless somebody has said what is what."""
        sides = (*_OPENAI, *_SIDES)
        is_other = any(self.ours.get(ours, _OPENAI.get(ours)) != _OPENAI.get(ours) for ours in sides)
        if is_other or not set(_OPENAI.values()) <= {*names} or not {*names, *self.left_alone}.isdisjoint(sides):
            return
        if not _OPENAI.items() <= self.ours.items():
            self.say(f"columns {', '.join(_OPENAI.values())} are read as {', '.join(_OPENAI)}")
        self.ours |= _OPENAI

    def _refuse_absent(self, row: Row) -> None:
        """Raise InputError where the first row lacks a column that was named."""
        uses = {theirs: f"use as {ours}" for ours, theirs in self.ours.items()}
        uses |= {theirs: "read votes from" for theirs in self._people if theirs not in uses}
        for theirs, use in uses.items():
            if theirs not in row.values:
                raise InputError(
                    f"{row.place}: no column {theirs!r} to {use}; found {', '.join(row.values)}; fix the mapping"
                )

    def leave(self, names: Collection[str]) -> None:
        """Say that columns hold nothing of ours, of each once."""
        if new := [name for name in names if name not in self._named]:
            self._named.update(new)
            self.say(f"columns left alone, unknown here: {', '.join(new)}")

    def _check(self, names: tuple[str, ...], place: str) -> None:
        has_sides = not set(names).isdisjoint(_SIDES)
        is_trl = not has_sides and not {"chosen", "rejected"}.isdisjoint(names)
        layout = self.layout or ("trl" if is_trl else "pairs")
        known = _KNOWN[layout]
        unknown = [name for name in names if name not in known and name not in self._people]
        # Who won, or a conversation, may stand under a name of its own; the values will tell.
        candidates = [name for name in unknown if plain_name(name) in (*CHOICES, *CONVERSATIONS) or is_person(name)]
        unknown = [name for name in unknown if name not in candidates]
        absent = [name for name in known if name not in names and name not in self.left_alone]
        for ours, theirs in near_misses(absent, unknown).items():
            raise InputError(
                f"{place}: there is no column {ours!r} but {theirs!r} looks like it; rename it, or pass "
                f"columns={ {ours: theirs} }, or leave it alone with columns={ {ours: ''} }"
            )
        missing = [name for name in _REQUIRED[layout] if name not in names]
        if self.layout is None and missing:
            other = " (nor chosen and rejected)" if layout == "pairs" and not has_sides else ""
            raise InputError(
                f"{place}: no column {' or '.join(missing)}{other}; found {', '.join(names) or 'none'}; name it: "
                f"columns={likely_columns(missing, names)}"
            )
        self.layout = layout
        self.candidates.update(dict.fromkeys(candidates))
        if layout == "trl" and "prompt" in absent:
            self.likely_prompts += [name for name in unknown if plain_name(name) in _PROMPTS]
        self.leave(unknown)


def likely_columns(missing: Collection[str], names: Collection[str]) -> dict[str, str]:
    """Say which of a file's columns each missing one may be; NAME where none looks like it.

    >>> likely_columns(["prompt", "response_a", "response_b"], ["question", "answer_1", "answer_2"])
    {'prompt': 'question', 'response_a': 'answer_1', 'response_b': 'answer_2'}
    """
    following = {"a": "b", "A": "B", "0": "1", "1": "2"}  # answer_2 is the twin of answer_1
    twins = {one: one[:-1] + following[one[-1:]] for one in names if one[-1:] in following}
    texts = (twin for twin in twins.items() if twin[1] in names and not twin[0].lower().startswith(_NO_TEXTS))
    sides = dict(zip(_SIDES, next(texts, ()), strict=False))
    prompt = next((name for name in names if plain_name(name) in _PROMPTS), "NAME")
    return {ours: prompt if ours == "prompt" else sides.get(ours, "NAME") for ours in missing}
