import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import minimize_scalar

from dissensus.stats.agreement.icc import _anova, _refine, _Sums, icc_1k, icc_2k, near_icc_2k
from dissensus.stats.agreement.ratings import tabulate

from .r_figures import COMPLETE as SHROUT_FLEISS
from .votes import ratings_from_votes

NAN = np.nan


def test_of_complete_ratings_they_are_what_the_mean_squares_give():
    x = np.random.default_rng(0).normal(size=(30, 1)) + np.random.default_rng(1).normal(size=(30, 5))
    n, k = x.shape
    between = k * x.mean(axis=1).var(ddof=1)
    judges = n * x.mean(axis=0).var(ddof=1)
    error = ((x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()) ** 2).sum() / ((n - 1) * (k - 1))
    assert_allclose(icc_2k(x), (between - error) / (between + (judges - error) / n), rtol=1e-9)
    assert_allclose(icc_1k(x), 1 - 1 / stats.f_oneway(*x).statistic, rtol=1e-9)


def simulate(n, columns, rated, seed):
    """Items, annotators and error with standard deviations 1, .7 and 1.2; a share was rated."""
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 1, (n, 1)) + rng.normal(0, 0.7, columns) + rng.normal(0, 1.2, (n, columns))
    return np.where(rng.random((n, columns)) < rated, y, NAN)


def test_missing_ratings_do_not_bias():
    y = simulate(4000, 150, 0.03, seed=3)
    size = np.isfinite(y).sum(axis=1)
    truth = 1 / (1 + (0.7**2 + 1.2**2) * (1 / size[size > 1]).mean())
    assert icc_2k(y) == pytest.approx(truth, abs=0.02)
    assert icc_1k(y) == pytest.approx(truth, abs=0.03)  # annotators that differ between items are error


def test_annotators_of_a_crowd_cannot_be_told_from_chance():
    """Each rated one item: there is a one-way correlation, and no two-way one."""
    y = np.full((20, 60), NAN)
    for i, values in enumerate(simulate(20, 3, 1, seed=5)):
        y[i, 3 * i : 3 * i + 3] = values
    assert math.isnan(icc_2k(y))
    assert np.isfinite(icc_1k(y))


def test_one_way_correlation_of_votes_does_not_see_the_columns():
    votes = np.random.default_rng(6).multinomial(5, [0.5, 0.3, 0.2], size=400)
    ratings = ratings_from_votes(votes)
    shuffled = np.random.default_rng(7).permuted(ratings, axis=1)
    assert_allclose(icc_1k(ratings), icc_1k(shuffled), rtol=1e-9)
    # In columns at random, annotators do not differ: both are the same but for noise.
    assert_allclose(icc_2k(shuffled), icc_1k(shuffled), atol=0.02)


@pytest.mark.parametrize("icc", [icc_1k, icc_2k])
def test_a_far_origin_costs_no_precision(icc):
    assert_allclose(icc(SHROUT_FLEISS + 1e6), icc(SHROUT_FLEISS), rtol=1e-9)


def deviance(ratings, components):
    """-2 log of the restricted likelihood of ratings by items, annotators and error, from the matrices themselves."""
    item, annotator = np.nonzero(np.isfinite(ratings))
    y, one = ratings[item, annotator], np.ones((item.size, 1))
    same = [(label[:, None] == label).astype(float) for label in (item, annotator, np.arange(item.size))]
    inverse = np.linalg.inv(whole := sum(c * m for c, m in zip(components, same, strict=True)))
    fixed = one.T @ inverse @ one
    left = y - (one.T @ inverse @ y) / fixed
    return np.linalg.slogdet(whole)[1] + np.log(fixed[0, 0]) + (left @ inverse @ left.T).item()


def components(ratings, weights=None):
    table = tabulate(ratings)
    w = np.ones(len(ratings)) if weights is None else weights
    return _refine(table, w, _anova(table, w, _Sums(table, w)))


@pytest.mark.parametrize(("n", "columns", "rated"), [(25, 5, 0.6), (12, 30, 0.2)])
def test_the_components_of_ratings_with_holes_are_the_likeliest(n, columns, rated):
    """No step away from them has a greater restricted likelihood; also of more annotators than items."""
    y = simulate(n, columns, rated, seed=8)
    y = y[np.isfinite(y).sum(axis=1) > 1]
    best = components(y)
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert deviance(y, best * np.exp(rng.normal(0, 0.02, 3))) > deviance(y, best)
    weights = rng.integers(0, 4, len(y)).astype(float)
    assert_allclose(components(np.repeat(y, weights.astype(int), axis=0)), components(y, weights), rtol=1e-6)


def one_way_deviance(y, ratio):
    n, y = np.isfinite(y).sum(axis=1), np.where(np.isfinite(y), y, 0)
    mean, v = y.sum(axis=1) / n, n / (1 + n * ratio)
    within = (y**2).sum() - (n * mean**2).sum()
    rest = within + (v * (mean - (v @ mean) / v.sum()) ** 2).sum()
    return (n.sum() - 1) * np.log(rest) + np.log(1 + n * ratio).sum() + np.log(v.sum())


@pytest.mark.parametrize("spread", [1, 0.05])
def test_the_one_way_ratio_is_the_likeliest_also_below_zero(spread):
    y = simulate(30, 6, 0.5, seed=9) * 1.0
    y = np.where(np.isfinite(y), spread * np.nanmean(y, axis=1, keepdims=True) + (y - np.nanmean(y)), NAN)
    y = y[np.isfinite(y).sum(axis=1) > 1]
    k = (1 / np.isfinite(y).sum(axis=1)).mean()
    found = icc_1k(y)
    best = minimize_scalar(
        lambda r: one_way_deviance(y, r), bounds=(-0.16, 5), method="bounded", options={"xatol": 1e-9}
    )
    assert found == pytest.approx(best.x / (best.x + k), abs=1e-6)


def test_chance_agreement_below_chance_is_negative_with_holes_too():
    """Annotators who take opposite sides on purpose: items differ less than their ratings let expect."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(60, 1))
    y = np.hstack([first, -first + rng.normal(0, 0.3, (60, 1)), np.where(rng.random((60, 1)) < 0.5, NAN, 0.1 * first)])
    assert icc_1k(y) < -0.5


def test_resamples_are_near_the_fits_that_they_stand_for():
    """Of complete ratings the same; with a third missing, as spread and in step with them."""
    weights = np.random.default_rng(1).poisson(1, (30, 80)).astype(float)
    whole, holes = simulate(80, 4, 1, seed=10), simulate(80, 4, 2 / 3, seed=10)
    assert_allclose(near_icc_2k(whole)(weights), icc_2k(whole, weights), rtol=1e-9)
    near, exact = near_icc_2k(holes)(weights), icc_2k(holes, weights)
    assert near_icc_2k(holes)(None) == icc_2k(holes)
    assert np.corrcoef(near, exact)[0, 1] > 0.95
    assert near.std() == pytest.approx(exact.std(), rel=0.1)
