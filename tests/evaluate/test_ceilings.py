import re
from dataclasses import replace

import numpy as np
import pytest

from dissensus.evaluation import ceilings
from dissensus.evaluation.ceilings import History, find_history, score_ceilings
from dissensus.evaluation.join import join
from dissensus.evaluation.resample import Resampling
from dissensus.records import Pair, Prediction, Vote, Votes
from dissensus.stats.resampling.clusters import Freedom


def _study(preferences, votes, datasets=(None,), per_prompt=1):
    """Pairs with these votes, and a model that knows the preferences behind them."""
    pairs = [
        Pair(id=f"p{row}", prompt=f"prompt {row // per_prompt}", response_a="x", response_b="y",
             dataset=datasets[row % len(datasets)], votes=said)
        for row, said in enumerate(votes)
    ]  # fmt: skip
    predictions = [
        Prediction(pair_id=f"p{row}", model="true", reward_a=0, reward_b=0, preference_a=float(p))
        for row, p in enumerate(preferences)
    ]
    return join(pairs, predictions)


def _joined(n=400, votes=5, seed=0, datasets=("d",), singles=0):
    """Votes drawn from known preferences."""
    rng = np.random.default_rng(seed)
    preferences, numbers = rng.beta(0.7, 0.7, n), [1] * singles + [votes] * (n - singles)
    for_a = [int(rng.binomial(k, p)) for k, p in zip(numbers, preferences, strict=True)]
    drawn = [Votes(a=a, b=k - a) for a, k in zip(for_a, numbers, strict=True)]
    return _study(preferences, drawn, datasets, per_prompt=2)


def _estimates(said):
    """People's estimates of one pair as votes."""
    votes = [Vote(annotator=f"w{k}", vote="a" if x > 0.5 else "b", estimate=x) for k, x in enumerate(said)]
    for_a = sum(vote.vote == "a" for vote in votes)
    return Votes(a=for_a, b=len(votes) - for_a, annotations=votes)


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
    assert all(row.low < row.value < row.high for row in rows.values())
    assert {row.method for row in rows.values() if row.kind == "ceiling"} == {"percentile"}
    assert ("ceiling", "dataset=d", "pearson_within") not in rows


def test_intervals_are_widened_for_few_prompts(monkeypatch):
    joined = _joined(n=60)
    rows = _rows(joined)
    monkeypatch.setattr(ceilings, "find_freedom", lambda *_: Freedom(1.0, 1e9))
    for key, narrow in _rows(joined).items():
        assert rows[key].low < narrow.low
        assert rows[key].high > narrow.high


def test_the_corrected_r_counts_how_seeds_vary():
    """Seeds that are the same models over again say nothing new; those that differ widen the interval."""
    joined = _joined(n=200)
    [truth] = joined.predicted["true"]
    noise = np.random.default_rng(3).normal(0, 0.3, (3, truth.size))
    seeds = np.clip(truth + noise * np.array([[0.5], [1.0], [1.5]]), 0, 1)
    key = "true", "all", "pearson_corrected"
    varied = _rows(replace(joined, predicted={"true": seeds}))[key]
    each = [_rows(replace(joined, predicted={"true": seed[None]}))[key] for seed in seeds]
    again = _rows(replace(joined, predicted={"true": seeds[[0, 0, 0]]}))[key]
    assert (again.low, again.high) == pytest.approx((each[0].low, each[0].high))
    assert varied.value == pytest.approx(np.mean([row.value for row in each]))
    assert varied.seed_sd == pytest.approx(np.std([row.value for row in each], ddof=1))
    # Student's t with two degrees of freedom: 4.3 standard errors, a little less for what prompts have of it already.
    assert varied.high - varied.low > 2 * 3 * varied.seed_sd / np.sqrt(3)
    assert (varied.seeds, each[0].seeds) == (3, None)


def test_three_people_who_estimate_leave_the_ceiling_that_their_spread_does():
    """Estimates in tenths with a spread of .18 about preferences of every kind: r .94, L1 just below .083."""
    rng = np.random.default_rng(5)
    preferences = rng.random(3000)
    joined = _study(
        preferences, [_estimates(np.clip(np.round(p + rng.normal(0, 0.18, 3), 1), 0, 1)) for p in preferences]
    )
    rows = _rows(joined, n=0)
    r = np.corrcoef(joined.predicted["true"][0], joined.human)[0, 1]
    assert rows["ceiling", "all", "pearson"].value == pytest.approx(r, abs=0.01) == pytest.approx(0.94, abs=0.015)
    assert rows["ceiling", "all", "l1"].value == pytest.approx(0.08, abs=0.006)


def test_a_unanimous_data_set_does_not_lift_the_ceiling_of_the_others():
    joined = _joined(n=100, datasets=("d", "e"))
    rng = np.random.default_rng(1)
    sure = [
        pair.model_copy(update={"id": f"s{row}", "group": f"sure {row}", "dataset": "s", "votes": votes})
        for row, pair in enumerate(joined.pairs[:20])
        for votes in [Votes(a=5 * (row % 2), b=5 * (1 - row % 2))]
    ]
    both = replace(
        joined,
        pairs=(*joined.pairs, *sure),
        human=np.concatenate([joined.human, [row % 2 for row in range(20)]]),
        predicted={"true": np.concatenate([joined.predicted["true"], rng.random((1, 20))], axis=1)},
    )
    alone, together = (_rows(j, n=0)["ceiling", "all", "pearson_within"].value for j in (joined, both))
    assert together**2 == pytest.approx((100 * alone**2 + 20) / 120)


def test_a_ceiling_is_of_the_pairs_that_the_model_is_scored_on():
    """Half of the pairs have one vote: a model that knows the preferences is at a ceiling of all of them."""
    joined = _joined(n=4000, singles=2000)
    rows, [p] = _rows(joined, n=0), joined.predicted["true"]
    row = rows["ceiling", "all", "pearson"]
    assert row.value == pytest.approx(np.corrcoef(p, joined.human)[0, 1], abs=0.015)
    assert rows["ceiling", "all", "l1"].value == pytest.approx(np.abs(p - joined.human).mean(), abs=0.01)
    assert row.n == 4000
    assert row.notes[0] == "2000 of 4000 pairs have one vote: ceilings take the noise of the others for theirs"
    assert _rows(_joined(n=100, singles=100)) == {}


def _turned(joined, turn):
    """The same with a and b swapped in some pairs."""
    pairs = tuple(
        pair.model_copy(update={"votes": Votes(a=pair.votes.b, b=pair.votes.a)}) if swap else pair
        for pair, swap in zip(joined.pairs, turn, strict=True)
    )
    predicted = {model: np.where(turn, 1 - rows, rows) for model, rows in joined.predicted.items()}
    return replace(joined, pairs=pairs, human=np.where(turn, 1 - joined.human, joined.human), predicted=predicted)


def test_turning_pairs_round_changes_no_ceiling_and_no_corrected_r():
    joined = _joined(datasets=("d", "e"))
    rows, turned = _rows(joined), _rows(_turned(joined, np.random.default_rng(0).random(400) < 0.5))
    assert rows.keys() == turned.keys()
    for key, row in rows.items():
        assert (turned[key].value, turned[key].low) == pytest.approx((row.value, row.low))


def test_the_majority_as_response_a_is_noted_where_plain_r_suffers_from_it():
    joined = _joined(datasets=("d", "e"))
    rows = _rows(_turned(joined, joined.human < 0.5), n=0)
    for metric, noted in (("pearson", True), ("pearson_within", True), ("pearson_symmetric", False), ("l1", False)):
        assert ("chosen which response is a" in str(rows["ceiling", "all", metric].notes)) == noted
    assert all("chosen" not in str(row.notes) for row in _rows(joined, n=0).values())


def _asked_on(joined, seed=0):
    """Two votes on each pair, and a third where these differ."""
    rng = np.random.default_rng(seed)
    votes = [rng.permutation(np.repeat([1, 0], [pair.votes.a, pair.votes.b])) for pair in joined.pairs]
    votes = [v[: 2 if v[0] == v[1] else 3] for v in votes]
    pairs = tuple(
        pair.model_copy(update={"votes": Votes(a=int(v.sum()), b=int((1 - v).sum()))})
        for pair, v in zip(joined.pairs, votes, strict=True)
    )
    return replace(joined, pairs=pairs, human=np.array([v.mean() for v in votes]))


def test_where_the_votes_decided_how_many_were_asked_it_is_said_and_put_right():
    joined = _asked_on(_joined(n=3000))
    rows, [p] = _rows(joined, n=0), joined.predicted["true"]
    row = rows["ceiling", "all", "pearson"]
    assert row.value == pytest.approx(np.corrcoef(p, joined.human)[0, 1], abs=0.025)
    assert rows["ceiling", "all", "l1"].value == pytest.approx(np.abs(p - joined.human).mean(), abs=0.01)
    assert all("the votes decided how many were asked" in str(row.notes) for row in rows.values())
    assert "by the votes alone" in str(row.notes)  # three votes do not tell r from others


def test_only_the_data_set_whose_votes_decided_it_is_suspected():
    joined = _joined(n=1000, datasets=("d", "e"))
    asked = _asked_on(joined)
    mixed = [a if a.dataset == "d" else b for a, b in zip(asked.pairs, joined.pairs, strict=True)]
    assert find_history(mixed) == History({"d"}, set())
    # Sixty pairs each are not enough to be sure of either, but together they are.
    few = [pair for pair in asked.pairs if pair.votes.n == 2][:40] + [p for p in asked.pairs if p.votes.n == 3][:16]
    together = [pair.model_copy(update={"dataset": f"s{row % 2}"}) for row, pair in enumerate(few)]
    assert find_history(together).number == {"s0", "s1"}
    assert find_history(joined.pairs) == History(set(), set())


def test_limits_of_few_votes_are_part_of_the_interval():
    joined = _joined(n=1000, votes=3)
    row = _rows(joined)["ceiling", "all", "l1"]
    low, high = (
        float(part) for part in re.search(r"from (\.\d+) to (\.\d+) by the votes alone", str(row.notes)).groups()
    )
    assert row.low < low < row.value < high < row.high
    assert high - low > 0.03
    [p] = joined.predicted["true"]
    assert low < np.abs(p - joined.human).mean() < high
    assert _rows(_joined(n=1000, votes=15))["ceiling", "all", "l1"].notes == ()


def test_a_panel_of_raters_who_lean_has_the_ceiling_that_a_perfect_model_reaches():
    rng = np.random.default_rng(2)
    p = rng.random(600)
    said = np.clip(np.round(p[:, None] + [-0.2, 0.0, 0.2] + rng.normal(0, 0.15, (600, 3)), 1), 0, 1)
    joined = _study(p, [_estimates(estimates) for estimates in said])
    rows = _rows(joined, n=0)
    shown = np.corrcoef(p, joined.human)[0, 1]
    assert rows["ceiling", "all", "pearson"].value == pytest.approx(shown, abs=0.01)
    assert rows["ceiling", "all", "pearson_symmetric"].value < shown - 0.02
    # Beside another data set, of which nobody knows who rated it, the panel is one still.
    panel = tuple(pair.model_copy(update={"dataset": "panel"}) for pair in joined.pairs)
    crowd = tuple(
        pair.model_copy(update={"id": f"c{row}", "dataset": "crowd", "votes": Votes(a=row % 4, b=3 - row % 4)})
        for row, pair in enumerate(panel)
    )
    both = replace(
        joined,
        pairs=panel + crowd,
        human=np.concatenate([joined.human, [pair.votes.preference for pair in crowd]]),
        predicted={"true": np.tile(joined.predicted["true"], 2)},
    )
    beside = _rows(both, n=0)
    assert beside["ceiling", "dataset=panel", "pearson"].value == pytest.approx(rows["ceiling", "all", "pearson"].value)


def test_people_who_agree_no_better_than_chance_leave_nothing_to_correct():
    joined = _joined(n=40)
    split = tuple(pair.model_copy(update={"votes": Votes(a=2, b=2)}) for pair in joined.pairs)
    row = _rows(replace(joined, pairs=split, human=np.full(40, 0.5)))["true", "all", "pearson_corrected"]
    assert row.value is None
    assert row.notes == ("undefined: votes that do not vary, or that agree no better than chance",)
