import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.calibration import calibration_curve

from dissensus.stats.calibration import (
    SimulatedErrors,
    bin_of,
    brier_reliability,
    brier_resolution,
    ece,
    ece_null,
    equal_mass_edges,
    in_blocks,
    simulate_shares,
    tie_rates,
)

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


def test_a_shift_is_an_error_of_its_size():
    assert_allclose(ece(HUMAN * 0.8 + 0.2, HUMAN * 0.8), 0.2)


def test_no_model_is_seen_to_be_calibrated_with_few_pairs():
    """A perfectly calibrated model with hard targets: about .19 at 25 pairs and .08 at 150."""
    values = {}
    for n in (25, 150, 5000):
        p = np.random.default_rng(n).uniform(0, 1, n)
        values[n] = ece_null(p, np.ones(n, dtype=int), np.random.default_rng(0), n_simulations=100).mean
    assert 0.15 < values[25] < 0.22
    assert 0.07 < values[150] < 0.1
    assert values[5000] < 0.02
    more = ece_null(p[:25], np.full(25, 30), np.random.default_rng(0), n_simulations=100).mean
    assert more < values[25] / 2


def test_a_calibrated_model_falls_into_the_band_as_often_as_it_should():
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(150):  # a standard error of .018
        p = rng.uniform(0, 1, 60)
        band = ece_null(p, np.full(60, 5), rng, n_simulations=150)
        inside += band.low <= ece(p, rng.binomial(5, p) / 5) <= band.high
    assert 0.9 < inside / 150 < 0.99


@pytest.mark.parametrize(("votes", "most"), [(3, 0.0), (3, 0.45), (5, 0.99)])
def test_the_null_is_what_a_calibrated_model_gets_whatever_the_ties(votes, most):
    """At 0, 37 and 54 % ties. As if nobody had said neither, it would be 1.4 and 2 times too large."""
    rng = np.random.default_rng(votes)
    got, null, without = [], [], []
    for _ in range(120):
        # A calibrated model of pairs of which a share of the votes are ties, as many as ``most`` at the most.
        p = rng.beta(1.2, 1.2, 150)
        rates = np.minimum(2 * np.minimum(p, 1 - p), most)
        ties, counts = rng.binomial(votes, rates), np.full(150, votes)
        for_a = rng.binomial(votes - ties, np.clip((p - rates / 2) / (1 - rates + 1e-12), 0, 1))
        human = (for_a + ties / 2) / votes
        got.append(float(ece(p, human)))
        null.append(ece_null(p, counts, rng, n_ties=ties, n_simulations=20).mean)
        without.append(ece_null(p, counts, rng, n_simulations=5).mean)
    assert np.mean(null) == pytest.approx(np.mean(got), rel=0.07)
    assert np.mean(without) / np.mean(got) == pytest.approx({0.0: 1, 0.45: 1.43, 0.99: 2.0}[most], rel=0.1)


def test_shares_of_votes_with_ties_have_the_mean_and_the_variance_of_the_votes():
    """A vote is 1, 1/2 or 0: its mean is p and its variance p (1 - p) - t / 4."""
    p, rates, votes = np.array([0.1, 0.5, 0.8, 1.0]), np.array([0.2, 1.0, 0.3, 0.0]), np.array([3, 2, 5, 4])
    shares = simulate_shares(p, votes, np.random.default_rng(0), 40_000, rates)
    assert_allclose(shares.mean(axis=0), p, atol=0.005)
    assert_allclose(shares.var(axis=0), (p * (1 - p) - rates / 4) / votes, atol=0.001)


def test_without_ties_shares_are_binomial():
    votes = np.full(500, 3)
    assert not tie_rates(PREDICTED, votes, np.zeros(500, int)).any()
    once = simulate_shares(PREDICTED, votes, np.random.default_rng(0), 7)
    assert_allclose(once, np.random.default_rng(0).binomial(3, PREDICTED, (7, 500)) / 3)
    assert_allclose(once, simulate_shares(PREDICTED, votes, np.random.default_rng(0), 7, np.zeros(500)))
    band = ece_null(PREDICTED, votes, np.random.default_rng(0))
    assert band == ece_null(PREDICTED, votes, np.random.default_rng(0), n_ties=np.zeros(500, int))


def test_each_data_set_has_ties_of_its_own():
    """One asked which is better and one let people say neither."""
    sets = np.arange(500) % 2
    ties = np.where(sets == 1, np.random.default_rng(0).binomial(5, np.minimum(PREDICTED, 1 - PREDICTED)), 0)
    rates = tie_rates(PREDICTED, np.full(500, 5), ties, sets)
    assert not rates[sets == 0].any()
    assert_allclose(rates[sets == 1].mean(), ties[sets == 1].mean() / 5, rtol=0.02)
    assert (rates <= 2 * np.minimum(PREDICTED, 1 - PREDICTED) + 1e-12).all()


def test_no_more_votes_can_be_ties_than_leave_the_mean_at_the_prediction():
    rates = tie_rates(np.array([0.0, 0.5, 0.9]), np.full(3, 4), np.full(3, 4))
    assert_allclose(rates, [0, 1, 0.2])
    with pytest.raises(ValueError, match="of which some may be ties"):
        tie_rates(np.array([0.5]), np.array([2]), np.array([3]))


def test_simulations_are_made_in_blocks_that_change_nothing():
    assert in_blocks(1000, 1_000_000) == [1] * 1000
    assert sum(in_blocks(1000, 10_000)) == 1000
    assert max(in_blocks(1000, 10_000)) * 10_000 <= 250_000
    rng, votes = np.random.default_rng(1), np.full(500, 3)
    parts = [simulate_shares(PREDICTED, votes, rng, rows) for rows in (2, 3)]
    assert_allclose(np.concatenate(parts), simulate_shares(PREDICTED, votes, np.random.default_rng(1), 5))


def test_the_error_of_simulated_shares_is_the_plain_one_in_every_group():
    rng = np.random.default_rng(5)
    predicted, shares = rng.random(90).round(1), rng.integers(0, 6, (4, 90)) / 5
    groups = [np.ones(90, bool), rng.random(90) < 0.4, np.arange(90) == 3]
    found = SimulatedErrors(predicted, groups)(shares)
    expected = [[float(ece(predicted[g], row[g])) for row in shares] for g in groups]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
