import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.errors import JudgeError
from dissensus.files import read_records, write_records
from dissensus.files.record_files import write_columns
from dissensus.judgment_margins import (
    expected_margin,
    margins_from_counted,
    margins_from_counts,
    margins_from_judgments,
    margins_from_probabilities,
    vote_margin,
)
from dissensus.records import Choice, ChoiceProbabilities, Judgment, Margin

counts = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def judgments(pair_id: str, choices: str, judge: str = "j-00000000") -> list[Judgment]:
    """One judgment per letter: a, b, or anything else for a reply without a winner."""
    named: dict[str, Choice] = {"a": "a", "b": "b"}
    return [
        Judgment(pair_id=pair_id, judge=judge, sample=i, choice=named.get(letter)) for i, letter in enumerate(choices)
    ]


@pytest.mark.parametrize(
    ("votes_a", "n", "margin"), [(10, 10, 1.0), (7, 10, 0.4), (5, 10, 0.0), (2, 10, 0.6), (3, 5, 0.2), (1, 1, 1.0)]
)
def test_hand_worked_margins(votes_a, n, margin):
    assert vote_margin(votes_a, n) == pytest.approx(margin)


@given(counts)
def test_a_margin_lies_within_0_and_1_and_is_the_same_for_swapped_responses(count):
    votes_a, n = count
    margin = float(vote_margin(votes_a, n))
    assert 0 <= margin <= 1
    assert margin == pytest.approx(float(vote_margin(n - votes_a, n)))
    assert margin == pytest.approx(abs(2 * votes_a / n - 1)), "twice the distance of the preference from one half"
    assert (margin == 1) == (votes_a in (0, n))
    assert (margin == 0) == (2 * votes_a == n)


@given(st.integers(1, 100))
def test_an_odd_number_of_votes_never_splits_evenly(k):
    n = 2 * k + 1
    assert vote_margin(np.arange(n + 1), n).min() == pytest.approx(1 / n)
    assert vote_margin(np.arange(2 * k + 1), 2 * k).min() == 0


@pytest.mark.parametrize(("votes_a", "n"), [(1, 0), (-1, 4), (5, 4), (float("nan"), 4)])
def test_impossible_votes_are_refused(votes_a, n):
    with pytest.raises(ValueError, match="votes_a"):
        vote_margin(votes_a, n)


def test_a_reply_without_a_winner_is_counted_and_is_no_vote():
    (with_invalid,) = margins_from_judgments(judgments("p", "aab??"), ["p"])
    (without,) = margins_from_judgments(judgments("p", "aab"), ["p"])
    assert (with_invalid.n_judgments, with_invalid.n_invalid) == (3, 2)
    assert (with_invalid.margin, with_invalid.preference_a) == (without.margin, without.preference_a)
    assert with_invalid.preference_a == pytest.approx(2 / 3)


def test_margins_come_in_the_order_of_the_pairs_and_other_pairs_are_passed_over():
    rows = judgments("x", "ab") + judgments("y", "aa") + judgments("z", "bb", judge="other-00000000")
    assert [m.pair_id for m in margins_from_judgments(rows, ["y", "x"])] == ["y", "x"]


def test_pairs_without_a_valid_judgment_are_named_and_counted():
    rows = judgments("ok", "ab") + judgments("p1", "??")
    with pytest.raises(JudgeError, match=r"4 of 5 pairs .*\(p1, p2, p3, …\), 1 of them.*allow_missing=True"):
        margins_from_judgments(rows, ["ok", "p1", "p2", "p3", "p4"])
    assert [m.pair_id for m in margins_from_judgments(rows, ["ok", "p1", "p2"], allow_missing=True)] == ["ok"]


def test_judgments_of_several_judges_are_not_mixed():
    rows = judgments("p", "a", judge="one-00000000") + judgments("p", "b", judge="two-00000000")
    with pytest.raises(JudgeError, match="one-00000000, two-00000000"):
        margins_from_judgments(rows, ["p"])


def read_off(pair_id: str, order: str, a: float, b: float) -> ChoiceProbabilities:
    none = max(0.0, 1 - a - b)
    shares = {"probability_a": a, "probability_b": b, "probability_none": none}
    return ChoiceProbabilities(pair_id=pair_id, judge="j", order=order, persona="", certified=True, **shares)


@given(q=st.floats(0, 1), n=st.integers(1, 12))
def test_the_expected_margin_of_one_order_is_the_binomials(q: float, n: int):
    binomial = sum(math.comb(n, k) * q**k * (1 - q) ** (n - k) * abs(2 * k / n - 1) for k in range(n + 1))
    assert expected_margin([q] * n, [1 - q] * n) == pytest.approx(binomial, abs=1e-9)


@given(
    shares=st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), min_size=2, max_size=6),
)
def test_a_few_votes_look_more_agreed_than_what_they_are_drawn_from(shares):
    """Jensen, for the votes of one order that are all valid."""
    valid = [a / (a + b) if a + b > 0.01 else 0.5 for a, b in shares]
    q = sum(valid) / len(valid)
    assert expected_margin(valid, [1 - v for v in valid]) >= abs(2 * q - 1) - 1e-9


def test_expected_margins_agree_with_drawing_votes():
    generator = np.random.default_rng(0)
    a, b, order = np.array([0.6] * 4 + [0.3] * 4), np.array([0.3] * 4 + [0.5] * 4), np.array([0] * 4 + [1] * 4)
    at = generator.random((20_000, 8))
    for_a, for_b = at < a, (at >= a) & (at < a + b)
    votes = np.stack([[x[:, order == side].sum(1) for x in (for_a, for_b)] for side in (0, 1)])
    with np.errstate(invalid="ignore"):
        preference = np.nanmean(votes[:, 0] / votes.sum(1), axis=0)  # each order counts one half
    drawn = np.abs(2 * preference - 1)
    standard_error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - expected_margin(a, b, orders=order)) < 4 * standard_error


def test_both_orders_count_the_same_however_many_replies_were_valid():
    """A judge that always names the first shown has no preference, even if half of one order's replies are invalid."""
    replies = [("ab", "a")] * 5 + [("ba", "b")] * 2 + [("ba", None)] * 3
    judgments = [Judgment(pair_id="p", judge="j", sample=i, order=o, choice=c) for i, (o, c) in enumerate(replies)]
    (margin,) = margins_from_judgments(judgments, ["p"])
    assert (margin.margin, margin.preference_a, margin.n_judgments, margin.n_invalid) == (0.0, 0.5, 7, 3)


def test_the_limit_is_the_order_balanced_share_of_valid_votes():
    rows = [read_off("p", "ab", 0.8, 0.2), read_off("p", "ba", 0.3, 0.1)]
    (limit,) = margins_from_probabilities(rows, ["p"])
    assert limit.preference_a == pytest.approx((0.8 + 0.75) / 2)
    assert limit.margin == limit.margin_limit == pytest.approx(abs(2 * 0.775 - 1))
    (expected,) = margins_from_probabilities(rows, ["p"], n=10)
    assert expected.margin > limit.margin
    many = margins_from_probabilities(rows, ["p"], n=60)[0]
    assert many.margin == pytest.approx(limit.margin, abs=0.02)


def test_a_pair_without_a_valid_vote_is_named_or_left_out():
    rows = [read_off("p", "ab", 0.8, 0.2), read_off("q", "ab", 0.0, 0.0)]
    with pytest.raises(JudgeError, match=r"2 of 3 pairs have no valid judgment \(q, r\), 1 of them"):
        margins_from_probabilities(rows, ["p", "q", "r"])
    assert [m.pair_id for m in margins_from_probabilities(rows, ["p", "q", "r"], allow_missing=True)] == ["p"]


@pytest.mark.parametrize("most", [3, 400])
def test_margins_in_columns_are_those_of_records(tmp_path, most):
    """To the last bit, and so are the files."""
    counted = np.random.default_rng(0).integers(0, most, (60, 2, 4)).astype(np.int32)
    counted[7, :, :3] = 0
    places = [(order, choice) for order in ("ab", "ba") for choice in ("a", "b", "tie", None)]
    ids = [f"p{i}" for i in range(60)]
    counters = {
        i: Counter(dict(zip(places, row, strict=True)))
        for i, row in zip(ids, counted.reshape(60, 8).tolist(), strict=True)
    }
    expected = margins_from_counts(counters, ids, allow_missing=True)
    found = margins_from_counted(ids, counted, allow_missing=True)
    assert list(found) == expected
    assert found.total("margin") == pytest.approx(sum(one.margin for one in expected), rel=1e-12)
    messages = []
    for make in (lambda: margins_from_counts(counters, ids), lambda: margins_from_counted(ids, counted)):
        with pytest.raises(JudgeError) as error:
            make()
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        write_columns(tmp_path / name, found.columns(), Margin)
        write_records(tmp_path / f"b{name}", expected)
        assert list(read_records(tmp_path / name, Margin)) == expected
        if not name.endswith("parquet"):
            assert (tmp_path / name).read_bytes() == (tmp_path / f"b{name}").read_bytes()
