from dataclasses import replace

import numpy as np
import pytest

from dissensus.evaluate.ceilings import score_ceilings
from dissensus.evaluate.join import join
from dissensus.evaluate.measure import Resampling
from dissensus.records import Pair, Prediction, Vote, Votes


def _joined(n=400, votes=5, seed=0, datasets=("d",), singles=0):
    """Votes drawn from known preferences, and a model that knows them."""
    rng = np.random.default_rng(seed)
    pairs, predictions = [], []
    for row, p in enumerate(rng.beta(0.7, 0.7, n)):
        for_a = int(rng.binomial(1 if row < singles else votes, p))
        pairs.append(
            Pair(
                id=f"p{row}",
                prompt=f"prompt {row // 2}",
                response_a="x",
                response_b="y",
                dataset=datasets[row % len(datasets)],
                votes=Votes(a=for_a, b=(1 if row < singles else votes) - for_a),
            )
        )
        predictions.append(Prediction(pair_id=f"p{row}", model="true", reward_a=0, reward_b=0, preference_a=float(p)))
    return join(pairs, predictions)


def _rows(joined, n=100):
    return {(row.model, row.group, row.metric): row for row in score_ceilings(joined, Resampling(n=n))}


def test_a_model_that_knows_the_preferences_is_at_the_ceiling():
    joined = _joined(n=4000)
    rows = _rows(joined, n=0)
    [predicted] = joined.predicted["true"]
    r = np.corrcoef(predicted, joined.human)[0, 1]
    assert rows["ceiling", "all", "pearson"].value == pytest.approx(r, abs=0.01)
    assert rows["ceiling", "all", "l1"].value == pytest.approx(np.abs(predicted - joined.human).mean(), abs=0.01)
    assert rows["true", "all", "pearson_corrected"].value == pytest.approx(1, abs=0.02)


def test_every_group_has_a_ceiling_with_its_interval_but_not_one_chosen_by_the_votes():
    rows = _rows(_joined(datasets=("d", "e")))
    assert {group for _, group, _ in rows} == {"all", "dataset=d", "dataset=e"}
    within = rows["ceiling", "all", "pearson_within"]
    sets = [rows["ceiling", f"dataset={name}", "pearson"].value for name in "de"]
    assert min(sets) <= within.value <= max(sets)
    assert all(row.low < row.value < row.high and row.method == "percentile" for row in rows.values())
    assert ("ceiling", "dataset=d", "pearson_within") not in rows


def test_three_people_who_estimate_leave_the_ceiling_that_their_spread_does():
    """Estimates in tenths with a spread of .18 about preferences of every kind: r .94, L1 just below .083."""
    rng = np.random.default_rng(5)
    pairs, predictions = [], []
    for row, p in enumerate(rng.random(3000)):
        said = np.clip(np.round(p + rng.normal(0, 0.18, 3), 1), 0, 1)
        votes = [Vote(annotator=f"w{k}", vote="a" if x > 0.5 else "b", estimate=x) for k, x in enumerate(said)]
        for_a = sum(vote.vote == "a" for vote in votes)
        pairs.append(
            Pair(
                id=f"p{row}",
                prompt=f"prompt {row}",
                response_a="x",
                response_b="y",
                votes=Votes(a=for_a, b=3 - for_a, annotations=votes),
            )
        )
        predictions.append(Prediction(pair_id=f"p{row}", model="true", reward_a=0, reward_b=0, preference_a=float(p)))
    joined = join(pairs, predictions)
    rows = _rows(joined, n=0)
    r = np.corrcoef(joined.predicted["true"][0], joined.human)[0, 1]
    assert rows["ceiling", "all", "pearson"].value == pytest.approx(r, abs=0.01) == pytest.approx(0.94, abs=0.015)
    assert rows["ceiling", "all", "l1"].value == pytest.approx(0.08, abs=0.006)


def test_a_unanimous_data_set_does_not_lift_the_ceiling_of_the_others():
    joined = _joined(n=100, datasets=("d", "e"))
    rng = np.random.default_rng(1)
    sure = [
        Pair(
            id=f"s{row}",
            prompt=f"sure {row}",
            response_a="x",
            response_b="y",
            dataset="s",
            votes=Votes(a=5 * (row % 2), b=5 * (1 - row % 2)),
        )
        for row in range(20)
    ]
    both = replace(
        joined,
        pairs=(*joined.pairs, *sure),
        human=np.concatenate([joined.human, [row % 2 for row in range(20)]]),
        predicted={"true": np.concatenate([joined.predicted["true"], rng.random((1, 20))], axis=1)},
    )
    alone, together = (_rows(j, n=0)["ceiling", "all", "pearson_within"].value for j in (joined, both))
    assert together**2 == pytest.approx((100 * alone**2 + 20) / 120)


def test_pairs_of_a_single_vote_are_left_out():
    assert _rows(_joined(singles=100))["ceiling", "all", "pearson"].n == 300
    assert _rows(_joined(n=100, singles=100)) == {}


def test_people_who_agree_no_better_than_chance_leave_nothing_to_correct():
    joined = _joined(n=40)
    split = tuple(pair.model_copy(update={"votes": Votes(a=2, b=2)}) for pair in joined.pairs)
    row = _rows(replace(joined, pairs=split, human=np.full(40, 0.5)))["true", "all", "pearson_corrected"]
    assert row.value is None
    assert row.note == "undefined: votes that do not vary, or that agree no better than chance"
