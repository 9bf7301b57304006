"""The rows of the paper's tables: which groups there are, in which order and under which heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluation.groups import ALL, Group
from dissensus.evaluation.paper_numbers import IN_DOMAIN, OUT_OF_DOMAIN, PUBLISHED, paper_dataset, paper_group

_PAPER_ORDER = list(PUBLISHED)
_DOMAINS = {"domain=in": "in", "domain=out": "out"}
_FIELD_SECTIONS = {
    "category": "Categories",
    "category&domain": "Categories",
    "distinct": "Responses",
    "contested": "By the votes themselves (exploratory)",
    "majority": "By the majority's share of the votes (exploratory)",
}


@dataclass(frozen=True)
class Line:
    """A row of a table: a group, its name there, and the section it stands in."""

    section: str
    label: str
    group: str


def paper_lines(groups: Sequence[str], missing: Sequence[str] = ()) -> list[Line]:
    """Arrange groups of a scorecard, and those of the paper that it is missing, as the paper's tables do.

    Data sets of each domain before the domain itself, categories before their combinations with a domain, responses
    that can or cannot be told apart, and all pairs last. Groups of other fields keep their order.

    >>> [line.label for line in paper_lines(["all", "dataset=prism", "domain=in", "dataset=hh-rlhf", "domain=out"])]
    ['prism', 'All ID', 'hh-rlhf', 'All OOD', 'All pairs']
    """
    domains = dataset_domains(groups, missing)
    groups = [*groups, *missing]
    titles = {"in": "In-domain (ID)", "out": "Out-of-domain (OOD)", None: "Data sets"}
    sections: dict[str, list[str]] = {title: [] for title in [titles[None], titles["in"], titles["out"]]}
    sections |= {title: [] for title in _FIELD_SECTIONS.values()}
    for group in groups:
        kind = Group.parse(group).kind
        if kind == "dataset":
            section = titles[domains[group]]
        elif group in _DOMAINS:
            section = titles[_DOMAINS[group]]
        else:
            section = _FIELD_SECTIONS.get(kind, "Other groups")
        if group != ALL:
            sections.setdefault(section, []).append(group)
    lines = [
        Line(s, Group.parse(g).row_label, g) for s, members in sections.items() for g in sorted(members, key=_place)
    ]
    return lines + ([Line("All", Group().row_label, ALL)] if ALL in groups else [])


def dataset_domains(groups: Sequence[str], missing: Sequence[str] = ()) -> dict[str, str | None]:
    """Say which domain each data set's group belongs to; None where nobody knows.

    Scorecards list the data sets of a domain right before the domain, as ``find_groups`` does. One that lists all data
    sets before all domains tells nothing; then the data sets of the paper are in the paper's domains.
    """
    listed = [group for group in groups if Group.parse(group).kind in ("dataset", "domain")]
    sets = [group for group in [*groups, *missing] if Group.parse(group).kind == "dataset"]
    if not any(Group.parse(group).kind == "domain" for group in [*groups, *missing]):
        return dict.fromkeys(sets)
    ends = [listed.index(group) for group in _DOMAINS if group in listed]
    told = bool(ends) and max((i for i, g in enumerate(listed) if g in sets), default=-1) > min(ends)
    return {g: _next_domain(listed, g) if told and g in listed else _paper_domain(g) for g in sets}


def _next_domain(listed: Sequence[str], group: str) -> str | None:
    after = [g for g in listed[listed.index(group) :] if g in _DOMAINS]
    return _DOMAINS[after[0]] if after else None


def _paper_domain(group: str) -> str | None:
    name = paper_dataset(group.removeprefix("dataset="))
    return "in" if name in IN_DOMAIN else "out" if name in OUT_OF_DOMAIN else None


def _place(group: str) -> tuple[bool, int, str]:
    """The place in the paper's order; what the paper does not know stands before its own section's totals."""
    known, kind = paper_group(group), Group.parse(group).kind
    return kind == "domain", _PAPER_ORDER.index(known) if known is not None else len(_PAPER_ORDER), kind
