"""A row that is not as its schema says is an error that names it, whatever is wrong: never a silent wrong pair."""

import copy
import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dissensus.errors import InputError
from dissensus.sources import SOURCES, open_source

FIXTURES = Path(__file__).parent / "fixtures"
CASES = {  # source and split to the file whose rows are spoilt, and what may be missing, null or something else
    ("webgpt", "train"): ("default/train.jsonl", r""),
    ("hh-rlhf:helpful-base", "train"): ("helpful-base/train.jsonl", r""),
    ("summarize-from-feedback", "train"): ("comparisons/batch9.json", r"info\.(title|subreddit|post|article)"),
    ("summarize-from-feedback:axis", "test"): ("axis/cnndm1.json", r"info\.(title|article|post|subreddit)|.*overall"),
    ("synthetic-instruct", "train"): ("data/train.jsonl", r""),
    ("prism", "train"): ("utterances.jsonl", r""),
    ("ultrafeedback", "train"): ("evol_instruct.jsonl", r".*overall_score"),
    ("ultrafeedback-binarized", "train_prefs"): ("data/train_prefs.jsonl", r""),
    ("helpsteer2", "train"): ("preference/preference.jsonl", r""),
    ("helpsteer2:ratings", "train"): ("train.jsonl", r""),
    ("helpsteer3", "train"): ("preference/train.jsonl", r""),
    ("multipref", "train"): ("data/train.jsonl", r"category"),
    ("mt-bench", "human"): ("data/human.jsonl", r""),
    ("chatbot-arena", "train"): ("data/train.jsonl", r"judge"),
    ("arena-140k", "train"): ("data/train.jsonl", r".*\.text"),
    ("alpacafarm", "validation"): ("alpaca_farm_human_crossannotations.json", r""),
    ("shp", "train"): ("askbaking/train.json", r""),
    ("reward-bench", "filtered"): ("data/filtered.jsonl", r""),
    ("reward-bench-2", "test"): ("data/test.jsonl", r""),
}
WRONG = [None, True, -7, 3.25, "nonsense", [], ["x"], {}, {"x": 1}, 10**6]


def load(file):
    text = file.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[\n") else [json.loads(line) for line in text.splitlines()]


def store(file, rows, form):
    file.write_text(json.dumps(rows) if form == "list" else "".join(json.dumps(row) + "\n" for row in rows))


def leaves(value, path=()):
    """Every place in a row: those of lists and objects, too."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from leaves(inside, (*path, key))


def at(row, path):
    for key in path:
        row = row[key]
    return row


def kind(value):
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def read(name, split, root):
    return list(open_source(name, split=split, root=root, notice=lambda _: None))


@pytest.mark.parametrize(("name", "split"), CASES, ids=lambda value: value)
@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_of_another_kind_is_an_error_with_its_row_or_was_never_read(name, split, data, tmp_path):
    file, free = CASES[name, split]
    original = FIXTURES / name.partition(":")[0] / file
    rows = load(original)
    spoilt = tmp_path / file
    spoilt.parent.mkdir(parents=True, exist_ok=True)
    form = "list" if name == "alpacafarm" else "lines"
    if name == "prism":
        (tmp_path / "survey.jsonl").write_text((FIXTURES / "prism" / "survey.jsonl").read_text(encoding="utf-8"))
    store(spoilt, rows, form)
    whole = read(name, split, tmp_path)
    number = data.draw(st.integers(0, len(rows) - 1))
    path = data.draw(st.sampled_from(list(leaves(rows[number]))))
    named = ".".join(key for key in path if isinstance(key, str))
    assume(not (free and re.fullmatch(free, named)))
    changed = copy.deepcopy(rows)
    parent = at(changed[number], path[:-1])
    if data.draw(st.booleans()) and isinstance(parent, dict):
        del parent[path[-1]]
    else:
        wrong = data.draw(st.sampled_from(WRONG))
        assume(kind(wrong) != kind(parent[path[-1]]))
        parent[path[-1]] = wrong
    store(spoilt, changed, form)
    try:
        found, told = read(name, split, tmp_path), None
    except InputError as error:
        found, told = None, str(error)
    if told is None:
        assert found == whole, f"row {number + 1}, {path}: read as something else without a word"
    else:
        # Of PRISM it may be another row of the conversation that no longer fits.
        assert f"{spoilt}:{'' if name == 'prism' else f'{number + 1}: '}" in told


@pytest.mark.parametrize(
    ("name", "split", "row", "path", "value", "reason"),
    [
        ("webgpt", "train", 0, ("score_0",), 1.75, "score_0 is a number (1.75); expected 1.0 or less"),
        ("webgpt", "train", 0, ("score_0",), -0.75, "one should be minus the other"),
        ("summarize-from-feedback", "train", 1, ("choice",), 2, "choice"),
        ("summarize-from-feedback", "train", 1, ("split",), "trian", "split"),
        ("summarize-from-feedback:axis", "test", 0, ("summary", "axes", "overall"), 8, "overall"),
        ("prism", "train", 2, ("score",), 0, "score"),
        ("prism", "train", 1, ("user_prompt",), "Another?", "another prompt or user"),
        ("ultrafeedback", "train", 0, ("completions", 1, "annotations", "helpfulness", "Rating"), "6", "Rating"),
        ("ultrafeedback-binarized", "train_prefs", 0, ("score_chosen",), 2.0, "is below score_rejected"),
        ("ultrafeedback-binarized", "train_prefs", 0, ("chosen", 0, "content"), "Name.", "answer different messages"),
        ("ultrafeedback-binarized", "train_prefs", 0, ("chosen", 1, "role"), "system", "not a user's message"),
        ("helpsteer2", "train", 0, ("preference_strength",), -4, "preference_strength"),
        ("helpsteer2", "train", 0, ("all_preferences_unprocessed", 0, "strength"), -99, "strength"),
        ("helpsteer2:ratings", "train", 0, ("helpfulness",), 5, "helpfulness"),
        ("helpsteer3", "train", 0, ("overall_preference",), 4, "overall_preference"),
        ("helpsteer3", "train", 1, ("context", 2, "role"), "assistant", "expected user"),
        ("multipref", "train", 0, ("normal_worker_annotations", 0, "overall_pref"), "C-is-better", "overall_pref"),
        ("mt-bench", "human", 0, ("winner",), "model_c", "winner"),
        ("mt-bench", "human", 0, ("turn",), 3, "turn"),
        ("mt-bench", "human", 0, ("judge",), "", "judge is text ('')"),
        ("mt-bench", "human", 0, ("judge",), ["gpt-4", "pair"], "judge is a list"),
        (
            "multipref",
            "train",
            0,
            ("normal_worker_annotations", 0, "evaluator"),
            "",
            "id is text (''); expected text that is not empty",
        ),
        ("mt-bench", "human", 0, ("conversation_a", 1, "role"), "user", "messages of user and assistant in turn"),
        ("mt-bench", "human", 0, ("conversation_a", 0, "content"), "Other", "begin with different messages"),
        ("chatbot-arena", "train", 0, ("winner",), "both_bad", "winner"),
        ("chatbot-arena", "train", 1, ("conversation_a", 2, "content"), "Softer", "said different things"),
        ("alpacafarm", "validation", 0, ("preference",), 3, "expected 1, 2, or 1.5"),
        ("shp", "train", 0, ("labels",), 0, "but the scores are 40 (A) and 12 (B)"),
        ("reward-bench-2", "test", 0, ("num_correct",), 2, "num_correct is 2"),
        ("hh-rlhf:helpful-base", "train", 0, ("chosen",), "Human: hi\n\nAssistant: yo", "does not begin with"),
        ("hh-rlhf:helpful-base", "train", 0, ("rejected",), "\n\nHuman: hi", "no reply of the assistant"),
    ],
)
def test_a_value_out_of_range_names_row_and_reason(name, split, row, path, value, reason, tmp_path):
    file, _ = CASES[name, split]
    rows = load(FIXTURES / name.partition(":")[0] / file)
    at(rows[row], path[:-1])[path[-1]] = value
    spoilt = tmp_path / file
    spoilt.parent.mkdir(parents=True, exist_ok=True)
    store(spoilt, rows, "list" if name == "alpacafarm" else "lines")
    with pytest.raises(InputError, match=rf"{re.escape(str(spoilt))}:{row + 1}: .*{re.escape(reason)}"):
        read(name, split, tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("winner_tie", "1", "not exactly one of"),
        ("winner_model_a", "yes", "winner_model_a"),
        ("prompt", '["one"]', "different numbers of turns"),
        ("response_a", '["a",', "malformed JSON"),
        ("response_b", '"b"', "response_b"),
    ],
)
def test_a_spoilt_cell_of_an_arenas_csv(column, value, reason, tmp_path):
    with (FIXTURES / "arena-55k" / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[0][column] = value
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=rf"train.csv:2: .*{re.escape(reason)}"):
        read("arena-55k", "train", tmp_path)


def test_every_source_is_spoilt_here():
    tested = {name.partition(":")[0] for name, _ in CASES}
    # One reader, and in the 55k a file of its own, serves several sets.
    assert tested | {"ultrafeedback-trl", "arena-100k", "arena-55k"} == set(SOURCES)


def test_bad_rows_are_dropped_on_request_and_told(tmp_path):
    rows = load(FIXTURES / "synthetic-instruct" / "data" / "train.jsonl")
    rows[1]["chosen"] = None
    store(tmp_path / "train.jsonl", rows, "lines")
    told = []
    found = list(open_source("synthetic-instruct", root=tmp_path, skip_invalid=True, notice=told.append))
    assert len(found) == 2
    assert any("1 rows were dropped as invalid; the first" in line and "train.jsonl:2" in line for line in told)
