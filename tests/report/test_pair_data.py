import json
from dataclasses import replace

import numpy as np
import pytest

from dissensus.records import Votes
from dissensus.reports.pair_data import disagreement, view_pairs


def test_many_votes_that_are_split_are_more_surely_disputed_than_few():
    couple, crowd = disagreement(Votes(a=1, b=1)), disagreement(Votes(a=10, b=10))
    assert couple < disagreement(Votes(a=3, b=3)) < crowd < 0.5
    assert disagreement(Votes(a=1, b=1, tie=1)) < crowd
    assert disagreement(Votes(a=20, b=0)) < disagreement(Votes(a=15, b=5)) < crowd


def test_with_ever_more_votes_it_is_the_chance_that_two_people_differ():
    votes = Votes(a=30_000, b=20_000, tie=10_000)
    assert disagreement(votes) == pytest.approx(1 - (1 / 4 + 1 / 9 + 1 / 36), abs=0.005)


def test_it_holds_in_nineteen_of_twenty_populations():
    rng = np.random.default_rng(0)
    shares = rng.beta(0.5, 0.5, 400)
    held = [
        disagreement(Votes(a=int(k), b=7 - int(k)), ties=False, draws=1000) <= 2 * p * (1 - p)
        for p, k in zip(shares, rng.binomial(7, shares), strict=True)
    ]
    # Three standard errors of 400 draws at .95 are .033.
    assert np.mean(held) == pytest.approx(0.95, abs=0.033)


def test_the_lists_are_in_order_and_have_one_pair_of_each_prompt(run_data):
    view = view_pairs(run_data, run_data.joined.models)
    disputed = [row.measure for row in view.disputed]
    assert disputed == sorted(disputed, reverse=True)
    assert disputed[0] == max(disagreement(pair.votes, ties=False) for pair in run_data.joined.pairs)
    assert view_pairs(replace(run_data, joined=None), []) is None
    for k, rows in enumerate(view.wrong.values()):
        assert all(row.measure == pytest.approx(row.predicted[k] - row.human) for row in rows)
        errors = [abs(row.measure) for row in rows]
        assert errors == sorted(errors, reverse=True)
        assert len({row.prompt for row in rows}) == len(rows) == 10


def test_a_small_budget_keeps_what_matters_most(run_data):
    everything = view_pairs(run_data, run_data.joined.models)
    little = view_pairs(run_data, run_data.joined.models, budget=9000)
    assert (everything.shown, everything.total) == (80, 80)
    assert 10 < little.shown < 80
    assert len(little.json) < 9200
    assert [row.prompt for row in little.disputed] == [row.prompt for row in everything.disputed]
    assert json.loads(little.json)["pairs"] == json.loads(everything.json)["pairs"][: little.shown]


def test_texts_that_are_cut_say_by_how_much(run_data):
    pairs = [pair.model_copy(update={"response_b": "x" * 2000}) for pair in run_data.joined.pairs]
    view = view_pairs(replace(run_data, joined=replace(run_data.joined, pairs=tuple(pairs))), run_data.joined.models)
    assert json.loads(view.json)["pairs"][0]["texts"][2] == ["x" * 1500, 500]
