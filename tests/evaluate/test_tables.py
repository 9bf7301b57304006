import pytest

from dissensus.evaluate.scorecard import score
from dissensus.evaluate.tables import Scores, cell, group_table, metric_table, notes, number, tables
from dissensus.records import Metric


@pytest.fixture(scope="module")
def rows(make_study):
    return score(*make_study(models=("base", "margin", "blend")), baseline="base", n_resamples=60)


def test_columns_are_the_baseline_then_each_model_with_its_difference(rows):
    table = group_table(Scores(rows), "pearson")
    assert table.header == ("", "n", "base", "margin", "Δ", "blend", "Δ")
    assert [row[0] for row in table.rows][:5] == ["all", "prism", "web", "in-domain", "out-of-domain"]


def test_lines_are_aligned_and_fit_a_terminal(rows):
    lines = tables(rows).splitlines()
    assert max(map(len, lines)) <= 120
    for block in group_table(Scores(rows), "l1").as_text().partition("\n")[2].split("\n\n"):
        assert len({len(line) for line in block.splitlines()}) == 1


def test_many_models_are_split_into_blocks_that_fit(make_study):
    rows = score(*make_study(models=tuple(f"model-{i}" for i in range(9))), baseline="model-0", n_resamples=20)
    text = tables(rows)
    assert max(map(len, text.splitlines())) <= 120
    assert all(f"model-{i}" in text for i in range(9))


def test_a_cell_is_value_and_interval():
    row = Metric(model="m", group="all", metric="l1", value=0.0141, low=-0.003, high=0.03, n=9)
    assert cell(row) == ".014 [−.003, .030]"
    assert cell(row.model_copy(update={"baseline": "b"})) == "+.014 [−.003, .030]"
    assert cell(row.model_copy(update={"value": None, "low": None})) == "—"
    assert cell(row.model_copy(update={"low": None})) == ".014"


def test_a_rounded_zero_has_no_sign():
    assert number(-0.0001) == number(0.0001, signed=True) == ".000"


def test_undefined_values_are_a_dash_and_a_note(make_pair, make_prediction):
    pairs = [make_pair(f"p{i}", 5) for i in range(4)]
    text = tables(score(pairs, [make_prediction(p.id, 0.2 + i / 10) for i, p in enumerate(pairs)], n_resamples=20))
    assert "—" in text
    assert "all: all human preferences are equal: Pearson is undefined" in text
    assert "nan" not in text.lower()


def test_notes_are_said_once_with_their_groups(rows):
    said = notes(Scores(rows))
    assert len(said) == len(set(said))
    assert any(note.endswith("interval rests on only 10 prompts") for note in said)


def test_names_cannot_break_a_markdown_table(make_study):
    rows = score(*make_study(models=("a|b", "c")), baseline="c", n_resamples=20)
    lines = metric_table(Scores(rows)).as_markdown().splitlines()[2:]
    assert {line.replace("\\|", "").count("|") for line in lines} == {5}


def test_without_a_baseline_there_are_no_differences(make_study):
    table = metric_table(Scores(score(*make_study(), n_resamples=0)))
    assert table.header == ("", "base", "better")
