"""Position bias of verdicts whose bias is known."""

import random

import pytest

from dissensus.stats.agreement.position_bias import position_bias


def test_whoever_always_takes_the_first_flips_every_pair():
    always = [(pair, order, float(order == "ab"), float(order == "ba")) for pair in range(5) for order in ("ab", "ba")]
    found = position_bias(always)
    assert (found.compared, found.flips, found.flip_share, found.first) == (5, 5, 1, 1)


def test_both_orders_weigh_alike_however_often_each_was_shown():
    # Nine of ten times a on the left, and always a: a preference for a, which is none for a side.
    fair = [(pair, "ab" if pair % 10 else "ba", 1.0, 0.0) for pair in range(100)]
    assert position_bias(fair).first == 0.5
    assert position_bias(fair[1:10]).first is None  # one order alone says nothing


def test_the_names_of_the_responses_and_the_order_of_pairs_do_not_matter():
    draw = random.Random(0)
    said = [(pair, order, float(draw.random() < 0.6)) for pair in range(200) for order in ("ab", "ba")]
    verdicts = [(pair, order, a, 1 - a) for pair, order, a in said]
    found = position_bias(verdicts)
    renamed = position_bias([(pair, {"ab": "ba", "ba": "ab"}[order], b, a) for pair, order, a, b in verdicts])
    assert (renamed.compared, renamed.flips, renamed.first) == (found.compared, found.flips, pytest.approx(found.first))
    mirrored = position_bias([(pair, order, b, a) for pair, order, a, b in verdicts])
    assert mirrored.first == pytest.approx(1 - found.first)


def test_an_even_split_has_no_winner_and_ties_count_half():
    found = position_bias([("p", "ab", 0.5, 0.5), ("p", "ba", 1.0, 0.0)])
    assert (found.compared, found.flip_share, found.first) == (0, None, 0.25)
