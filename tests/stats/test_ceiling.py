import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.stats.ceiling import ceiling, correct_for_attenuation
from dissensus.stats.intervals import cluster_counts
from dissensus.stats.metrics import mean_absolute_error, pearson, pearson_symmetric
from dissensus.stats.ratings import ratings_from_votes

SPREADS = {
    "flat": lambda rng, n: rng.random(n),
    "hill": lambda rng, n: rng.beta(2, 2, n),
    "agreed": lambda rng, n: rng.beta(0.5, 0.5, n),
    "one-sided": lambda rng, n: rng.beta(1, 8, n),
    "two camps": lambda rng, n: np.where(rng.random(n) < 0.5, rng.beta(3, 12, n), rng.beta(12, 3, n)),
}


def binary_votes(p, k, rng):
    return (rng.random((p.size, k)) < p[:, None]).astype(float)


def test_reliability_of_the_example_of_shrout_and_fleiss():
    # Psychological Bulletin 86 (1979), table 2: four judges rate six targets; ICC(1, 4) = .44 by their table 4.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert ceiling(np.array(ratings) / 10).reliability == pytest.approx(0.44, abs=0.005)


def step_up(r, share):
    """Reliability of the whole from the correlation of two parts of unlike length (Horst 1951)."""
    pq = share * (1 - share)
    return (np.sqrt(r**2 * (r**2 + 4 * pq * (1 - r**2))) - r**2) / (2 * pq * (1 - r**2))


@pytest.mark.parametrize("k", [2, 4, 5])
def test_it_is_the_limit_of_random_split_halves(k):
    rng = np.random.default_rng(k)
    votes = binary_votes(rng.beta(1, 2, 20_000), k, rng)
    half, stepped = k // 2, []
    for _ in range(40):
        split = rng.permuted(votes, axis=1)
        r = np.corrcoef(split[:, :half].mean(axis=1), split[:, half:].mean(axis=1))[0, 1]
        stepped.append(2 * r / (1 + r) if k % 2 == 0 else step_up(r, half / k))
    assert ceiling(votes).reliability == pytest.approx(np.mean(stepped), abs=0.003)


@pytest.mark.parametrize("k", [3, 5, 10])
@pytest.mark.parametrize("spread", SPREADS)
def test_a_model_that_knows_the_truth_does_as_well_as_it_says(spread, k):
    rng = np.random.default_rng(k)
    p = SPREADS[spread](rng, 30_000)
    votes = binary_votes(p, k, rng)
    human, found = votes.mean(axis=1), ceiling(votes)
    assert found.pearson == pytest.approx(pearson(p, human), abs=0.01)
    assert found.pearson_symmetric == pytest.approx(pearson_symmetric(p, human), abs=0.01)
    assert found.l1 == pytest.approx(mean_absolute_error(p, human), abs={3: 0.014, 5: 0.004, 10: 0.002}[k])


def test_unequal_numbers_of_votes_and_ties():
    rng = np.random.default_rng(0)
    n = 100_000
    a, b, tie = rng.dirichlet([1, 1, 0.5], n).T
    counts = rng.multinomial(rng.choice([2, 3, 5, 7], n), np.stack([a, b, tie], axis=1))
    votes = ratings_from_votes(counts)
    p, human, found = a + tie / 2, np.nanmean(votes, axis=1), ceiling(votes)
    assert found.pearson == pytest.approx(pearson(p, human), abs=0.01)
    assert found.l1 == pytest.approx(mean_absolute_error(p, human), abs=0.003)


def test_estimates_with_normal_noise():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 0.7, 20_000)
    estimates = p[:, None] + rng.normal(0, 0.08, (p.size, 5))
    estimates[rng.random(estimates.shape) < 0.3] = np.nan
    estimates = np.clip(estimates, 0, 1)
    enough = np.isfinite(estimates).sum(axis=1) >= 2
    human, found = np.nanmean(estimates[enough], axis=1), ceiling(estimates)
    assert found.pearson == pytest.approx(pearson(p[enough], human), abs=0.01)
    assert found.l1 == pytest.approx(mean_absolute_error(p[enough], human), abs=0.001)


def test_three_raters_with_sd_18_cap_r_at_94_and_floor_l1_at_077():
    # True preferences are spread evenly; the mean of the raters, not each rating, is kept within 0 and 1.
    rng = np.random.default_rng(0)
    p = rng.random(100_000)
    mean = p + rng.normal(0, 0.18, (3, p.size)).mean(axis=0)
    assert np.corrcoef(p, mean)[0, 1] == pytest.approx(0.941, abs=0.001)
    assert np.abs(p - mean).mean() == pytest.approx(0.18 / np.sqrt(3) * np.sqrt(2 / np.pi), abs=0.001)
    assert mean_absolute_error(p, np.clip(mean, 0, 1)) == pytest.approx(0.077, abs=0.001)
    rated = np.clip(p + rng.normal(0, 0.18, (3, p.size)), 0, 1).T
    assert ceiling(rated).pearson == pytest.approx(0.94, abs=0.01)
    assert ceiling(rated).l1 == pytest.approx(0.077, abs=0.005)


@given(st.integers(0, 1000))
def test_neither_the_order_of_rows_and_raters_nor_the_orientation_matters(seed):
    rng = np.random.default_rng(seed)
    ratings = rng.choice([0, 0.5, 1, np.nan], (30, 5))
    turned = (rng.random(30) < 0.5)[:, None]
    found, moved = ceiling(ratings), ceiling(rng.permutation(rng.permuted(ratings, axis=1)))
    assert moved.reliability == pytest.approx(found.reliability)
    assert moved.l1 == pytest.approx(found.l1)
    flipped = ceiling(np.where(turned, 1 - ratings, ratings))
    assert flipped.pearson_symmetric == pytest.approx(found.pearson_symmetric)
    assert flipped.l1 == pytest.approx(found.l1)
    assert ceiling(1 - ratings).pearson == pytest.approx(found.pearson)


@pytest.mark.parametrize("values", [(0, 1), (0, 0.5, 1), (0.1, 0.3, 0.8)])
def test_weight_k_means_that_the_pair_is_there_k_times(values):
    rng = np.random.default_rng(0)
    ratings, weights = rng.choice([*values, np.nan], (40, 5)), rng.integers(0, 3, (2, 3, 40))
    weighted, plain = ceiling(ratings, weights), ceiling(np.repeat(ratings, weights[1, 2], axis=0))
    assert weighted.l1.shape == weighted.pearson.shape == (2, 3)
    for name in ("pearson", "pearson_symmetric", "l1", "reliability"):
        assert getattr(weighted, name)[1, 2] == pytest.approx(getattr(plain, name))


@pytest.mark.parametrize(
    "ratings",
    [
        np.full((3, 2), np.nan),
        np.array([[1, np.nan], [np.nan, 0], [0.5, np.nan]]),
        np.zeros((0, 5)),
        np.zeros((4, 0)),
    ],
)
def test_single_ratings_say_nothing(ratings):
    found = ceiling(ratings)
    assert np.isnan([found.pearson, found.pearson_symmetric, found.l1, found.reliability]).all()


def test_a_pair_with_a_single_rating_is_left_out():
    rng = np.random.default_rng(0)
    votes = binary_votes(rng.random(50), 3, rng)
    single = np.where(np.arange(3) == 1, 1.0, np.nan)[None]
    assert ceiling(np.vstack([votes, single])) == ceiling(votes)


def test_where_nothing_varies_r_has_no_ceiling_and_people_who_agree_floor_nothing():
    agreed = ceiling(np.ones((20, 3)))
    assert np.isnan(agreed.pearson)
    assert agreed.l1 < 0.02
    assert ceiling(np.repeat([[1.0], [0.0]], 3, axis=1)).pearson == 1


def test_votes_without_any_signal_have_the_ceiling_zero_and_a_reliability_that_may_be_negative():
    reliability = [ceiling(binary_votes(np.full(50, 0.5), 3, np.random.default_rng(s))).reliability for s in range(200)]
    assert np.mean(reliability) == pytest.approx(0, abs=0.05)
    assert min(reliability) < 0
    votes = binary_votes(np.full(50, 0.5), 3, np.random.default_rng(int(np.argmin(reliability))))
    assert ceiling(votes).pearson == 0


def test_many_raters():
    rng = np.random.default_rng(0)
    p = rng.random(500)
    estimates = np.clip(p[:, None] + rng.normal(0, 0.1, (500, 15)), 0, 1)
    assert ceiling(estimates).l1 == pytest.approx(mean_absolute_error(p, estimates.mean(axis=1)), abs=0.004)


def test_a_model_with_noise_is_corrected_to_its_r_with_the_truth():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    model, votes = (p + rng.normal(0, 0.3, p.size)) / 4 + 0.4, binary_votes(p, 3, rng)
    observed = pearson(model, votes.mean(axis=1))
    corrected = correct_for_attenuation(observed, ceiling(votes).reliability)
    assert corrected == pytest.approx(pearson(model, p), abs=0.01)
    assert observed < corrected - 0.1
    assert correct_for_attenuation(0.9, 0.64) == pytest.approx(1.125)
    assert np.isnan(correct_for_attenuation(np.array([0.5, 0.5]), np.array([0.0, -0.1]))).all()


def test_ratings_that_are_no_fractions_are_a_mistake():
    with pytest.raises(ValueError, match="divide estimates"):
        ceiling(np.array([[3.0, 7.0]]))
    with pytest.raises(ValueError, match="weights"):
        ceiling(np.ones((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match="counts"):
        ratings_from_votes(np.array([[1, -1, 0]]))


def test_counts_are_written_out_as_ratings():
    counts = np.random.default_rng(0).integers(0, 4, (50, 3))
    ratings = ratings_from_votes(counts)
    assert [[(row == v).sum() for v in (1, 0, 0.5)] for row in ratings] == counts.tolist()


@pytest.mark.slow
def test_clustered_intervals_cover_the_ceiling():
    truth, hits = None, np.zeros(2)
    for seed in range(-1, 150):
        rng = np.random.default_rng(seed + 1)
        prompts = np.repeat(np.arange(40 if seed >= 0 else 20_000), 5)
        tilt = rng.beta(2, 2, prompts.max() + 1)[prompts]
        p = rng.beta(8 * tilt + 0.5, 8 * (1 - tilt) + 0.5)
        votes = binary_votes(p, 5, rng)
        if seed < 0:
            human = votes.mean(axis=1)
            truth = np.array([pearson(p, human), mean_absolute_error(p, human)])
            continue
        [weights] = cluster_counts(prompts, np.zeros(200), 300, rng)
        found = ceiling(votes, weights)
        low, high = np.quantile([found.pearson, found.l1], [0.025, 0.975], axis=1)
        hits += (low <= truth) & (truth <= high)
    assert hits.min() / 150 > 0.88


@pytest.mark.real_data
def test_five_votes_on_arguments_allow_an_r_of_867(real_data_dir):
    with gzip.open(real_data_dir / "arguments.jsonl.gz", "rt", encoding="utf-8") as file:
        counts = np.array([[row[f"votes_{side}"] for side in ("a", "b", "tie")] for row in map(json.loads, file)])
    found = ceiling(ratings_from_votes(counts))
    assert found.pearson == pytest.approx(0.867, abs=0.001)
    assert found.pearson_symmetric == pytest.approx(0.867, abs=0.001)
    assert 0.10 < found.l1 < 0.14
