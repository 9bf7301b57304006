import numpy as np
import pytest

from dissensus.stats.comparison import mean_over_seeds, paired_difference
from dissensus.stats.intervals import Estimate

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


def test_one_undefined_seed_makes_the_mean_undefined():
    values = mean_over_seeds(np.array([[0.6, np.nan], [0.8, 0.5]]))
    assert values[0] == pytest.approx(0.7)
    assert np.isnan(values[1])
