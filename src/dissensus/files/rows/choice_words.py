"""Who won, in the words and numbers of other tools: A, model_b, answer_1, 1 and 2, 0 and 1, draw."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dissensus.errors import InputError
from dissensus.files.readers import kind_of
from dissensus.files.rows.cells import FRACTION, is_blank
from dissensus.files.rows.columns import leave_alone
from dissensus.records import LABEL_VALUE, Label

SIDES = ("a", "b", "tie")
OURS: dict[str, tuple[str, ...]] = {"label": (*SIDES, ""), "domain": ("in", "out"), "distinct": ("yes", "no")}
"""The values of a column that has few of them; an empty one says nothing."""

_STEM = (
    r"(?:response|model|answer|output|completion|assistant|option|candidate|text|reply|summary|system|choice|"
    r"generation|chatbot|bot|conversation)"
)
_NAMED = re.compile(rf"\[{{0,2}}(?:{_STEM}_?)?(a|b|0|1|2)\]{{0,2}}(?:_(?:wins|won|better|preferred))?")
_BETTER = re.compile(rf"(?:{_STEM}_)?(a|b)_is_(?:(?:much|clearly|slightly|a_bit|significantly)_)?better")
_SYMBOL = re.compile(r"(a|b)(>+|<+|=+)(a|b)")
_PLACES = {"first": "a", "second": "b"}
_TIES = frozenset(
    {"tie", "tied", "ties", "draw", "equal", "equally_good", "equally_bad", "same", "about_the_same", "even", "both"}
    | {"neither", "both_good", "both_bad", "bothbad", "no_preference", "no_difference", "no_winner", "[[c]]", "[c]"}
)
_TURNED = {"a": "b", "b": "a"}
_MOST_SHOWN = 11
"""Numbers of a scale that an error names."""
_LONGEST = 200
"""Characters of a value that an option holds; a longer one is no choice."""


def side_of(share: float) -> Label:
    """Name the response that a share of people above one half prefers: a for above, b for below."""
    return "tie" if share == 0.5 else "a" if share > 0.5 else "b"


class Words:
    """Reads the choices of one source, whose numbers count from 0 or from 1 throughout.

    ``observe`` the first choices, then `decide`.

    Args:
        column: what it is called by them.
        given: their values, as text, to ours.
        named: names of their columns that stand for the two responses.
        ours: what we call the column.
        may_be_shares: whether numbers may be shares of people where the column is not called a preference, too.
    """

    def __init__(
        self,
        column: str,
        given: Mapping[str, str] | None = None,
        named: Mapping[str, str] | None = None,
        *,
        ours: str = "label",
        may_be_shares: bool = False,
    ) -> None:
        self.ours = ours
        self.column = column
        self._given = {_plain(value): ours for value, ours in (given or {}).items()}
        self._given_numbers = {float(value): ours for value, ours in self._given.items() if FRACTION.fullmatch(value)}
        self._named = {_plain(name): side for name, side in (named or {}).items()}
        self._first: int | None = None
        """The number of the first response."""
        self.is_share = False
        """Whether values are the share of people that prefers response a."""
        self._may_be_shares = may_be_shares or "preference" in _plain(column)
        self._numbers: set[float] = set()

    def observe(self, values: Iterable[Any]) -> None:
        """Take note of the numbers among some choices."""
        self._numbers.update(found for found in map(self._find, values) if isinstance(found, float))

    @property
    def is_open(self) -> bool:
        """Whether more choices may tell what the numbers mean: there is a 1, and neither 0 nor 2."""
        return self._numbers == {1.0}

    def decide(self) -> str | None:
        """Settle what the numbers mean, once; returns a notice, or None where there are no numbers.

        Raises InputError where they may mean several things.
        """
        if not self._numbers or self._first is not None or self.is_share:
            return None
        low, high = min(self._numbers), max(self._numbers)
        whole = self._numbers <= {0.0, 0.5, 1.0}
        unclear = f"{self.column} has {self._shown()}, which may count from 0 or 1"
        if self._may_be_shares and low >= 0 and high <= 1:
            if whole:
                raise InputError(f"{unclear}, or the share of people that prefers response_a; {self._advice()}")
            self.is_share = True
            self._refuse_contradiction()
            return (
                f"{self.column} has numbers from 0 to 1: read as the share of people that prefers response_a, as "
                "somebody estimates it"
            )
        if not (whole and low < 1) and not (self._numbers <= {1.0, 1.5, 2.0} and high > 1):
            raise InputError(f"{unclear}; {self._advice()}")
        first = self._first = 0 if low < 1 else 1
        self._refuse_contradiction()
        other = "if they mean something else" if first else "if 1 means that response_a is the better one"
        return (
            f"{self.column} has the numbers {first} and {first + 1}: read as {first} = response_a, {first + 1} = "
            f"response_b; {other}, pass {self.meaning({first + 1: 'a', first: 'b'})}"
        )

    def read(self, value: Any, names: Mapping[str, str] | None = None, column: str | None = None) -> str | None:
        """Return a, b or tie; None for an empty value. ``names`` are of this row, such as the two models'.

        ``column`` is where the value stands, if several are read alike.

        Raises ValueError with how to map a value that cannot be read.
        """
        if is_blank(value):
            return None
        found = self._find(value)
        if isinstance(found, str):
            return found or None
        if isinstance(value, str) and names and (side := names.get(value)):
            return side
        if isinstance(found, float) and self._first is not None and (side := self._side_of(found)) is not None:
            return side
        meanings = {"true": "a", "false": "b"} if isinstance(value, bool) else {value: "a"}
        raise ValueError(
            f"{column or self.column} is {kind_of(value)}; expected a, b, tie or nothing; say what it means, as in "
            f"{self.meaning(meanings, column)} (or b, tie or nothing); or {leave_alone(self.ours)}"
        )

    def share(self, value: Any, column: str | None = None) -> float | None:
        """Return the share that prefers a; None for an empty value. Raises ValueError."""
        if is_blank(value):
            return None
        found = self._find(value)
        if isinstance(found, str):
            return LABEL_VALUE.get(found)
        if found is None or not 0 <= found <= 1:
            name = column or self.column
            raise ValueError(f"{name} is {kind_of(value)}; expected the share that prefers a, from 0 to 1")
        return found

    def can_read(self, value: Any, names: Mapping[str, str] | None = None) -> bool:
        """Whether a value looks like a choice, before it is known how numbers count."""
        return self._find(value) is not None or (isinstance(value, str) and bool(names and value in names))

    def meaning(self, meanings: Mapping[Any, str], column: str | None = None) -> str:
        """Write the argument that says what values mean, on one line."""
        name = column or self.column
        name = self.ours if ":" in name else name  # as an option, the first colon ends a column's name
        words = {" ".join(str(theirs).split())[:_LONGEST]: ours for theirs, ours in meanings.items()}
        return f"values={ {name: words} }"

    def _find(self, value: Any) -> str | float | None:
        """Return the side that a value names ('' where ``given`` says nothing of it), a number, or None."""
        if value is None:
            return None
        plain = _plain(value)
        if plain in self._given:
            return self._given[plain]
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return float(value)
        if not isinstance(value, str):
            return None
        return plain if plain in SIDES else self._named.get(plain) or _meaning(plain)

    def _side_of(self, number: float) -> str | None:
        """Return what a number means as it was settled; None for one of another scale."""
        if self.is_share:
            return side_of(number) if 0 <= number <= 1 else None
        return {0.0: "a", 0.5: "tie", 1.0: "b"}.get(number - (self._first or 0))

    def _refuse_contradiction(self) -> None:
        """Raise InputError where what was given of some numbers does not go with what the others would be read as."""
        if self._numbers <= {0.5, 1.5}:  # a tie, whichever of its neighbours is a
            return
        for number, given in self._given_numbers.items():
            settled = self._side_of(number)
            if given != settled and not {given, settled}.isdisjoint(("a", "b")):
                raise InputError(
                    f"{self.column} has {self._shown()} besides {number:g}, which was said to mean "
                    f"{given or 'nothing'}; {self._advice()}"
                )

    def _shown(self) -> str:
        shown = ", ".join(f"{number:g}" for number in sorted(self._numbers)[:_MOST_SHOWN])
        return f"the number{'s' if len(self._numbers) > 1 else ''} {shown}"

    def _advice(self) -> str:
        """Say how to name the numbers of which nothing was given, as it goes with those that were."""
        numbers = sorted(self._numbers | self._given_numbers.keys())[:_MOST_SHOWN]
        is_share = numbers[0] < 0 or numbers[-1] <= 1  # the more, the more for a
        low, high = ("b", "a") if is_share else ("a", "b")
        middle = 0.0 if numbers[0] < 0 else 0.5 if is_share else (numbers[0] + numbers[-1]) / 2
        sides = {n: low if n < middle else high if n > middle else "tie" for n in numbers}
        if numbers == [0.0, 1.0, 2.0] or len(numbers) == 1:
            sides = {n: {0.0: "tie", 2.0: "b"}.get(n, "a") for n in numbers}
        if any(_TURNED.get(side) == self._given_numbers.get(n) for n, side in sides.items() if side in _TURNED):
            sides = {n: _TURNED.get(side, side) for n, side in sides.items()}
        asked = {f"{n:g}": side for n, side in sides.items() if n in self._numbers}
        return f"say what each means, as in {self.meaning(asked)}"


def side_named(name: str) -> str | None:
    """Return the side that a name stands for in words, as in ``model_a``; None for numbers and other names.

    >>> side_named("Response A"), side_named("1"), side_named("ann")
    ('a', None, None)
    """
    found = _meaning(_plain(name))
    return found if isinstance(found, str) else None


def sides_named(names: Collection[str]) -> list[str] | None:
    """Return the sides that names stand for, as ``model_a`` and ``tie`` do; None where one of them is no side's.

    Names such as ``answer_1`` count from 0 or from 1, as all of them say; bare numbers may name anything. Raises
    ValueError where they do not say it.

    >>> sides_named(["Response A", "tie"]), sides_named(["answer_1", "answer_2"]), sides_named(["answer_1", "answer_0"])
    (['a', 'tie'], ['a', 'b'], ['b', 'a'])
    >>> sides_named(["1", "2"]), sides_named(["ann"])
    (None, None)
    """
    found = [None if FRACTION.fullmatch(_plain(name)) else _meaning(_plain(name)) for name in names]
    sides = [part for part in found if part is not None]
    if len(sides) < len(found):
        return None
    if any(isinstance(part, float) for part in sides) and not (0 in sides) ^ (2 in sides):
        raise ValueError(
            f"votes is of {' and '.join(names)}, which may count from 0 or 1; write both responses, with 0 where "
            f"nobody voted so; or {leave_alone('votes')}"
        )
    first = 0.0 if 0 in sides else 1.0
    return [part if isinstance(part, str) else "a" if part == first else "b" for part in sides]


def _plain(value: Any) -> str:
    text = str(value).strip().lower()
    if FRACTION.fullmatch(text):
        return str(int(float(text))) if float(text).is_integer() else text
    return re.sub(r"[\s_-]+", "_", text)


def _meaning(plain: str) -> str | float | None:
    if plain in _PLACES:
        return _PLACES[plain]
    if plain in _TIES or plain.startswith("tie_("):
        return "tie"
    if match := _NAMED.fullmatch(plain):
        return match[1] if match[1] in SIDES else float(match[1])
    if match := _BETTER.fullmatch(plain):
        return match[1]
    if (match := _SYMBOL.fullmatch(plain)) and match[1] != match[3]:
        return "tie" if match[2][0] == "=" else match[1] if match[2][0] == ">" else match[3]
    return float(plain) if FRACTION.fullmatch(plain) else None
