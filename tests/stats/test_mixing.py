"""The mean error of the votes of many people, where outcomes are too many to be gone through."""

import numpy as np
import pytest

from dissensus.stats.ceilings import true_preferences


@pytest.mark.parametrize(("size", "ties"), [(100, True), (2000, False)])
def test_the_normal_approximation_joins_the_exact_error(size, ties, monkeypatch):
    points = true_preferences._grid(ties=ties)
    exact = true_preferences._error_of(size, points)
    monkeypatch.setattr(true_preferences, "_MOST_TWO_WAY", size - 1)
    monkeypatch.setattr(true_preferences, "_MOST_THREE_WAY", size - 1)
    assert true_preferences._error_of(size, points) == pytest.approx(exact, rel=0.03, abs=1e-12)


def fit(counts):
    """The fitted distribution of all pairs, and how many pairs have each pattern."""
    mixture = true_preferences.VoteMixture(counts)
    weights = np.bincount(mixture.of_pair).astype(float)[None]
    return mixture, mixture.fit(weights), weights


def mean_error(mixture, spread, weights):
    return (weights * mixture.errors(spread)).sum(axis=1) / weights.sum(axis=1)


def test_the_error_of_a_hundred_million_votes_is_found_at_once():
    mixture, spread, weights = fit(np.array([[60_000_000, 30_000_000, 10_000_000], [3, 1, 1]]))
    assert spread.sum() == pytest.approx(1)
    assert 0 < mean_error(mixture, spread, weights)[0] < 0.2
    assert 0 < (weights * mixture.given_votes(spread)[1]).sum() / 2 < 0.2


def test_numbers_given_beforehand_and_the_likelihood_say_the_same_of_free_votes():
    rng = np.random.default_rng(0)
    for_a = rng.binomial(5, rng.beta(0.8, 0.8, 5000))
    mixture, spread, weights = fit(np.stack([for_a, 5 - for_a, 0 * for_a], axis=1))
    covariance, error = mixture.given_votes(spread)
    assert (weights * error).sum() / 5000 == pytest.approx(mean_error(mixture, spread, weights)[0], abs=1e-4)
    # E (p - 1/2)(h - 1/2) = E (p - 1/2)^2, and the latter is that of the moments.
    assert (weights * covariance).sum() / 5000 == pytest.approx(mixture.variance(spread)[0], abs=1e-3)
    moments = np.mean((for_a / 5 - 0.5) ** 2 - for_a / 5 * (1 - for_a / 5) / 4)
    assert mixture.variance(spread)[0] == pytest.approx(moments, abs=1e-3)


def test_limits_are_those_of_the_moments_that_votes_show():
    """A single vote errs by 2p(1 - p), which it says nothing of, and which two votes identify: so often they
    differ. Two votes err by |1/2 - p| 2p(1 - p) + 2p(1 - p)(p^2 + (1 - p)^2), for which they do not suffice.
    """
    rng = np.random.default_rng(0)
    p = rng.random(2000)
    one, two = (np.stack([a, k - a, 0 * a], axis=1) for k in (1, 2) for a in [rng.binomial(k, p)])
    mixture, spread, weights = fit(one)
    assert np.isnan(mean_error(mixture, spread, weights))
    assert mixture.error_limits(spread[0], weights[0]) is None
    mixture, spread, weights = fit(two)
    low, high = mixture.error_limits(spread[0], weights[0])
    assert low + 0.03 < mean_error(mixture, spread, weights)[0] < high - 0.02
    # Six in seven pairs have one vote, but the others have two: that is enough to know the error of the former.
    mixture, spread, weights = fit(np.concatenate([two, np.tile([[1, 0, 0]], (12_000, 1))]))
    held = weights[0] * (mixture.sizes == 1)
    low, high = mixture.error_limits(spread[0], weights[0])
    assert low < mean_error(mixture, spread, weights)[0] < high
    assert mean_error(mixture, spread, held[None])[0] == pytest.approx((two[:, 0] == 1).mean(), abs=0.002)
    assert high - low < 0.03


def test_a_few_pairs_of_many_votes_do_not_pass_for_knowledge_of_the_others():
    rng = np.random.default_rng(0)
    for_a = rng.binomial(3, rng.random(1000))
    counts = np.stack([for_a, 3 - for_a, 0 * for_a], axis=1)
    few = np.concatenate([counts, [[10, 2, 0], [6, 6, 0], [30, 10, 0]]])
    widths = []
    for given in (counts, few):
        mixture, spread, weights = fit(given)
        widths.append(np.ptp(mixture.error_limits(spread[0], weights[0])))
    assert widths[1] > 0.9 * widths[0] > 0.03
