"""The groups of pairs that tables have rows for: all, each data set, domain, category and their combinations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dissensus.evaluation.pair_columns import FIELDS, Names, PairColumns, as_columns
from dissensus.records import Pair
from dissensus.stats.metrics import FloatArray
from dissensus.stats.resampling.clusters import number_labels

ALL: Final = "all"
_OF_PAIRS: Final = FIELDS
_BY_VOTES: Final = ("contested", "majority")
CONTESTED: Final = 0.3
"""A pair is contested where at least this share of its votes is for the less preferred response."""
_ROUNDING: Final = 1e-9
_ENDS: Final = (0.5 + _ROUNDING, 0.7 + _ROUNDING, 0.9 + _ROUNDING, 1 - _ROUNDING, 2.0)
_MAJORITIES: Final = dict(zip(("0.5-0.7", "0.7-0.9", "0.9-1", "1"), pairwise(_ENDS), strict=True))
"""Shares above the first and up to the second end."""
_JOINT: Final = re.compile(rf"&(?=(?:{'|'.join((*_OF_PAIRS, *_BY_VOTES))})=)")


class _Label(NamedTuple):
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


def number_prompts(pairs: Sequence[Pair] | PairColumns) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number the prompts (``Pair.group``) and the data sets of n pairs: the clusters and strata of their resamples."""
    if isinstance(pairs, PairColumns):
        return pairs.group.number, pairs.sets.number
    return number_labels([pair.group for pair in pairs])[1], number_labels([pair.dataset or "" for pair in pairs])[1]


def count_prompts(pairs: Iterable[Pair]) -> int:
    """Count the prompts of pairs; one that stands in two data sets is two."""
    return len({(pair.dataset, pair.group) for pair in pairs})


def find_groups(pairs: Sequence[Pair] | PairColumns) -> Masks:
    """Find the groups among n pairs, in the order of the paper's tables.

    There is a group for each value of a field. One that holds every pair would repeat ``all`` and is left out.
    Data sets stand before the domain that they lie in; those of no domain or of both, after the domains. A category
    that occurs in both domains is also there by domain. ``contested`` is by the votes themselves, which are also what
    predictions are compared with: such groups are exploratory.
    """
    pairs = as_columns(pairs)
    sets, domains, categories, distinct = (_split(pairs, field) for field in _OF_PAIRS)
    groups: Masks = {}
    for domain, inside in domains.items():
        groups |= {group: mask for group, mask in sets.items() if not (mask & ~inside).any()}
        groups[domain] = inside
    groups |= sets | categories
    for category, members in categories.items():
        by_domain = {
            Group(category.parts + domain.parts): both
            for domain, mask in domains.items()
            if (both := members & mask).any()
        }
        groups |= by_domain if len(by_domain) > 1 and len(categories) > 1 else {}
    share, limit = _majority_share(pairs), 1 - CONTESTED + _ROUNDING
    contested = {Group((("contested", "yes"),)): share <= limit, Group((("contested", "no"),)): share > limit}
    return {Group(): np.ones(len(pairs), dtype=np.bool_)} | _telling(groups | distinct | contested)


def find_majority_groups(pairs: Sequence[Pair] | PairColumns) -> Masks:
    """Find the groups by the share of the majority, over which accuracy is shown.

    ``majority=0.5-0.7`` is above .5 and at most .7, and so on; ``majority=1`` is unanimous, and ``majority=0.9-1``
    leaves that out. Pairs without a majority or without votes are in no group.
    """
    share = _majority_share(as_columns(pairs))
    bands = {name: (share > low) & (share <= high) for name, (low, high) in _MAJORITIES.items()}
    return _telling({Group((("majority", name),)): inside for name, inside in bands.items()})


def _telling(groups: Masks) -> Masks:
    """Leave out groups that hold no pair or every pair."""
    return {group: mask for group, mask in groups.items() if mask.any() and not mask.all()}


def _majority_share(pairs: PairColumns) -> FloatArray:
    """The share of the votes for the more preferred response, shape (n,); NaN where nobody voted."""
    share: FloatArray = np.maximum(pairs.preference, 1 - pairs.preference)
    return share


def _split(pairs: PairColumns, field: str) -> Masks:
    column: Names = getattr(pairs, field)
    # Data sets, domains and categories by name, but "yes, distinguishable" first, as in the paper.
    named = sorted(enumerate(column.names), key=lambda one: one[1], reverse=field == "distinct")
    return {Group(((field, name),)): column.number == number for number, name in named}
