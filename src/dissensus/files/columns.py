"""Which columns a source has, which of them we know, and which look misspelt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from difflib import SequenceMatcher
from typing import Any, Literal

from dissensus.errors import InputError
from dissensus.records import Text, Vote

Layout = Literal["pairs", "trl"]
Notice = Callable[[str], None]

PAIR_COLUMNS: dict[str, Any] = {
    "id": str,
    "prompt": Text,
    "response_a": Text,
    "response_b": Text,
    "label": str | None,
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

DESCRIPTIVE = ("dataset", "domain", "category", "distinct", "group")
"""Columns that a pair takes over as they are, from either layout."""

_KNOWN: dict[Layout, tuple[str, ...]] = {
    "pairs": tuple(PAIR_COLUMNS),
    "trl": ("id", "prompt", "chosen", "rejected", "margin", *DESCRIPTIVE),
}
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
    plain = theirs.strip().lower().replace("-", "_").replace(" ", "_")
    if sorted(plain) == sorted(ours):  # letters swapped: lable
        return 1.0
    return SequenceMatcher(None, ours, plain).ratio()


class ColumnMap:
    """Renames the columns of a source to ours, and checks each new set of names once.

    ``columns`` maps our name to theirs. Unknown columns are named once through ``notice`` and left alone.
    """

    def __init__(self, columns: Mapping[str, str] | None, notice: Notice) -> None:
        self._ours = dict(columns or {})
        self._notice = notice
        self._named: set[str] = set()
        self._checked: set[tuple[str, ...]] = set()
        self.layout: Layout | None = None
        """Set by the first row: flat pairs, or a trainer's chosen and rejected."""
        self._refuse_unknown_names()

    def _refuse_unknown_names(self) -> None:
        known = dict.fromkeys((*_KNOWN["pairs"], *_KNOWN["trl"]))
        for ours in self._ours:
            if ours not in known:
                raise InputError(f"column mapping: {ours!r} is none of our columns; choose from {', '.join(known)}")

    def rename(self, values: dict[str, Any], place: str) -> dict[str, Any]:
        """Return the row under our names.

        Raises InputError where the first row lacks a required column, or where any row holds a near miss.
        """
        if self._ours:
            values = self._renamed(values, place)
        names = tuple(values)
        if names not in self._checked:
            self._check(names, place)
            self._checked.add(names)
        return values

    def _renamed(self, values: dict[str, Any], place: str) -> dict[str, Any]:
        if self.layout is None:
            for ours, theirs in self._ours.items():
                if theirs not in values:
                    raise InputError(
                        f"{place}: no column {theirs!r} to use as {ours}; found {', '.join(values)}; mend the mapping"
                    )
        taken = set(self._ours.values())
        rest = {name: value for name, value in values.items() if name not in taken and name not in self._ours}
        return rest | {ours: values.get(theirs) for ours, theirs in self._ours.items()}

    def _check(self, names: tuple[str, ...], place: str) -> None:
        layout = self.layout or ("trl" if _is_trl(names) else "pairs")
        known = _KNOWN[layout]
        unknown = [name for name in names if name not in known]
        for ours, theirs in near_misses([name for name in known if name not in names], unknown).items():
            raise InputError(
                f"{place}: there is no column {ours!r} but {theirs!r} looks like it; rename it, or pass "
                f"--column {ours}={theirs}"
            )
        if self.layout is None:
            _refuse_missing(layout, names, place)
        self.layout = layout
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
        example = {"prompt": "question", "response_a": "answer_1", "response_b": "answer_2"}.get(missing[0], "NAME")
        raise InputError(
            f"{place}: no column {' or '.join(missing)}{other}; found {', '.join(names) or 'none'}; "
            f"name it: --column {missing[0]}={example}"
        )
