"""Votes: in the cells and columns of one row, and in rows that are one person's choice each."""

import ast
import json
import re

import pytest

from dissensus.errors import InputError
from dissensus.files import TableReader, read_pairs
from dissensus.files.rows.merge import turned
from dissensus.records import Vote, content_id

pytestmark = pytest.mark.usefixtures("short_head")

TEXTS = [{"prompt": f"Why {i}?", "response_a": f"So {i}.", "response_b": f"No {i}."} for i in range(4)]


def read(source, **options):
    notices = []
    return list(read_pairs(source, notice=notices.append, **options)), notices


def counts(pair):
    return pair.votes.a, pair.votes.b, pair.votes.tie


SHARES = {
    "rows": ([{"who": "ann", "preference": 0.8}, {"who": "bob", "preference": 0.3}], ("who", ["preference"])),
    "rows with ids": (
        [{"id": "q", "who": "ann", "preference": 0.8}, {"id": "q", "who": "bob", "preference": 0.3}],
        ("who", ["preference"]),
    ),
    "rows of nobody": ([{"preference": 0.8}, {"preference": 0.3}], (None, [])),
    "columns": ([{"rater_1_preference": 0.8, "rater_2_preference": 0.3}], (None, [])),
    "columns of names": (
        [{"ann_preference": 0.8, "bob_preference": 0.3}],
        (None, ["ann_preference", "bob_preference"]),
    ),
    "a list": ([{"votes": [{"user": "ann", "preference": 0.8}, {"user": "bob", "preference": "0.3"}]}], (None, [])),
}


@pytest.mark.parametrize("case", SHARES)
def test_shares_of_several_people_are_an_estimate_of_each(case):
    given, (annotator, votes) = SHARES[case]
    (pair,), _ = read([TEXTS[0] | row for row in given], annotator=annotator, votes=votes)
    said = pair.votes.annotations
    assert (pair.votes.preference, [vote.estimate for vote in said]) == (pytest.approx(0.55), [0.8, 0.3])
    names = [vote.annotator for vote in said]
    assert names == ([None, None] if case == "rows of nobody" else names)
    assert len(set(names)) == 2 or case == "rows of nobody"


def test_the_example_of_fractions_goes_with_their_order():
    with pytest.raises(InputError, match=r"values={'vote': {'0\.3': 'b', '0\.8': 'a'}}"):
        read([TEXTS[0] | {"ann": 0.8, "bob": 0.3}], votes=["ann", "bob"])


VOTES = [
    (["A", "B", "A"], (2, 1, 0)),
    ([1, 2, 1], (2, 1, 0)),
    ("['a', 'b', 'a']", (2, 1, 0)),
    ('["a", "b", "a"]', (2, 1, 0)),
    ({"ann": "A", "bob": "B", "cem": "A"}, (2, 1, 0)),
    ([{"worker": "w", "choice": "A"}, {"worker": "v", "choice": "B"}, {"worker": "u", "choice": "A"}], (2, 1, 0)),
    ({"1": 2, "2": 1}, (1, 1, 0)),  # people whose names are numbers
]
BY_SIDE = [
    ({"A": 2, "B": 1}, (2, 1, 0)),
    ({"response_a": 3, "response_b": 2, "tie": 1}, (3, 2, 1)),
    ({"model_b": 2, "model_a": None}, (0, 2, 0)),
    ('{"gpt": 1, "llama": 2}', (1, 2, 0)),
    ({"llama": 2, "gpt": 1, "tie": 1}, (1, 2, 1)),
    ({"answer_1": 3, "answer_2": 1}, (3, 1, 0)),
    ({"answer_2": 3, "answer_1": 1.0, "tie": None}, (1, 3, 0)),
    ({"Response 1": 3, "Response 0": 1}, (1, 3, 0)),
]


@pytest.mark.parametrize(("votes", "expected"), [*VOTES, *BY_SIDE], ids=str)
def test_votes_in_any_shape_are_counted_by_annotator_or_side(votes, expected):
    (pair,), _ = read([TEXTS[0] | {"votes": votes, "model_a": "gpt", "model_b": "llama"}])
    assert counts(pair) == expected
    if (votes, expected) in BY_SIDE:
        assert pair.votes.annotations is None


def test_counts_by_one_name_that_may_be_either_side_are_refused():
    with pytest.raises(InputError, match="votes is of answer_1, which may count from 0 or 1; write both"):
        read([TEXTS[0] | {"votes": {"answer_1": 3}}])
    given = [{"prompt": "p", "answer_1": "x", "answer_2": "y", "votes": {"answer_1": 3}}]
    ((pair,), _) = read(given, columns={"response_a": "answer_1", "response_b": "answer_2"})
    assert counts(pair) == (3, 0, 0)


def test_a_column_for_each_annotator(tmp_path):
    (tmp_path / "wide.csv").write_text(
        "prompt,response_a,response_b,annotator_1,annotator_2,annotator_3\nWhy?,So.,No.,A,B,A\nHow?,So.,No.,tie,,B\n"
    )
    found, notices = read(tmp_path / "wide.csv")
    assert [counts(pair) for pair in found] == [(2, 1, 0), (0, 1, 1)]
    assert found[1].votes.annotations == (
        Vote(annotator="annotator_1", vote="tie"),
        Vote(annotator="annotator_3", vote="b"),
    )
    assert "votes are read from the columns annotator_1, annotator_2, annotator_3" in notices[0]
    given = [text | {"ann": a, "bob": b} for text, a, b in zip(TEXTS, (1, 2, 1, 2), (2, 2, 1, 1), strict=True)]
    found, _ = read(given, votes=["ann", "bob"])
    assert [(pair.votes.a, pair.votes.b) for pair in found] == [(1, 1), (0, 2), (2, 0), (1, 1)]
    with pytest.raises(InputError, match="no column 'cem' to read votes from"):
        read(given, votes=["ann", "cem"])
    with pytest.raises(InputError, match="an annotator's column goes with one column of votes"):
        read(given, votes=["ann", "bob"], annotator="who")


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        (("label_0", "label_1"), [(1, 0), (0, 1), (0.5, 0.5)]),
        (("label_0", "label_1"), [(1, 0), (1, 1)]),
        (("votes_1", "votes_2"), [(2, 1), (5, 0)]),
        (("Votes 1", "Votes 2"), [("2", "1"), ("1", "2")]),
        (("rater_1", "rater_2"), [(1, 2), (1, 2), (1, 2)]),
    ],
    ids=str,
)
def test_numbers_that_may_be_of_a_response_each_are_no_votes(columns, values):
    given = [text | dict(zip(columns, two, strict=True)) for text, two in zip(TEXTS, values, strict=False)]
    found, (notice,) = read(given)
    assert [pair.votes for pair in found] == [None] * len(values)
    given_votes, given_counts = re.search(r"votes=(\[.*?\]) .*columns=(\{.*?\})", notice).groups()
    assert ast.literal_eval(given_votes) == list(columns)
    if all(float(n).is_integer() for two in values for n in two):
        counted, _ = read(given, columns=ast.literal_eval(given_counts))
        assert [(pair.votes.a, pair.votes.b) for pair in counted] == [(int(a), int(b)) for a, b in values]
    voted, _ = read(given, votes=list(columns), values={"vote": {"1": "a", "2": "b", "0": "b", "5": "tie"}})
    assert all(pair.votes.n == 2 for pair in voted)


def test_numbers_of_annotators_who_agree_somewhere_and_words_are_votes():
    for values in ([(1, 2), (2, 2)], [(0, 1), (1, 1)], [("A", "B"), ("B", "A")]):
        given = [text | {"rater_1": a, "rater_2": b} for text, (a, b) in zip(TEXTS, values, strict=False)]
        found, _ = read(given)
        assert (found[0].votes.a, found[0].votes.b) == (1, 1)


def test_who_a_rater_was_is_no_vote_beside_the_choice():
    given = [text | {"rater_1": 1, "rater_2": 2, "rater_1_choice": "A", "rater_2_choice": "A"} for text in TEXTS]
    found, _ = read(given)
    assert [(pair.votes.a, pair.votes.b) for pair in found] == [(2, 0)] * len(TEXTS)


def test_a_row_for_each_annotator_whichever_way_round():
    given = [TEXTS[i // 3] | {"worker": f"w{i % 3}", "choice": side, "id": i} for i, side in enumerate("ABAAAA")]
    turned = given[1] | {"response_a": given[1]["response_b"], "response_b": given[1]["response_a"], "choice": "A"}
    for one in (given[1], turned):
        found, notices = read([given[0], one, *given[2:]], annotator="worker", votes=["choice"])
        assert [(pair.votes.a, pair.votes.b, pair.label) for pair in found] == [(2, 1, "a"), (3, 0, "a")]
        assert [vote.annotator for vote in found[0].votes.annotations] == ["w0", "w1", "w2"]
        (told,) = [text for text in notices if text.startswith("6 rows are choices between the same two responses")]
        assert "annotator=" not in told  # who voted is said
    # Somebody who says both is a tie.
    found, notices = read([given[0], given[1] | {"worker": "w0"}], annotator="worker", votes=["choice"])
    assert (found[0].votes.tie, found[0].label) == (1, "tie")


def shown(orders, i=0):
    """One row a person, who prefers x; 0 shows x first, and 1 y."""
    sides = [("x", "y"), ("y", "x")]
    return [
        {"id": f"q{i}", "prompt": f"p {i}", "response_a": sides[n][0], "response_b": sides[n][1], "choice": "AB"[n]}
        | {"who": f"w{j}"}
        for j, n in enumerate(orders)
    ]


@pytest.mark.parametrize("named", [True, False])
def test_the_order_of_rows_does_not_decide_which_response_is_a(named):
    options = {"annotator": "who", "votes": ["choice"]} if named else {}
    other = {**shown([0])[0], "choice": "B", "who": "bob"}  # somebody disagrees

    def first(orders, *more):
        (pair,), _ = read([*shown(orders), *more][::-1], **options)
        votes = (pair.votes.a, pair.votes.b)
        assert votes == ((len(orders), len(more)) if pair.response_a == "x" else (len(more), len(orders)))
        return pair.response_a

    for orders in ([0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0]):  # as most rows have it, with w1 or without
        assert first(orders, other) == "x"
    assert first([1, 1, 1, 1], other) == first([0, 1, 1, 1], other) == "y"
    balanced = {first(orders, other) for orders in ([1, 1, 0], [1, 0, 1], [0, 1, 1])}
    assert balanced == {"x"} or balanced == {"y"}


def test_pairs_that_are_turned_differ_in_nothing_else():
    (as_shown,), _ = read(shown([0, 0, 1]), annotator="who", votes=["choice"])
    for pair in (as_shown, as_shown.model_copy(update={"id": content_id("p 0", "x", "y")})):
        twice = turned(turned(pair))
        assert twice == pair
        assert turned(pair).response_a == pair.response_b
        assert (turned(pair).label, turned(pair).votes.preference) == ("b", 1 - pair.votes.preference)
    assert turned(as_shown).id == "q0"
    assert turned(pair).id == content_id("p 0", "y", "x")


def test_an_estimate_is_turned_with_its_vote():
    texts = {"prompt": "p", "response_a": "x", "response_b": "y"}
    other = {**texts, "response_a": "y", "response_b": "x"}

    def said(who, estimate):
        return {"votes": [{"annotator": who, "vote": "a", "estimate": estimate}]}

    def share_of_x(found):
        (pair,), _ = found
        return pair.votes.preference if pair.response_a == "x" else 1 - pair.votes.preference

    given = [texts | said("ann", 0.8), other | said("bob", 0.9)]
    for order in (given, given[::-1]):
        assert share_of_x(read(order)) == pytest.approx((0.8 + 0.1) / 2)
    assert share_of_x(read([texts | said("ann", 0.8), other | said("ann", 0.9)])) == pytest.approx((0.8 + 0.1) / 2)


def choices(order=(0, 1, 2), n=4):
    return [
        {"prompt": f"p {i}", "chosen": "x" if k != 1 else "y", "rejected": "y" if k != 1 else "x", "margin": 1.0}
        for k in order
        for i in range(n)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("with_ids", [False, True])
def test_rows_that_choose_the_other_way_are_votes(order, with_ids):
    given = [row | ({"id": i} if with_ids else {}) for i, row in enumerate(choices(order))]
    notices = []
    found = list(TableReader(given, notice=notices.append))
    assert len(found) == 4
    for pair, margin in found:
        chosen = pair.response_a if pair.label == "a" else pair.response_b
        assert chosen == "x"
        assert sorted((pair.votes.a, pair.votes.b)) == [1, 2]
        assert pair.votes.annotations is None
        assert margin.margin == pytest.approx(1 / 3)
    assert any("12 rows are choices" in text and "4 pairs with 12 votes" in text for text in notices)


def test_rows_far_apart_are_merged_and_equal_rows_alone_are_repeats(tmp_path):
    many = choices(n=25)
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in many))
    found, _ = read(path)
    assert len(found) == 25
    assert all(sorted((pair.votes.a, pair.votes.b)) == [1, 2] for pair in found)
    found, notices = read(choices((0, 2)))
    assert [pair.votes for pair in found] == [None] * 4
    assert notices == ["repeated pairs (same id, same content) dropped: 4"]


def test_a_bad_row_among_choices_is_dropped_and_the_others_count():
    given = choices(n=1)
    given[2]["margin"] = "wide"
    (pair,), notices = read(given, skip_invalid=True)
    assert (pair.votes.a, pair.votes.b, pair.label) == (1, 1, "tie")
    assert any(text.startswith("1 of 3 rows were dropped") for text in notices)


@pytest.mark.parametrize(
    "said",
    [
        [{"votes_a": 1, "votes_b": 0}, {"votes_a": 0, "votes_b": 1}, {"votes_a": 1, "votes_b": 0}],
        [{"votes": [{"annotator": who, "vote": vote}]} for who, vote in (("x", "a"), ("y", "b"), ("z", "a"))],
        [{"votes": ["A"]}, {"votes": ["B"]}, {"votes": ["A"]}],
    ],
    ids=["counts", "lists", "words"],
)
def test_votes_of_one_pair_in_several_rows_add_up(said):
    (pair,), _ = read([TEXTS[0] | one for one in said])
    assert (pair.votes.a, pair.votes.b) == (2, 1)


def test_votes_of_several_people_that_come_again_count_once():
    given = [{"votes_a": 3, "votes_b": 2}, {"votes_a": 3, "votes_b": 2}, {"votes_a": 0, "votes_b": 1}]
    (pair,), notices = read([TEXTS[0] | one for one in [*given, {"votes_a": -1}]], skip_invalid=True)
    assert (pair.votes.a, pair.votes.b) == (3, 3)
    assert any("are dropped" in text for text in notices)
    assert any(text.startswith("1 of 4 rows were dropped") for text in notices)


def test_a_row_without_a_label_beside_one_with_it_is_named_without_an_id():
    with pytest.raises(InputError, match="list:2: the same texts came before with another label"):
        read([TEXTS[0], TEXTS[0] | {"label": "a"}])


def test_late_rows_that_choose_the_other_way_are_votes_too():
    before = [{"prompt": f"p {i}", "response_a": "x", "response_b": "y", "winner": None} for i in range(21)]
    found, notices = read([*before, *({**TEXTS[0], "winner": side} for side in "ABA")])
    assert len(found) == 22
    assert (found[-1].votes.a, found[-1].votes.b) == (2, 1)
    assert any(text.startswith("3 rows are choices") for text in notices)


def test_late_rows_bring_annotators_and_name_their_own_column():
    row = {"response_a": "So.", "response_b": "No.", "annotator_1": "a", "annotator_2": "b"}
    early = [{**row, "prompt": f"Why {i}?"} for i in range(20)]
    found, _ = read([*early, {**row, "prompt": "Why?", "annotator_3": "b"}])
    assert [vote.annotator for vote in found[-1].votes.annotations] == ["annotator_1", "annotator_2", "annotator_3"]
    with pytest.raises(InputError, match=r"annotator_2 is text \('\?'\).*columns={'votes': ''}"):
        read([*early, {**row, "prompt": "Why?", "annotator_2": "?"}])


def test_a_message_names_no_column_that_is_none():
    with pytest.raises(InputError, match=r"votes\[0\].annotator is a number \(1.5\).*: columns={'votes': ''}; "):
        read([TEXTS[0] | {"votes": [{"annotator": 1.5, "vote": "a"}]}])
    with pytest.raises(InputError, match=r"annotator is a number \(1.5\); expected text; fix the row"):
        read([TEXTS[0] | {"label": "a", "who": 1.5}], annotator="who")


def test_a_crowd_of_millions_takes_no_more_room_than_a_person():
    row = {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "votes_b": 2_000_000}
    [pair] = read_pairs([{**row, "votes_a": 3_000_000 + i} for i in range(3)], notice=lambda _: None)
    assert pair.votes is not None
    assert (pair.votes.a, pair.votes.b, pair.votes.annotations) == (9_000_003, 6_000_000, None)


@pytest.mark.parametrize(
    "said", [{"ann": {"1": "a", "2": "b"}, "bob": {"1": "b", "2": "a"}}, {"bob": {"1": "b", "2": "a"}}], ids=str
)
def test_what_a_column_of_votes_means_is_said_of_that_column_alone(said):
    """Bob was shown the responses the other way round."""
    source = [text | {"ann": ann, "bob": 3 - ann} for text, ann in zip(TEXTS, (1, 2), strict=False)]
    pairs, _ = read(source, values=said, votes=["ann", "bob"])
    assert [[vote.vote for vote in pair.votes.annotations] for pair in pairs] == [["a", "a"], ["b", "b"]]


def test_rows_of_one_pair_are_known_by_their_texts_as_read_and_not_as_written():
    user = {"role": "user", "content": "Why is that so?"}
    ours, other = ({"role": "assistant", "content": text} for text in ("Because.", "Ask her."))
    written_otherwise = dict(reversed(ours.items()))
    source = [
        {"prompt": [user], "chosen": [ours], "rejected": [other]},
        {"prompt": [user], "chosen": [other], "rejected": [written_otherwise]},
        {"prompt": [user], "chosen": [user, written_otherwise], "rejected": [user, other]},
    ]
    [pair], _ = read(source)
    assert sorted((pair.votes.a, pair.votes.b)) == [1, 2]
    texts = [
        {"prompt": "Why is that so?", "chosen": " Because.", "rejected": " Ask her."},
        {"prompt": "Why is that so?", "chosen": "Why is that so? Ask her.", "rejected": "Why is that so? Because."},
        {"prompt": "Why is that so?", "chosen": " Because.", "rejected": " Ask her."},
    ]
    [pair], _ = read(texts)
    assert sorted((pair.votes.a, pair.votes.b)) == [1, 2]
