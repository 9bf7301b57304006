from functools import partial

import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation import evaluate_predictions as evaluation
from dissensus.evaluation.join import join
from dissensus.evaluation.pair_columns import PairColumns
from dissensus.evaluation.rules import given_target
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.build import make_tables
from dissensus.records import Judgment, Margin, Pair, Prediction, Vote, Votes

evaluate_predictions = partial(evaluation.evaluate_predictions, n_swaps=19)


@pytest.fixture(scope="module")
def population():
    """Pairs of two data sets with named annotators, predictions of two models, and a judge of one of the sets."""
    rng = np.random.default_rng(0)
    pairs, predictions, judgments = [], [], []
    for row in range(80):
        p = float(rng.beta(0.7, 0.7))
        votes = ["a" if rng.random() < p else "b" for _ in range(4)]
        annotations = tuple(Vote(annotator=f"w{k}", vote=vote) for k, vote in enumerate(votes))
        pairs.append(
            Pair(
                id=f"p{row}",
                prompt=f"prompt {row}",
                response_a="x" * int(10 + 40 * p),
                response_b="y" * int(50 - 40 * p),
                dataset="de"[row % 2],
                domain=("in", "out")[row % 2],
                votes=Votes(a=votes.count("a"), b=votes.count("b"), annotations=annotations),
            )
        )
        for model, noise in (("base", 1.5), ("better", 0.3)):
            gap = float(np.log((p + 0.01) / (1.01 - p)) + rng.normal() * noise)
            predictions.append(
                Prediction(
                    pair_id=f"p{row}", model=model, reward_a=gap, reward_b=0, preference_a=float(1 / (1 + np.exp(-gap)))
                )
            )
        if row % 2:
            for order in ("ab", "ba"):
                choice = "a" if p > 0.5 else "b"
                judgments.append(Judgment(pair_id=f"p{row}", judge="gpt4", sample=0, order=order, choice=choice))
    return pairs, predictions, judgments


@pytest.fixture(scope="module")
def rows(population):
    pairs, predictions, judgments = population
    return evaluate_predictions(pairs, predictions, baseline="base", judgments=judgments, n_resamples=100)


def _value(rows, model, metric, group="all", **fields):
    fields = {"baseline": None, "target": "votes", **fields}
    [row] = [
        row
        for row in rows
        if (row.model, row.metric, row.group) == (model, metric, group)
        and all(getattr(row, name) == value for name, value in fields.items())
    ]
    return row


def test_everything_stands_beside_the_models(rows):
    assert {row.model for row in rows if row.kind == "reference"} == {"one half", "longer response", "one person"}
    assert {row.model for row in rows if row.kind == "judge"} == {"gpt4"}
    assert {row.model for row in rows if row.kind == "ceiling"} == {"ceiling"}
    assert {row.group for row in rows if row.kind == "people"} == {
        "all",
        "dataset=d",
        "dataset=e",
        "domain=in",
        "domain=out",
    }
    assert {row.target for row in rows} == {"votes", "dawid-skene", "mace"}
    for target in ("dawid-skene", "mace"):
        assert _value(rows, "better", "pearson", target=target).value != _value(rows, "better", "pearson").value
        assert _value(rows, "better", "l1", target=target, baseline="base").value is not None
    # Of a contested pair, one vote says the contrary of the others more often than not.
    contested = {row.model for row in rows if row.group.startswith("contested")}
    assert "longer response" in contested
    assert "one person" not in contested


def test_the_order_of_things_is_what_it_must_be(rows):
    r = {model: _value(rows, model, "pearson").value for model in ("base", "better", "longer response", "ceiling")}
    assert r["base"] < r["better"] < r["ceiling"] + 0.05
    assert r["longer response"] > 0.5  # by construction of the lengths
    l1 = {model: _value(rows, model, "l1").value for model in ("better", "one half", "ceiling")}
    assert l1["ceiling"] - 0.02 < l1["better"] < l1["one half"]  # the ceiling is an estimate
    corrected = _value(rows, "better", "pearson_corrected").value
    symmetric = [_value(rows, model, "pearson_symmetric").value for model in ("better", "ceiling")]
    assert corrected == pytest.approx(symmetric[0] / symmetric[1], rel=1e-9)


def test_a_judge_of_one_data_set_is_compared_there(rows):
    judge = _value(rows, "gpt4", "pearson")
    assert judge.n == 40
    assert judge.value == pytest.approx(_value(rows, "gpt4", "pearson", "dataset=e").value)
    difference = _value(rows, "gpt4", "l1", baseline="base")
    there = _value(rows, "gpt4", "l1").value - _value(rows, "base", "l1", "dataset=e").value
    assert difference.value == pytest.approx(there)


def test_aggregates_are_compared_with_votes_on_the_same_pairs_alone(population):
    """One data set names its annotators, the other does not: no aggregate of everything, then."""
    pairs, predictions, _ = population
    mixed = [
        pair.model_copy(update={"votes": Votes(a=pair.votes.a, b=pair.votes.b)}) if pair.dataset == "e" else pair
        for pair in pairs
    ]
    rows = evaluate_predictions(mixed, predictions, baseline="base", n_resamples=50)
    aggregated = [row for row in rows if row.target != "votes"]
    assert {row.group for row in aggregated} == {"dataset=d", "domain=in"}
    assert {row.n for row in aggregated} == {40}
    [table] = [table for table in make_tables(Scores(rows)) if table.name == "targets"]
    assert {section.partition(":")[0] for _, section in table.sections} == {"d"}


def test_one_annotator_only(population):
    pairs, predictions, _ = population
    single = [
        pair.model_copy(update={"votes": Votes(a=int(pair.votes.a > 2), b=int(pair.votes.a <= 2))}) for pair in pairs
    ]
    rows = evaluate_predictions(single, predictions, baseline="base", n_resamples=50)
    assert not [row for row in rows if row.kind == "ceiling" or row.model == "one person"]
    assert {row.notes for row in rows if row.kind == "people"} == {("undefined: no pair has two votes",)}
    assert _value(rows, "better", "pearson").value is not None


def test_a_judge_must_have_judged_these_pairs(population):
    pairs, predictions, judgments = population
    elsewhere = [judgment.model_copy(update={"pair_id": "q"}) for judgment in judgments[:1]]
    with pytest.raises(EvaluationError, match="judge 'gpt4' has judged none of the 80 pairs with votes"):
        evaluate_predictions(pairs, predictions, judgments=elsewhere, n_resamples=0)


def test_a_judge_that_says_nothing_of_these_pairs_does_not_stop_the_others(population):
    pairs, predictions, judgments = population
    silent = [judgment.model_copy(update={"judge": "mute", "choice": None}) for judgment in judgments]
    elsewhere = [judgment.model_copy(update={"judge": "away", "pair_id": "q"}) for judgment in judgments[:1]]
    told = []
    rows = evaluate_predictions(
        pairs, predictions, judgments=[*silent, *judgments, *elsewhere], n_resamples=0, notice=told.append
    )
    assert {row.model for row in rows if row.kind == "judge"} == {"gpt4"}
    assert told == [
        "judge 'mute' has named a winner or a tie on none of the 80 pairs with votes, and is left out",
        "judge 'away' has judged none of the 80 pairs with votes, and is left out",
    ]
    rows = evaluate_predictions(pairs, predictions, judgments=silent, n_resamples=0, notice=lambda _: None)
    assert {row.model for row in rows if row.kind == "model"} >= {"base", "better"}


def test_some_of_what_was_predicted_is_scored_as_if_nothing_else_had_been(population):
    pairs, predictions, judgments = population
    some = pairs[::3]
    kept = {pair.id for pair in some}
    told = []
    options = {"baseline": "base", "judgments": judgments, "n_resamples": 20, "n_swaps": 199}
    rows = evaluate_predictions(some, predictions, **options, notice=told.append)
    alone = [prediction for prediction in predictions if prediction.pair_id in kept]
    assert rows == evaluate_predictions(some, alone, **options)
    assert told == ["predictions for 53 pairs that are not among the 27 given were passed over"]


def test_pairs_that_not_every_model_predicted_are_left_out_where_that_is_asked_for(population):
    pairs, predictions, _ = population
    fewer = [p for p in predictions if p.model != "better" or p.pair_id != pairs[0].id]
    rows = evaluate_predictions(pairs, fewer, n_resamples=0, allow_missing=True)
    alone = evaluate_predictions(pairs[1:], [p for p in fewer if p.pair_id != pairs[0].id], n_resamples=0)
    assert [row.value for row in rows] == [row.value for row in alone]
    assert "1 of 80 pairs lack a prediction of some model and are left out" in _value(rows, "base", "l1").notes


@pytest.mark.parametrize("name", ["ceiling", "people", "one half", "gpt4"])
def test_names_of_rows_are_no_names_of_models(population, name):
    pairs, predictions, judgments = population
    called = [prediction.model_copy(update={"model": name}) for prediction in predictions[::2]]
    with pytest.raises(EvaluationError, match=f"a model is called '{name}', as another row"):
        evaluate_predictions(pairs, called, judgments=judgments, n_resamples=0)


def test_annotators_who_estimate_are_evaluated_by_their_mean(population):
    pairs, predictions, _ = population
    rng = np.random.default_rng(3)
    estimated = []
    for pair in pairs:
        said = np.clip(np.round(pair.votes.preference + rng.normal(0, 0.15, 3), 1), 0, 1)
        votes = [Vote(annotator=f"w{k}", vote="a" if x > 0.5 else "b", estimate=x) for k, x in enumerate(said)]
        for_a = sum(vote.vote == "a" for vote in votes)
        estimated.append(pair.model_copy(update={"votes": Votes(a=for_a, b=3 - for_a, annotations=votes)}))
    rows = evaluate_predictions(estimated, predictions, baseline="base", n_resamples=50)
    human = [np.mean([vote.estimate for vote in pair.votes.annotations]) for pair in estimated]
    better = [p.preference_a for p in predictions if p.model == "better"]
    assert _value(rows, "better", "l1").value == pytest.approx(np.abs(np.array(better) - human).mean())
    assert _value(rows, "ceiling", "pearson").value > 0.9
    assert _value(rows, "people", "krippendorff_interval").value > _value(rows, "people", "agreement_raw").value
    # Nobody knows how an estimate varies where its mean is the prediction.
    assert not [row for row in rows if row.metric == "ece_null"]


def _rule(pairs, preference):
    return [Margin(pair_id=p.id, margin=abs(2 * q - 1), preference_a=q) for p, q in zip(pairs, preference, strict=True)]


def test_the_votes_themselves_as_a_rule_are_the_votes(population, rows):
    pairs, predictions, _ = population
    same = _rule(pairs, [pair.votes.preference for pair in pairs])
    found = evaluate_predictions(pairs, predictions, baseline="base", targets={"uniform": same}, n_resamples=50)
    for name, baseline in (("base", None), ("better", None), ("better", "base")):
        for metric in ("pearson", "pearson_within", "l1"):
            one, other = (_value(found, name, metric, target=t, baseline=baseline) for t in ("votes", "uniform"))
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert {(r.role, r.p_holm) for r in found if r.target == "uniform" and r.baseline} == {("exploratory", None)}


def test_a_rule_without_some_pairs_is_scored_on_the_others_and_says_so(population):
    pairs, predictions, _ = population
    rule = _rule(pairs[:30], [0.9 if i % 3 else 0.2 for i in range(30)])
    elsewhere = Margin(pair_id="of a larger set", margin=1.0, preference_a=1.0)
    found = evaluate_predictions(pairs, predictions, targets={"quorum": [*rule, elsewhere]}, n_resamples=0)
    [row] = [r for r in found if r.target == "quorum" and r.metric == "l1" and r.group == "all" and r.model == "better"]
    by_id = {p.pair_id: p.preference_a for p in predictions if p.model == "better"}
    assert row.value == pytest.approx(np.mean([abs(by_id[m.pair_id] - m.preference_a) for m in rule]))
    assert (row.n, row.notes) == (30, (f"quorum: on 30 of {len(pairs)} pairs",))


def test_rules_that_say_nothing_of_the_pairs_are_refused(population):
    pairs, predictions, _ = population
    joined, [one] = join(pairs, predictions), _rule(pairs[:1], [0.5])
    for name, margins, said in (
        ("mace", [one], "the name is taken"),
        ("rule", [one, one], "comes more than once"),
        ("rule", [Margin(pair_id=pairs[0].id, margin=0.5)], "without a preference"),
        ("rule", [Margin(pair_id="other", margin=0.0, preference_a=0.5)], "none of its 1 preferences"),
    ):
        with pytest.raises(EvaluationError, match=said):
            given_target(name, margins, joined)


def test_streams_of_records_give_the_rows_of_lists(make_study):
    pairs, predictions = make_study(n=24)
    options = {"baseline": "base", "n_resamples": 20}
    rows = evaluate_predictions(pairs, predictions, **options)
    assert evaluate_predictions(iter(pairs), iter(predictions), **options) == rows
    assert evaluate_predictions(PairColumns.read(pairs), predictions, **options) == rows
