"""The paper's cells, each checked against what else the paper prints."""

import numpy as np
import pytest

from dissensus.evaluation.paper_numbers import (
    IN_DOMAIN,
    OUT_OF_DOMAIN,
    PUBLISHED,
    missing_groups,
    paper_dataset,
    published,
)

PRINTED_DIFFERENCES = {
    "dataset=webgpt": -0.040,
    "dataset=hh-rlhf": 0.000,
    "dataset=summarize-from-feedback": 0.117,
    "dataset=synthetic-instruct": -0.029,
    "domain=in": 0.015,
    "dataset=prism": 0.186,
    "domain=out": 0.111,
    "category=multiple": 0.054,
    "category=single": -0.003,
    "category=multiple&domain=in": 0.024,
    "category=single&domain=in": -0.011,
    "category=multiple&domain=out": 0.133,
    "category=single&domain=out": 0.072,
    "distinct=yes": 0.046,
    "distinct=no": 0.021,
}
"""The Δ column of table 1; that of UltraFeedback cannot be read in the copy at hand."""


def test_the_differences_are_those_that_table_1_prints():
    found = {group: published("pearson", group)[2].value for group in PRINTED_DIFFERENCES}
    assert found == pytest.approx(PRINTED_DIFFERENCES, abs=1e-9)


def test_the_l1_of_a_domain_is_the_mean_of_its_data_sets():
    # 25 pairs each, so the pooled mean is the mean of the means, up to their rounding.
    for sets, domain in ((IN_DOMAIN, "domain=in"), (OUT_OF_DOMAIN, "domain=out")):
        means = np.mean([PUBLISHED[f"dataset={name}"].l1 for name in sets], axis=0)
        np.testing.assert_allclose(PUBLISHED[domain].l1, means, atol=0.001)


def test_two_counts_are_exchanged_in_print():
    cells = {(c, d): PUBLISHED[f"category={c}&domain={d}"] for c in ("multiple", "single") for d in ("in", "out")}
    printed = {cell: row.n for cell, row in cells.items()}
    mended = printed | {("single", "in"): 34, ("multiple", "out"): 40}
    assert (printed["single", "in"], printed["multiple", "out"]) == (40, 34)
    wholes = {"category=multiple": 0, "category=single": 0, "domain=in": 1, "domain=out": 1}
    for whole, place in wholes.items():
        parts = [cell for cell in cells if cell[place] == whole.partition("=")[2]]
        counts = [mended[cell] for cell in parts]
        assert sum(counts) == PUBLISHED[whole].n != sum(printed[cell] for cell in parts)
        means = np.average([cells[cell].l1 for cell in parts], axis=0, weights=counts)
        np.testing.assert_allclose(means, PUBLISHED[whole].l1, atol=0.001)


def test_numbers_that_the_text_of_the_paper_rests_on():
    baseline, regularised, _ = published("l1", "domain=in")
    assert (baseline.value, regularised.value, baseline.n) == (0.218, 0.198, 100)
    assert [m.value for m in published("pearson", "distinct=no")[:2]] == [0.631, 0.652]


def test_intervals_are_marked_as_ours_and_l1_has_none():
    row = published("pearson", "dataset=webgpt")[0]
    assert row.low < row.value < row.high
    assert "computed here" in str(row.notes)
    assert published("l1", "dataset=webgpt")[0].low is None


def test_data_sets_are_known_by_their_names_on_the_hub():
    known = {
        "webgpt": ["webgpt", "openai/webgpt_comparisons"],
        "hh-rlhf": ["Anthropic/hh-rlhf", "hh_harmless"],
        "summarize-from-feedback": ["openai/summarize_from_feedback"],
        "synthetic-instruct": ["Dahoas/synthetic-instruct-gptj-pairwise", "InstructGPT-J"],
        "prism": ["HannahRoseKirk/prism-alignment"],
        "ultrafeedback": ["HuggingFaceH4/ultrafeedback_binarized"],
        None: ["prismatic", "my-webgpt"],
    }
    assert {name: [other for other in names if paper_dataset(other) == name] for name, names in known.items()} == known


def test_what_the_paper_has_no_row_for():
    assert published("pearson", "all") is None
    assert published("brier", "domain=in") is None
    assert "domain=in" not in missing_groups(["domain=in"])
