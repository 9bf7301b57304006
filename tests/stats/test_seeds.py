"""What training seeds add to a variance."""

import numpy as np
import pytest
from scipy.stats import t

from dissensus.stats.resampling.training_seeds import (
    NO_NOISE,
    SeedNoise,
    find_seed_noise,
    reach_with_seeds,
    two_sided_p,
)


def test_without_seeds_the_reach_is_students():
    assert reach_with_seeds(0.95, 4.0, 24, NO_NOISE) == pytest.approx(t.ppf(0.975, 24) * 2)
    assert two_sided_p(1.96, 1.0, NO_NOISE) == pytest.approx(0.05, abs=1e-4)


def test_the_variance_of_a_mean_over_seeds_is_welchs():
    """Of two sides without any prompts it is Welch's test: s1^2 / k1 + s2^2 / k2 and its degrees of freedom."""
    first, second = np.array([0.5, 0.6, 0.8]), np.array([0.4, 0.5, 0.45, 0.55])
    noise = find_seed_noise([(first, np.nan), (second, np.nan)])
    a, b = first.var(ddof=1) / 3, second.var(ddof=1) / 4
    assert noise.observed == pytest.approx(a + b)
    assert noise.excess == noise.observed
    assert noise.degrees == pytest.approx((a + b) ** 2 / (a**2 / 2 + b**2 / 3))


def test_what_the_resamples_have_already_is_not_added_twice():
    """Seeds that differ by their luck with these prompts alone vary twice as much in a resample."""
    values = np.array([0.5, 0.52, 0.48])
    noise = find_seed_noise([(values, 2 * values.var(ddof=1))])
    assert (noise.excess, noise.observed) == (0, pytest.approx(values.var(ddof=1) / 3))
    assert find_seed_noise([(np.array([0.5]), np.nan)]) == NO_NOISE


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 1.0])
@pytest.mark.parametrize("observed", [1e-4, 1.0, 1e4])
def test_a_sum_has_no_fewer_degrees_of_freedom_than_its_poorest_part(observed, share):
    """Where what resamples share was taken off, the plain formula goes below one and reaches out without end."""
    total, degrees = SeedNoise(observed, share * observed, 2.0).add(1.0, 9.0)
    assert total == pytest.approx(1.0 + share * observed)
    assert 2.0 <= degrees <= 11.0
