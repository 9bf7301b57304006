"""The groups of pairs that tables have rows for: all, each data set, domain, category and their combinations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dissensus.records import Pair

ALL: Final = "all"
FIELDS: Final = ("dataset", "domain", "category", "distinct")
_JOINT: Final = re.compile(rf"&(?=(?:{'|'.join(FIELDS)})=)")

_Masks = dict[str, NDArray[np.bool_]]

_WORDS: Final = {
    "domain=in": "in-domain",
    "domain=out": "out-of-domain",
    "category=multiple": "multiple correct",
    "category=single": "single correct",
    "distinct=yes": "distinguishable",
    "distinct=no": "indistinguishable",
}


def find_groups(pairs: Sequence[Pair]) -> dict[str, NDArray[np.bool_]]:
    """Find the groups among n pairs: names to masks of shape (n,), in the order of the paper's tables.

    There is a group for each value of a field. One that holds every pair would repeat ``all`` and is left out.
    Data sets stand before the domain that they lie in; those of no domain or of both, after the domains.
    Where both vary, category and domain also combine: ``category=multiple&domain=in``.
    """
    everything = np.ones(len(pairs), dtype=np.bool_)
    parts = {field: _split(pairs, field) for field in FIELDS}
    groups = {ALL: everything}
    groups |= _sets_by_domain(parts["dataset"], parts["domain"])
    groups |= parts["category"]
    if len(parts["category"]) > 1 and len(parts["domain"]) > 1:
        for category, members in parts["category"].items():
            for domain, mask in parts["domain"].items():
                groups[f"{category}&{domain}"] = members & mask
    groups |= parts["distinct"]
    return {name: mask for name, mask in groups.items() if mask.any() and (name == ALL or not mask.all())}


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


def _split(pairs: Sequence[Pair], field: str) -> dict[str, NDArray[np.bool_]]:
    values: list[str | None] = [getattr(pair, field) for pair in pairs]
    # Data sets, domains and categories by name, but "yes, distinguishable" first, as in the paper.
    names = sorted({value for value in values if value is not None}, reverse=field == "distinct")
    return {f"{field}={name}": np.array([value == name for value in values]) for name in names}
