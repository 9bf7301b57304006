"""The tables, the card, the comparison and the methods of a run that has every kind of row."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dissensus.evaluation.scores import Scores
from dissensus.records import Metric
from dissensus.reports.compare import compare
from dissensus.reports.data_card import make_card
from dissensus.reports.findings import find_findings, statement
from dissensus.reports.group_tables import GroupTable
from dissensus.reports.judge_data import Judged, JudgeSummary
from dissensus.reports.methods import methods_paragraph
from dissensus.reports.page import _name_runs, render
from dissensus.run_records import NOTHING_NOTED

from .manifests import noted


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
        _row("reference", "one half", "pearson", None, notes=("undefined",)),
        _row("judge", "a judge", "l1", 0.3),
        _row("ceiling", "ceiling", "pearson", 0.9, low=0.8, high=0.95),
        _row("ceiling", "ceiling", "l1", 0.1),
        _row("people", "people", "fleiss_kappa", 0.35),
    ]
    return replace(run_data, metrics=[*run_data.metrics, *added])


def spanning(metrics):
    """The rows as though all pairs were of several data sets: r within them is primary, pooled r is not."""
    rows = []
    for row in metrics:
        if (row.group, row.metric, row.kind, row.target) == ("all", "pearson", "model", "votes"):
            rows.append(row.model_copy(update={"metric": "pearson_within", "value": 0.4}))
            row = row.model_copy(update={"role": row.baseline and "exploratory", "p_holm": None})
        rows.append(row)
    return rows


def test_models_are_reward_models_alone(full, run_data):
    scores = Scores(full.metrics)
    assert scores.models == Scores(run_data.metrics).models
    assert scores.names("reference") == ["longer response", "one half"]
    assert scores.ceiling("pearson").value == 0.9
    assert scores.value("base", "pearson").value != 0.99


def test_r_within_data_sets_stands_before_the_pooled_one(full):
    table = GroupTable.of(Scores(full.metrics), "pearson")
    assert "Share of the majority" not in table.sections, "which lacks r"
    first, second = table.sections[""]
    assert (first.label, second.label) == ("All pairs, within data sets", "All pairs, pooled")
    assert first.values["base"].value == 0.4
    assert table.around == [("reference", "longer response"), ("ceiling", "ceiling")]
    assert [row.value for row in second.around] == [0.1, 0.9]


def test_every_part_finds_its_place_on_the_page(full):
    html = render(full)
    for said in ("Ceiling", "longer response", "Fleiss κ", "a judge", "ECE .070 (calibrated would give .020)"):
        assert said in html


@pytest.mark.parametrize("kind", ["model", "judge", "reference", "ceiling", "people"])
def test_rows_of_a_kind_may_be_missing(full, kind):
    assert "How this run was made" in render(replace(full, metrics=[m for m in full.metrics if m.kind != kind]))


def test_the_card_counts(full):
    card = make_card(full, Scores(full.metrics))
    (row,) = card.rows
    assert (row.pairs, row.prompts, row.votes, row.name) == (80, 40, "5", "All")
    found = {name: cells[0].value for name, cells in card.coefficients}
    assert found == {"Fleiss κ": 0.35, "ceiling of r": 0.9, "L1 of the true preferences": 0.1}
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
    found = compare([full, replace(full, joined=fewer)], ["one", "two"])
    assert "Differences between the runs cannot be computed." in found.warning
    assert found.baseline is None
    assert all(row.differences == {} for row in found.rows)


def test_the_methods_say_what_was_done_and_found(full):
    config = {
        "models": {"base": {"objective": "bradley-terry", "model": "minilm", "epochs": 2}},
        "seeds": [0, 1],
        "evaluation": {"resamples": 1234, "level": 0.9},
    }
    scores = Scores(full.metrics)
    said = methods_paragraph(_with(full, config), scores)
    for part in ("80 pairs of 40 prompts", "400 votes", "backbone minilm, epochs 2", "2 seeds (0, 1)", "90 %", "1,234"):
        assert part in said
    assert statement(find_findings(scores), scores) in said
    assert "80 pairs" in methods_paragraph(replace(full, manifest=NOTHING_NOTED), scores)


def _with(run, config, *stages):
    return noted(run, config=config, stages=list(stages))


def _said(run):
    return methods_paragraph(run, Scores(run.metrics))


def test_the_methods_tell_of_sweeps_other_judges_and_categories(full):
    """The rates of the settings were not those of the models; margins of two judges are two things."""
    names = full.joined.models
    own = {"objective": "margin", "learning_rate": 2e-5, "model": "minilm"}
    config = {
        "models": {name: {**own, "judge": "panel"} for name in names},
        "sweep": {"rates": "1e-4..1e-6", "metric": "nll"},
        "seeds": [0],
        "categories": {"name": "offline", "judge": None},
    }
    stages = [{"name": f"train {name} seed 0", "counts": {"learning_rate": 3e-6}} for name in names]
    stages += [{"name": "judge panel", "counts": {"judge": "committee-12ab"}}]
    stages += [{"name": "categories", "counts": {"set": 4, "by_people": 76, "kappa_correct": 0.71}}]
    said = _said(_with(full, config, *stages))
    assert "2e-05" not in said
    assert f"chosen among 1e-4..1e-6 by the nll of held-out training prompts: 3e-06 for {names[0]}" in said
    assert "76 are people's and 4 by machine (shipped classifiers); its agreement with people is κ = 0.71" in said
    if any(margin.n_judgments for margin in full.margins):
        assert f"The margins of {names[0]} are those of committee-12ab instead." in said


def test_the_methods_tell_of_chosen_settings_in_each_fold(full):
    names = full.joined.models
    config = {
        "models": {name: {"objective": "blend", "learning_rate": 5e-5, "epochs": 7} for name in names},
        "sweep": {"rates": None, "choose": {"label_weight": "0,0.2", "epochs": "1"}, "metric": None},
        "cross_validate": {"by": "category", "folds": 2},
        "seeds": [0],
    }
    counts = [
        {"pairs": 40 + k, "learning_rate": 1e-5, "chosen": {"label_weight": weight}}
        for k, weight in enumerate((0.0, 0.2))
    ]
    stages = [{"name": f"fold {k}: train {n} seed 0", "counts": counts[k - 1]} for n in names for k in (1, 2)]
    said = _said(_with(full, config, *stages))
    assert "2-fold cross-validation by category: whole categories were dealt into 2 folds" in said
    assert "trained on 40 to 41 pairs of the other folds" in said
    assert "Training used learning rate 5e-05." in said  # and not the epochs of the settings
    assert "Settings (label weight among 0, 0.2; epochs among 1) were chosen by the NLL after a fitted temp" in said
    assert f"label weight 0.0 / label weight 0.2 for {names[0]}" in said


def test_the_methods_name_both_kinds_of_intervals(run_data):
    said = _said(_with(run_data, {"evaluation": {"resamples": 50, "level": 0.95}}))
    assert (
        "Brackets are 95 % bootstrap intervals (50 resamples) over prompts, drawn within each data set: "
        "t intervals with the bootstrap's standard error; all are widened for few or unequal prompts. They count the "
        "training seeds, between which"
    ) in said
    old = [r.model_copy(update={"method": "bca" if r.baseline is None else "percentile"}) for r in run_data.metrics]
    said = _said(_with(replace(run_data, metrics=old), {"evaluation": {"resamples": 50, "level": 0.95}}))
    assert "bias-corrected and accelerated (BCa) for values; percentiles of the paired differences for Δ;" in said
    assert "They do not count the training seeds" in said


def test_only_models_that_have_predicted_are_called_compared(run_data):
    joined = replace(run_data.joined, predicted={"base": run_data.joined.predicted["base"]})
    config = {"models": {"base": {}, "late": {"objective": "margin"}}, "seeds": [0]}
    said = _said(_with(replace(run_data, joined=joined, metrics=[]), config))
    assert said.startswith("We evaluated one reward model: base.")
    assert "late" not in said


def test_margins_rest_on_the_judge_of_the_training_pairs_alone(run_data):
    summaries = [JudgeSummary(name, 9, 90, 0.1, None, 0, None) for name in ("mine-1f", "gpt4")]
    stages = [
        {"name": "judge", "counts": {"judge": "mine-1f"}},
        {"name": "margin", "counts": {"judgments": 500, "invalid": 50, "left_out": 3}},
        {"name": "judge the test pairs: gpt4", "counts": {"judge": "gpt4-af"}},
    ]
    said = _said(_with(replace(run_data, judged=Judged(summaries)), {}, *stages))
    assert (
        "rest on 10 judgments a pair by mine-1f; a tie counts as half a vote for each response, and replies that name "
        "neither (10.0 %) are not votes."
    ) in said
    assert "gpt4" not in said


def test_what_models_were_trained_on_is_what_training_counted(run_data, hostile):
    config = {"models": {"base": {}, hostile: {"objective": "categorical"}}, "seeds": [0]}
    stages = [
        {"name": "margin", "counts": {"left_out": 11}},
        {"name": "train base seed 0", "counts": {"pairs": 9099, "ties_dropped": 77}},
        {"name": f"train {hostile} seed 0", "counts": {"pairs": 9176, "ties_dropped": 0}},
    ]
    said = _said(_with(run_data, config, *stages))
    assert "11 had no judgment that is a vote and were left out; base was trained on 9,099 (77 ties drop" in said
    assert f"{hostile} was trained on 9,176." in said
    assert f"σ(r_a − r_b), for {hostile}, whose rewards are distributions, integrated over both rewards;" in said


def test_the_ceiling_of_the_summary_is_that_of_its_r(full):
    metrics = [*spanning(full.metrics), _row("ceiling", "ceiling", "pearson_within", 0.777)]
    html = render(replace(full, metrics=metrics))
    summary = html[html.index('<table class="summary">') : html.index("Δ is the paired difference")]
    assert '<b class="big">.777</b>' in summary
    assert ".900" not in summary


def test_where_a_part_of_the_summary_has_another_r_than_the_whole_it_says_so(full, run_data):
    html = render(replace(full, metrics=spanning(full.metrics)))
    assert "exploratory; Pearson r, not r within data sets</span>" in html
    assert '["base, contested, Pearson r"]' in html
    assert "exploratory</span>" in render(run_data)


def test_the_page_says_what_is_primary_and_how_it_was_tested(full):
    run = replace(full, metrics=spanning(full.metrics))
    html, said = render(run), methods_paragraph(run, Scores(run.metrics))
    assert "Primary are the differences of" in said
    assert "to base in r within data sets and L1, on all pairs and by group: " in said
    assert "at most the level: each model and metric has an equal share of it, with which all pairs are tested" in said
    assert "primary differences (r within data sets and L1: " in html
    assert html.index("<span>Primary</span>") < html.index("<span>Exploratory</span>")
    assert '<bdi>All pairs, pooled</bdi> <span class="quiet">exploratory</span>' in html


def test_a_scorecard_of_an_earlier_version_is_shown_as_it_was(full):
    old = [row.model_copy(update={"role": None}) for row in full.metrics]
    run = replace(full, metrics=old)
    assert "adjusted by Holm over the groups shown." in methods_paragraph(run, Scores(old))
    html = render(run)
    assert "adjusted by Holm over the groups of a table" in html
    assert "<span>Exploratory</span>" not in html


def test_runs_that_cannot_be_told_apart_are_numbered(run_data):
    run = replace(run_data, name="run", manifest=NOTHING_NOTED)
    assert _name_runs([run, run]) == ["run (1)", "run (2)"]
    folders = [replace(run, folder=folder) for folder in ("a/run", "b/run")]
    assert _name_runs(folders) == ["run (a/run)", "run (b/run)"]
    assert _name_runs([*folders, folders[0]]) == ["run (1)", "run (2)", "run (3)"]
    assert _name_runs([run, replace(run, name="other"), run]) == ["run (1)", "other", "run (3)"]


def test_one_statistic_is_compared_throughout(full):
    within = [_row("model", m, "pearson_within", 0.4) for m in Scores(full.metrics).models]
    has = replace(full, metrics=[*full.metrics, *within])
    none = replace(full, metrics=[row for row in full.metrics if row.metric != "pearson_within"])
    assert compare([has, none], ["one", "two"]).r == "pearson"
    assert {row.pearson.metric for row in compare([has, none], ["one", "two"]).rows} == {"pearson"}
    assert compare([has, has], ["one", "two"]).r == "pearson_within"


def test_differences_between_runs_are_those_within_a_run(run_data, hostile):
    """A second run with the same predictions in another order has the differences that the scorecard gives."""
    joined = run_data.joined
    order = np.random.default_rng(0).permutation(len(joined.pairs))
    other = replace(
        joined,
        pairs=tuple(joined.pairs[i] for i in order),
        human=joined.human[order],
        predicted={model: rows[:, order] for model, rows in joined.predicted.items()},
    )
    found = compare([run_data, replace(run_data, joined=other)], ["one", "two"])
    assert found.baseline == (0, "base")
    by_model = {(row.run, row.model): row.differences for row in found.rows}
    assert by_model[0, "base"] == {}
    assert (by_model[1, "base"]["pearson"].value, by_model[1, "base"]["l1"].low) == (0, 0)
    scores = Scores(run_data.metrics)
    for metric in ("pearson", "l1"):
        row, known = by_model[1, hostile][metric], scores.difference(hostile, metric)
        assert row == by_model[0, hostile][metric]
        assert row.value == pytest.approx(known.value)
        # The scorecard's own interval is of 50 resamples.
        assert (row.low, row.high) == pytest.approx((known.low, known.high), abs=0.35 * (known.high - known.low))


def test_notes_are_numbered_and_listed(run_data):
    noted = [row.model_copy(update={"notes": ("take care", "look twice")}) for row in run_data.metrics[:1]]
    html = render(replace(run_data, metrics=[*noted, *run_data.metrics[1:]]))
    for number, text in ((1, "take care"), (2, "look twice")):
        assert f'href="#note-0-{number}"' in html
        assert re.search(rf'<li id="note-0-{number}"><bdi>[^<]*: {text}', html)
    assert 'title="' not in html


def test_the_methods_name_a_recipe_that_no_setting_names(full):
    """Learning rate and epochs that the data decided are told as they were used."""
    names = full.joined.models
    config = {"models": {name: {"objective": "blend"} for name in names}, "sweep": None, "seeds": [0]}
    stages = [
        {"name": f"train {n} seed 0", "counts": {"pairs": 40, "learning_rate": 1e-4, "epochs": 10}} for n in names
    ]
    assert "Training used learning rate 0.0001, epochs 10." in _said(_with(full, config, *stages))
