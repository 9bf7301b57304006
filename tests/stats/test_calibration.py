import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.calibration import calibration_curve

from dissensus.stats.calibration import (
    bin_of,
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    ece,
    ece_null,
    equal_mass_edges,
)
from dissensus.stats.metrics import brier

RNG = np.random.default_rng(11)
PREDICTED = RNG.beta(1.5, 1.5, 500)
HUMAN = RNG.binomial(5, np.clip(PREDICTED + 0.1, 0, 1)) / 5


def test_bins_hold_equally_many_and_equal_predictions_share_one():
    assert (np.bincount(bin_of(PREDICTED, equal_mass_edges(PREDICTED))) == 50).all()
    tied = np.repeat([0.2, 0.6], [70, 30])
    numbers = bin_of(tied, equal_mass_edges(tied))
    assert len(set(numbers[:70])) == len(set(numbers[70:])) == 1
    assert equal_mass_edges(np.zeros(0)).size == 0


def test_on_hard_targets_the_bins_are_those_of_scikit_learn():
    hard = (HUMAN > 0.5).astype(float)
    shares, means = calibration_curve(hard, PREDICTED, n_bins=10, strategy="quantile")
    assert_allclose(ece(PREDICTED, hard), np.abs(shares - means).mean(), rtol=1e-9)
    assert_allclose(brier_reliability(PREDICTED, hard), ((shares - means) ** 2).mean(), rtol=1e-9)


@pytest.mark.parametrize("human", [HUMAN, (HUMAN > 0.5).astype(float)])
def test_the_parts_add_up_to_the_brier_score(human):
    weights = RNG.integers(0, 3, (4, 500))
    for w in (None, weights):
        parts = brier_reliability(PREDICTED, human, w) - brier_resolution(PREDICTED, human, w)
        assert_allclose(parts + brier_uncertainty(PREDICTED, human, w), brier(PREDICTED, human, w), rtol=1e-12)


def test_with_one_forecast_to_a_bin_resolution_is_murphys():
    """Murphy (1973): the variance of the bins' means; then nothing varies within a bin."""
    predicted = np.array([0.1, 0.1, 0.6, 0.6, 0.6])
    human = np.array([0.0, 0.4, 0.2, 1.0, 0.9])
    means, sizes = np.array([0.2, 0.7]), np.array([2, 3])
    edges = np.array([0.3])
    assert_allclose(brier_resolution(predicted, human, edges=edges), sizes @ (means - 0.5) ** 2 / 5)
    assert_allclose(brier_reliability(predicted, human, edges=edges), sizes @ (means - [0.1, 0.6]) ** 2 / 5)


def test_stephensons_two_terms_by_hand():
    member = bin_of(PREDICTED, equal_mass_edges(PREDICTED))
    between = spread = shared = 0.0
    for b in range(10):
        p, h = PREDICTED[member == b], HUMAN[member == b]
        between += p.size * (h.mean() - HUMAN.mean()) ** 2
        spread += ((p - p.mean()) ** 2).sum()
        shared += 2 * ((p - p.mean()) * (h - h.mean())).sum()
    assert_allclose(brier_resolution(PREDICTED, HUMAN), (between - spread + shared) / 500, rtol=1e-10)


def test_a_constant_prediction_resolves_nothing_and_always_predicting_the_mean_is_reliable():
    constant = np.full(500, HUMAN.mean())
    assert_allclose(brier_resolution(constant, HUMAN), 0, atol=1e-12)
    assert_allclose(brier_reliability(constant, HUMAN), 0, atol=1e-12)
    assert_allclose(ece(constant, HUMAN), 0, atol=1e-12)


def test_a_shift_is_an_error_of_its_size():
    assert_allclose(ece(HUMAN * 0.8 + 0.2, HUMAN * 0.8), 0.2)


def test_no_model_is_seen_to_be_calibrated_with_few_pairs():
    """A perfectly calibrated model with hard targets: about .19 at 25 pairs and .08 at 150."""
    values = {}
    for n in (25, 150, 5000):
        p = np.random.default_rng(n).uniform(0, 1, n)
        values[n] = ece_null(p, np.ones(n, dtype=int), np.random.default_rng(0), n_simulations=400).mean
    assert 0.15 < values[25] < 0.22
    assert 0.07 < values[150] < 0.1
    assert values[5000] < 0.02


def test_a_calibrated_model_falls_into_the_band_as_often_as_it_should():
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(200):
        p = rng.uniform(0, 1, 60)
        band = ece_null(p, np.full(60, 5), rng, n_simulations=200)
        inside += band.low <= ece(p, rng.binomial(5, p) / 5) <= band.high
    assert 0.9 < inside / 200 < 0.99


def test_more_votes_leave_less_noise():
    few, many = (ece_null(PREDICTED, np.full(500, k), np.random.default_rng(0)).mean for k in (3, 30))
    assert many < few / 2
