"""Who won, in the words and numbers of other tools."""

import ast
import json
import re
from collections import Counter

import pytest

from dissensus.errors import InputError
from dissensus.files import read_pairs

pytestmark = pytest.mark.usefixtures("short_head")

TEXTS = [{"prompt": f"Why {i}?", "response_a": f"So {i}.", "response_b": f"No {i}."} for i in range(4)]


def rows(column, values):
    return [text | {column: value} for text, value in zip(TEXTS, values, strict=False)]


def read(source, **options):
    notices = []
    return list(read_pairs(source, notice=notices.append, **options)), notices


def labels(source, **options):
    return [pair.label for pair in read(source, **options)[0]]


def advised(message):
    """The arguments that a message names."""
    found = re.findall(r"(columns|values|votes)=(\{.*?\}+|\[.*?\])", str(message))
    return {name: ast.literal_eval(literal) for name, literal in found}


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "tie"],
        ["A", "B", "Tie"],
        [1, 2, 1.5],
        ["1", "2", "1.5"],
        [0, 1, 0.5],
        ["0", "1.0", "0.5"],
        ["model_a", "model_b", "tie (bothbad)"],
        ["response_a", "Response B", "both_bad"],
        ["answer_1", "answer_2", "neither"],
        ["response_0", "response_1", "draw"],
        ["first", "Second", "no preference"],
        ["A-is-clearly-better", "B-is-slightly-better", "Tie"],
        ["A>B", "B>>A", "A=B"],
        ["[[A]]", "[[B]]", "[[C]]"],
        ["assistant_a", "assistant_b", "equally good"],
    ],
    ids=str,
)
@pytest.mark.parametrize("column", ["label", "winner"])
def test_the_winner_is_read_in_the_words_of_other_tools(column, values):
    assert labels(rows(column, values)) == ["a", "b", "tie"]


def test_numbers_are_settled_over_the_file_and_reported():
    late = rows("label", [1]) + [
        {"prompt": f"p {i}", "response_a": "x", "response_b": "y", "label": 1} for i in range(30)
    ]
    found, notices = read([*late, TEXTS[1] | {"label": 0}])
    assert {pair.label for pair in found[:-1]} == {"b"}
    assert found[-1].label == "a"
    assert notices[0].startswith("label has the numbers 0 and 1: read as 0 = response_a, 1 = response_b")
    found, notices = read([*late, TEXTS[1] | {"label": 2}])
    assert {pair.label for pair in found[:-1]} == {"a"}
    assert found[-1].label == "b"


def test_numbers_that_only_late_rows_settle_take_no_more_room_than_others(tmp_path, peak_memory):
    texts = {"prompt": "x" * 6000, "response_a": "a"}
    with (tmp_path / "x.jsonl").open("w") as out:
        for i in range(500):
            out.write(json.dumps(texts | {"response_b": f"{i}", "label": 1 if i < 499 else 0}) + "\n")
    said: Counter[str] = Counter()
    peak = peak_memory(lambda: said.update(p.label for p in read_pairs(tmp_path / "x.jsonl", notice=lambda text: None)))
    assert said == {"b": 499, "a": 1}
    assert peak < 2.4e6  # the file has 3 MB


UNCLEAR = {
    "one number": ("label", [1, 1, 1], ["a", "a", "a"]),
    "three numbers": ("label", [0, 1, 2], ["tie", "a", "b"]),
    "signs": ("label", [1, -1, 0], ["a", "b", "tie"]),
    "booleans": ("label", [True, False, True], ["a", "b", "a"]),
    "a preference of 0 and 1": ("preference", [1, 0, 1], ["a", "b", "a"]),
    "quoted words": ("label", ["the left", "the left"], ["a", "a"]),
    "many words": ("label", ["the one that stands\non the left is better by far", "b"], ["a", "b"]),
    "a column of several words": ("who won", [1, 1], ["a", "a"]),
    "a column with a colon": ("Q1: who won", ["left", "left"], ["a", "a"]),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_a_message_says_to_do_works(case):
    column, values, expected = UNCLEAR[case]
    columns = {} if column in ("label", "preference") else {"label": column}
    with pytest.raises(InputError) as caught:
        labels(rows(column, values), columns=columns)
    given = advised(caught.value)["values"]
    assert labels(rows(column, values), columns=columns, values=given) == expected


@pytest.mark.parametrize(
    ("column", "numbers", "given", "expected"),
    [
        ("label", [0, 1, 0], {"1": "a"}, ["b", "a", "b"]),
        ("label", [1, 2, 1], {"1": "b"}, ["b", "a", "b"]),
        ("label", [0, 1, 2], {"1": "tie"}, None),
        ("label", [0, 1, 0], {"1": "tie"}, None),
        ("label", [0, 1, 0], {"1": ""}, None),
        ("preference", [0, 1, 0], {"1": "a"}, ["b", "a", "b"]),
        ("preference", [0.2, 1, 0.6], {"1": "b"}, None),
    ],
)
def test_numbers_are_not_guessed_against_those_that_were_given(column, numbers, given, expected):
    with pytest.raises(InputError, match=f"{column} has the number") as caught:
        read(rows(column, numbers), values={column: given})
    ((_, more),) = advised(caught.value)["values"].items()
    if expected is not None:
        assert labels(rows(column, numbers), values={column: given | more}) == expected


@pytest.mark.parametrize(
    ("numbers", "given", "expected"),
    [
        ([1, 2, 1], {"1": "a"}, ["a", "b", "a"]),
        ([0, 1, 2], {"0": "tie"}, ["tie", "a", "b"]),
        ([0, 1, -1], {"-1": ""}, ["a", "b", None]),
        ([0, 1, 0.5], {"0.5": ""}, ["a", "b", None]),
        ([0, 1, 0.5], {"1": "a", "0": "b"}, ["b", "a", "tie"]),
    ],
)
def test_numbers_beside_those_that_were_given_are_read_where_they_go_together(numbers, given, expected):
    assert labels(rows("label", numbers), values={"label": given}) == expected


def test_a_column_of_unknown_words_is_named_with_a_way_that_works():
    found, (notice,) = read(rows("choice", ["left", "left"]))
    assert [pair.label for pair in found] == [None, None]
    assert labels(rows("choice", ["left", "left"]), **advised(notice)) == ["a", "a"]
    assert labels(rows("winner", ["A", "B"]), columns={"label": ""}) == [None, None]


def test_a_missing_column_is_named_with_a_way_that_works():
    given = [
        {"Question": t["prompt"], "answer_1": t["response_a"], "answer_2": t["response_b"], "winner": 2} for t in TEXTS
    ]
    given[0]["winner"] = 1
    with pytest.raises(InputError) as caught:
        read(given)
    found, _ = read(given, **advised(caught.value))
    assert [pair.label for pair in found] == ["a", "b", "b", "b"]
    assert found[0].response_b == "No 0."


def test_their_own_names_of_the_responses_and_models_are_understood():
    given = [{"prompt": "p", "answer_0": f"x{w}", "answer_1": "y", "winner": w} for w in ("answer_1", "answer_0")]
    assert labels(given, columns={"response_a": "answer_0", "response_b": "answer_1"}) == ["b", "a"]
    given = [row | {"model_a": "m", "model_b": "n"} for row in rows("winner", ["n", "m", "tie"])]
    assert labels(given) == ["b", "a", "tie"]


def test_a_wrong_meaning_is_refused():
    with pytest.raises(InputError, match="values of colour: is no column of choices here; choose from label"):
        read(rows("label", ["A"]), values={"colour": {"1": "a"}})
    with pytest.raises(InputError, match=r"values={'label': {'1': 'left'}}: label is a, b, tie"):
        read(rows("label", ["A"]), values={"label": {"1": "left"}})


def test_what_is_said_of_our_own_words_holds_too():
    swapped = {"a": "b", "b": "a", "tie": ""}
    assert labels(rows("label", ["a", "b", "tie"]), values={"label": swapped}) == ["b", "a", None]
    assert labels(rows("label", [1, 2]), values={"label": {1: "b", 2: "a"}}) == ["b", "a"]
    said = [[{"annotator": "ann", "vote": vote}, {"annotator": "bo", "vote": "a"}] for vote in ("a", "b", "tie")]
    pairs, _ = read(rows("votes", said), values={"vote": swapped})
    assert [(pair.votes.a, pair.votes.b, pair.votes.tie) for pair in pairs] == [(0, 2, 0), (1, 1, 0), (0, 1, 0)]


def test_a_share_is_an_estimate():
    found, notices = read(rows("preference", [0.2, 1, 0.5]))
    assert [pair.votes.preference for pair in found] == [0.2, 1, 0.5]
    assert "share of people that prefers response_a" in notices[-1]


@pytest.mark.parametrize(
    ("numbers", "sides"),
    [
        ((1, 5, 7), "a b b"),
        ((1, 4, 7), "a tie b"),
        ((-2, 0, 1), "b tie a"),
        ((0, 0.5, 1), "b tie a"),
        ((2, 3), "a b"),
        ((1, 2, 3, 4, 5), "a a tie b b"),
    ],
)
def test_the_example_of_a_scale_names_each_of_its_numbers_in_order(numbers, sides):
    table = [TEXTS[0] | {"prompt": f"Why {n}?", "preference": n} for n in numbers]
    with pytest.raises(InputError) as caught:
        read(table)
    given = advised(caught.value)["values"]
    assert given["preference"] == dict(zip((f"{n:g}" for n in numbers), sides.split(), strict=True))
    assert labels(table, values=given) == sides.split()


LATE = {
    "winner": ({"winner": None}, [{"winner": "A"}, {"winner": "B"}]),
    "numbers": ({"winner": ""}, [{"winner": "1"}, {"winner": "2"}]),
    "label": ({"label": None}, [{"label": 0}, {"label": 1}]),
    "annotators": ({"rater_1": "", "rater_2": ""}, [{"rater_1": "A", "rater_2": "B"}, {"rater_1": "B"}]),
    "lists": ({"votes": None}, [{"votes": ["A", "B", "A"]}, {"votes": [2, 1, 2]}]),
    "no lists": ({"votes": []}, [{"votes": {"A": 2}}]),
    "shares": ({"preference": None}, [{"preference": 0.2}, {"preference": 1}]),
}


@pytest.mark.parametrize("case", LATE)
@pytest.mark.parametrize("blank", ["blank", "absent"])
def test_it_says_nothing_which_rows_come_first(case, blank):
    empty, judged = LATE[case]
    empty = empty if blank == "blank" else {}
    before = [{"prompt": f"p {i}", "response_a": "x", "response_b": "y"} | empty for i in range(21)]
    after = [text | one for text, one in zip(TEXTS, judged, strict=False)]
    (found, notices), (turned, _) = read(before + after), read(after + before)
    assert turned == found[-len(after) :] + found[: -len(after)]
    assert all(pair.label or pair.votes for pair in turned[: len(after)])
    assert not any("left alone, unknown" in text for text in notices)


def test_a_column_that_is_blank_to_the_end_is_named():
    given = [{"prompt": f"p {i}", "response_a": "x", "response_b": "y", "winner": None} for i in range(21)]
    for n in (2, 21):
        found, notices = read(given[:n])
        assert [pair.label for pair in found] == [None] * n
        assert notices == ["columns left alone, unknown here: winner"]
        assert labels(given[:n], values={"winner": {"1": "a"}}) == [None] * n


def test_a_label_beside_chosen_and_rejected_is_left_alone():
    found, notices = read([{"prompt": "p", "chosen": "x", "rejected": "y", "label": 1}])
    assert len(found) == 1
    assert notices == ["columns left alone, unknown here: label"]
