"""Columns that a file uses for something of its own, null in a record, and CSV from pandas."""

import json

import pytest

from dissensus.errors import InputError
from dissensus.files import read_pairs, read_records, write_records
from dissensus.records import Judgment, Margin, Metric, Pair

ROWS = [{"prompt": f"p {i}", "chosen": "x", "rejected": "y"} for i in range(3)]

OWN = {
    "domain": "gardening",
    "category": ["plants", "home"],
    "dataset": {"name": "letters", "part": 1},
    "distinct": True,
    "group": ["x"],
    "id": {"x": 1},
}


def read(rows, **options):
    notices = []
    return list(read_pairs(rows, notice=notices.append, **options)), notices


@pytest.mark.parametrize("column", OWN)
def test_a_column_of_another_meaning_is_left_alone_and_named(column):
    plain, _ = read(ROWS)
    found, (notice,) = read([row | {column: OWN[column]} for row in ROWS])
    assert found == plain
    assert f"column {column} is left alone" in notice
    assert f"columns={ {column: ''} }" in notice
    assert read([row | {column: OWN[column]} for row in ROWS], columns={column: ""}) == (plain, [])


def test_a_bad_value_among_good_ones_is_an_error_with_a_way_that_works():
    rows = [row | {"domain": domain} for row, domain in zip(ROWS, ("in", "gardening", "out"), strict=True)]
    with pytest.raises(InputError, match=r"list:2: domain is text .*; expected in or out; .*columns={'domain': ''}"):
        read(rows)
    assert [pair.domain for pair in read(rows, columns={"domain": ""})[0]] == [None] * 3
    assert [pair.domain for pair in read(rows, values={"domain": {"gardening": "out"}})[0]] == ["in", "out", "out"]


def test_their_words_for_ours_can_be_mapped():
    rows = [row | {"distinct": value} for row, value in zip(ROWS, (True, False, True), strict=True)]
    found, notices = read(rows, values={"distinct": {"true": "yes", "False": "no"}})
    assert [pair.distinct for pair in found] == ["yes", "no", "yes"]
    assert notices == []


def test_whole_floats_are_whole_names():
    found, notices = read([row | {"id": float(i), "group": 7.0} for i, row in enumerate(ROWS)])
    assert [(pair.id, pair.group) for pair in found] == [("0", "7"), ("1", "7"), ("2", "7")]
    assert any("3 values of id were whole numbers" in text for text in notices)
    with pytest.raises(InputError, match="id is a number"):
        read([ROWS[0] | {"id": "a"}, ROWS[1] | {"id": 2.0**60}])


def of_prompts(n=3):
    return [{"prompt": f"p {i}", "chosen": f"x {k}", "rejected": "y", "id": i} for k in range(2) for i in range(n)]


def test_an_id_that_names_prompts_is_no_pairs_own():
    found, (notice,) = read(of_prompts())
    assert len({pair.id for pair in found}) == 6
    assert [pair.id for pair in found] == [p.id for p in read([r | {"id": None} for r in of_prompts()])[0]]
    assert "columns={'group': 'id'}" in notice
    grouped, notices = read(of_prompts(), columns={"group": "id"})
    assert notices == []
    assert [pair.group for pair in grouped] == ["0", "1", "2"] * 2


def test_one_id_twice_among_many_is_an_error_with_a_way_that_works():
    rows = [*of_prompts(40)[:40], ROWS[0] | {"id": 3}]
    with pytest.raises(InputError, match=r"id '3' came before with other content.*columns={'id': ''}"):
        read(rows)
    assert len(read(rows, columns={"id": ""})[0]) == 41


def test_required_columns_cannot_be_left_alone():
    with pytest.raises(InputError, match="no column chosen"):
        read(ROWS, columns={"chosen": ""})


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_cells_are_told_apart_by_what_the_header_has(tmp_path, delimiter, name):
    lines = [["prompt", "response_a", "response_b"], ["Why?", "So.", "No."]]
    (tmp_path / name).write_text("\n".join(delimiter.join(cells) for cells in lines) + "\n")
    ((pair,), notices) = read(tmp_path / name)
    assert (pair.prompt, pair.response_a, pair.response_b, notices) == ("Why?", "So.", "No.", [])


def test_a_tsv_comes_back_as_it_went(tmp_path):
    pairs = [Pair(id="1", prompt='a\tb "c"\nd, e', response_a="x;y", response_b="z")]
    write_records(tmp_path / "x.tsv", pairs)
    assert read(tmp_path / "x.tsv") == (pairs, [])


def test_numbers_that_pandas_writes_with_a_point_are_reported(tmp_path):
    (tmp_path / "x.csv").write_text(
        "id,prompt,response_a,response_b\n1.0,What is 6*7?,42.0,41.0\n,What is 1+1?,2.0,3\n"
    )
    for source in (tmp_path / "x.csv", tmp_path):
        found, notices = read(source)
        assert [pair.response_a for pair in found] == ["42.0", "2.0"]
        assert [text.partition(", as pandas")[0] for text in notices] == [
            "1 values of id end in .0",
            "2 values of response_a end in .0",
            "1 values of response_b end in .0",
        ]


@pytest.mark.parametrize(
    ("record", "row", "reason"),
    [
        (Judgment, {"pair_id": "1", "judge": "j", "sample": 0, "choice": "a", "order": None}, "order is null"),
        (Margin, {"pair_id": "1", "margin": 1, "n_judgments": None}, "n_judgments is null or empty"),
        (Metric, {"model": "m", "group": "all", "metric": "r", "value": 1, "n": 3, "kind": None}, "kind is null"),
    ],
)
def test_null_does_not_become_a_default_in_silence(tmp_path, record, row, reason):
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=f"x.jsonl:1: {reason}.*leave the column out for "):
        list(read_records(tmp_path / "x.jsonl", record))
    (tmp_path / "x.jsonl").write_text(json.dumps({key: value for key, value in row.items() if value is not None}))
    assert len(list(read_records(tmp_path / "x.jsonl", record))) == 1


def test_null_for_an_empty_text_is_an_empty_text(tmp_path):
    row = {"pair_id": "1", "judge": "j", "sample": 0, "choice": "a", "reply": None}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    assert next(read_records(tmp_path / "x.jsonl", Judgment)).reply == ""
