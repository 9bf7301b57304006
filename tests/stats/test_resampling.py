import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from dissensus.stats.metrics import mean_absolute_error
from dissensus.stats.resampling.statistics import estimate_all

RNG = np.random.default_rng(3)
VALUES = RNG.gamma(2, 1, 30) / 20
ONE = np.zeros(30)


def mean(weights):
    return mean_absolute_error(VALUES, np.zeros(30), weights)


def estimate(n, **options):
    names = options.pop("names", np.arange(30))
    return estimate_all({"mean": mean}, names, ONE, n, np.random.default_rng(0), **options)["mean"]


def test_of_single_items_it_is_scipys_bca_but_for_the_widening():
    """30 items: t with 29 degrees of freedom in the place of the normal, times the root of 30/29."""
    found = estimate(20_000)
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, 29) * np.sqrt(30 / 29)) - 1
    theirs = stats.bootstrap((VALUES,), np.mean, n_resamples=20_000, confidence_level=level, rng=1)
    assert found.value == pytest.approx(VALUES.mean())
    assert found.method == "bca"
    assert_allclose([found.low, found.high], theirs.confidence_interval, atol=0.002)


def test_order_and_names_of_clusters_do_not_matter():
    turned = np.random.default_rng(1).permutation(30)
    pairs = np.arange(30) // 2
    found = estimate(5000, names=pairs)
    same = {0: lambda w: mean_absolute_error(VALUES[turned], np.zeros(30), w)}
    other = estimate_all(same, (100 - pairs)[turned], ONE, 5000, np.random.default_rng(0))[0]
    assert_allclose([other.low, other.high], [found.low, found.high], atol=0.003)


def test_where_nothing_can_be_drawn_there_is_a_value_alone():
    few = estimate(100, names=np.arange(30) % 4)
    assert few.value == pytest.approx(VALUES.mean())
    assert few.low is None
    assert estimate(0).low is None
    nothing = estimate_all({0: lambda w: np.array(np.nan)}, np.zeros(0), np.zeros(0), 100, np.random.default_rng(0))
    assert np.isnan(nothing[0].value)


def test_a_statistic_that_does_not_vary_is_its_own_interval():
    constant = {0: lambda w: np.ones(() if w is None else w.shape[0])}
    found = estimate_all(constant, np.arange(30), ONE, 50, np.random.default_rng(0))[0]
    assert (found.low, found.value, found.high) == (1, 1, 1)
