"""The groups of pairs that tables have rows for: all, each data set, domain, category and their combinations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dissensus.records import Pair
from dissensus.stats.metrics import FloatArray

ALL: Final = "all"
_OF_PAIRS: Final = ("dataset", "domain", "category", "distinct")
_BY_VOTES: Final = ("contested", "majority")
CONTESTED: Final = 0.3
"""A pair is contested where at least this share of its votes is for the less preferred response."""
_MAJORITIES: Final = {"0.5-0.7": (0.5, 0.7), "0.7-0.9": (0.7, 0.9), "0.9-1": (0.9, 1.0), "1": (1.0, 2.0)}
_ROUNDING: Final = 1e-9
_JOINT: Final = re.compile(rf"&(?=(?:{'|'.join((*_OF_PAIRS, *_BY_VOTES))})=)")


@dataclass(frozen=True)
class _Label:
    """What a value of a field is called."""

    text: str
    row: str
    """In the first column of a table."""
    short: str = ""
    """Behind another value."""


_LABELS: Final = {
    ("domain", "in"): _Label("in-domain", "All ID", "ID"),
    ("domain", "out"): _Label("out-of-domain", "All OOD", "OOD"),
    ("category", "multiple"): _Label("multiple correct", "Multiple correct"),
    ("category", "single"): _Label("single correct", "Single correct"),
    ("distinct", "yes"): _Label("distinguishable", "Distinguishable"),
    ("distinct", "no"): _Label("indistinguishable", "Indistinguishable"),
    ("contested", "yes"): _Label("contested", "Contested"),
    ("contested", "no"): _Label("not contested", "Not contested"),
    ("majority", "0.5-0.7"): _Label("majority of 70 % or less", "> 50 to 70 %"),
    ("majority", "0.7-0.9"): _Label("majority of 70 to 90 %", "> 70 to 90 %"),
    ("majority", "0.9-1"): _Label("majority over 90 %", "> 90 to 100 %"),
    ("majority", "1"): _Label("unanimous", "unanimous"),
}


class Group(NamedTuple):
    """Pairs that share the values of some fields: all pairs where there is none.

    >>> group = Group.parse("category=multiple&domain=in")
    >>> group.kind, group.label, group.row_label, str(group)
    ('category&domain', 'multiple correct · in-domain', 'Multiple correct ID', 'category=multiple&domain=in')
    """

    parts: tuple[tuple[str, str], ...] = ()
    """Fields with their values."""

    @classmethod
    def parse(cls, text: str) -> Group:
        """Read a group as files name it: ``all``, ``dataset=NAME``, ``category=multiple&domain=in``."""
        parts = () if text == ALL else (part.partition("=") for part in _JOINT.split(text))
        return cls(tuple((field, value) for field, _, value in parts))

    def __str__(self) -> str:
        return "&".join(f"{field}={value}" for field, value in self.parts) or ALL

    @property
    def kind(self) -> str:
        """The field that it belongs to: ``all``, ``dataset``, … or ``category&domain``."""
        return "&".join(field for field, _ in self.parts) or ALL

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        named = (_LABELS[part].text if part in _LABELS else part[1] for part in self.parts)
        return " · ".join(named) or ALL

    @property
    def row_label(self) -> str:
        """Its name in the first column of a table."""
        if not self.parts:
            return "All pairs"
        first, *rest = ((_LABELS.get(part), part[1]) for part in self.parts)
        names = [first[0].row if first[0] else first[1], *(label.short if label else value for label, value in rest)]
        return " ".join(names)

    @property
    def is_exploratory(self) -> bool:
        """Whether the votes that predictions are compared with decide who is in it: nothing is tested there."""
        return any(field in _BY_VOTES for field, _ in self.parts)


Masks = dict[Group, NDArray[np.bool_]]
"""Groups of n pairs with their masks of shape (n,)."""


def find_groups(pairs: Sequence[Pair]) -> Masks:
    """Find the groups among n pairs, in the order of the paper's tables.

    There is a group for each value of a field. One that holds every pair would repeat ``all`` and is left out.
    Data sets stand before the domain that they lie in; those of no domain or of both, after the domains. A category
    that occurs in both domains is also there by domain. ``contested`` is by the votes themselves, which are also what
    predictions are compared with: such groups are exploratory.
    """
    parts = {field: _split(pairs, field) for field in _OF_PAIRS}
    groups: Masks = _sets_by_domain(parts["dataset"], parts["domain"]) | parts["category"]
    for category, members in parts["category"].items():
        by_domain = {
            Group(category.parts + domain.parts): both
            for domain, mask in parts["domain"].items()
            if (both := members & mask).any()
        }
        groups |= by_domain if len(by_domain) > 1 and len(parts["category"]) > 1 else {}
    groups |= parts["distinct"] | _contested(pairs)
    return {Group(): np.ones(len(pairs), dtype=np.bool_)} | _telling(groups)


def find_majority_groups(pairs: Sequence[Pair]) -> Masks:
    """Find the groups by the share of the majority, over which accuracy is shown.

    ``majority=0.5-0.7`` is above .5 and at most .7, and so on; ``majority=1`` is unanimous, and ``majority=0.9-1``
    leaves that out. Pairs without a majority or without votes are in no group.
    """
    share = _majority_share(pairs)
    return _telling({Group((("majority", name),)): _between(share, *ends) for name, ends in _MAJORITIES.items()})


def _telling(groups: Masks) -> Masks:
    """Leave out groups that hold no pair or every pair."""
    return {group: mask for group, mask in groups.items() if mask.any() and not mask.all()}


def _sets_by_domain(sets: Masks, domains: Masks) -> Masks:
    ordered: Masks = {}
    for domain, inside in domains.items():
        ordered |= {group: mask for group, mask in sets.items() if not (mask & ~inside).any()}
        ordered[domain] = inside
    return ordered | sets


def _majority_share(pairs: Sequence[Pair]) -> FloatArray:
    """The share of the votes for the more preferred response, shape (n,); NaN where nobody voted."""
    preference = np.array([np.nan if pair.votes is None else pair.votes.preference for pair in pairs])
    share: FloatArray = np.maximum(preference, 1 - preference)
    return share


def _between(share: FloatArray, low: float, high: float) -> NDArray[np.bool_]:
    """Above low and at most high; but unanimity is apart from what lies below it."""
    if high == 1:
        return (share > low + _ROUNDING) & (share < 1 - _ROUNDING)
    if low == 1:
        return share > 1 - _ROUNDING
    return (share > low + _ROUNDING) & (share <= high + _ROUNDING)


def _contested(pairs: Sequence[Pair]) -> Masks:
    share = _majority_share(pairs)
    limit = 1 - CONTESTED + _ROUNDING
    return {Group((("contested", "yes"),)): share <= limit, Group((("contested", "no"),)): share > limit}


def _split(pairs: Sequence[Pair], field: str) -> Masks:
    values: list[str | None] = [getattr(pair, field) for pair in pairs]
    # Data sets, domains and categories by name, but "yes, distinguishable" first, as in the paper.
    names = sorted({value for value in values if value is not None}, reverse=field == "distinct")
    return {Group(((field, name),)): np.array([value == name for value in values]) for name in names}
