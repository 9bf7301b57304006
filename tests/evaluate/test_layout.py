from dissensus.evaluation.paper_numbers import missing_groups
from dissensus.evaluation.tables.build import dataset_domains, paper_lines

PAPER = [
    ("In-domain (ID)", "webgpt"),
    ("In-domain (ID)", "hh-rlhf"),
    ("In-domain (ID)", "summarize-from-feedback"),
    ("In-domain (ID)", "synthetic-instruct"),
    ("In-domain (ID)", "All ID"),
    ("Out-of-domain (OOD)", "prism"),
    ("Out-of-domain (OOD)", "ultrafeedback"),
    ("Out-of-domain (OOD)", "All OOD"),
    ("Categories", "Multiple correct"),
    ("Categories", "Single correct"),
    ("Categories", "Multiple correct ID"),
    ("Categories", "Single correct ID"),
    ("Categories", "Multiple correct OOD"),
    ("Categories", "Single correct OOD"),
    ("Responses", "Distinguishable"),
    ("Responses", "Indistinguishable"),
]


def shown(lines):
    return [(line.section, line.label) for line in lines]


def test_the_rows_stand_in_the_papers_order(make_scorecard):
    groups = list(dict.fromkeys(row.group for row in make_scorecard()))
    assert shown(paper_lines(groups)) == [*PAPER, ("All", "All pairs")]


def test_missing_rows_of_the_paper_are_put_where_the_paper_has_them():
    assert shown(paper_lines([], missing_groups([]))) == PAPER
    ours = ["all", "dataset=HannahRoseKirk/prism-alignment", "dataset=vicuna80"]
    lines = paper_lines(ours, missing_groups(ours))
    assert [line.label for line in lines if line.section == "Out-of-domain (OOD)"] == [
        "HannahRoseKirk/prism-alignment",
        "ultrafeedback",
        "All OOD",
    ]
    assert ("Data sets", "vicuna80") in shown(lines)


def test_every_group_has_exactly_one_row(make_scorecard):
    groups = [
        *dict.fromkeys(row.group for row in make_scorecard()),
        "contested=yes",
        "majority=1",
        "odd=x",
        "dataset=z",
    ]
    assert sorted(line.group for line in paper_lines(groups)) == sorted(groups)
    assert [line.section for line in paper_lines(groups)][-1] == "All"


def test_a_data_set_belongs_to_the_domain_that_it_is_listed_before():
    groups = ["all", "dataset=prism", "domain=in", "dataset=vicuna80", "domain=out", "dataset=both"]
    assert dataset_domains(groups) == {"dataset=prism": "in", "dataset=vicuna80": "out", "dataset=both": None}


def test_older_scorecards_list_data_sets_first_and_tell_no_domain():
    groups = ["all", "dataset=prism", "dataset=webgpt", "dataset=vicuna80", "domain=in", "domain=out"]
    assert dataset_domains(groups) == {"dataset=prism": "out", "dataset=webgpt": "in", "dataset=vicuna80": None}
    assert dataset_domains(["all", "dataset=prism", "dataset=x"]) == {"dataset=prism": None, "dataset=x": None}


def test_categories_of_other_data_keep_their_names_and_their_order():
    groups = ["all", "zeta=1", "category=coding", "alpha=2", "category=coding&domain=in", "category=writing", "beta=3"]
    labels = [line.label for line in paper_lines(groups)]
    assert labels == ["coding", "writing", "coding ID", "1", "2", "3", "All pairs"]
