import numpy as np
import pytest

from dissensus.reports.reliability import reliability


def _population(rng, n=2000, votes=5):
    p = rng.beta(2, 2, (1, n))
    return p, rng.binomial(votes, p[0]) / votes, np.full(n, votes), np.arange(n)


def test_bins_hold_equally_many_and_keep_the_means():
    p, human, votes, prompts = _population(np.random.default_rng(0))
    found = reliability(p, human, votes, prompts)
    assert set(found.counts) == {200.0}
    assert found.low.tolist() == reliability(p, human, votes, prompts).low.tolist(), "the same every time"
    few = reliability(np.array([[0.5]]), np.array([1.0]), np.array([3]), np.array([0]))
    assert few.counts.tolist() == [1.0], "fewer pairs than bins"
    assert found.predicted.mean() == pytest.approx(p.mean())
    assert found.observed.mean() == pytest.approx(human.mean())
    assert (np.diff(found.predicted) > 0).all()


def test_a_calibrated_model_lies_in_the_null_band_and_one_that_is_not_leaves_it():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(20):
        p, human, votes, prompts = _population(rng)
        found = reliability(p, human, votes, prompts)
        inside += [*((found.low <= found.observed) & (found.observed <= found.high))]
    # 200 bins at 95 in 100: three standard errors of that are .046.
    assert np.mean(inside) == pytest.approx(0.95, abs=0.046)
    found = reliability(np.clip(2 * p - 0.5, 0, 1), human, votes, prompts)
    assert ((found.observed < found.low) | (found.observed > found.high)).mean() > 0.5
    assert found.misses > 5


def test_pairs_of_one_prompt_are_no_independent_witnesses():
    p, human, votes, prompts = _population(np.random.default_rng(2), n=300)
    once = reliability(p, human, votes, prompts)
    four_times = reliability(*(np.repeat(x, 4, axis=-1) for x in (p, human, votes, prompts)))
    assert four_times.error == pytest.approx(once.error, rel=0.1)


def test_seeds_share_the_votes():
    p, human, votes, prompts = _population(np.random.default_rng(3))
    one, two = reliability(p, human, votes, prompts), reliability(np.repeat(p, 2, axis=0), human, votes, prompts)
    assert two.error == pytest.approx(one.error)
    assert (two.high - two.low) == pytest.approx(one.high - one.low, rel=0.25)
