"""Rules of aggregation: what each says by hand, and what holds for all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissensus.aggregation import Uniform, aggregate, ballots_from_judgments, ballots_from_votes, compare, parse_rule
from dissensus.errors import ConfigError, EvaluationError
from dissensus.records import Annotator, Judgment, Pair, Vote, Votes

OTHER = {"a": "b", "b": "a", "tie": "tie"}


def pair(name, **votes):
    said = tuple(Vote(annotator=who, vote=vote) for who, vote in votes.items())
    counts = {side: sum(v.vote == side for v in said) for side in ("a", "b", "tie")}
    return Pair(id=name, prompt="p", response_a="x", response_b="y", votes=Votes(**counts, annotations=said))


PEOPLE = [Annotator(id=i, attributes={"town": t}) for i, t in zip("abcdef", "NNNSSE", strict=True)]
SHARES = {"N": 0.5, "S": 0.3, "E": 0.2}
RULES = [
    {"name": "uniform"},
    {"name": "weighted", "weights": {"N": 1, "S": 2, "E": 3}, "by": "town"},
    {"name": "weighted", "weights": {"a": 3}, "default": 1},
    {"name": "post-stratified", "by": "town", "shares": SHARES},
    {"name": "worst-off", "by": "town"},
    {"name": "quorum", "quorum": 0.7},
]


def preference(rule, *pairs, people=PEOPLE):
    return aggregate(ballots_from_votes(pairs, people), parse_rule(rule)).preference


ONE = {"a": "a", "b": "a", "c": "b", "d": "b", "e": "tie", "f": "b"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RULES[0], 2.5 / 6),
        (RULES[1], (2 * 1 + 0.5 * 2) / (3 * 1 + 2 * 2 + 1 * 3)),
        (RULES[2], (3 + 1 + 0.5) / 8),
        (RULES[3], 0.5 * 2 / 3 + 0.3 * 0.25 + 0.2 * 0),
        (RULES[4], (0 + 2 / 3) / 2),  # the worst off for a: E with 0; for b: N with 1/3
        (RULES[5], 0.5),  # 3.5 of 6 for b is less than 0.7
        ({"name": "quorum", "quorum": 0.55}, 2.5 / 6),
        ({"name": "quorum", "quorum": 0.55, "min_votes": 7}, 0.5),
        ({"name": "worst-off", "by": "town", "min_votes": 2}, (0.25 + 2 / 3) / 2),  # one voter is no group's voice
    ],
)
def test_by_hand(rule, expected):
    assert preference(rule, pair("1", **ONE))["1"] == pytest.approx(expected)


votes = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["a", "b", "tie"]), min_size=1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"])
@settings(max_examples=25)
@given(said=st.lists(votes, min_size=1, max_size=5).filter(lambda rows: any("a" in row for row in rows)))
def test_swapped_responses_swap_the_preference_and_rows_have_no_order(rule, said):
    turned = [(i, {who: OTHER[vote] for who, vote in row.items()}) for i, row in enumerate(said)]
    found = preference(rule, *(pair(str(i), **row) for i, row in enumerate(said)))
    other = preference(rule, *(pair(str(i), **row) for i, row in turned[::-1]))
    assert other == pytest.approx({name: 1 - p for name, p in found.items()})
    assert all(0 <= p <= 1 for p in found.values())


@settings(max_examples=25)
@given(said=votes)
def test_with_one_group_every_group_rule_is_the_uniform_one_and_that_the_vote_share(said):
    people = [Annotator(id=i, attributes={"town": "N"}) for i in "abcdef"]
    one = pair("1", **said)
    for rule in (RULES[0], *RULES[3:5]):
        assert preference(rule, one, people=people)["1"] == pytest.approx(one.votes.preference)


def test_shares_as_the_groups_happen_to_vote_change_nothing():
    by_votes = {"N": 3, "S": 2, "E": 1}
    found = preference({"name": "post-stratified", "by": "town", "shares": by_votes}, pair("1", **ONE))
    assert found["1"] == pytest.approx(2.5 / 6)


def test_a_weight_of_nothing_takes_a_person_away():
    without = {who: vote for who, vote in ONE.items() if who != "f"}
    rule = {"name": "weighted", "weights": {"f": 0, "a": 1}, "default": 1}
    assert preference(rule, pair("1", **ONE))["1"] == pytest.approx(preference(RULES[0], pair("1", **without))["1"])


def test_a_biased_sample_is_put_right_by_the_populations_shares():
    """Two groups of one half each that like different responses, one sampled nine times as often: fixed seed."""
    generator = np.random.default_rng(3)
    groups = [0] * 18 + [1] * 2
    people = [Annotator(id=f"v{j}", attributes={"g": str(group)}) for j, group in enumerate(groups)]
    likes = generator.uniform((0.5, 0.1), (0.9, 0.5), (400, 2))
    said = np.where(generator.random((400, 20)) < likes[:, groups], "a", "b")
    pairs = [pair(str(i), **{f"v{j}": vote for j, vote in enumerate(row)}) for i, row in enumerate(said.tolist())]
    errors = []
    for rule in ({"name": "uniform"}, {"name": "post-stratified", "by": "g", "shares": {"0": 1, "1": 1}}):
        found = preference(rule, *pairs, people=people)
        errors.append(np.mean([found[str(i)] for i in range(400)] - likes.mean(axis=1)))
    # The uniform share is off by 0.4 × 0.4; the other by nothing but chance, 0.18 / sqrt(400).
    assert errors[0] > 0.12
    assert abs(errors[1]) < 4 * 0.18 / 20


def test_groups_that_are_missing_are_told_and_can_be_required():
    rule = {"name": "post-stratified", "by": "town", "shares": SHARES, "min_coverage": 0.75}
    two = [pair("both", a="a", d="b"), pair("one", a="a")]
    found = aggregate(ballots_from_votes(two, PEOPLE), parse_rule(rule))
    assert found.preference == {"both": pytest.approx(0.5 / 0.8)}
    assert found.left_out["pairs on which groups of less than 75% of the population voted"] == 1


def test_coverage_is_of_the_whole_population_not_of_those_who_are_here():
    shares = {"N": 0.2, "S": 0.2, "W": 0.6}  # nobody of W votes
    rule = {"name": "post-stratified", "by": "town", "shares": shares, "min_coverage": 0.5}
    found = aggregate(ballots_from_votes([pair("1", a="a", d="b")], PEOPLE), parse_rule(rule))
    assert found.preference == {}
    rule["min_coverage"] = 0.4
    assert preference(rule, pair("1", a="a", d="b")) == {"1": 0.5}


def test_only_votes_that_count_are_counted():
    for rule, votes, groups in (
        ({"name": "weighted", "weights": {"f": 0, "a": 1}, "default": 1}, 5, {}),
        ({"name": "weighted", "by": "town", "weights": {"N": 1, "S": 0, "E": 1}}, 4, {"N": 3, "S": 0, "E": 1}),
        ({"name": "worst-off", "by": "town", "min_votes": 2}, 5, {"N": 3, "S": 2, "E": 0}),
    ):
        found = aggregate(ballots_from_votes([pair("1", **ONE)], PEOPLE), parse_rule(rule))
        assert ([margin.n_judgments for margin in found.margins()], found.groups) == ([votes], groups)


def test_people_without_the_attribute_are_left_out_or_a_group_of_their_own():
    one = pair("1", a="a", z="b")
    left = aggregate(ballots_from_votes([one], PEOPLE), parse_rule({"name": "worst-off", "by": "town"}))
    assert left.preference == {"1": 1.0}
    assert left.left_out == {"votes of people whose town is not known": 1}
    kept = {"name": "worst-off", "by": "town", "missing": "unknown"}
    assert preference(kept, one)["1"] == 0.5


def test_what_changes_sides():
    pairs = [pair("flips", a="a", b="a", c="a", d="b", e="b"), pair("even", a="a", d="b"), pair("same", a="a", d="a")]
    rule = {"name": "weighted", "by": "town", "weights": {"N": 1, "S": 4, "E": 1}}
    ballots = ballots_from_votes(pairs, PEOPLE)
    found = compare(aggregate(ballots, parse_rule(rule)), aggregate(ballots, Uniform()))
    assert [(c.pair_id, c.before, c.after) for c in found.changed] == [("flips", 0.6, pytest.approx(3 / 11))]
    assert [c.pair_id for c in found.no_longer_even] == ["even"]
    assert found.now_even == []
    assert found.n == 3


def test_margins_carry_the_preference_to_any_objective():
    [margin] = aggregate(ballots_from_votes([pair("1", a="a", b="a", c="b")]), Uniform()).margins()
    assert (margin.preference_a, margin.margin, margin.n_judgments) == (pytest.approx(2 / 3), pytest.approx(1 / 3), 3)


def judgment(pair_id, persona, choice, order="ab", sample=0):
    return Judgment(pair_id=pair_id, judge="j", sample=sample, order=order, choice=choice, persona=persona)


def test_personas_are_people_whose_orders_count_half_each():
    said = [judgment("1", "a nurse", "a"), judgment("1", "a nurse", "a"), judgment("1", "a nurse", "b", "ba")]
    said += [judgment("1", "a cook", "b"), judgment("1", "a cook", None)]
    ballots = ballots_from_judgments(said)
    assert aggregate(ballots, Uniform()).preference == {"1": pytest.approx((0.5 + 0) / 2)}
    rule = parse_rule({"name": "weighted", "by": "persona", "weights": {"a nurse": 3, "a cook": 1}})
    assert aggregate(ballots, rule).preference == {"1": pytest.approx(0.375)}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "worst-off", "by": "age"}, "by age: none of the 6 voters has that attribute; they have town"),
        ({"name": "weighted", "weights": {"zoe": 1}}, "'zoe' is no annotator here; there are a, b, c"),
        ({"name": "weighted", "weights": {"a": 1}}, "5 of 6 voters have no weight"),
        ({"name": "post-stratified", "by": "town", "shares": {"N": 1}}, "none for 'E'; the groups here are E, N, S"),
    ],
)  # fmt: skip
def test_names_that_are_not_there(rule, message):
    with pytest.raises(EvaluationError, match=message):
        preference(rule, pair("1", **ONE))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "majority"}, "no rule is called 'majority'; choose one of: uniform"),
        ({"name": "quorum", "quorum": 0.4}, "quorum"),
        ({"name": "worst-off"}, "by is needed"),
        ({"name": "uniform", "by": "x"}, "by is unknown"),
        ({"name": "weighted", "weights": {"a": 0}}, "all weights are 0"),
        ({"name": "post-stratified", "by": "x", "shares": {"a": 0}}, r"shares\.a is .* more than 0"),
    ],
)
def test_settings_of_a_rule(rule, message):
    with pytest.raises(ConfigError, match=message):
        parse_rule(rule)


def test_nobody_to_aggregate():
    with pytest.raises(EvaluationError, match="no pair has votes"):
        ballots_from_votes([Pair(id="1", prompt="p", response_a="a", response_b="b")])
    with pytest.raises(EvaluationError, match="had no personas"):
        ballots_from_judgments([judgment("1", "", "a")])
