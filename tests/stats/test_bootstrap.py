from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from dissensus.evaluation.metrics import scored_metrics
from dissensus.stats.metrics import pearson_within
from dissensus.stats.resampling import bootstrap as bootstrap_engine
from dissensus.stats.resampling.bootstrap import bootstrap, delete_blocks, draw_clusters, ones, touched
from dissensus.stats.resampling.clusters import find_clusters
from dissensus.stats.resampling.intervals import bca_interval, find_acceleration

METRICS = scored_metrics()
ROWS = list(METRICS)
Cell = partial(bootstrap_engine.Cell, metrics=METRICS)
RNG = np.random.default_rng(21)


def sample(n=230, levels=6, decimals=None, seed=0):
    """Pairs of about 70 prompts in three data sets; predictions tie where they are rounded."""
    rng = np.random.default_rng(seed)
    strata = rng.integers(0, 3, n)
    human = rng.random(n) if levels is None else rng.integers(0, levels, n) / (levels - 1)
    predicted = np.clip(0.5 * human + 0.25 + rng.normal(0, 0.15, n), 0, 1)
    predicted = predicted if decimals is None else predicted.round(decimals)
    return predicted, human, find_clusters(rng.integers(0, 70, n), strata), strata


def plain(name, predicted, human, strata, weights):
    if name == "pearson_within":
        return pearson_within(predicted, human, strata, weights)
    return METRICS[name](predicted, human, weights)


def assert_plain(predicted, human, clusters, strata):
    weights = np.concatenate([ones(clusters), *draw_clusters(clusters, 300, RNG)], axis=1)
    found = Cell(predicted, human, clusters.of_pair, strata)(weights)
    for name, values in zip(ROWS, found, strict=True):
        if name != "pearson_within" or np.ptp(strata) > 0:
            expected = plain(name, predicted, human, strata, weights[clusters.of_pair].T)
            assert_allclose(values, expected, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("levels", [2, 6, None])
@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_the_engine_is_the_plain_metrics(levels, decimals):
    assert_plain(*sample(levels=levels, decimals=decimals))


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 33])
def test_the_engine_is_the_plain_metrics_for_a_handful_of_pairs(n):
    assert_plain(*sample(n))


@pytest.mark.parametrize("levels", [6, None])
@pytest.mark.parametrize("decimals", [None, 2])
def test_the_engine_is_the_plain_metrics_where_pairs_are_gone_through_in_parts(monkeypatch, levels, decimals):
    """The running sum goes on from tile to tile, and no tile cuts pairs of one prediction apart."""
    monkeypatch.setattr("dissensus.stats.resampling.ranks._TILE", 16)
    monkeypatch.setattr("dissensus.stats.resampling.bootstrap._HELD", 70 * 40)
    monkeypatch.setattr("dissensus.stats.resampling.bootstrap._FEW_VALUES", 8)
    assert_plain(*sample(levels=levels, decimals=decimals))


def test_pairs_that_are_alike_are_counted_and_change_no_number(monkeypatch):
    predicted, human, clusters, strata = sample(n=900, decimals=1)
    weights = np.concatenate(draw_clusters(clusters, 40, np.random.default_rng(2)), axis=1)
    counted = Cell(predicted, human, clusters.of_pair, strata)
    monkeypatch.setattr("dissensus.stats.resampling.bootstrap._FEW_VALUES", 0)
    one_by_one = Cell(predicted, human, clusters.of_pair, strata)
    assert counted._table is not None
    assert one_by_one._table is None
    assert_allclose(counted(weights), one_by_one(weights), rtol=1e-11, atol=1e-13)


def test_constant_predictions_are_undefined_as_in_the_plain_metrics():
    _, human, clusters, strata = sample()
    found = Cell(np.full(human.size, 0.7), human, clusters.of_pair, strata)(ones(clusters))[:, 0]
    assert {name for name, value in zip(ROWS, found, strict=True) if np.isnan(value)} == {
        "pearson", "pearson_within", "spearman",
    }  # fmt: skip


def test_a_group_draws_the_strata_that_it_touches_and_no_other():
    predicted, human, clusters, strata = sample()
    part = strata == 1
    mine = touched(clusters, part)
    assert len(mine.strata) == 1
    cell = Cell(predicted[part], human[part], clusters.of_pair[part])
    draws = draw_clusters(mine, 50, np.random.default_rng(1))
    found = bootstrap(cell, draws)
    weights = np.concatenate(draws, axis=1)
    l1 = METRICS["l1"](predicted[part], human[part], weights[clusters.of_pair[part]].T)
    assert_allclose(found[ROWS.index("l1")], l1)
    assert weights.sum(axis=0).tolist() == [mine.count] * 50


def test_a_small_sample_is_jackknifed_one_by_one_and_a_large_one_in_blocks():
    small = find_clusters(np.arange(40), np.repeat([0, 1], 20))
    weights, strata = delete_blocks(small, RNG)
    assert (weights.sum(axis=0) == 39).all()
    assert np.bincount(strata).tolist() == [20, 20]
    large = find_clusters(np.arange(1000), np.repeat([0, 1], [990, 10]))
    weights, strata = delete_blocks(large, RNG)
    assert ((1 - weights).sum(axis=1) == 1).all()  # each is left out once
    assert np.bincount(strata).tolist() == [198, 2]


def test_the_threads_do_not_decide_the_answer(monkeypatch):
    predicted, human, clusters, _ = sample()
    cell = Cell(predicted, human, clusters.of_pair)
    monkeypatch.setattr("dissensus.stats.resampling.bootstrap._AT_ONCE", 30)  # several blocks
    two = bootstrap(cell, draw_clusters(clusters, 100, np.random.default_rng(5)))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert_allclose(bootstrap(cell, draw_clusters(clusters, 100, np.random.default_rng(5))), two)


def test_equal_preferences_have_an_uncertainty_of_no_less_than_zero():
    """The few pairs of a resample may all have the same h: rounding left -1e-17, whose logarithm is a warning."""
    human = np.arange(11) / 10
    weights = 7 * np.eye(11, dtype=np.int64)
    cell = Cell(human, human, np.arange(11))
    found = cell(weights.astype(np.float64))[ROWS.index("brier_uncertainty")]
    assert_allclose(found, 0, atol=1e-15)
    assert (found >= 0).all()
    assert (METRICS["brier_uncertainty"](human, human, weights) >= 0).all()


def test_bca_agrees_with_scipy():
    """Every pair its own cluster, in one stratum, without the widening: then it is the plain BCa interval."""
    rng = np.random.default_rng(3)
    human = rng.integers(0, 6, 80) / 5
    predicted = np.clip(0.5 * human + 0.25 + rng.normal(0, 0.2, 80), 0, 1)
    clusters = find_clusters(np.arange(80), np.zeros(80))
    cell = Cell(predicted, human, clusters.of_pair)
    resampled = bootstrap(cell, draw_clusters(clusters, 20_000, rng))
    weights, strata = delete_blocks(clusters, rng)
    jackknife = cell(weights)
    for name, statistic in {
        "pearson": lambda p, h, axis: stats.pearsonr(p, h, axis=axis).statistic,
        "l1": lambda p, h, axis: np.abs(p - h).mean(axis=axis),
    }.items():
        theirs = stats.bootstrap(
            (predicted, human), statistic, paired=True, vectorized=True, n_resamples=20_000, rng=rng
        ).confidence_interval
        row = ROWS.index(name)
        value = float(cell(ones(clusters))[row, 0])
        ours = bca_interval(value, resampled[row], find_acceleration(jackknife[row], strata))
        width = theirs.high - theirs.low
        assert abs(ours.low - theirs.low) < 0.03 * width
        assert abs(ours.high - theirs.high) < 0.03 * width
