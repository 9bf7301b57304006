"""Every kind of bad input: one line with the place, what was found and the remedy."""

import gzip
import json
import re

import pytest

from dissensus.errors import InputError
from dissensus.files import read_pairs, read_records
from dissensus.records import Judgment, Margin

GOOD = {"id": "1", "prompt": "Why?", "response_a": "So.", "response_b": "No."}


def jsonl(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def failure(source, **options):
    with pytest.raises(InputError) as caught:
        list(read_pairs(source, notice=lambda text: None, **options))
    message = str(caught.value)
    assert "\n" not in message
    return message


BAD_ROWS = {
    "empty text": (GOOD | {"response_b": "  "}, "response_b is empty"),
    "null text": (GOOD | {"response_b": None}, "response_b is missing or null"),
    "missing in one row": ({k: v for k, v in GOOD.items() if k != "prompt"}, "prompt is missing"),
    "number for text": (GOOD | {"prompt": 5}, "prompt is a number (5); expected text"),
    "object for text": (GOOD | {"prompt": {}}, "prompt is an object"),
    "empty chat": (GOOD | {"prompt": []}, "prompt is empty"),
    "chat without content": (GOOD | {"prompt": [{"role": "user"}]}, "prompt[0].content is null"),
    "text in chat": (GOOD | {"prompt": ["hi"]}, "prompt[0] is text ('hi')"),
    "label": (GOOD | {"label": "left"}, "label is text ('left'); expected a, b, tie"),
    "label true": (GOOD | {"label": True}, "label is a boolean (True)"),
    "flag": (GOOD | {"label_is_a_vote": "perhaps"}, "label_is_a_vote is text ('perhaps'); expected true, false or"),
    "negative": (GOOD | {"votes_a": -1, "votes_b": 2}, "votes_a is -1; votes cannot be negative"),
    "half a vote": (GOOD | {"votes_a": 0.5, "votes_b": 2}, "votes_a is a number (0.5)"),
    "boolean vote": (GOOD | {"votes_a": True, "votes_b": 2}, "votes_a is a boolean (True)"),
    "one count": (GOOD | {"votes_a": 1}, "votes_b is missing beside other counts"),
    "votes": (GOOD | {"votes": 3}, "votes is a number (3)"),
    "vote word": (GOOD | {"votes": [{"vote": "left"}]}, "votes is text ('left'); expected a, b, tie or nothing"),
    "votes disagree": (GOOD | {"votes": [{"vote": "a"}], "votes_a": 0, "votes_b": 1}, "but the counts say 0, 1 and 0"),
    "malformed": ('{"prompt": x}', "malformed JSON (Expecting value at column 12)"),
    "NaN": ('{"prompt": NaN}', "NaN is not a JSON value"),
    "not an object": ("[1]", "expected a JSON object, found a list"),
    "lone surrogate": (GOOD | {"prompt": "x\ud83d"}, "prompt holds half a character (\\ud83d)"),
    "deep": ("[" * 100_000, "malformed JSON (nested too deeply)"),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_bad_row_is_named_with_its_line_and_can_be_skipped(tmp_path, bad):
    row, expected = BAD_ROWS[bad]
    path = jsonl(tmp_path / "x.jsonl", GOOD, "", row, GOOD | {"id": "3"})
    before = path.read_bytes()
    message = failure(path)
    assert message.startswith(f"{path}:3: {expected}" if bad != "votes disagree" else f"{path}:3: ")
    assert expected in message
    assert message.endswith("; fix the row, or drop such rows with skip_invalid=True")

    notices = []
    kept = list(read_pairs(path, skip_invalid=True, notice=notices.append))
    assert [pair.id for pair in kept] == ["1", "3"]
    assert any(text.startswith("1 of 3 rows were dropped as invalid") and f"{path}:3" in text for text in notices)
    assert path.read_bytes() == before


def test_a_missing_column_lists_what_was_found(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", {"question": "Why?", "response_a": "a", "response_b": "b"})
    for skip in (False, True):
        message = failure(path, skip_invalid=skip)
        assert f"{path}:1: no column prompt" in message
        assert "found question, response_a, response_b" in message
        assert "columns={'prompt': 'question'}" in message


MISSPELT = {
    **{"respnse_a": "response_a", "Response_A": "response_a", "promt": "prompt", "responseA": "response_a"},
    **{"vote_a": "votes_a", "lable": "label", "Votes-Tie": "votes_tie"},
}


@pytest.mark.parametrize(("wrong", "right"), MISSPELT.items())
def test_a_misspelt_column_is_named_beside_the_right_one(wrong, right):
    row = {wrong if key == right else key: value for key, value in GOOD.items()} | {wrong: 1}
    message = failure([row])
    assert f"no column {right!r} but {wrong!r} looks like it" in message
    assert f"columns={ {right: wrong} }" in message


def test_real_extra_columns_are_no_misspellings(tmp_path):
    names = ["judges", "model_a", "model_b", "application", "p_a", "benchmark", "task", "competence", "dataset_id"]
    notices = []
    path = jsonl(tmp_path / "x.jsonl", GOOD | dict.fromkeys(names, "x"), GOOD | {"id": "2", "judges": 1, "new": 2})
    assert len(list(read_pairs(path, notice=notices.append))) == 2
    assert notices == [f"columns left alone, unknown here: {', '.join(names)}", "columns left alone, unknown here: new"]


def test_an_id_with_two_contents_is_an_error_and_a_repeat_is_counted(tmp_path):
    notices = []
    path = jsonl(tmp_path / "x.jsonl", GOOD, GOOD, GOOD | {"id": "2"})
    assert [pair.id for pair in read_pairs(path, notice=notices.append)] == ["1", "2"]
    assert notices == ["repeated pairs (same id, same content) dropped: 1"]

    path = jsonl(tmp_path / "y.jsonl", GOOD, GOOD | {"label": "a"})
    assert f"{path}:2: id '1' came before with other content" in failure(path)
    assert len(list(read_pairs(path, skip_invalid=True, notice=notices.append))) == 1


@pytest.mark.parametrize("cut", [12, 60, 200])
def test_a_truncated_gzip_is_an_error_even_when_rows_may_be_skipped(tmp_path, cut):
    whole = gzip.compress("".join(json.dumps(GOOD | {"id": str(i)}) + "\n" for i in range(999)).encode())
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(whole[:-cut])
    for skip in (False, True):
        assert f"{path}: damaged or truncated gzip" in failure(path, skip_invalid=skip)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.json", "x.jsonl.gz"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    assert failure(tmp_path / name) == f"{tmp_path / name}: no rows in it; check that it is the file you mean"


FILES = {
    "none.jsonl": (None, "no such file"),
    "x.xlsx": (b"", "unknown extension; expected .jsonl, .jsonl.gz, .parquet"),
    "x.parquet": (b"", "x.parquet: not readable as Parquet"),
    "x.jsonl.gz": (b"{}", "damaged or truncated gzip"),
    "x.csv": (b"prompt,response_a,response_b\n", "no rows in it"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_such_thing_is_named(tmp_path, name):
    content, expected = FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert expected in failure(tmp_path / name)


def test_where_no_row_is_good_the_first_reason_is_told():
    message = failure([GOOD | {"prompt": ""}, GOOD | {"prompt": 1}], skip_invalid=True)
    assert "none of its 2 rows can be used; the first: list:1: prompt is empty" in message


def test_text_that_is_not_utf8_is_named_with_its_byte(tmp_path):
    path = tmp_path / "x.jsonl"
    first = json.dumps(GOOD).encode() + b"\n"
    path.write_bytes(first + b'{"prompt": "caf\xe9"}\n')
    assert f"{path}:2: not UTF-8 at byte {len(first) + 15} (0xe9)" in failure(path)


def test_bad_csv(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('prompt,response_a,response_b\n"two\nlines",a,b\np,a\n')
    assert f"{path}:4: 2 cells where the header has 3" in failure(path)
    path.write_text('prompt,response_a,response_b\np,a,"b\n')
    assert "malformed CSV" in failure(path)
    path.write_text("prompt,prompt\np,a\n")
    assert "column 'prompt' stands twice" in failure(path)
    path.write_text("prompt,response_a,response_b,votes_a,votes_b\np,a,b,many,1\n")
    assert f"{path}:2: votes_a is text ('many'); expected a whole number" in failure(path)


def test_a_json_list_and_json_lines_are_told_apart(tmp_path):
    path = jsonl(tmp_path / "x.json", GOOD, GOOD)
    assert "rename it to .jsonl" in failure(path)
    path.write_text('{"a": 1}')
    assert "expected a JSON list of objects, found an object" in failure(path)


def test_a_bad_mapping(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", GOOD)
    assert "'answer' is none of our columns" in failure(path, columns={"answer": "x"})
    assert f"{path}:1: no column 'question' to use as prompt" in failure(path, columns={"prompt": "question"})


@pytest.mark.parametrize(
    ("record", "row", "reason"),
    [
        (Margin, {"margin": "wide"}, "margin is text ('wide'); expected a number; expected a Margin with pair_id"),
        (Margin, {}, "margin is missing"),
        (Margin, {"margin": 1, "marge": 2}, "column 'marge' is unknown"),
        (Margin, {"margin": 1, "n_judgments": -1}, "n_judgments is a number (-1); expected 0 or more"),
        (Margin, {"margin": 1, "n_judgments": 1.5}, "n_judgments is a number (1.5); expected a whole number"),
        (Judgment, {"judge": "j", "sample": 0, "choice": "c"}, "choice is text ('c'); expected 'a', 'b' or 'tie'"),
        (Judgment, {"judge": 3, "sample": 0, "choice": "a"}, "judge is a number (3); expected text"),
    ],
)
def test_other_records_name_line_field_and_expectation_in_our_words(tmp_path, record, row, reason):
    path = jsonl(tmp_path / "x.jsonl", {"pair_id": "1", **row})
    with pytest.raises(InputError, match=re.escape(f"x.jsonl:1: {reason}")):
        list(read_records(path, record))
