import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import mean_absolute_error as sklearn_l1

from dissensus.stats.metrics import (
    METRICS,
    accuracy,
    brier,
    mean_absolute_error,
    pearson,
    pearson_symmetric,
    spearman,
)

RNG = np.random.default_rng(7)
HUMAN = RNG.integers(0, 6, 200) / 5
PREDICTED = np.clip(HUMAN * 0.5 + 0.25 + RNG.normal(0, 0.15, 200), 0, 1).round(2)


def test_agrees_with_scipy_and_scikit_learn():
    assert_allclose(pearson(PREDICTED, HUMAN), stats.pearsonr(PREDICTED, HUMAN).statistic, rtol=1e-12)
    assert_allclose(spearman(PREDICTED, HUMAN), stats.spearmanr(PREDICTED, HUMAN).statistic, rtol=1e-12)
    assert_allclose(mean_absolute_error(PREDICTED, HUMAN), sklearn_l1(HUMAN, PREDICTED), rtol=1e-12)


def test_symmetric_pearson_is_pearson_of_both_orientations_at_once():
    both = stats.pearsonr(np.concatenate([PREDICTED, 1 - PREDICTED]), np.concatenate([HUMAN, 1 - HUMAN])).statistic
    assert_allclose(pearson_symmetric(PREDICTED, HUMAN), both, rtol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_of_k_is_a_pair_that_is_there_k_times(name):
    weights = RNG.integers(0, 4, (5, HUMAN.size))
    repeated = [METRICS[name](np.repeat(PREDICTED, w), np.repeat(HUMAN, w)) for w in weights]
    assert_allclose(METRICS[name](PREDICTED, HUMAN, weights), repeated, rtol=1e-10)


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_pairs_does_not_matter(name):
    order = RNG.permutation(HUMAN.size)
    assert_allclose(METRICS[name](PREDICTED[order], HUMAN[order]), METRICS[name](PREDICTED, HUMAN), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"pearson", "spearman"}))
def test_which_response_is_called_a_does_not_matter(name):
    flip = RNG.random(HUMAN.size) < 0.5
    predicted, human = np.where(flip, 1 - PREDICTED, PREDICTED), np.where(flip, 1 - HUMAN, HUMAN)
    assert_allclose(METRICS[name](predicted, human), METRICS[name](PREDICTED, HUMAN), rtol=1e-12)


def test_plain_pearson_depends_on_which_response_is_called_a():
    flip = HUMAN < 0.5
    predicted, human = np.where(flip, 1 - PREDICTED, PREDICTED), np.where(flip, 1 - HUMAN, HUMAN)
    assert abs(pearson(predicted, human) - pearson(PREDICTED, HUMAN)) > 0.1


def test_correlations_ignore_scale_and_ranks_ignore_any_monotone_map():
    assert_allclose(pearson(0.1 * PREDICTED + 0.3, HUMAN), pearson(PREDICTED, HUMAN), rtol=1e-10)
    assert_allclose(spearman(PREDICTED**3, HUMAN), spearman(PREDICTED, HUMAN), rtol=1e-12)
    # A model that is never far from 1/2 still has a correlation.
    assert_allclose(pearson(0.5 + 1e-7 * PREDICTED, HUMAN), pearson(PREDICTED, HUMAN), rtol=1e-6)


def test_a_perfect_model():
    assert_allclose([METRICS[m](HUMAN, HUMAN) for m in METRICS], [1, 1, 1, 0, 0, 1], atol=1e-12)


def test_accuracy_by_hand():
    predicted = np.array([0.9, 0.2, 0.5, 0.8])
    human = np.array([0.6, 0.8, 0.2, 0.5])  # right, wrong, a tie, no winner
    assert accuracy(predicted, human) == pytest.approx(1.5 / 3)


def test_brier_by_hand():
    assert brier(np.array([0.5, 1.0]), np.array([0.0, 0.5])) == pytest.approx(0.25)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 1.0])
def test_a_constant_side_has_no_correlation_and_no_warning(constant):
    side = np.full(7, constant)
    other = np.linspace(0, 1, 7)
    for predicted, human in [(side, other), (other, side)]:
        assert np.isnan(pearson(predicted, human))
        assert np.isnan(spearman(predicted, human))
    assert np.isnan(pearson_symmetric(np.full(7, 0.5), other))


def test_a_resample_of_one_value_is_undefined_and_its_neighbour_is_not():
    weights = np.array([[3, 0, 0], [1, 1, 1]])
    values = pearson(np.array([0.1, 0.4, 0.9]), np.array([0.2, 0.3, 1.0]), weights)
    assert np.isnan(values[0])
    assert values[1] > 0.9


@pytest.mark.parametrize("name", METRICS)
def test_no_pairs_is_undefined(name):
    assert np.isnan(METRICS[name](np.zeros(0), np.zeros(0)))
    assert np.isnan(METRICS[name](PREDICTED, HUMAN, np.zeros(HUMAN.size)))


def test_shapes_that_do_not_match_are_a_mistake():
    with pytest.raises(ValueError, match="one shape"):
        pearson(PREDICTED, HUMAN[:3])
    with pytest.raises(ValueError, match="weights"):
        pearson(PREDICTED, HUMAN, np.ones(3))
