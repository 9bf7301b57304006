"""The groups of pairs that tables have rows for: all, each data set, domain, category and their combinations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dissensus.records import Pair
from dissensus.stats.metrics import FloatArray

ALL: Final = "all"
_OF_PAIRS: Final = ("dataset", "domain", "category", "distinct")
FIELDS: Final = (*_OF_PAIRS, "contested", "majority")
CONTESTED: Final = 0.3
"""A pair is contested where at least this share of its votes is for the less preferred response."""
_MAJORITIES: Final = {"0.5-0.7": (0.5, 0.7), "0.7-0.9": (0.7, 0.9), "0.9-1": (0.9, 1.0), "1": (1.0, 2.0)}
_ROUNDING: Final = 1e-9
_JOINT: Final = re.compile(rf"&(?=(?:{'|'.join(FIELDS)})=)")

_Masks = dict[str, NDArray[np.bool_]]

_WORDS: Final = {
    "domain=in": "in-domain",
    "domain=out": "out-of-domain",
    "category=multiple": "multiple correct",
    "category=single": "single correct",
    "distinct=yes": "distinguishable",
    "distinct=no": "indistinguishable",
    "contested=yes": "contested",
    "contested=no": "not contested",
    "majority=0.5-0.7": "majority of 70 % or less",
    "majority=0.7-0.9": "majority of 70 to 90 %",
    "majority=0.9-1": "majority over 90 %",
    "majority=1": "unanimous",
}


def find_groups(pairs: Sequence[Pair]) -> dict[str, NDArray[np.bool_]]:
    """Find the groups among n pairs: names to masks of shape (n,), in the order of the paper's tables.

    There is a group for each value of a field. One that holds every pair would repeat ``all`` and is left out.
    Data sets stand before the domain that they lie in; those of no domain or of both, after the domains. A category
    that occurs in both domains is also there by domain: ``category=multiple&domain=in``. ``contested`` is by the votes
    themselves, which are also what predictions are compared with: such groups are exploratory.
    """
    everything = np.ones(len(pairs), dtype=np.bool_)
    parts = {field: _split(pairs, field) for field in _OF_PAIRS}
    groups = {ALL: everything}
    groups |= _sets_by_domain(parts["dataset"], parts["domain"])
    groups |= parts["category"]
    for category, members in parts["category"].items():
        by_domain = {f"{category}&{domain}": members & mask for domain, mask in parts["domain"].items()}
        by_domain = {name: mask for name, mask in by_domain.items() if mask.any()}
        groups |= by_domain if len(by_domain) > 1 and len(parts["category"]) > 1 else {}
    groups |= parts["distinct"] | _contested(pairs)
    return {name: mask for name, mask in groups.items() if mask.any() and (name == ALL or not mask.all())}


def find_majority_groups(pairs: Sequence[Pair]) -> dict[str, NDArray[np.bool_]]:
    """Find the groups by the share of the majority, over which accuracy is shown: names to masks of shape (n,).

    ``majority=0.5-0.7`` is above .5 and at most .7, and so on; ``majority=1`` is unanimous, and ``majority=0.9-1``
    leaves that out. Pairs without a majority or without votes are in no group. A group that holds every pair is left
    out.
    """
    share = _majority_share(pairs)
    groups = {f"majority={name}": _between(share, low, high) for name, (low, high) in _MAJORITIES.items()}
    return {name: mask for name, mask in groups.items() if mask.any() and not mask.all()}


def is_exploratory(group: str) -> bool:
    """Tell whether the votes that predictions are compared with decide who is in a group: nothing is tested there."""
    return group.startswith(("contested=", "majority="))


def group_label(group: str) -> str:
    """Name a group for people.

    >>> group_label("category=multiple&domain=in")
    'multiple correct · in-domain'
    >>> group_label("dataset=webgpt")
    'webgpt'
    """
    return " · ".join(_WORDS.get(part, part.partition("=")[2] or part) for part in _JOINT.split(group))


def group_field(group: str) -> str:
    """Name the field that a group belongs to: ``all``, ``dataset``, … or ``category&domain``.

    >>> group_field("category=multiple&domain=in")
    'category&domain'
    """
    return "&".join(part.partition("=")[0] for part in _JOINT.split(group))


def _sets_by_domain(sets: _Masks, domains: _Masks) -> _Masks:
    ordered: _Masks = {}
    for domain, inside in domains.items():
        ordered |= {name: mask for name, mask in sets.items() if not (mask & ~inside).any()}
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


def _contested(pairs: Sequence[Pair]) -> dict[str, NDArray[np.bool_]]:
    share = _majority_share(pairs)
    limit = 1 - CONTESTED + _ROUNDING
    return {"contested=yes": share <= limit, "contested=no": share > limit}


def _split(pairs: Sequence[Pair], field: str) -> dict[str, NDArray[np.bool_]]:
    values: list[str | None] = [getattr(pair, field) for pair in pairs]
    # Data sets, domains and categories by name, but "yes, distinguishable" first, as in the paper.
    names = sorted({value for value in values if value is not None}, reverse=field == "distinct")
    return {f"{field}={name}": np.array([value == name for value in values]) for name in names}
