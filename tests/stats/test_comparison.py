import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.paired_differences import fisher_interval, holm, paired_difference

RNG = np.random.default_rng(5)


def test_a_model_does_not_differ_from_itself():
    resampled = RNG.normal(0.7, 0.05, 500)
    assert paired_difference(0.7, 0.7, resampled, resampled) == Estimate(0.0, 0.0, 0.0)


def test_what_the_resamples_share_cancels():
    shared = RNG.normal(0, 0.1, 2000)
    model, baseline = 0.72 + shared + RNG.normal(0, 0.01, 2000), 0.70 + shared
    difference = paired_difference(0.72, 0.70, model, baseline)
    assert difference.value == pytest.approx(0.02)
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * 0.01, rel=0.1)


def test_swapping_the_models_mirrors_the_interval():
    a, b = RNG.normal(0.7, 0.1, 300), RNG.normal(0.6, 0.1, 300)
    forth, back = paired_difference(0.7, 0.6, a, b), paired_difference(0.6, 0.7, b, a)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_resamples_of_different_length_are_not_paired():
    with pytest.raises(ValueError, match="not paired"):
        paired_difference(0.1, 0.2, np.zeros(3), np.zeros(4))


def test_fishers_interval_agrees_with_scipy():
    x = RNG.normal(size=40)
    y = x + RNG.normal(size=40)
    theirs = stats.pearsonr(x, y)
    found = fisher_interval(theirs.statistic, 40)
    assert_allclose((found.low, found.high), theirs.confidence_interval(0.95))
    assert fisher_interval(0.4, 3).low is None
    assert fisher_interval(1.0, 30).low is None


def test_holm_agrees_with_statsmodels():
    p = RNG.random(30) ** 3
    assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
