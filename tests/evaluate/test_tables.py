import pytest

from dissensus.evaluation.join import join
from dissensus.evaluation.scorecard import score
from dissensus.evaluation.scores import Scores, notes
from dissensus.evaluation.tables.build import group_table, make_tables, metric_table
from dissensus.evaluation.tables.number_format import cell, number, short_names, stars
from dissensus.records import Metric


@pytest.fixture(scope="module")
def rows(make_study):
    return score(join(*make_study(models=("base", "margin", "blend"))), baseline="base", n_resamples=60)


def row(model, metric, group="all", value=0.5, **fields):
    return Metric(**{"model": model, "group": group, "metric": metric, "value": value, "n": 90} | fields)


def table_of(rows, name):
    return next((table for table in make_tables(Scores(rows)) if table.name == name), None)


def names(table):
    return [entries[0] for entries in table.rows]


def test_columns_are_the_baseline_then_each_model_with_its_difference(rows):
    table = group_table(Scores(rows), "pearson")
    assert table.header == ("", "n", "base", "margin", "Δ", "blend", "Δ")
    assert names(table)[:4] == ["web", "All ID", "prism", "All OOD"]
    assert names(table)[-2:] == ["All pairs · within", "All pairs · pooled"]


def test_without_a_baseline_there_are_no_differences(make_scorecard):
    for models in (("only",), ("base", "better")):
        scores = Scores(make_scorecard(models=models, baseline=None))
        assert group_table(scores, "l1").header == ("", "n", *models)
        assert metric_table(scores).header == ("", *models)


def test_a_cell_is_value_and_interval():
    m = row("m", "l1", value=0.0141, low=-0.003, high=0.03)
    assert number(-0.0001) == number(0.0001, signed=True) == ".000", "a rounded zero has no sign"
    assert cell(m) == ".014 [−.003, .030]"
    assert cell(m.model_copy(update={"baseline": "b"})) == "+.014 [−.003, .030]"
    assert cell(m.model_copy(update={"value": None, "low": None})) == "—"
    assert cell(m.model_copy(update={"low": None})) == ".014"
    assert cell(m.model_copy(update={"baseline": "b", "p_holm": 0.002})) == "+.014 [−.003, .030]**"


def test_marks_need_an_adjusted_p_value_below_the_level():
    difference = row("m", "l1", baseline="b", p_value=0.001)
    assert stars(difference) == ""
    marks = {p: stars(difference.model_copy(update={"p_holm": p})) for p in (0.0, 0.0099, 0.01, 0.049, 0.05, 1.0)}
    assert marks == {0.0: "**", 0.0099: "**", 0.01: "*", 0.049: "*", 0.05: "", 1.0: ""}
    assert stars(difference.model_copy(update={"p_holm": 0.001, "group": "contested=yes"})) == ""


def test_the_legend_stands_where_there_were_tests(make_scorecard, rows):
    said = " ".join(group_table(Scores(make_scorecard()), "pearson").notes)
    assert "paired swap test" in said
    assert "Holm" in said
    untested = [r.model_copy(update={"p_value": None, "p_holm": None}) for r in make_scorecard()]
    assert group_table(Scores(untested), "pearson").notes == ()


def test_notes_are_said_once_with_their_groups(rows):
    said = notes(Scores(rows))
    assert len(said) == len(set(said))
    assert any(note.endswith("interval rests on only 10 prompts") for note in said)


def test_over_several_data_sets_the_mean_within_them_comes_first(make_scorecard):
    rows = make_scorecard() + [
        row(m, "pearson_within", g, baseline=b)
        for g in ("all", "domain=in")
        for m, b in (("base", None), ("margin", None), ("margin", "base"))
    ]
    table = group_table(Scores(rows), "pearson")
    assert names(table)[4:6] == ["All ID · within", "All ID · pooled"]
    assert names(table)[-2:] == ["All pairs · within", "All pairs · pooled"]
    assert table.rows[4][2].metric == "pearson_within"
    assert any(note.startswith("within:") for note in table.notes)
    assert "All ID" in names(group_table(Scores(rows), "l1"))


def test_the_ceiling_is_a_column_of_its_own(make_scorecard):
    ceilings = [row("ceiling", m, g, kind="ceiling") for m in ("pearson", "l1") for g in ("all", "domain=in")]
    for metric, title in (("pearson", "noise ceiling"), ("l1", "true preferences")):
        table = group_table(Scores(make_scorecard() + ceilings), metric)
        assert table.header[-1] == title
        shown = {entries[0] for entries in table.rows if entries[-1] is not None}
        assert shown == {"All ID", "All pairs"}
    assert metric_table(Scores(make_scorecard() + ceilings)).header[-1] == "true preferences"


def test_against_the_paper_every_row_of_it_is_there(make_scorecard):
    rows = make_scorecard(groups=("all", "dataset=vicuna80", "dataset=webgpt"))
    table = group_table(Scores(rows), "pearson", against="paper")
    assert table.header[-4:] == ("paper: n", "paper: baseline", "paper: regularised", "paper: Δ")
    by_name = {entries[0]: entries for entries in table.rows}
    assert len(by_name) == 16 + 2
    assert by_name["prism"][1:5] == (None,) * 4
    assert [by_name["prism"][-4], *(m.value for m in by_name["prism"][-3:])] == [25, 0.472, 0.658, 0.186]
    assert by_name["vicuna80"][-4:] == (None,) * 4
    assert isinstance(by_name["webgpt"][2], Metric)
    assert all(any(word in note for note in table.notes) for word in ("look exchanged", "Fisher"))
    spans = group_table(
        Scores([*make_scorecard(), row("base", "pearson_within", "domain=in")]), "pearson", against="paper"
    )
    by_name = {entries[0]: entries for entries in spans.rows}
    assert by_name["All ID · within"][-1] is None
    assert by_name["All ID · pooled"][-1].value == 0.015


def test_references_and_judges_have_a_table_of_their_own(make_scorecard):
    rows = [
        *make_scorecard(),
        row("one half", "l1", kind="reference"),
        row("longer response", "pearson", kind="reference"),
        row("gpt-4", "pearson", kind="judge"),
        row("gpt-4", "accuracy", "domain=out", kind="judge"),
        row("ceiling", "pearson", kind="ceiling"),
    ]
    table = table_of(rows, "baselines")
    assert table.header == ("", "n", "Pearson r", "L1", "Brier", "accuracy")
    assert names(table)[:6] == ["one half", "longer response", "gpt-4", "base", "margin", "true preferences"]
    assert [title for _, title in table.sections] == ["All pairs", "All OOD"]
    assert table_of(make_scorecard(), "baselines") is None


def test_the_majoritys_share():
    groups = ("majority=0.5-0.7", "majority=0.7-0.9", "majority=0.9-1", "majority=1")
    rows = [row("m", "pearson"), *(row("m", "accuracy", group) for group in groups)]
    table = table_of(rows, "majority")
    assert names(table) == ["> 50 to 70 %", "> 70 to 90 %", "> 90 to 100 %", "unanimous"]
    assert names(table_of(rows, "pearson")) == ["All pairs"]


def test_agreement_of_people_by_data_set(make_scorecard):
    rows = make_scorecard() + [
        row("people", metric, group, kind="people")
        for group in ("all", "dataset=prism")
        for metric in ("fleiss_kappa", "icc_2k")
    ]
    assert [table.name for table in make_tables(Scores(make_scorecard()))] == ["pearson", "l1", "metrics"]
    assert [table.name for table in make_tables(Scores(rows[-1:]))] == ["people"]
    table = table_of(rows, "people")
    assert table.header == ("", "n", "Fleiss κ", "ICC(2,k)")
    assert names(table) == ["prism", "All pairs"]


def test_calibration_shows_what_chance_alone_gives():
    rows = [
        row("m", metric, value=v) for metric, v in (("ece", 0.09), ("ece_null", 0.08), ("brier", 0.1), ("nll", 1.2))
    ]
    table = table_of(rows, "calibration")
    assert table.header == ("", "n", "ECE", "ECE if calibrated", "Brier", "NLL")
    assert [cell(entry) for entry in table.rows[0][2:]] == [".090", ".080", ".100", "1.200"]
    other = [row("gpt", "brier", kind="judge"), row("x", "ece", kind="judge")]
    assert names(table_of([*rows, *other], "calibration")) == ["m", "x"], "who has no calibration is not in it"


def test_ways_to_aggregate_stand_beside_each_other(make_scorecard):
    rows = make_scorecard() + [
        row(m, "pearson", baseline=b, target=t, value=0.1)
        for t in ("worst-off", "dawid-skene", "mace")
        for m, b in (("base", None), ("margin", None), ("margin", "base"))
    ]
    table = table_of(rows, "targets")
    assert table.header == ("", "n", "votes", "Dawid-Skene", "MACE", "worst-off")
    assert names(table) == ["base", "margin", "Δ margin"]
    assert table_of(make_scorecard(), "targets") is None


def test_the_spread_between_seeds_is_apart_from_that_of_the_data():
    rows = [row("m", "pearson", seeds=3, seed_sd=0.012, data_se=0.04), row("m", "l1", seeds=1)]
    table = table_of(rows, "seeds")
    assert [entries[0:2] + entries[3:] for entries in table.rows] == [("m", 3, ".012", ".040")]


def test_names_that_would_look_alike_are_numbered():
    long = [f"reward-model-with-a-long-name-{i}-of-the-large-backbone" for i in range(12)]
    short = short_names(long, 20)
    assert len(set(short.values())) == 12
    assert max(map(len, short.values())) <= 20


def test_the_foot_of_a_table_says_what_is_primary_and_over_how_many(rows):
    n = sum(r.p_holm is not None for r in rows)
    table = group_table(Scores(rows), "pearson")
    assert f"a primary difference (r within data sets and L1: {n} hypotheses)" in table.notes[0]
    assert "all else is exploratory and carries no mark" in table.notes[0]
    pooled = [entries[-1] for entries in table.rows if str(entries[0]).endswith("· pooled")]
    assert pooled
    assert not any(stars(entry) for entry in pooled)
    assert any(note.startswith("within:") and note.endswith("; it is exploratory") for note in table.notes)
    assert table_of(rows, "seeds").notes[0] == table.notes[0]
    alone = [row("base", "l1"), row("m", "l1"), row("m", "l1", baseline="base", p_holm=0.01, role="primary")]
    assert "(L1: one hypothesis)" in group_table(Scores(alone), "l1").notes[0]


def test_all_metrics_stand_by_their_role(rows):
    table = metric_table(Scores(rows))
    assert table.sections == ((0, "Primary"), (2, "Exploratory"))
    assert names(table)[:3] == ["Pearson r, mean within data sets", "L1", "Pearson r"]
    marked = {entries[0] for entries in table.rows if any(isinstance(e, Metric) and stars(e) for e in entries)}
    assert marked <= set(names(table)[:2])


def test_a_primary_metric_of_ones_own_has_a_table_by_group(make_study):
    rows = score(join(*make_study()), baseline="base", n_resamples=0, n_swaps=999, primary=("accuracy",))
    tables = make_tables(Scores(rows))
    assert [table.name for table in tables][:4] == ["accuracy", "pearson", "l1", "metrics"]
    assert "a primary difference (accuracy: 11 hypotheses)" in tables[0].notes[0]
    assert (
        tables[1].notes[0]
        == tables[2].notes[0]
        == "exploratory: no difference here is primary, and none carries a mark"
    )
