from collections import Counter

import numpy as np
import pytest

from dissensus.errors import ConfigError
from dissensus.records import Pair, Votes
from dissensus.sources.label_votes import one_vote_label
from dissensus.steps.split import HoldOut, split_pairs
from dissensus.study.config import DrawnTest
from dissensus.study.sets import draw_some, draw_test

from .fakes import some


def _pair(i: int, *, group: str = "g", votes: Votes | None = None, **fields: str) -> Pair:
    return Pair(id=f"p{i}", prompt="x", response_a="a", response_b="b", group=group, votes=votes, **fields)


def test_one_vote_is_drawn_as_often_as_people_cast_it():
    votes = Votes(a=3, b=1, tie=1)
    drawn = [one_vote_label(_pair(i, votes=votes), seed=0) for i in range(4000)]
    # Among the votes for a or b, 3 of 4 are for a: four standard errors are 0.027.
    assert np.mean([label == "a" for label in drawn]) == pytest.approx(0.75, abs=0.028)


def test_a_draw_depends_on_seed_and_id_alone():
    pairs = [_pair(i, votes=Votes(a=2, b=2)) for i in range(100)]
    labels = {seed: [one_vote_label(pair, seed=seed) for pair in pairs] for seed in (0, 1)}
    assert labels[0] != labels[1]
    assert [one_vote_label(pair, seed=0) for pair in reversed(pairs)] == labels[0][::-1]


def test_nobody_chose():
    assert one_vote_label(_pair(0, votes=Votes(a=0, b=0, tie=2)), seed=0) == "tie"
    assert one_vote_label(_pair(0), seed=0) is None


def test_whole_groups_are_held_out():
    pairs = [_pair(i, group=f"g{i % 10}") for i in range(50)]
    train, test = split_pairs(pairs, HoldOut(by="group", share=0.3, seed=4))
    assert {p.group for p in train} & {p.group for p in test} == set()
    assert len({p.group for p in test}) == 3
    assert len(train) + len(test) == 50


def test_a_prompt_that_fills_a_megabyte_is_no_trouble(peak_memory):
    pairs = [_pair(i, group="x" * 1_000_000 if i == 0 else f"g{i}") for i in range(100)]
    assert peak_memory(lambda: split_pairs(pairs, HoldOut(by="group", share=0.3))) < 4_000_000


def test_the_draw_is_that_of_the_names_themselves():
    names = [f"g{i:02}" for i in range(20)]
    _, test = split_pairs([_pair(i, group=name) for i, name in enumerate(names)], HoldOut(by="group", count=6, seed=3))
    assert {pair.group for pair in test} == set(np.random.default_rng(3).permutation(names)[:6].tolist())


def test_out_of_domain_pairs_are_never_trained_on():
    pairs = [_pair(i, group=f"g{i}", domain="out" if i % 2 else "in") for i in range(20)]
    train, test = split_pairs(pairs, HoldOut(by="group", count=2))
    assert {p.domain for p in train} == {"in"}
    assert sum(p.domain == "out" for p in test) == 10
    assert sum(p.domain == "in" for p in test) == 2


def test_a_split_that_leaks_a_prompt_is_refused():
    pairs = [_pair(0, group="g", category="x"), _pair(1, group="g", category="y"), _pair(2, group="h", category="y")]
    with pytest.raises(ConfigError, match=r"leaves 1 prompts .* on both sides"):
        split_pairs(pairs, HoldOut(by="category", names=("x",)))


@pytest.mark.parametrize(
    ("hold_out", "message"),
    [
        (HoldOut(by="category", count=1), "pair 'p0' has no category; hold out by group"),
        (HoldOut(by="group", count=2), "2 of 2 values of group leave nothing to train on"),
        (HoldOut(by="group", names=("other",)), "no group 'other'; the data has: g0, g1"),
    ],
)
def test_an_impossible_split_says_so(hold_out: HoldOut, message: str):
    with pytest.raises(ConfigError, match=message):
        split_pairs([_pair(i, group=f"g{i % 2}") for i in range(6)], hold_out)


def test_a_draw_has_no_two_pairs_of_a_prompt_and_depends_on_seed_and_name_alone():
    pairs = some("s", 30)
    drawn = draw_test(pairs, DrawnTest(per_set=25), name="s")
    assert len(drawn) == len({pair.group for pair in drawn}) == 25
    assert drawn == draw_test(pairs[::-1], DrawnTest(per_set=25), name="s")
    assert drawn != draw_test(pairs, DrawnTest(per_set=25, seed=1), name="s")
    assert drawn != draw_test(pairs, DrawnTest(per_set=25), name="other")
    assert len(draw_test(pairs, DrawnTest(per_set=99), name="s")) == 30
    counts = Counter(p.id for seed in range(300) for p in draw_test(pairs, DrawnTest(per_set=10, seed=seed), name="s"))
    # Each of 90 pairs is drawn with a chance of 1/9: 33 times of 300, and 5.4 is a standard deviation.
    assert min(counts.values()) > 33 - 4 * 5.4
    assert max(counts.values()) < 33 + 4 * 5.4


def test_a_draw_is_of_prompts_and_not_of_pairs():
    crowd = [pair for i in range(3) for pair in some(f"crowd{i}", 1, 50)]
    pairs = [*crowd, *some("lone", 27, 1)]
    taken = Counter(
        pair.prompt for seed in range(300) for pair in draw_test(pairs, DrawnTest(per_set=10, seed=seed), name="s")
    )
    # Each of 30 prompts is drawn with a chance of 1/3: 100 times of 300, and 8.2 is a standard deviation.
    assert len(taken) == 30
    assert min(taken.values()) > 100 - 4 * 8.2
    assert max(taken.values()) < 100 + 4 * 8.2
    within = Counter(p.id for seed in range(300) for p in draw_test(crowd, DrawnTest(per_set=1, seed=seed), name="s"))
    assert len(within) > 100  # of 150 pairs, each with a chance of 1/150


def test_a_limit_takes_prompts_in_turn():
    pairs = [*some("crowd", 1, 90), *some("lone", 9, 1)]
    for limit, of_the_crowd in ((5, {0, 1}), (10, {1}), (12, {3}), (99, {90})):
        kept = draw_some(pairs, limit, seed=1, name="s")
        assert len(kept) == limit
        assert kept == [pair for pair in pairs if pair in kept]
        assert sum(pair.prompt == "crowd 0" for pair in kept) in of_the_crowd
    assert draw_some(pairs[::-1], 12, seed=1, name="s")[::-1] == draw_some(pairs, 12, seed=1, name="s")
    assert draw_some(pairs, None, seed=0, name="s") == pairs
