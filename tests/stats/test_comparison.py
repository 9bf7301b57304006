import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dissensus.stats.resampling.intervals import Estimate
from dissensus.stats.resampling.paired_differences import (
    correlation_of_correlations,
    fisher_interval,
    holm,
    mover_difference,
    paired_difference,
    zou_interval,
)

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


def test_zous_own_example():
    """Zou (2007): r = .396 and .179 with one variable, .088 between the others, n = 66 give [-.093, .517]."""
    found = zou_interval(0.396, 0.179, 0.088, 66)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.093, 0.517)
    assert found.method == "zou"


def test_zous_interval_mirrors_when_the_models_change_places():
    forth, back = zou_interval(0.7, 0.5, 0.6, 80), zou_interval(0.5, 0.7, 0.6, 80)
    assert_allclose((forth.low, forth.high), (-back.high, -back.low))


def test_independent_estimates_add_their_variances():
    found = mover_difference(Estimate(0.5, 0.2, 0.8), Estimate(0.1, -0.3, 0.5), 0.0)
    assert_allclose((found.low, found.high), (0.4 - 0.5, 0.4 + 0.5))
    assert mover_difference(Estimate(0.5), Estimate(0.1, 0.0, 0.2), 0.0) == Estimate(0.4)


def test_correlations_with_the_same_variable_go_together_as_simulated():
    cov = np.array([[1, 0.6, 0.5], [0.6, 1, 0.8], [0.5, 0.8, 1]])
    x = np.random.default_rng(0).multivariate_normal(np.zeros(3), cov, size=(4000, 100))
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    first, second = (x[..., 0] * x[..., 1]).mean(axis=1), (x[..., 0] * x[..., 2]).mean(axis=1)
    assert correlation_of_correlations(0.6, 0.5, 0.8) == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.03)
    assert correlation_of_correlations(0.6, 0.6, 1.0) == pytest.approx(1)


def test_holm_agrees_with_statsmodels():
    p = RNG.random(30) ** 3
    assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


@pytest.mark.slow
@pytest.mark.parametrize("n", [25, 150, 1000])
def test_zous_interval_holds_the_truth_where_its_assumptions_do(n):
    rng = np.random.default_rng(n)
    cov = np.array([[1, 0.7, 0.5], [0.7, 1, 0.4], [0.5, 0.4, 1]])
    hits = 0
    for _ in range(2000):
        r = np.corrcoef(rng.multivariate_normal(np.zeros(3), cov, size=n).T)
        found = zou_interval(r[0, 1], r[0, 2], r[1, 2], n)
        hits += found.low <= 0.2 <= found.high
    assert 0.93 <= hits / 2000 <= 0.97
