"""Who won, in the words and numbers of other tools: A, model_b, answer_1, 1 and 2, 0 and 1, draw."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dissensus.errors import InputError
from dissensus.files.readers import kind_of
from dissensus.files.rows.cells import FRACTION, is_blank
from dissensus.records import LABEL_VALUE

SIDES = ("a", "b", "tie")
OURS: dict[str, tuple[str, ...]] = {
    "label": ("a", "b", "tie", ""),
    "domain": ("in", "out"),
    "distinct": ("yes", "no"),
}
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
_MOST_SHOWN = 11
"""Numbers of a scale that an error names."""
_LONGEST = 200
"""Characters of a value that an option holds; a longer one is no choice."""


class Words:
    """Reads the choices of one source, whose numbers count from 0 or from 1 throughout.

    ``given`` maps their values, as text, to ours (``--value``); ``named`` maps names of their columns that stand for
    the two responses. Numbers ``may_be_shares`` of people where the column is not called a preference, too. ``observe``
    the first choices, then `decide`.
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
        """What the column is called by them."""
        self._given = {_plain(value): ours for value, ours in (given or {}).items()}
        self._given_numbers = {float(value): ours for value, ours in self._given.items() if FRACTION.fullmatch(value)}
        self._named = {_plain(name): side for name, side in (named or {}).items()}
        self.base: int | None = None
        """The number of the first response."""
        self.is_share = False
        """Whether values are the share of people that prefers response a."""
        self._may_be_shares = may_be_shares or "preference" in _plain(column)
        self._numbers: set[float] = set()

    def observe(self, values: Iterable[Any]) -> None:
        """Take note of the numbers among some choices."""
        for value in values:
            found = self._find(value)
            if isinstance(found, float):
                self._numbers.add(found)

    @property
    def is_open(self) -> bool:
        """Whether more choices may tell what the numbers mean: there is a 1, and neither 0 nor 2."""
        return self._numbers == {1.0}

    def decide(self) -> str | None:
        """Settle what the numbers mean, once; returns a notice, or None where there are no numbers.

        Raises InputError where they may mean several things.
        """
        if not self._numbers or self.base is not None or self.is_share:
            return None
        low, high = min(self._numbers), max(self._numbers)
        whole = self._numbers <= {0.0, 0.5, 1.0}
        if self._may_be_shares and low >= 0 and high <= 1:
            if whole:
                raise InputError(f"{self._unclear()}, or the share of people that prefers response_a; {self._advice()}")
            self.is_share = True
            self._refuse_contradiction()
            return (
                f"{self.column} has numbers from 0 to 1: read as the share of people that prefers response_a, as "
                "somebody estimates it"
            )
        if whole and low < 1:
            self.base = 0
        elif self._numbers <= {1.0, 1.5, 2.0} and high > 1:
            self.base = 1
        else:
            raise InputError(f"{self._unclear()}; {self._advice()}")
        self._refuse_contradiction()
        first, second = self.base, self.base + 1
        other = "if they mean something else" if self.base else "if 1 means that response_a is the better one"
        return (
            f"{self.column} has the numbers {first} and {second}: read as {first} = response_a, {second} = response_b; "
            f"{other}, pass {self.option(second, 'a')} {self.option(first, 'b')}"
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
        if isinstance(found, float) and self.base is not None and (side := self._side_of(found)) is not None:
            return side
        meanings = {str(value): "a"} if not isinstance(value, bool) else {"true": "a", "false": "b"}
        column = column or self.column
        options = " ".join(self.option(theirs, ours, column) for theirs, ours in meanings.items())
        raise ValueError(
            f"{column} is {kind_of(value)}; expected a, b, tie or nothing; say what it means, as in {options} (or "
            f"b, tie or nothing); or leave the column alone: --column {self.ours}="
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

    def option(self, theirs: Any, ours: str, column: str | None = None) -> str:
        """Write the option that says what a value means, on one line and as a shell takes it."""
        name = column or self.column
        name = self.ours if ":" in name else name  # the first colon ends a column's name
        words = " ".join(str(theirs).split())[:_LONGEST]
        return f"--value {shlex.quote(f'{name}:{words}={ours}')}"

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
        if plain in SIDES:
            return plain
        return self._named.get(plain) or _meaning(plain)

    def _side_of(self, number: float) -> str | None:
        """Return what a number means as it was settled; None for one of another scale."""
        if self.is_share:
            return None if not 0 <= number <= 1 else "tie" if number == 0.5 else "a" if number > 0.5 else "b"
        return {0.0: "a", 0.5: "tie", 1.0: "b"}.get(number - (self.base or 0))

    def _refuse_contradiction(self) -> None:
        """Raise InputError where what was given of some numbers does not go with what the others would be read as."""
        if self._numbers <= {0.5, 1.5}:  # a tie, whichever of its neighbours is a
            return
        for number, given in self._given_numbers.items():
            settled = self._side_of(number)
            if given != settled and not {given, settled}.isdisjoint(("a", "b")):
                raise InputError(
                    f"{self.column} has {self._shown()} besides {number:g}, which means {given or 'nothing'} by "
                    f"--value; {self._advice()}"
                )

    def _shown(self) -> str:
        shown = ", ".join(f"{number:g}" for number in sorted(self._numbers)[:_MOST_SHOWN])
        return f"the number{'s' if len(self._numbers) > 1 else ''} {shown}"

    def _unclear(self) -> str:
        return f"{self.column} has {self._shown()}, which may count from 0 or 1"

    def _advice(self) -> str:
        """Say how to name the numbers of which nothing was given, as it goes with those that were."""
        numbers = sorted(self._numbers | self._given_numbers.keys())[:_MOST_SHOWN]
        is_share = numbers[0] < 0 or numbers[-1] <= 1  # the more, the more for a
        low, high = ("b", "a") if is_share else ("a", "b")
        middle = 0.0 if numbers[0] < 0 else 0.5 if is_share else (numbers[0] + numbers[-1]) / 2
        sides = {n: low if n < middle else high if n > middle else "tie" for n in numbers}
        if numbers == [0.0, 1.0, 2.0] or len(numbers) == 1:
            sides = {n: {0.0: "tie", 2.0: "b"}.get(n, "a") for n in numbers}
        turn = {"a": "b", "b": "a"}
        if any(turn.get(side) == self._given_numbers.get(number) for number, side in sides.items() if side in turn):
            sides = {number: turn.get(side, side) for number, side in sides.items()}
        return "say what each means, as in " + " ".join(
            self.option(f"{number:g}", side) for number, side in sides.items() if number in self._numbers
        )


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
    numbers = [part for part in sides if isinstance(part, float)]
    if numbers and not (0 in numbers) ^ (2 in numbers):
        raise ValueError(
            f"votes is of {' and '.join(names)}, which may count from 0 or 1; write both responses, with 0 where "
            "nobody voted so; or leave the column alone: --column votes="
        )
    first = 0.0 if 0 in numbers else 1.0
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
