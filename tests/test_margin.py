import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.errors import JudgeError
from dissensus.margin import margins_from_judgments, vote_margin
from dissensus.records import Choice, Judgment

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
    assert (margin == 1) == (votes_a in (0, n))
    assert (margin == 0) == (2 * votes_a == n)


@given(st.integers(1, 100))
def test_an_odd_number_of_votes_never_splits_evenly(k):
    n = 2 * k + 1
    assert vote_margin(np.arange(n + 1), n).min() == pytest.approx(1 / n)
    assert vote_margin(np.arange(2 * k + 1), 2 * k).min() == 0


@given(counts)
def test_the_margin_is_twice_the_distance_of_the_preference_from_one_half(count):
    votes_a, n = count
    assert float(vote_margin(votes_a, n)) == pytest.approx(abs(2 * votes_a / n - 1))


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
    with pytest.raises(JudgeError, match=r"4 of 5 pairs .*\(p1, p2, p3, …\), 1 of them.*--allow-missing"):
        margins_from_judgments(rows, ["ok", "p1", "p2", "p3", "p4"])
    assert [m.pair_id for m in margins_from_judgments(rows, ["ok", "p1", "p2"], allow_missing=True)] == ["ok"]


def test_judgments_of_several_judges_are_not_mixed():
    rows = judgments("p", "a", judge="one-00000000") + judgments("p", "b", judge="two-00000000")
    with pytest.raises(JudgeError, match="one-00000000, two-00000000"):
        margins_from_judgments(rows, ["p"])
