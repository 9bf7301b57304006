import numpy as np
import pytest

from dissensus.evaluation import groups as evaluate_groups
from dissensus.evaluation.groups import Group
from dissensus.evaluation.paper_numbers import PUBLISHED


def find_groups(pairs):
    return {str(group): mask for group, mask in evaluate_groups.find_groups(pairs).items()}


def find_majority_groups(pairs):
    return {str(group): mask for group, mask in evaluate_groups.find_majority_groups(pairs).items()}


def test_the_rows_of_the_papers_tables(make_pair):
    fields = [
        {"dataset": d, "domain": o, "category": c, "distinct": s}
        for d, o in (("webgpt", "in"), ("prism", "out"))
        for c in ("multiple", "single")
        for s in ("yes", "no")
    ]
    groups = find_groups([make_pair(str(i), 5, **row) for i, row in enumerate(fields)])
    assert list(groups) == [
        "all",
        "dataset=webgpt",
        "domain=in",
        "dataset=prism",
        "domain=out",
        "category=multiple",
        "category=single",
        "category=multiple&domain=in",
        "category=multiple&domain=out",
        "category=single&domain=in",
        "category=single&domain=out",
        "distinct=yes",
        "distinct=no",
    ]
    assert groups["category=multiple&domain=in"].tolist() == [True, True, False, False, False, False, False, False]


def test_data_sets_of_no_domain_or_of_both_stand_after_the_domains(make_pair):
    fields = [("a", "in"), ("b", "in"), ("b", "out"), ("c", None), ("d", "out")]
    groups = find_groups([make_pair(str(i), 5, dataset=d, domain=o) for i, (d, o) in enumerate(fields)])
    assert list(groups) == [
        "all", "dataset=a", "domain=in", "dataset=d", "domain=out", "dataset=b", "dataset=c",
    ]  # fmt: skip


def test_contested_pairs_are_those_whose_minority_is_three_in_ten_or_more(make_pair):
    pairs = [make_pair(str(a), a) for a in (2, 3, 5, 7, 8, 10)]
    groups = find_groups(pairs)
    assert list(groups) == ["all", "contested=yes", "contested=no"]
    assert groups["contested=yes"].tolist() == [False, True, True, True, False, False]


def test_majorities_are_open_below_and_unanimity_is_apart(make_pair):
    pairs = [make_pair(str(a), a) for a in (10, 9, 8, 7, 6, 5, 0)] + [make_pair("19", 19, n=20), make_pair("none")]
    groups = {name: np.flatnonzero(mask).tolist() for name, mask in find_majority_groups(pairs).items()}
    assert groups == {
        "majority=0.5-0.7": [3, 4],
        "majority=0.7-0.9": [1, 2],
        "majority=0.9-1": [7],
        "majority=1": [0, 6],
    }
    assert find_majority_groups(pairs[:1]) == {}


@pytest.mark.parametrize(
    ("text", "label", "row_label", "kind"),
    [
        ("contested=yes", "contested", "Contested", "contested"),
        ("contested=no", "not contested", "Not contested", "contested"),
        ("majority=0.5-0.7", "majority of 70 % or less", "> 50 to 70 %", "majority"),
        ("majority=0.9-1", "majority over 90 %", "> 90 to 100 %", "majority"),
        ("majority=odd", "odd", "odd", "majority"),
        ("majority=1", "unanimous", "unanimous", "majority"),
        ("all", "all", "All pairs", "all"),
        ("distinct=no", "indistinguishable", "Indistinguishable", "distinct"),
        ("dataset=Q&A", "Q&A", "Q&A", "dataset"),
        ("category=a=b&domain=out", "a=b · out-of-domain", "a=b OOD", "category&domain"),
    ],
)
def test_a_group_is_what_its_text_says(text, label, row_label, kind):
    group = Group.parse(text)
    assert (str(group), group.label, group.row_label, group.kind) == (text, label, row_label, kind)
    assert group.is_exploratory == (kind in ("contested", "majority"))


def test_the_paper_has_a_label_for_each_of_its_rows():
    assert len({Group.parse(text).row_label for text in PUBLISHED}) == len(PUBLISHED)


def test_a_group_that_holds_everything_is_not_repeated_and_some_pairs_may_be_in_none(make_pair):
    groups = find_groups([make_pair("p", 3, dataset="x", category="math"), make_pair("q", 3, dataset="x")])
    assert {group: mask.tolist() for group, mask in groups.items()} == {"all": [1, 1], "category=math": [1, 0]}
