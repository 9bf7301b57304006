"""The tables, the card, the comparison and the methods of a run that has every kind of row."""

from dataclasses import replace

import pytest

from dissensus.records import Metric
from dissensus.report.board import Board
from dissensus.report.card import make_card
from dissensus.report.compare import compare
from dissensus.report.findings import find_findings, headline
from dissensus.report.group_tables import GroupTable
from dissensus.report.methods import methods_paragraph
from dissensus.report.page import render


def _row(kind, model, metric, value, group="all", **more):
    return Metric(model=model, group=group, metric=metric, value=value, n=80, kind=kind, **more)


@pytest.fixture(scope="module")
def full(run_data):
    """The run with the rows that an evaluation of every kind adds."""
    added = [
        _row("model", "base", "pearson_within", 0.4),
        _row("model", "base", "pearson", 0.99, target="dawid-skene"),
        _row("model", "base", "accuracy", 0.6, group="majority=0.5-0.7"),
        _row("model", "base", "ece", 0.07),
        _row("model", "base", "ece_null", 0.02),
        _row("reference", "longer response", "pearson", 0.1),
        _row("reference", "one half", "pearson", None, note="undefined"),
        _row("judge", "a judge", "l1", 0.3),
        _row("ceiling", "ceiling", "pearson", 0.9, low=0.8, high=0.95),
        _row("ceiling", "ceiling", "l1", 0.1),
        _row("people", "people", "fleiss_kappa", 0.35),
    ]
    return replace(run_data, metrics=[*run_data.metrics, *added])


def test_models_are_reward_models_alone(full, run_data):
    board = Board(full.metrics)
    assert board.scores.models == Board(run_data.metrics).scores.models
    assert board.names("reference") == ["longer response", "one half"]
    assert board.ceiling("pearson").value == 0.9
    assert board.scores.value("base", "pearson").value != 0.99


def test_r_within_data_sets_stands_before_the_pooled_one(full):
    table = GroupTable.of(Board(full.metrics), "pearson")
    first, second = table.sections[""]
    assert (first.label, second.label) == ("All pairs, within data sets", "All pairs, pooled")
    assert first.values["base"].value == 0.4
    assert table.around == [("reference", "longer response"), ("ceiling", "ceiling")]
    assert [row.value for row in second.around] == [0.1, 0.9]


def test_groups_that_lack_a_metric_have_no_line(full):
    assert "Share of the majority" not in GroupTable.of(Board(full.metrics), "pearson").sections


def test_every_part_finds_its_place_on_the_page(full):
    html = render(full)
    for said in ("Ceiling", "longer response", "Fleiss' κ", "a judge", "ECE .070 (calibrated would give .020)"):
        assert said.replace("'", "&#39;") in html


@pytest.mark.parametrize("kind", ["model", "judge", "reference", "ceiling", "people"])
def test_rows_of_a_kind_may_be_missing(full, kind):
    assert "How this run was made" in render(replace(full, metrics=[m for m in full.metrics if m.kind != kind]))


def test_the_card_counts(full):
    card = make_card(full, Board(full.metrics))
    (row,) = card.rows
    assert (row.pairs, row.prompts, row.votes, row.name) == (80, 40, "5", "All")
    assert row.agreement[0].value == 0.35
    assert row.ceilings[0].value == 0.9
    votes = [pair.votes for pair in full.joined.pairs]
    share = sum(v.a for v in votes) / sum(v.n for v in votes)
    assert row.split.startswith(f"a {100 * share:.0f} %")


def test_runs_on_the_same_pairs_are_compared_without_a_warning(full):
    assert compare([full], ["one"]) is None
    found = compare([full, full], ["one", "two"])
    assert found.warning == ""
    assert [(row.run, row.is_baseline) for row in found.rows] == [(0, True), (0, False), (1, True), (1, False)]


def test_runs_on_other_pairs_are_warned_of(full):
    joined = full.joined
    fewer = replace(joined, pairs=joined.pairs[:70])
    assert (
        "differ (80, 70 pairs, 70 of them in every run)" in compare([full, replace(full, joined=fewer)], "ab").warning
    )
    flipped = [pair.model_copy(update={"votes": joined.pairs[-1].votes}) for pair in joined.pairs]
    other = replace(joined, pairs=tuple(flipped))
    assert "different votes" in compare([full, replace(full, joined=other)], "ab").warning
    assert "not known" in compare([full, replace(full, joined=None)], "ab").warning


def test_two_runs_of_one_title_are_told_apart(full):
    html = render(full, replace(full, name="another"))
    assert "(another)" in html
    assert "2 runs compared" in html


def test_the_methods_say_what_was_done_and_found(full):
    config = {
        "models": {"base": {"objective": "bradley-terry", "model": "minilm", "epochs": 2}},
        "seeds": [0, 1],
        "evaluation": {"resamples": 1234, "level": 0.9},
    }
    board = Board(full.metrics)
    said = methods_paragraph(replace(full, manifest={**full.manifest, "config": config}), board)
    for part in ("80 pairs of 40 prompts", "400 votes", "backbone minilm, epochs 2", "2 seeds (0, 1)", "90 %", "1,234"):
        assert part in said
    assert headline(find_findings(board.scores), board.scores) in said


@pytest.mark.parametrize("config", [None, [], {"models": 3}, {"seeds": "x", "evaluation": 4, "models": {"a": None}}])
def test_methods_of_a_manifest_that_says_nothing_of_use(full, config):
    assert "80 pairs" in methods_paragraph(replace(full, manifest={"config": config}), Board(full.metrics))
