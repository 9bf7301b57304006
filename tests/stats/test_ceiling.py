import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissensus.stats.agreement.ratings import tabulate
from dissensus.stats.ceilings import vote_noise
from dissensus.stats.ceilings.noise_ceiling import Yardstick, ceiling, correct_for_attenuation
from dissensus.stats.metrics import mean_absolute_error, pearson, pearson_symmetric

from .votes import SPREADS, binary_votes, ratings_from_votes, stopped

NAMES = ("pearson", "pearson_symmetric", "l1", "reliability")


def yardstick(votes, strata=None, **options):
    """That of pairs which are a cluster each."""
    strata = np.zeros(len(votes), dtype=int) if strata is None else strata
    return Yardstick(tabulate(votes), np.arange(len(votes)), strata, **options)


def sample(votes, **options):
    return yardstick(votes, **options)(np.ones((len(votes), 1)))


def assert_as_shown(found, p, human, l1=0.003):
    """A model that knows p shows the r and the L1 that the ceiling says."""
    assert found.pearson.item() == pytest.approx(pearson(p, human).item(), abs=0.01)
    assert found.l1.item() == pytest.approx(mean_absolute_error(p, human).item(), abs=l1)


def test_reliability_of_the_example_of_shrout_and_fleiss():
    # Psychological Bulletin 86 (1979), tables 2 to 4: four judges rate six targets; the mean squares are 11.24 between
    # targets and 6.26 within, so the means of four ratings have the mean square 11.24 * 5 / 6 / 4 about their mean.
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]) / 20
    centred = ratings - ratings.mean() + 0.5
    assert ceiling(centred).reliability == pytest.approx(1 - 6.26 / (11.24 * 5 / 6), abs=0.001)
    # About the mean with a divisor of n - 1 that is their ICC(1, 4) = .44.
    assert 1 - (1 - ceiling(centred).reliability) * 5 / 6 == pytest.approx(0.44, abs=0.005)


@pytest.mark.parametrize(("spread", "k"), [*((spread, k) for spread in SPREADS for k in (3, 5)), ("one-sided", 10)])
def test_a_model_that_knows_the_truth_does_as_well_as_it_says(spread, k):
    rng = np.random.default_rng(k)
    p = SPREADS[spread](rng, 30_000)
    p = np.where(rng.random(p.size) < 0.5, 1 - p, p)
    votes = binary_votes(p, k, rng)
    human, found = votes.mean(axis=1), ceiling(votes)
    assert_as_shown(found, p, human, l1={3: 0.014, 5: 0.004, 10: 0.002}[k])
    assert found.pearson_symmetric == pytest.approx(pearson_symmetric(p, human), abs=0.01)


@pytest.mark.parametrize("k", [3, 5])
def test_it_is_the_same_where_the_votes_chose_which_response_is_a(k):
    """Uniform preferences, the majority as a: about the mean, five votes would seem to have a reliability below 0."""
    rng = np.random.default_rng(k)
    p = rng.random(30_000)
    votes = binary_votes(p, k, rng)
    turned = votes.mean(axis=1) < 0.5
    votes, p = np.where(turned[:, None], 1 - votes, votes), np.where(turned, 1 - p, p)
    human, found = votes.mean(axis=1), ceiling(votes)
    assert found.pearson == found.pearson_symmetric == pytest.approx(pearson_symmetric(p, human), abs=0.01)
    assert found.l1 == pytest.approx(mean_absolute_error(p, human), abs={3: 0.007, 5: 0.002}[k])
    assert pearson(p, human) < found.pearson - 0.1  # an upper limit of plain r


def test_pairs_of_a_single_vote_count_as_they_do_for_the_model_beside():
    """Half of the pairs have one vote, half five, uniform preferences: r .680 and L1 .237 for a perfect model."""
    rng = np.random.default_rng(1)
    p = rng.random(60_000)
    votes = binary_votes(p, 5, rng)
    votes[::2, 1:] = np.nan
    found = ceiling(votes)
    assert (found.pearson, found.l1) == pytest.approx((0.680, 0.237), abs=0.005)
    assert_as_shown(found, p, np.nanmean(votes, axis=1), l1=0.005)


def test_the_noise_of_single_ratings_is_that_of_their_own_data_set():
    rng = np.random.default_rng(1)
    data_set = np.repeat([0, 1], 20_000)
    p = np.where(data_set == 0, rng.choice([0.02, 0.98], 40_000), rng.uniform(0.3, 0.7, 40_000))
    votes = binary_votes(p, 4, rng)
    votes[5_000:25_000, 1:] = np.nan  # three quarters of the one set, one of the other
    found = ceiling(votes, strata=data_set)
    assert found.pearson == pytest.approx(pearson(p, np.nanmean(votes, axis=1)), abs=0.01)
    squares = np.mean([ceiling(votes[data_set == number]).reliability for number in (0, 1)])
    assert found.pearson_within == pytest.approx(np.sqrt(squares))
    estimates = np.where(np.isnan(votes), np.nan, np.clip(p[:, None] + rng.normal(0, 0.1, votes.shape), 0, 1))
    assert_as_shown(ceiling(estimates, strata=data_set), p, np.nanmean(estimates, axis=1), l1=0.002)


def test_the_error_over_data_sets_is_the_mean_of_theirs():
    rng = np.random.default_rng(5)
    data_set = np.repeat([0, 1, 2], [600, 300, 200])
    p = np.where(data_set == 0, rng.random(1100), np.where(data_set == 1, rng.choice([0.02, 0.98], 1100), 0.5))
    votes = binary_votes(p, 3, rng)
    votes[data_set == 2, 1:] = np.nan  # of single votes alone: taken for a mixture of the others
    groups = [votes[inside] for inside in (data_set == 0, data_set == 1, data_set < 2)]
    l1 = [sample(group).l1[0] for group in groups]
    two = yardstick(votes[:900], data_set[:900])
    of_two = two(np.ones((900, 1))).l1[0]
    assert of_two == pytest.approx((2 * l1[0] + l1[1]) / 3)
    assert l1[2] == pytest.approx((2 * l1[0] + l1[1]) / 3, abs=0.02)
    limits = [yardstick(group).limits()["l1"] for group in groups]
    assert two.limits()["l1"] == pytest.approx((2 * np.array(limits[0]) + np.array(limits[1])) / 3, abs=1e-6)
    assert np.ptp(two.limits()["l1"]) < np.ptp(limits[2])  # one of them is known better than a mixture of both
    differ = votes[:900].min(axis=1) != votes[:900].max(axis=1)
    single = sample(votes, strata=data_set).l1[0] * 1100 - of_two * 900
    assert single / 200 == pytest.approx(differ.mean() * 2 / 3, abs=0.01)  # of three, two differ so often


def test_more_votes_for_pairs_that_look_hard_leave_the_error_right():
    """Five votes where preferences are near 1/2: with one distribution for all, L1 was .166 for a truth of .150."""
    rng = np.random.default_rng(0)
    p = rng.random(30_000)
    votes = binary_votes(p, 5, rng)
    votes[rng.random(p.size) > 4 * p * (1 - p), 3:] = np.nan
    human = np.nanmean(votes, axis=1)
    low, high = yardstick(votes).limits()["l1"]
    assert_as_shown(ceiling(votes), p, human, l1=0.005)
    assert low < mean_absolute_error(p, human) < high


@pytest.mark.parametrize(("first", "then", "r"), [(3, 2, 0.816), (2, 1, 0.733)])
@pytest.mark.parametrize("spread", ["flat", "hill", "agreed"])
def test_where_the_votes_decided_how_many_there_are(spread, first, then, r):
    rng = np.random.default_rng(7)
    p = SPREADS[spread](rng, 30_000)
    votes = stopped(p, first, then, rng)
    human, found = np.nanmean(votes, axis=1), ceiling(votes, decided=True)
    assert found.pearson == found.pearson_symmetric == pytest.approx(pearson_symmetric(p, human), abs=0.015)
    assert found.l1 == pytest.approx(mean_absolute_error(p, human), abs=0.004)
    if spread == "flat":
        assert found.pearson == pytest.approx(r, abs=0.01)
    # Taken for numbers given beforehand they would promise more than a perfect model can do.
    assert ceiling(votes).pearson > found.pearson + 0.04


def test_one_data_set_whose_votes_decided_their_number_beside_one_whose_did_not():
    rng = np.random.default_rng(3)
    data_set = np.repeat([0, 1], 20_000)
    p = rng.beta(2, 2, 40_000)
    votes = stopped(p, 3, 2, rng)
    votes[20_000:] = binary_votes(p[20_000:], 5, rng)
    assert_as_shown(sample(votes, strata=data_set, decided=[0]), p, np.nanmean(votes, axis=1))


@pytest.mark.parametrize("raters", [3, 5])
def test_what_each_of_a_panel_adds_to_every_pair_lowers_no_correlation(raters):
    shown, crossed, apart = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        p = rng.random(500)
        ratings = np.clip(p[:, None] + rng.normal(0, 0.15, raters) + rng.normal(0, 0.15, (500, raters)), 0, 1)
        shown.append(pearson(p, ratings.mean(axis=1)))
        panel, crowd = ceiling(ratings, crossed=True), ceiling(ratings)
        crossed.append(panel.pearson)
        apart.append(crowd.pearson)
        assert panel.pearson_symmetric == crowd.pearson_symmetric
    assert np.mean(crossed) == pytest.approx(np.mean(shown), abs=0.008)
    assert np.mean(apart) < np.mean(shown) - 0.015


def test_a_panel_is_one_where_everybody_rated_everything():
    rng = np.random.default_rng(0)
    p = rng.random(400)
    ratings = np.clip(p[:, None] + [-0.2, 0, 0.2] + rng.normal(0, 0.1, (400, 3)), 0, 1)
    assert ceiling(ratings, crossed=True).pearson > ceiling(ratings).pearson + 0.02
    ratings[0, 0] = np.nan
    assert ceiling(ratings, crossed=True).pearson == ceiling(ratings).pearson
    # Votes that chose a lean to it all alike: no lean of the raters' explains that.
    votes = binary_votes(p, 5, rng)
    votes = np.where(votes.mean(axis=1, keepdims=True) < 0.5, 1 - votes, votes)
    assert ceiling(votes, crossed=True).pearson == pytest.approx(ceiling(votes).pearson, abs=0.02)


def test_the_limits_that_three_votes_leave_hold_the_truth():
    """Uniform preferences: with three votes the mean error is known to lie between .150 and .209 or so, .184 in truth.

    Half of the pairs at .2, half at .8: .206 in truth, far from the estimate.
    """
    rng = np.random.default_rng(0)
    for p in (rng.random(30_000), rng.choice([0.2, 0.8], 30_000)):
        votes = binary_votes(p, 3, rng)
        low, high = yardstick(votes).limits()["l1"]
        assert low < ceiling(votes).l1 < high
        assert low - 0.002 < mean_absolute_error(p, votes.mean(axis=1)) < high + 0.002
        assert high - low > 0.05
    assert np.ptp(yardstick(binary_votes(p, 12, rng)).limits()["l1"]) < 0.006
    assert np.ptp(yardstick(binary_votes(p, 13, rng)).limits()["l1"]) == 0


def test_two_votes_and_a_third_leave_r_open_too():
    rng = np.random.default_rng(0)
    p = rng.choice([0.2, 0.8], 30_000)
    votes = stopped(p, 2, 1, rng)
    low, high = yardstick(votes, decided=[0]).limits()["pearson"]
    r, found = pearson(p, np.nanmean(votes, axis=1)), ceiling(votes, decided=True).pearson
    assert low < found < high
    assert low - 0.01 < r < high + 0.01
    assert found < r - 0.02  # votes alone do not tell this from other preferences


def test_unequal_numbers_of_votes_and_ties():
    rng = np.random.default_rng(0)
    a, b, tie = rng.dirichlet([1, 1, 0.5], 40_000).T
    counts = rng.multinomial(rng.choice([1, 2, 3, 5, 7], 40_000), np.stack([a, b, tie], axis=1))
    votes = ratings_from_votes(counts)
    assert_as_shown(ceiling(votes), a + tie / 2, np.nanmean(votes, axis=1))


def test_estimates_with_normal_noise():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 0.7, 20_000)
    estimates = p[:, None] + rng.normal(0, 0.08, (p.size, 5))
    estimates[rng.random(estimates.shape) < 0.3] = np.nan
    estimates = np.clip(estimates, 0, 1)
    some = np.isfinite(estimates).any(axis=1)
    assert_as_shown(ceiling(estimates), p[some], np.nanmean(estimates[some], axis=1), l1=0.001)
    many = np.clip(p[:500, None] + rng.normal(0, 0.1, (500, 15)), 0, 1)  # splits are drawn, not gone through
    assert ceiling(many).l1 == pytest.approx(mean_absolute_error(p[:500], many.mean(axis=1)), abs=0.004)


def test_three_raters_with_sd_18_cap_r_at_94_and_err_by_077():
    # True preferences are spread evenly; the mean of the raters, not each rating, is kept within 0 and 1.
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    mean = p + rng.normal(0, 0.18, (3, p.size)).mean(axis=0)
    assert np.corrcoef(p, mean)[0, 1] == pytest.approx(0.941, abs=0.001)
    assert mean_absolute_error(p, np.clip(mean, 0, 1)) == pytest.approx(0.077, abs=0.001)
    found = ceiling(np.clip(p + rng.normal(0, 0.18, (3, p.size)), 0, 1).T)
    assert found.pearson == pytest.approx(0.94, abs=0.01)
    assert found.l1 == pytest.approx(0.077, abs=0.005)


@settings(max_examples=6)
@given(st.integers(0, 1000))
def test_neither_the_order_of_rows_and_raters_nor_the_orientation_matters(seed):
    rng = np.random.default_rng(seed)
    ratings = rng.choice([0, 0.5, 1, np.nan], (30, 5))
    turned = (rng.random(30) < 0.5)[:, None]
    found = ceiling(ratings)
    for other in (rng.permutation(rng.permuted(ratings, axis=1)), np.where(turned, 1 - ratings, ratings)):
        moved = ceiling(other)
        for name in NAMES:
            assert getattr(moved, name) == pytest.approx(getattr(found, name))


@pytest.mark.parametrize("values", [(0, 1), (0, 0.5, 1), (0.1, 0.3, 0.8)])
def test_weight_k_means_that_the_pair_is_there_k_times(values, monkeypatch):
    monkeypatch.setattr(vote_noise, "_DIFFER", 0.0)  # the sample decides it, and the two are different samples
    rng = np.random.default_rng(0)
    ratings, weights = rng.choice([*values, np.nan], (40, 5)), rng.integers(0, 3, (2, 3, 40))
    weighted, plain = ceiling(ratings, weights), ceiling(np.repeat(ratings, weights[1, 2], axis=0))
    assert weighted.l1.shape == weighted.pearson.shape == (2, 3)
    for name in NAMES:
        assert getattr(weighted, name)[1, 2] == pytest.approx(getattr(plain, name))


@pytest.mark.parametrize(
    "ratings",
    [np.full((3, 2), np.nan), np.array([[1, np.nan], [np.nan, 0], [0.5, np.nan]]), np.zeros((0, 5)), np.zeros((4, 0))],
)
def test_single_ratings_say_nothing(ratings):
    assert np.isnan([getattr(ceiling(ratings), name) for name in NAMES]).all()


def test_a_pair_that_nobody_rated_is_left_out():
    rng = np.random.default_rng(0)
    votes = binary_votes(rng.random(50), 3, rng)
    assert ceiling(np.vstack([votes, np.full((1, 3), np.nan)])) == ceiling(votes)


def test_where_nothing_varies_r_has_no_ceiling_and_people_who_agree_err_little():
    agreed = ceiling(np.ones((20, 3)))
    assert np.isnan(agreed.pearson)
    assert np.isnan(agreed.pearson_within)  # a constant data set has no r, so the mean leaves it out
    assert agreed.pearson_symmetric == 1
    assert agreed.l1 < 0.02
    assert ceiling(np.repeat([[1.0], [0.0]], 3, axis=1)).pearson == 1


def test_votes_without_any_signal_have_the_ceiling_zero_and_a_reliability_that_may_be_negative():
    found = [ceiling(binary_votes(np.full(50, 0.5), 3, np.random.default_rng(seed))) for seed in range(40)]
    assert np.mean([one.reliability for one in found]) == pytest.approx(0, abs=0.06)
    least = min(found, key=lambda one: one.reliability)
    assert least.reliability < 0 == least.pearson


def test_a_model_with_noise_is_corrected_to_its_r_with_the_truth():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    model, votes = (p - 0.5 + rng.normal(0, 0.3, p.size)) / 4 + 0.5, binary_votes(p, 3, rng)
    observed = pearson_symmetric(model, votes.mean(axis=1))
    corrected = correct_for_attenuation(observed, ceiling(votes).reliability)
    assert corrected == pytest.approx(pearson(model, p), abs=0.01)
    assert observed < corrected - 0.1
    assert correct_for_attenuation(0.9, 0.64) == pytest.approx(1.125)
    assert np.isnan(correct_for_attenuation(np.array([0.5, 0.5]), np.array([0.0, -0.1]))).all()


def test_ratings_that_are_no_fractions_are_a_mistake():
    with pytest.raises(ValueError, match="divide estimates"):
        ceiling(np.array([[3.0, 7.0]]))
    with pytest.raises(ValueError, match="estimates"):
        ceiling(np.array([[0.3, 0.7]]), decided=True)
    with pytest.raises(ValueError, match="weights"):
        ceiling(np.ones((3, 2)), np.ones(2))


@pytest.fixture(scope="module")
def argued(arguments):
    return np.array([(p.votes.a, p.votes.b, p.votes.tie) for p in arguments])


@pytest.mark.real_data
def test_five_votes_on_arguments_allow_an_r_of_867(argued):
    found = ceiling(ratings_from_votes(argued))
    assert found.pearson == found.pearson_symmetric == pytest.approx(0.867, abs=0.001)
    assert 0.10 < found.l1 < 0.14
    majority = np.where((argued[:, 0] < argued[:, 1])[:, None], argued[:, [1, 0, 2]], argued)
    assert ceiling(ratings_from_votes(majority)).pearson == pytest.approx(found.pearson)


@pytest.mark.real_data
def test_real_votes_of_which_two_decided_on_a_third(argued):
    """Two of a pair's votes, a third where they differ, and those that are left as an unbiased word on the truth."""
    rng, value = np.random.default_rng(0), np.array([1, 0, 0.5])
    everybody = [rng.permutation(np.repeat([0, 1, 2], row)) for row in argued if row.sum() >= 5]
    asked = [votes[: 2 if votes[0] == votes[1] else 3] for votes in everybody]
    human = np.array([value[votes].mean() for votes in asked]) - 0.5
    others = np.array([value[votes[3:]].mean() for votes in everybody]) - 0.5
    variance = np.mean([np.mean(value[v[:2]] - 0.5) * np.mean(value[v[3:5]] - 0.5) for v in everybody])
    truth = np.mean(human * others) / np.sqrt(variance * np.mean(human**2))
    table = tabulate(ratings_from_votes(np.array([np.bincount(votes, minlength=3) for votes in asked])))
    assert ceiling(table, decided=True).pearson == pytest.approx(truth, abs=0.02)
    assert ceiling(table).pearson > truth + 0.08
