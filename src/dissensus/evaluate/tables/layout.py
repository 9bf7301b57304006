"""The rows of the paper's tables: which groups there are, in which order and under which heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.evaluate.groups import ALL, group_field, group_label
from dissensus.evaluate.paper_numbers import IN_DOMAIN, OUT_OF_DOMAIN, PUBLISHED, paper_dataset, paper_group

_PAPER_ORDER = list(PUBLISHED)
_LABELS = {
    ALL: "All pairs",
    "domain=in": "All ID",
    "domain=out": "All OOD",
    "category=multiple": "Multiple correct",
    "category=single": "Single correct",
    "distinct=yes": "Distinguishable",
    "distinct=no": "Indistinguishable",
    "contested=yes": "Contested",
    "contested=no": "Not contested",
}
_SHORT_DOMAINS = {"domain=in": "ID", "domain=out": "OOD"}
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
    sets = [group for group in groups if group_field(group) == "dataset"]
    lines = [
        Line(titles[domain], group_row_label(group), group)
        for domain in (None, "in", "out")
        for group in _by_paper([*(s for s in sets if domains[s] == domain), *_present(groups, f"domain={domain}")])
    ]
    placed = {line.group for line in lines} | {ALL}
    rest = sorted((g for g in groups if g not in placed), key=lambda g: _section_number(g))
    by_section: dict[str, list[str]] = {}
    for group in rest:
        by_section.setdefault(_section(group), []).append(group)
    lines += [Line(s, group_row_label(g), g) for s, members in by_section.items() for g in _by_paper(members)]
    return lines + [Line("All", _LABELS[ALL], ALL) for _ in _present(groups, ALL)]


def dataset_domains(groups: Sequence[str], missing: Sequence[str] = ()) -> dict[str, str | None]:
    """Say which domain each data set's group belongs to; None where nobody knows.

    Scorecards list the data sets of a domain right before the domain, as ``find_groups`` does. One that lists all data
    sets before all domains tells nothing; then the data sets of the paper are in the paper's domains.
    """
    listed = [group for group in groups if group_field(group) in ("dataset", "domain")]
    sets = [group for group in [*groups, *missing] if group_field(group) == "dataset"]
    if not any(group_field(group) == "domain" for group in [*groups, *missing]):
        return dict.fromkeys(sets)
    ends = [listed.index(group) for group in _SHORT_DOMAINS if group in listed]
    told = bool(ends) and max((i for i, g in enumerate(listed) if g in sets), default=-1) > min(ends)
    return {g: _next_domain(listed, g) if told and g in listed else _paper_domain(g) for g in sets}


def group_row_label(group: str) -> str:
    """Name a group in the first column of a table.

    >>> group_row_label("category=multiple&domain=out"), group_row_label("majority=0.5-0.7")
    ('Multiple correct OOD', '> 50 to 70 %')
    """
    if group in _LABELS:
        return _LABELS[group]
    field = group_field(group)
    if field == "majority":
        return _share_label(group.removeprefix("majority="))
    if field == "category&domain":
        category, _, domain = group.rpartition("&")
        return f"{group_row_label(category)} {_SHORT_DOMAINS.get(domain, domain)}"
    return group_label(group)


def _next_domain(listed: Sequence[str], group: str) -> str | None:
    after = [g for g in listed[listed.index(group) :] if g in _SHORT_DOMAINS]
    return after[0].removeprefix("domain=") if after else None


def _paper_domain(group: str) -> str | None:
    name = paper_dataset(group.removeprefix("dataset="))
    return "in" if name in IN_DOMAIN else "out" if name in OUT_OF_DOMAIN else None


def _by_paper(groups: Sequence[str]) -> list[str]:
    """Sort by the paper's order; what the paper does not know stands before its own section's totals."""

    def place(group: str) -> tuple[bool, int]:
        known = paper_group(group)
        is_total = group_field(group) == "domain"
        return is_total, _PAPER_ORDER.index(known) if known is not None else len(_PAPER_ORDER)

    return sorted(groups, key=place)


def _section_number(group: str) -> int:
    fields = list(_FIELD_SECTIONS)
    return fields.index(group_field(group)) if group_field(group) in fields else len(fields)


def _section(group: str) -> str:
    return _FIELD_SECTIONS.get(group_field(group), "Other groups")


def _share_label(share: str) -> str:
    if share in ("1", "1.0"):
        return "unanimous"
    low, _, high = share.partition("-")
    try:
        return f"> {float(low):.0%} to {float(high):.0%}".replace("%", "", 1).replace("%", " %")
    except ValueError:
        return share


def _present(groups: Sequence[str], group: str) -> list[str]:
    return [group] if group in groups else []
