import itertools
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from dissensus.evaluation.metrics import primary_candidates
from dissensus.stats.metrics import pearson_within
from dissensus.stats.resampling import permutation
from dissensus.stats.resampling.permutation import swap_test
from dissensus.stats.resampling.training_seeds import NO_NOISE, SeedNoise

METRICS = primary_candidates()
TESTED = list(METRICS)
Swap = partial(permutation.Swap, metrics=METRICS)


def sample(n=120, seed=0, gain=0.0):
    rng = np.random.default_rng(seed)
    human = rng.integers(0, 6, n) / 5
    first, second = (np.clip(0.4 * human + 0.3 + rng.normal(0, s, n), 0, 1) for s in (0.2 - gain, 0.2))
    return first, second, human, np.arange(n) // 2, rng.integers(0, 3, n)


def test_without_a_swap_the_statistic_is_the_difference():
    first, second, human, clusters, strata = sample()
    swap = Swap(first, second, human, clusters, strata)
    found = swap(np.zeros((60, 1)))[:, 0]
    assert_allclose(swap(np.ones((60, 1)))[:, 0], -found, atol=1e-10)  # everything swapped
    for name, value in zip(TESTED, found, strict=True):
        metric = (lambda p, h: pearson_within(p, h, strata)) if name == "pearson_within" else METRICS[name]
        assert_allclose(value, metric(first, human) - metric(second, human), atol=1e-10, err_msg=name)


def test_a_swap_is_the_metrics_of_swapped_predictions():
    first, second, human, clusters, _ = sample()
    swapped = np.random.default_rng(0).integers(0, 2, (60, 20)).astype(float)
    found = Swap(first, second, human, clusters)(swapped)
    scaled = [0.5 + (p - p.mean()) / p.std() / 20 for p in (first, second)]
    for name in ("pearson", "l1", "brier", "nll", "accuracy"):
        one, other = scaled if name == "pearson" else (first, second)
        expected = [
            METRICS[name](np.where(s, other, one), human) - METRICS[name](np.where(s, one, other), human)
            for s in swapped[clusters].T > 0
        ]
        assert_allclose(found[TESTED.index(name)], expected, atol=1e-10, err_msg=name)


def test_a_model_is_not_told_from_its_copy_and_a_difference_is_found():
    first, second, human, clusters, strata = sample(gain=0.15)
    pairs = {
        "copy": [Swap(first, first, human, clusters, strata)],
        "better": [Swap(first, second, human, clusters, strata)],
    }
    found = swap_test(pairs, 60, 499, np.random.default_rng(0))
    assert set(found["copy"].values()) == {1}
    assert found["better"]["pearson"] <= 0.01
    assert found["better"]["l1"] <= 0.01


def test_few_clusters_agree_with_trying_every_swap_and_with_scipy():
    first, second, human, _, _ = sample(9)
    exact = np.array(list(itertools.product([0.0, 1.0], repeat=9))).T
    swap = Swap(first, second, human, np.arange(9))
    values = np.abs(swap(exact)[TESTED.index("l1")])
    p = (values >= abs(swap(np.zeros((9, 1)))[TESTED.index("l1"), 0]) - 1e-12).mean()
    drawn = swap_test({0: [swap]}, 9, 20_000, np.random.default_rng(0))[0]["l1"]
    assert drawn == pytest.approx(p, abs=0.012)
    gaps = np.abs(first - human), np.abs(second - human)
    theirs = stats.permutation_test(
        gaps, lambda x, y, axis: x.mean(axis) - y.mean(axis), permutation_type="samples", vectorized=True
    )
    assert p == pytest.approx(theirs.pvalue)


def test_the_threads_do_not_decide_the_answer(monkeypatch):
    first, second, human, clusters, strata = sample()
    swaps = {0: [Swap(first, second, human, clusters, strata)]}
    monkeypatch.setattr("dissensus.stats.resampling.permutation._CELLS", 2000)  # several blocks
    one = swap_test(swaps, 60, 500, np.random.default_rng(5))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert_allclose(list(one[0].values()), list(swap_test(swaps, 60, 500, np.random.default_rng(5))[0].values()))


@pytest.mark.parametrize(("n_prompts", "per_prompt", "n_strata"), [(20, 3, 1), (60, 1, 6)])
def test_two_models_alike_are_told_apart_in_one_case_in_twenty(n_prompts, per_prompt, n_strata):
    """The errors of a prompt's pairs go together: swapping pairs one by one would reject far too often."""
    rng = np.random.default_rng(8)
    n, clusters = n_prompts * per_prompt, np.repeat(np.arange(n_prompts), per_prompt)
    names = ("pearson", "pearson_symmetric", "spearman", "l1", "brier", "nll", "accuracy")
    names += ("pearson_within",) if n_strata > 1 else ()
    swaps = {}
    for study in range(200):  # a standard error of .015
        shared = np.repeat(rng.normal(0, 1, (2, n_prompts)), per_prompt, axis=1)
        truth = rng.normal(0, 1.5, n)
        human = rng.binomial(5, 1 / (1 + np.exp(-truth))) / 5
        first, second = (1 / (1 + np.exp(-(0.7 * truth + e + rng.normal(0, 0.7, n)))) for e in shared)
        swaps[study] = [Swap(first, second, human, clusters, clusters % n_strata)]
    found = swap_test(swaps, n_prompts, 199, rng).values()
    rejected = {name: np.mean([p[name] <= 0.05 for p in found]) for name in names}
    assert {name: share for name, share in rejected.items() if abs(share - 0.05) > 0.04} == {}


def test_models_that_place_data_sets_differently_are_told_apart_by_their_order_within():
    """Set means far apart, known to one model alone: standardised over all pairs, r within is lost in the swaps."""
    rng = np.random.default_rng(4)
    strata = np.repeat(np.arange(4), 40)
    mean = np.array([-3.0, -1.0, 1.0, 3.0])[strata]
    swaps = {}
    for study in range(40):
        utility = rng.normal(0, 1.4, 160)
        human = rng.binomial(5, 1 / (1 + np.exp(-(0.3 * mean + utility)))) / 5
        first = 1 / (1 + np.exp(-(mean + utility + rng.normal(0, 0.4, 160))))
        second = 1 / (1 + np.exp(-(utility + rng.normal(0, 1.3, 160))))
        swaps[study] = [Swap(first, second, human, np.arange(160), strata)]
    assert sum(p["pearson_within"] <= 0.05 for p in swap_test(swaps, 160, 199, rng).values()) >= 24


def test_a_few_giant_prompts_do_not_tell_equal_models_apart():
    """Standardised with every pair alike, 10 in 100 are told apart: the giants are held to themselves."""
    rng = np.random.default_rng(12)
    clusters = np.repeat(np.arange(25), [100, 100, *[3] * 23])
    swaps, only = {}, {"pearson": METRICS["pearson"]}
    for study in range(400):  # a standard error of .011
        shared = rng.normal(0, 1, (4, 25))[:, clusters]
        noise = rng.normal(0, 1, (4, clusters.size))
        utility = 1.3 * (shared[0] + noise[0])
        human = rng.binomial(5, 1 / (1 + np.exp(-utility))) / 5
        common = utility + 0.8 * (shared[1] + noise[1])
        first, second = (1 / (1 + np.exp(-0.7 * (common + 0.9 * (shared[k] + noise[k])))) for k in (2, 3))
        swaps[study] = [permutation.Swap(first, second, human, clusters, metrics=only)]
    assert np.mean([p["pearson"] <= 0.05 for p in swap_test(swaps, 25, 499, rng).values()]) <= 0.08


def test_seeds_that_vary_make_a_difference_less_sure_and_seeds_alike_leave_it():
    first, second, human, clusters, strata = sample(gain=0.05)
    swaps = {0: [Swap(first, second, human, clusters, strata)]}

    def p(noise):
        return swap_test(swaps, 60, 1999, np.random.default_rng(0), noise={0: {"l1": noise}})[0]["l1"]

    plain = swap_test(swaps, 60, 1999, np.random.default_rng(0))[0]["l1"]
    assert p(NO_NOISE) == plain
    assert p(SeedNoise(1e-12, 1e-12, 4)) == pytest.approx(plain, abs=1e-3)
    assert plain < p(SeedNoise(1e-4, 1e-4, 4)) < p(SeedNoise(1e-3, 1e-3, 4))
