import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dissensus.errors import JudgeError
from dissensus.judges import HumanVotes, JudgmentStore, judge_pairs
from dissensus.judgment_margins import margins_from_judgments
from dissensus.records import Pair, Votes


def pair(a: int, b: int, tie: int = 0, label: str | None = None, name: str = "p", drawn: bool | None = True) -> Pair:
    texts = {"id": name, "prompt": "q", "response_a": "yes", "response_b": "no"}
    return Pair(**texts, label=label, label_is_a_vote=drawn, votes=Votes(a=a, b=b, tie=tie))


def choices(judged: Pair, **options) -> list[str | None]:
    judge = HumanVotes([judged], **options)
    return [judgment.choice for judgment in judge.answer(judge.questions(judged))]


def test_a_label_that_was_not_drawn_from_the_votes_is_none_of_them():
    """The majority's label is left out of no side, and may be one that nobody voted for."""
    assert choices(pair(2, 1, label="a", drawn=None)) == ["a", "a", "b"]
    assert choices(pair(2, 2, label="tie", drawn=None)) == ["a", "a", "b", "b"]
    assert choices(pair(2, 1, label="a", drawn=None), label_is_a_vote=True) == ["a", "b"]
    judge = HumanVotes([pair(2, 1, label="a", name="one", drawn=None), pair(2, 1, label="a", name="two")])
    assert [note.partition(";")[0] for note in judge.notes] == [
        "left out of the votes of 1 pairs: it was drawn from them",
        "none of the votes of 1 pairs, which all count",
    ]


def test_the_votes_are_judged_without_the_one_that_is_the_label():
    assert choices(pair(3, 2, label="b")) == ["a", "a", "a", "b"]
    assert choices(pair(3, 2, label="b"), label_is_a_vote=False) == ["a", "a", "a", "b", "b"]
    assert choices(pair(3, 2)) == ["a", "a", "a", "b", "b"]


def test_a_tie_is_half_a_vote_for_each(tmp_path):
    judged = pair(3, 1, tie=4, label="a")
    assert choices(judged).count("tie") == 4
    with JudgmentStore(tmp_path / "judgments.db") as store:
        summary = judge_pairs([judged], HumanVotes([judged]), store, progress=False)
        (margin,) = margins_from_judgments(store.judgments(), ["p"])
    assert (summary.tally.made, summary.tally.invalid) == (7, 0)
    assert (margin.n_judgments, margin.n_invalid) == (7, 0)
    assert margin.preference_a == pytest.approx((2 + 4 / 2) / 7)


@given(a=st.integers(0, 6), b=st.integers(0, 6), tie=st.integers(0, 6))
def test_gold_preferences_are_the_fraction_to_be_predicted(a, b, tie):
    assume(a + b + tie)
    judged = pair(a, b, tie)
    judge = HumanVotes([judged])
    (margin,) = margins_from_judgments(judge.answer(judge.questions(judged)), ["p"])
    assert margin.preference_a == pytest.approx(judged.votes.preference)
    assert margin.margin == pytest.approx(abs(2 * judged.votes.preference - 1))
    assert margin.n_judgments == a + b + tie


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (pair(5, 0, label="b"), "'p'.*none of its votes.*--label-is-no-vote"),
        (Pair(id="p", prompt="q", response_a="yes", response_b="no"), "votes_a"),
        (pair(1, 0, label="a"), "at least two"),
    ],
)
def test_a_label_that_nobody_voted_for_and_pairs_without_votes_are_refused(judged, message):
    with pytest.raises(JudgeError, match=message):
        HumanVotes([judged])


def test_other_votes_are_another_judge_and_another_order_is_not():
    one, two = pair(3, 2, name="one"), pair(1, 4, name="two")
    assert HumanVotes([one, two]).name == HumanVotes([two, one]).name
    assert HumanVotes([one, two]).name != HumanVotes([one, pair(2, 3, name="two")]).name
