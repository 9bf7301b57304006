import random

import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation.join import join


def test_joins_by_id_and_never_by_row_order(make_study):
    pairs, predictions = make_study()
    joined = join(pairs, predictions)
    random.Random(0).shuffle(predictions)
    shuffled = join(pairs, predictions)
    for model in joined.models:
        assert np.sort(joined.predicted[model], axis=0) == pytest.approx(np.sort(shuffled.predicted[model], axis=0))
    assert joined.human.tolist() == [pair.votes.preference for pair in pairs]


def test_pairs_without_votes_are_left_out_and_counted(make_pair, make_prediction):
    joined = join([make_pair("p", 3), make_pair("q")], [make_prediction("p", 0.4), make_prediction("q", 0.6)])
    assert [pair.id for pair in joined.pairs] == ["p"]
    assert joined.without_votes == 1


def test_a_pair_without_votes_needs_no_prediction(make_pair, make_prediction):
    assert join([make_pair("p", 3), make_pair("q")], [make_prediction("p", 0.4)]).human.tolist() == [0.3]


def test_no_votes_at_all(make_pair, make_prediction):
    with pytest.raises(EvaluationError, match=r"none of the 2 pairs carries votes.*votes_a"):
        join([make_pair("p"), make_pair("q")], [make_prediction("p", 0.5)])


def test_missing_ids_are_counted_and_named(make_pair, make_prediction):
    pairs = [make_pair(f"p{i}", 3) for i in range(9)]
    predictions = [make_prediction("p0", 0.5, seed=4)]
    with pytest.raises(EvaluationError, match=r"'m' \(seed 4\): no prediction for 8 of 9 pairs.*p1, p2, p3, …"):
        join(pairs, predictions)


def test_models_predicted_on_different_pairs_are_not_compared(make_study):
    pairs, predictions = make_study()
    with pytest.raises(EvaluationError, match="model 'better'"):
        join(pairs, predictions[:-1])


def test_doubled_predictions(make_pair, make_prediction):
    with pytest.raises(
        EvaluationError, match=r"1 prediction is given more than once by 'm': p; was a file given twice"
    ):
        join([make_pair("p", 3)], [make_prediction("p", 0.5)] * 2)


def test_doubled_pairs(make_pair, make_prediction):
    with pytest.raises(EvaluationError, match="1 pair id is more than once"):
        join([make_pair("p", 3)] * 2, [make_prediction("p", 0.5)])


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


def test_nothing_to_join(make_pair, make_prediction):
    with pytest.raises(EvaluationError, match="no pairs"):
        join([], [make_prediction("p", 0.5)])
    with pytest.raises(EvaluationError, match="no predictions"):
        join([make_pair("p", 3)], [])


def test_calibrated_preferences_are_joined_where_they_are_asked_for(make_pair, make_prediction):
    pairs = [make_pair("p1", 3), make_pair("p2", 5)]
    raw = [make_prediction("p1", 0.9), make_prediction("p2", 0.8)]
    calibrated = [row.model_copy(update={"calibrated_a": row.preference_a - 0.2}) for row in raw]
    assert join(pairs, calibrated).predicted["m"].tolist() == [[0.9, 0.8]]
    assert join(pairs, calibrated, calibrated=True).predicted["m"].tolist() == [
        [pytest.approx(0.7), pytest.approx(0.6)]
    ]
    with pytest.raises(EvaluationError, match="model 'm': the prediction for p2 has no calibrated preference"):
        join(pairs, [calibrated[0], raw[1]], calibrated=True)
