import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import log_loss
from sklearn.metrics import mean_absolute_error as sklearn_l1

from dissensus.evaluation.metrics import scored_metrics
from dissensus.stats.calibration import brier_resolution, brier_uncertainty, equal_mass_edges
from dissensus.stats.metrics import (
    accuracy,
    brier,
    mean_absolute_error,
    nll,
    pearson,
    pearson_symmetric,
    pearson_within,
    spearman,
)

METRICS = {key: f for key, f in scored_metrics().items() if key != "pearson_within"}
RNG = np.random.default_rng(7)
HUMAN = RNG.integers(0, 6, 200) / 5
PREDICTED = np.clip(HUMAN * 0.5 + 0.25 + RNG.normal(0, 0.15, 200), 0, 1).round(2)


def test_agrees_with_scipy_and_scikit_learn():
    assert_allclose(pearson(PREDICTED, HUMAN), stats.pearsonr(PREDICTED, HUMAN).statistic, rtol=1e-12)
    assert_allclose(spearman(PREDICTED, HUMAN), stats.spearmanr(PREDICTED, HUMAN).statistic, rtol=1e-12)
    assert_allclose(mean_absolute_error(PREDICTED, HUMAN), sklearn_l1(HUMAN, PREDICTED), rtol=1e-12)
    both = stats.pearsonr(np.concatenate([PREDICTED, 1 - PREDICTED]), np.concatenate([HUMAN, 1 - HUMAN])).statistic
    assert_allclose(pearson_symmetric(PREDICTED, HUMAN), both, rtol=1e-12)


BINNED = {"ece", "brier_reliability", "brier_resolution"}


@pytest.mark.parametrize("name", METRICS)
def test_a_weight_of_k_is_a_pair_that_is_there_k_times(name):
    """In the same bins, where there are any."""
    bins = {"edges": equal_mass_edges(PREDICTED)} if name in BINNED else {}
    weights = RNG.integers(0, 4, (5, HUMAN.size))
    repeated = [METRICS[name](np.repeat(PREDICTED, w), np.repeat(HUMAN, w), **bins) for w in weights]
    assert_allclose(METRICS[name](PREDICTED, HUMAN, weights), repeated, rtol=1e-10)


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_pairs_does_not_matter(name):
    order = RNG.permutation(HUMAN.size)
    assert_allclose(METRICS[name](PREDICTED[order], HUMAN[order]), METRICS[name](PREDICTED, HUMAN), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"pearson", "spearman", "brier_uncertainty"} - BINNED))
def test_which_response_is_called_a_does_not_matter(name):
    flip = RNG.random(HUMAN.size) < 0.5
    predicted, human = np.where(flip, 1 - PREDICTED, PREDICTED), np.where(flip, 1 - HUMAN, HUMAN)
    assert_allclose(METRICS[name](predicted, human), METRICS[name](PREDICTED, HUMAN), rtol=1e-12)


def test_correlations_ignore_scale_and_ranks_ignore_any_monotone_map():
    assert_allclose(pearson(0.1 * PREDICTED + 0.3, HUMAN), pearson(PREDICTED, HUMAN), rtol=1e-10)
    assert_allclose(spearman(PREDICTED**3, HUMAN), spearman(PREDICTED, HUMAN), rtol=1e-12)
    # A model that is never far from 1/2 still has a correlation.
    assert_allclose(pearson(0.5 + 1e-7 * PREDICTED, HUMAN), pearson(PREDICTED, HUMAN), rtol=1e-6)


def test_a_perfect_model():
    for name in ("pearson", "pearson_symmetric", "spearman", "accuracy"):
        assert_allclose(METRICS[name](HUMAN, HUMAN), 1)
    for name in ("l1", "brier", "brier_reliability", "ece"):
        assert_allclose(METRICS[name](HUMAN, HUMAN), 0, atol=1e-12)
    # It resolves all there is to resolve; what is left of its log loss is that people disagree.
    assert_allclose(brier_resolution(HUMAN, HUMAN), brier_uncertainty(HUMAN, HUMAN))
    assert_allclose(nll(HUMAN, HUMAN), stats.entropy([HUMAN, 1 - HUMAN]).mean(), atol=1e-4)


def test_accuracy_brier_and_loss_by_hand():
    predicted = np.array([0.9, 0.2, 0.5, 0.8])
    human = np.array([0.6, 0.8, 0.2, 0.5])  # right, wrong, a tie, no winner
    assert accuracy(predicted, human) == pytest.approx(1.5 / 3)
    assert brier(np.array([0.5, 1.0]), np.array([0.0, 0.5])) == pytest.approx(0.25)
    # A certain and wrong prediction costs much, but not infinity.
    assert nll(np.array([1.0]), np.array([0.0])) == pytest.approx(6 * np.log(10), rel=1e-4)


def test_log_loss_agrees_with_scikit_learn_on_hard_targets_and_is_linear_in_soft_ones():
    hard = (HUMAN > 0.5).astype(float)
    inside = np.clip(PREDICTED, 0.01, 0.99)
    assert_allclose(nll(inside, hard), log_loss(hard, inside), rtol=1e-12)
    ones, zeros = np.ones(1), np.zeros(1)
    mixed = 0.3 * nll(inside[:1], ones) + 0.7 * nll(inside[:1], zeros)
    assert_allclose(nll(inside[:1], np.array([0.3])), mixed, rtol=1e-12)


def simpson(n=200):
    """Two data sets within which the model knows nothing, though it knows which is which."""
    strata = np.repeat([0, 1], n)
    return strata / 2 + RNG.uniform(0, 0.4, 2 * n), strata / 2 + RNG.uniform(0, 0.4, 2 * n), strata


def test_pooled_r_can_come_from_differences_between_data_sets_alone():
    predicted, human, strata = simpson()
    assert pearson(predicted, human) > 0.6
    assert abs(pearson_within(predicted, human, strata)) < 0.2


def test_within_data_sets_is_fishers_mean_by_hand_and_weights_repeat_pairs():
    predicted, human, strata = simpson(30)
    predicted[:30] += human[:30]
    z = [np.arctanh(stats.pearsonr(predicted[strata == s], human[strata == s]).statistic) for s in (0, 1)]
    assert_allclose(pearson_within(predicted, human, strata), np.tanh(np.mean(z)))
    w = RNG.integers(0, 4, 60)
    repeated = pearson_within(np.repeat(predicted, w), np.repeat(human, w), np.repeat(strata, w))
    assert_allclose(pearson_within(predicted, human, strata, w), repeated)


def test_a_data_set_without_a_correlation_is_left_out_of_the_mean():
    predicted, human, strata = simpson(30)
    predicted[:30] = 0.4
    assert_allclose(pearson_within(predicted, human, strata), pearson(predicted[30:], human[30:]))
    assert np.isnan(pearson_within(predicted[:30], human[:30], strata[:30]))


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


@pytest.mark.parametrize("name", METRICS)
def test_what_is_no_preference_is_named(name):
    """A reward, a percentage or a hole among predictions, or among people's shares."""
    for value, said in ((1.2, "1.2"), (-3.0, "-3"), (np.nan, "nan"), (np.inf, "inf")):
        spoilt = PREDICTED.copy()
        spoilt[[4, 9]] = value, 2
        with pytest.raises(ValueError, match=rf"preferences from 0 to 1, but predicted\[4\] is {said};"):
            METRICS[name](spoilt, HUMAN)
        with pytest.raises(ValueError, match=rf"human\[4\] is {said};"):
            METRICS[name](PREDICTED, spoilt)
    # The mean of three thirds may be more than 1 by rounding.
    assert np.isfinite(METRICS[name](PREDICTED, np.where(HUMAN == 1, 1 + 1e-15, HUMAN)))
