import random

import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation.join import join
from dissensus.records import Prediction


def test_joins_by_id_and_never_by_row_order(make_study):
    pairs, predictions = make_study()
    joined = join(pairs, predictions)
    random.Random(0).shuffle(predictions)
    shuffled = join(pairs, predictions)
    for model in joined.models:
        assert np.sort(joined.predicted[model], axis=0) == pytest.approx(np.sort(shuffled.predicted[model], axis=0))
    assert joined.human.tolist() == [pair.votes.preference for pair in pairs]


def test_predictions_for_other_pairs_are_passed_over_and_counted(make_pair, make_prediction):
    predictions = [make_prediction(i, 0.5, seed=seed) for i in "pzy" for seed in (0, 1)]
    joined = join([make_pair("p", 3)], predictions)
    assert joined.predicted["m"].tolist() == [[0.5], [0.5]]
    assert joined.predicted_elsewhere == 2
    elsewhere = [make_prediction(i, 0.5, model="other") for i in "zy"]
    with pytest.raises(
        EvaluationError, match="model 'other': none of its 2 predictions is for one of the 1 pairs: z, y"
    ):
        join([make_pair("p", 3)], [*predictions, *elsewhere])


def test_a_hole_may_be_left_out(make_pair, make_prediction):
    pairs = [make_pair("p", 3), make_pair("q", 4), make_pair("r")]
    predictions = [make_prediction("p", 0.5), make_prediction("q", 0.4), make_prediction("q", 0.3, model="n")]
    with pytest.raises(EvaluationError, match=r"model 'n': no prediction for 1 of 2 pairs .*allow_missing=True"):
        join(pairs, predictions)
    joined = join(pairs, predictions, allow_missing=True)
    assert [pair.id for pair in joined.pairs] == ["q"]
    assert (joined.without_votes, joined.without_predictions) == (1, 1)
    apart = [make_prediction("p", 0.5), make_prediction("q", 0.3, model="n")]
    with pytest.raises(EvaluationError, match="no pair with votes has a prediction of every model and seed"):
        join(pairs, apart, allow_missing=True)


def test_calibrated_preferences_are_joined_where_a_model_has_them(make_pair, make_prediction):
    pairs = [make_pair("p1", 3), make_pair("p2", 5)]
    raw = [make_prediction("p1", 0.9), make_prediction("p2", 0.8)]
    fitted = {"temperature": 1.25, "seed": 1}
    calibrated = [row.model_copy(update={"calibrated_a": row.preference_a - 0.2, **fitted}) for row in raw]
    assert join(pairs, calibrated, calibrated=False).predicted["m"].tolist() == [[0.9, 0.8]]
    assert join(pairs, calibrated, calibrated=False).calibrated == {}
    for asked in (None, True):
        joined = join(pairs, calibrated, calibrated=asked)
        assert joined.predicted["m"].tolist() == [[pytest.approx(0.7), pytest.approx(0.6)]]
        assert joined.calibrated == {"m": "temperature 1.25"}
    other = [row.model_copy(update={"seed": 2}) for row in raw]
    assert join(pairs, [*calibrated, *other]).calibrated == {"m": "temperatures 1.25, none"}
    half = [calibrated[0], raw[1].model_copy(update={"seed": 1})]
    assert join(pairs, half).predicted["m"].tolist() == [[0.9, 0.8]], "a hole makes all of a run raw"
    with pytest.raises(EvaluationError, match="model 'm': the prediction for p2 has no calibrated preference"):
        join(pairs, [calibrated[0], raw[1]], calibrated=True)


def test_pairs_without_votes_need_no_prediction_and_are_counted(make_pair, make_prediction):
    joined = join([make_pair("p", 3), make_pair("q")], [make_prediction("p", 0.4)])
    assert (joined.human.tolist(), joined.without_votes) == ([0.3], 1)


@pytest.mark.parametrize(
    ("pairs", "predicted", "said"),
    [
        ({}, ["p"], "no pairs"),
        ({"p": 3}, [], "no predictions"),
        ({"p": None, "q": None}, ["p"], r"none of the 2 pairs carries votes.*votes_a"),
        (dict.fromkeys("pqrst", 3), ["p"], r"'m' \(seed 4\): no prediction for 4 of 5 pairs.*q, r, s, …"),
        ({"p": 3}, ["p", "p"], "1 prediction is given more than once by 'm': p; was a file given twice"),
    ],
)
def test_what_does_not_fit_together_is_counted_and_named(make_pair, make_prediction, pairs, predicted, said):
    with pytest.raises(EvaluationError, match=said):
        join([make_pair(i, a) for i, a in pairs.items()], [make_prediction(i, 0.5, seed=4) for i in predicted])


def test_doubled_pairs(make_pair, make_prediction):
    with pytest.raises(EvaluationError, match="1 pair id is more than once"):
        join([make_pair("p", 3)] * 2, [make_prediction("p", 0.5)])


def test_a_preference_needs_no_rewards_and_both_are_given_or_none(make_pair):
    alone = [Prediction(pair_id=i, model="m", preference_a=x) for i, x in (("p", 0.0), ("q", 0.7))]
    assert join([make_pair("p", 3), make_pair("q", 5)], alone).predicted["m"].tolist() == [[0.0, 0.7]]
    with pytest.raises(ValueError, match="one of reward_a and reward_b is missing"):
        Prediction(pair_id="p", model="m", preference_a=0.5, reward_a=0.1)
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Prediction(pair_id="p", model="m", preference_a=1.5)


def test_a_reward_that_is_no_number_is_named(make_pair, make_prediction):
    broken = Prediction.model_construct(**make_prediction("p", 0.5).model_dump() | {"reward_a": float("nan")})
    with pytest.raises(EvaluationError, match="model 'm': the rewards of pair p are nan"):
        join([make_pair("p", 3)], [broken])
