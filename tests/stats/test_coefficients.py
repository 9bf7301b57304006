import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_kappa

from dissensus.stats.agreement.coefficients import (
    COEFFICIENTS,
    agreement_intervals,
    agreement_raw,
    fleiss_kappa,
    gwet_ac1,
    gwet_ac2,
    krippendorff_interval,
    krippendorff_nominal,
    krippendorff_ordinal,
)
from dissensus.stats.agreement.icc import near_icc_2k
from dissensus.stats.agreement.ratings import VOTES, tabulate
from dissensus.stats.resampling.clusters import cluster_counts, find_clusters, find_freedom
from dissensus.stats.resampling.intervals import bca_interval, find_acceleration

from . import r_figures
from .votes import ratings_from_votes

NAN = np.nan
BY_CATEGORY = ("agreement_raw", "fleiss_kappa", "krippendorff_nominal", "gwet_ac1")

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): four observers, twelve units, values missing.
# Gwet's Handbook and his package irrCAC use the same data (cac.raw4raters).
FOUR_OBSERVERS = np.vstack([r_figures.FOUR_OBSERVERS, [NAN, 3, NAN, NAN]])

# Fleiss's layout, ten subjects by five categories, fourteen raters each; the example of Wikipedia's "Fleiss' kappa".
FLEISS_COUNTS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip

# Three items with an annotator each.
NESTED = np.array([[1, NAN, NAN], [NAN, 0, NAN], [NAN, NAN, 0.5]])


def crowd(n=120, columns=6, levels=4, seed=5):
    """Ratings on a scale of 0 to 1 that follow an item's own value, a third of them missing."""
    rng = np.random.default_rng(seed)
    ratings = (rng.integers(0, levels, (n, 1)) + rng.integers(-1, 2, (n, columns))).clip(0, levels - 1) / (levels - 1)
    return np.where(rng.random((n, columns)) < 1 / 3, NAN, ratings)


def alpha_by_definition(ratings, distance):
    """Krippendorff's alpha, pair by pair, as his text has it."""
    units = [unit[~np.isnan(unit)] for unit in ratings]
    units = [unit for unit in units if unit.size > 1]
    observed = dict.fromkeys(permutations(sorted({v for unit in units for v in unit}), 2), 0.0)
    for unit in units:
        for x, y in permutations(unit, 2):
            if x != y:
                observed[x, y] += 1 / (unit.size - 1)
    count = {v: sum((unit == v).sum() for unit in units) for v, _ in observed}
    n = sum(count.values())
    delta = {(x, y): distance(x, y, count) for x, y in observed}
    expected = sum(count[x] * count[y] * delta[x, y] for x, y in observed) / (n - 1)
    return 1 - sum(o * delta[pair] for pair, o in observed.items()) / expected


def ordinal_distance(x, y, count):
    low, high = min(x, y), max(x, y)
    between = sum(n for value, n in count.items() if low <= value <= high)
    return (between - (count[x] + count[y]) / 2) ** 2


DISTANCES = {
    krippendorff_nominal: lambda x, y, count: 1.0,
    krippendorff_ordinal: ordinal_distance,
    krippendorff_interval: lambda x, y, count: (x - y) ** 2,
}


FLEISS = np.array([np.repeat(np.arange(5.0), row) for row in FLEISS_COUNTS])
LETTERS = np.unique([list("aabbdcccedda"), list("babbbccceddd")], return_inverse=True)[1].reshape(2, 12).T


@pytest.mark.parametrize(
    ("coefficient", "ratings", "published", "digits"),
    [
        (krippendorff_nominal, FOUR_OBSERVERS, 0.743, 3),
        (krippendorff_ordinal, FOUR_OBSERVERS, 0.815, 3),
        (krippendorff_interval, FOUR_OBSERVERS, 0.849, 3),
        (krippendorff_nominal, np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]).T, 0.095, 3),
        (krippendorff_nominal, LETTERS, 0.692, 3),
        # As Gwet's package irrCAC prints them; the unit with one rating counts for the prevalence alone.
        (agreement_raw, FOUR_OBSERVERS, 0.8181818, 7),
        (gwet_ac1, FOUR_OBSERVERS, 0.77544, 5),
        (fleiss_kappa, FOUR_OBSERVERS, 0.76117, 5),
        (gwet_ac2, FOUR_OBSERVERS, 0.914, 3),
        (fleiss_kappa, FLEISS, 0.210, 3),
        (agreement_raw, FLEISS, 0.378, 3),
    ],
)
def test_published_examples(coefficient, ratings, published, digits):
    assert coefficient(ratings) == pytest.approx(published, abs=0.5000001 * 10.0**-digits)


def test_kappa_is_that_of_statsmodels():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        other = (rng.integers(0, 4, (30, 1)) + rng.integers(0, 2, (30, 5))).astype(float)
        assert_allclose(fleiss_kappa(other), statsmodels_kappa(aggregate_raters(other)[0]), rtol=1e-12)


@pytest.mark.parametrize("coefficient", DISTANCES)
def test_alpha_is_what_its_definition_says(coefficient):
    for ratings in (crowd(40), crowd(40, levels=9, seed=6), np.round(np.random.default_rng(7).normal(size=(20, 3)), 3)):
        assert_allclose(coefficient(ratings), alpha_by_definition(ratings, DISTANCES[coefficient]), rtol=1e-9)


def test_alpha_is_kappa_but_for_a_sample_of_finite_size():
    ratings = np.random.default_rng(2).integers(0, 3, (25, 4)) / 2
    kappa = fleiss_kappa(ratings)
    assert_allclose(krippendorff_nominal(ratings), kappa + (1 - kappa) / ratings.size, rtol=1e-12)


def test_by_hand():
    """Three items: a a, b b, a b. Two of three agree; a and b are equally frequent, so by chance every second would."""
    ratings = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    assert agreement_raw(ratings) == pytest.approx(2 / 3)
    assert fleiss_kappa(ratings) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    assert gwet_ac1(ratings) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    # Of 6 ratings 3 are a: 18 of 30 ordered pairs differ, and 2 of 6 within items.
    assert krippendorff_nominal(ratings) == pytest.approx(1 - (2 / 6) / (18 / 30))
    # With ties: a tie and an a are a half apart, a credit of 3/4. The mean credit of the scale's nine pairs is 2/3.
    ties = np.array([[1.0, 0.5], [0.0, 0.0]])
    chance = (0.25 * 0.75 + 0.25 * 0.75 + 0.5 * 0.5) * (9 - 2 - 4 * 0.25) / 6
    assert gwet_ac2(ties) == pytest.approx(((0.75 + 1) / 2 - chance) / (1 - chance))


def test_the_paradox_of_kappa():
    """95 of 100 items unanimous, all for a: raw agreement .95, kappa -.03, AC1 .95."""
    ratings = np.ones((100, 2))
    ratings[:5, 1] = 0
    assert agreement_raw(ratings) == pytest.approx(0.95)
    assert fleiss_kappa(ratings) == pytest.approx(-0.026, abs=5e-4)
    assert gwet_ac1(ratings) == pytest.approx(0.947, abs=5e-4)


def test_with_two_values_distances_do_not_matter():
    ratings = np.round(crowd(levels=2))
    assert_allclose(krippendorff_ordinal(ratings), krippendorff_nominal(ratings), rtol=1e-12)
    assert_allclose(krippendorff_interval(ratings), krippendorff_nominal(ratings), rtol=1e-12)
    assert_allclose(gwet_ac2(ratings), gwet_ac1(ratings), rtol=1e-12)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_a_weight_of_k_is_an_item_that_is_there_k_times(name):
    ratings = crowd()
    table = tabulate(ratings)
    weights = np.random.default_rng(1).integers(0, 4, (2, 3, len(ratings)))
    found = COEFFICIENTS[name](table, weights)
    assert found.shape == (2, 3)
    repeated = [[COEFFICIENTS[name](np.repeat(ratings, w, axis=0)) for w in rows] for rows in weights]
    assert_allclose(found, repeated, rtol=1e-9)
    assert COEFFICIENTS[name](table, np.zeros((0, len(ratings)))).shape == (0,)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_order_of_items_and_annotators_and_the_unit_of_the_scale_do_not_matter(name):
    ratings, rng = crowd(), np.random.default_rng(2)
    value = COEFFICIENTS[name](ratings)
    assert_allclose(COEFFICIENTS[name](rng.permutation(ratings)[:, rng.permutation(6)]), value, rtol=1e-9)
    assert_allclose(COEFFICIENTS[name](1000 - 7 * ratings), value, rtol=1e-9)


@pytest.mark.parametrize("name", BY_CATEGORY)
def test_names_of_unordered_values_do_not_matter(name):
    codes = np.array([11.0, -3.0, 0.25, 7.0])
    ratings = crowd()
    coded = np.where(np.isnan(ratings), NAN, codes[np.nan_to_num(ratings * 3).round().astype(int)])
    assert_allclose(COEFFICIENTS[name](coded), COEFFICIENTS[name](ratings), rtol=1e-12)
    # Of ordinal values the order alone matters, of numbers the distance.
    assert_allclose(krippendorff_ordinal(np.exp(9 * ratings)), krippendorff_ordinal(ratings), rtol=1e-12)
    assert not np.isclose(krippendorff_interval(np.exp(9 * ratings)), krippendorff_interval(ratings))


def test_neither_the_column_of_a_rating_nor_an_item_or_a_person_without_one_matters():
    ratings = crowd()
    shuffled = np.random.default_rng(0).permuted(ratings, axis=1)
    more = np.full((len(ratings) + 5, 8), NAN)
    more[: len(ratings), :6] = ratings
    for name, coefficient in COEFFICIENTS.items():
        assert_allclose(coefficient(more), coefficient(ratings), rtol=1e-12)
        if name != "icc_2k":
            assert_allclose(coefficient(shuffled), coefficient(ratings), rtol=1e-9)


@pytest.mark.parametrize("name", COEFFICIENTS)
@pytest.mark.parametrize(
    "ratings",
    [np.array([[1.0], [0.0], [0.5]]), np.full((4, 3), NAN), np.zeros((0, 3)), np.zeros((3, 0)), NESTED],
    ids=["one annotator", "nothing rated", "no items", "no annotators", "no second rating"],
)
def test_without_two_ratings_of_an_item_there_is_no_answer(name, ratings):
    assert math.isnan(COEFFICIENTS[name](ratings))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1.0, 7.3])
def test_unanimity_is_perfect_agreement_where_items_differ_and_undefined_where_they_do_not(value):
    same = np.full((10, 3), value)
    differ = same + np.repeat([[0.0], [0.7]], 5, axis=0)
    for name, coefficient in COEFFICIENTS.items():
        assert coefficient(differ) == pytest.approx(1)
        assert coefficient(same) == 1 if name == "agreement_raw" else math.isnan(coefficient(same))
        # A resample may hold one value, of a scale of two.
        of_one_value = coefficient(differ, np.repeat([0, 1], 5))
        chance_is_known = name in ("agreement_raw", "gwet_ac1", "gwet_ac2")
        assert of_one_value == pytest.approx(1) if chance_is_known else math.isnan(of_one_value)


def test_gwets_coefficients_know_chance_from_the_scale_where_all_say_the_same():
    table = tabulate(np.ones((10, 3)), np.array(VOTES))
    assert gwet_ac1(table) == gwet_ac2(table) == 1
    assert math.isnan(fleiss_kappa(table))
    with pytest.raises(ValueError, match="weights"):
        fleiss_kappa(table, np.ones(11))


def both_ways(ratings):
    return np.concatenate([ratings, 1 - ratings])


def test_entered_both_ways_it_does_not_matter_which_response_is_called_a():
    rng = np.random.default_rng(8)
    ratings = ratings_from_votes(rng.multinomial(5, [0.7, 0.2, 0.1], size=200))
    flipped = np.where(rng.random((200, 1)) < 0.5, 1 - ratings, ratings)
    assert not np.isclose(fleiss_kappa(flipped), fleiss_kappa(ratings), atol=0.05)
    for coefficient in COEFFICIENTS.values():
        if coefficient is not COEFFICIENTS["icc_2k"]:
            assert_allclose(coefficient(both_ways(flipped)), coefficient(both_ways(ratings)), rtol=1e-9)


def test_every_coefficient_gets_an_interval_from_the_same_resamples():
    ratings, prompts, sets = crowd(), np.repeat(np.arange(40), 3), np.repeat([0, 1], 60)
    found = agreement_intervals(ratings, prompts, sets, 300, np.random.default_rng(0))
    assert found.keys() == COEFFICIENTS.keys()
    weights = np.concatenate(list(cluster_counts(prompts, sets, 300, np.random.default_rng(0))))
    without = (prompts != np.arange(40)[:, None]).astype(float)
    spare = find_freedom(find_clusters(prompts, sets), np.isfinite(ratings).sum(axis=1) > 1)
    for name, estimate in found.items():
        f = near_icc_2k(ratings) if name == "icc_2k" else partial(COEFFICIENTS[name], ratings)
        assert estimate.value == COEFFICIENTS[name](ratings)
        bend = find_acceleration(f(without), np.repeat([0, 1], 20))
        expected = bca_interval(estimate.value, f(weights), bend, spare=spare)
        assert_allclose([estimate.low, estimate.high], [expected.low, expected.high])
        assert estimate.method == "bca"
        assert estimate.low < estimate.value < estimate.high


def test_a_crowd_has_no_two_way_correlation():
    ratings, prompts = crowd(), np.arange(120)
    found = agreement_intervals(ratings, prompts, prompts * 0, 50, np.random.default_rng(0), crossed=False)
    assert found.keys() == (COEFFICIENTS.keys() - {"icc_2k"}) | {"icc_1k"}


def test_one_annotator_has_no_interval():
    found = agreement_intervals(np.ones((5, 1)), np.arange(5), np.zeros(5), 20, np.random.default_rng(0))
    assert all(math.isnan(e.value) and e.low is None for e in found.values())


def test_items_of_one_rating_are_no_clusters_that_narrow_an_interval():
    """Only twelve prompts tell of agreement: forty more, of pairs that one person rated, change nothing."""
    ratings, prompts = crowd(24), np.repeat(np.arange(12), 2)
    alone = np.full((40, 6), NAN)
    alone[:, 0] = np.resize(ratings[np.isfinite(ratings)], 40)
    more = np.concatenate([ratings, alone])
    few, many = (
        agreement_intervals(r, np.concatenate([prompts, np.arange(12, 12 + extra)]), np.zeros(24 + extra), 2000, rng)
        for r, extra, rng in ((ratings, 0, np.random.default_rng(0)), (more, 40, np.random.default_rng(0)))
    )
    width = [e["krippendorff_nominal"].high - e["krippendorff_nominal"].low for e in (few, many)]
    assert width[1] > 0.9 * width[0]


def test_intervals_of_twelve_prompts_hold_the_truth():
    """Three people who nearly always agree, of whom ``bench/agreement_coverage.py`` has more: unwidened percentile
    intervals held the truth in .87 of studies."""
    rng = np.random.default_rng(0)

    def draw(prompts):
        lean = 4 * (np.repeat(rng.normal(0, 1, prompts), 2) + rng.normal(0, 1, 2 * prompts)) / np.sqrt(2)
        heard = lean[:, None] + rng.logistic(0, 1, (2 * prompts, 3))
        return tabulate(np.where(np.abs(heard) < 0.3, 0.5, heard > 0), np.array(VOTES))

    large, hits = draw(30_000), dict.fromkeys(("agreement_raw", "gwet_ac1", "gwet_ac2"), 0)
    truth = {name: float(COEFFICIENTS[name](large)) for name in hits}
    for _ in range(150):  # a standard error of .018
        found = agreement_intervals(draw(12), np.repeat(np.arange(12), 2), np.zeros(24), 250, rng)
        for name in hits:
            hits[name] += found[name].low <= truth[name] <= found[name].high
    assert 0.92 <= min(hits.values()) / 150 <= max(hits.values()) / 150 <= 0.98


@pytest.mark.real_data
def test_real_votes_on_arguments(arguments):
    pairs = [p for p in arguments if p.votes]
    ratings = ratings_from_votes(np.array([[p.votes.a, p.votes.b, p.votes.tie] for p in pairs]))
    groups = np.unique([p.group for p in pairs], return_inverse=True)[1]
    found = agreement_intervals(
        tabulate(ratings, np.array(VOTES)), groups, groups * 0, 40, np.random.default_rng(0), crossed=False
    )
    assert len(pairs) == 12_063
    assert found["agreement_raw"].value == pytest.approx(0.526, abs=1e-3)
    # The order of responses is arbitrary, and chance agreement alike either way.
    assert_allclose(found["fleiss_kappa"].value, fleiss_kappa(both_ways(ratings)), atol=1e-3)
    # A tie lies between: what looks like disagreement is partly only a matter of degree.
    assert found["krippendorff_nominal"].high < found["krippendorff_interval"].value
    assert found["icc_1k"].low > 0.6


def test_items_that_are_alike_are_counted_and_change_no_number(monkeypatch):
    rng = np.random.default_rng(3)
    size = rng.integers(1, 6, 300)
    votes = rng.choice([0.0, 0.5, 1.0], (300, 5), p=[0.3, 0.2, 0.5])
    votes[np.arange(5) >= size[:, None]] = np.nan
    groups, sets = rng.integers(0, 60, 300), rng.integers(0, 2, 300)
    table = tabulate(votes)
    monkeypatch.setattr(type(table), "kinds", lambda self: None)
    one_by_one = agreement_intervals(table, groups, sets, 60, np.random.default_rng(1), crossed=False)
    monkeypatch.undo()
    assert table.kinds().max() < 60
    counted = agreement_intervals(table, groups, sets, 60, np.random.default_rng(1), crossed=False)
    for name, found in counted.items():
        expected = one_by_one[name]
        np.testing.assert_allclose(
            (found.value, found.low, found.high), (expected.value, expected.low, expected.high), rtol=1e-11
        )
