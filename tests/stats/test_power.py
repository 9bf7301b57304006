from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import norm, ttest_ind

from dissensus.errors import InputError
from dissensus.evaluation.groups import Group
from dissensus.evaluation.join import join
from dissensus.evaluation.metrics import primary_candidates
from dissensus.evaluation.scorecard import score
from dissensus.records import Pair, Prediction, Votes
from dissensus.stats.ceilings.noise_ceiling import ceiling
from dissensus.stats.design import sample_size, simulated_swaps
from dissensus.stats.design.approximate_power import Outlook
from dissensus.stats.design.sample_size import find_limit, find_pairs, find_seeds, plan
from dissensus.stats.design.simulated_power import Design, estimate_power
from dissensus.stats.design.simulated_swaps import enough_swaps, swap_test, swapped_differences
from dissensus.stats.metrics import pearson, pearson_within
from dissensus.stats.resampling import permutation
from dissensus.stats.resampling.clusters import cluster_counts

TESTED = primary_candidates()
EQUAL = Design(r_baseline=0.7, r_model=0.7)
SEEDS = Design(r_baseline=0.6, r_model=0.7, between=0.7, seeds=3, seed_sd=0.03, between_seeds=0.85)


def corr(x, y):
    return np.corrcoef(x.ravel(), y.ravel())[0, 1]


@pytest.mark.parametrize("sd", [0.15, 0.29, 0.45])
def test_what_is_drawn_correlates_as_the_design_says(sd):
    design = Design(
        pairs=400, annotators=2000, r_baseline=0.4, r_model=0.8, between=0.5, preference_sd=sd, per_prompt=4
    )
    baseline, model, human = design.draw(200, np.random.default_rng(0))
    found = [corr(baseline, human), corr(model, human), corr(baseline, model), human.std(), model.std()]
    assert found == pytest.approx([0.4, 0.8, 0.5, sd, sd], abs=0.012)


def test_seeds_are_drawn_as_the_design_says():
    design = replace(SEEDS, pairs=1000, annotators=2000)
    baseline, model, human = design.draw(150, np.random.default_rng(0))
    assert baseline.shape == model.shape == (3, 150, 1000)
    # With so many annotators the votes are the truth; what is left of the spread is chance among 1000 pairs.
    for predicted, r in ((baseline, 0.6), (model, 0.7)):
        seeds = np.array([[corr(x, y) for x, y in zip(seed, human, strict=True)] for seed in predicted])
        assert seeds.mean() == pytest.approx(r, abs=0.01)
        chance = (1 - 0.85) * (1 - r**2) / 1000
        assert seeds.std(axis=0, ddof=1).mean() == pytest.approx(0.886 * np.sqrt(0.03**2 + chance), abs=0.004)
        assert corr(predicted[0], predicted[1]) == pytest.approx(0.85, abs=0.01)
    assert corr(baseline[0], model[2]) == pytest.approx(0.7, abs=0.015)


def test_pairs_of_a_prompt_resemble_each_other():
    design = replace(EQUAL, pairs=40, per_prompt=2, prompt_correlation=0.6)
    _, model, _ = design.draw(2000, np.random.default_rng(0))
    assert corr(model[:, 0], model[:, 1]) == pytest.approx(0.6, abs=0.06)
    assert corr(model[:, 1], model[:, 2]) == pytest.approx(0, abs=0.06)
    prompts, data_sets = replace(design, pairs=10, data_sets=2).labels
    assert prompts.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    assert data_sets.tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize("annotators", [1, 3, 10])
def test_few_votes_attenuate_by_the_root_of_their_reliability(annotators):
    design = replace(EQUAL, annotators=annotators)
    variance = design.preference_sd**2
    reliability = variance / (variance + (0.25 - variance) / annotators)
    assert design.attenuation() == pytest.approx(np.sqrt(reliability), abs=0.005)
    seeds = Design.from_observed(0.2, 0.1, annotators=annotators, seeds=3, seed_sd=0.01)
    assert seeds.seed_sd * seeds.attenuation() == pytest.approx(0.01)


def test_the_attenuation_of_estimates_is_the_noise_ceiling_of_such_people():
    design = replace(EQUAL, ratings="estimates")
    rng = np.random.default_rng(0)
    truth = design._marginal.of_scores(rng.standard_normal(20_000))
    rated = np.stack([replace(design, annotators=1)._rate(truth, rng) for _ in range(3)], axis=1)
    assert ceiling(rated).pearson == pytest.approx(design.attenuation(), abs=0.005)


@pytest.mark.parametrize(
    ("design", "metric"),
    [
        (Design(pairs=40, per_prompt=2), "pearson"),
        (Design(pairs=60, per_prompt=3, data_sets=3), "pearson_within"),
        (Design(pairs=57, per_prompt=2, data_sets=5, ratings="estimates"), "pearson_within"),
        (Design(pairs=48, data_sets=2), "pearson_within"),
        (Design(pairs=30, data_sets=6), "pearson"),  # of data sets of five pairs there is no r within them
    ],
)
def test_the_swap_test_is_that_of_the_evaluation(design, metric):
    baseline, model, human = design.draw(3, np.random.default_rng(1))
    prompts, data_sets = design.labels
    if design.pairs == 48:  # prompts of any size
        prompts = np.repeat(np.arange(9), [1, 2, 9, 3, 9, 1, 12, 4, 7])
        data_sets = (prompts > 4).astype(int)
    # On a scale of its own, and placing data sets otherwise, as a trained model's predictions do.
    model = model**2 + 0.3 * data_sets
    swapped = np.random.default_rng(2).integers(2, size=(prompts.max() + 1, 40)).astype(float)
    ours = swapped_differences(baseline, model, human, prompts, data_sets, swapped)
    for i in range(3):
        evaluated = permutation.Swap(model[i], baseline[i], human[i], prompts, data_sets, metrics=TESTED)(swapped)
        assert ours[i] == pytest.approx(evaluated[list(TESTED).index(metric)], abs=1e-12, nan_ok=True)


def test_blocks_of_prompts_are_swapped_as_the_prompts_in_them_would_be():
    design = Design(pairs=120, per_prompt=2, data_sets=2)
    drawn = (*design.draw(2, np.random.default_rng(0)), *design.labels)
    blocks = np.random.default_rng(1).integers(2, size=(15, 30)).astype(float)
    by_prompt = swapped_differences(*drawn, np.repeat(blocks, 4, axis=0))
    assert swapped_differences(*drawn, blocks) == pytest.approx(by_prompt, abs=1e-12)


@pytest.mark.parametrize("design", [Design(pairs=60, per_prompt=2), Design(pairs=60, per_prompt=3, data_sets=2)])
def test_seeds_vary_in_resamples_as_in_an_evaluation(design, monkeypatch):
    monkeypatch.setattr(simulated_swaps, "_RESAMPLES", 3000)
    predicted, _, human = replace(design, seeds=3, seed_sd=0.03).draw(2, np.random.default_rng(0))
    prompts, data_sets = design.labels
    drawn = simulated_swaps._resample(prompts, data_sets, np.random.default_rng(1))
    values, resampled = simulated_swaps._between_seeds(predicted, human, prompts, data_sets, drawn)
    counts = np.concatenate(list(cluster_counts(prompts, data_sets, 3000, np.random.default_rng(2))))
    for i in range(2):
        r = partial(pearson, human=human[i])
        if np.ptp(data_sets):
            r = partial(pearson_within, human=human[i], strata=data_sets)
        assert values[:, i] == pytest.approx([r(seed[i]) for seed in predicted], abs=1e-9)
        found = [r(seed[i], weights=counts) for seed in predicted]
        assert resampled[i] == pytest.approx(np.nanmean(np.var(found, axis=0, ddof=1)), rel=0.06)


@pytest.mark.parametrize(
    "design",
    [
        Design(pairs=60, per_prompt=2, data_sets=3, r_model=0.85),
        Design(pairs=60, per_prompt=2, data_sets=3, r_model=0.85, seeds=3, seed_sd=0.03),
        Design(pairs=80, per_prompt=10, data_sets=8, r_baseline=0.1, r_model=0.9, between=0.1),  # a prompt each
    ],
)
def test_a_study_is_tested_as_evaluate_tests_it(design):
    baseline, model, human = design.draw(1, np.random.default_rng(3))
    prompts, data_sets = design.labels
    votes = np.round(3 * human[0]).astype(int)
    pairs = [
        Pair(id=str(i), prompt=f"{prompts[i]}", response_a="a", response_b=f"b{i}", dataset=f"{data_sets[i]}",
             votes=Votes(a=votes[i], b=3 - votes[i]))
        for i in range(design.pairs)
    ]  # fmt: skip
    predictions = [
        Prediction(pair_id=str(i), model=name, seed=s, reward_a=0, reward_b=0, preference_a=float(seed[i]))
        for name, side in (("baseline", baseline), ("model", model))
        for s, seed in enumerate(side.reshape(design.seeds, -1))
        for i in range(design.pairs)
    ]
    everything = {Group(): np.ones(design.pairs, dtype=bool)}
    joined = join(pairs, predictions)
    rows = score(joined, baseline="baseline", n_swaps=9999, groups=everything, n_resamples=300)
    asked = ("all", "pearson_within", "baseline")
    [evaluated] = [row.p_value for row in rows if (row.group, row.metric, row.baseline) == asked]
    ours = [swap_test(baseline, model, human, *design.labels, np.random.default_rng(i))[0] for i in range(50)]
    assert np.mean(ours) == pytest.approx(evaluated, abs=0.02)  # three standard errors


def test_what_an_evaluation_does_not_test_is_never_found():
    few = Design(pairs=40, per_prompt=10, r_baseline=0.1, r_model=0.9, between=0.1)
    assert estimate_power(few, studies=100) == 0
    assert estimate_power(replace(few, seeds=2, between_seeds=0.99), studies=100) == 0
    assert estimate_power(replace(few, per_prompt=5), studies=100) > 0


def test_the_swap_test_knows_neither_sides_nor_the_order_of_models():
    design = replace(EQUAL, pairs=30, per_prompt=3, data_sets=2)
    baseline, model, human = design.draw(20, np.random.default_rng(0))
    found = swap_test(baseline, model, human, *design.labels, np.random.default_rng(1))
    assert (swap_test(model, baseline, human, *design.labels, np.random.default_rng(1)) == found).all()
    turned = swap_test(1 - baseline, 1 - model, 1 - human, *design.labels, np.random.default_rng(1))
    assert turned == pytest.approx(found)
    same = swap_test(model, model, human, *design.labels, np.random.default_rng(1))
    assert (same == 1).all()
    constant = swap_test(baseline, model, np.ones_like(human), *design.labels, np.random.default_rng(1))
    assert (constant == 1).all()


@pytest.mark.parametrize(
    "design",
    [
        replace(EQUAL, pairs=25),
        EQUAL,
        replace(EQUAL, data_sets=6, pairs=30, ratings="estimates"),
        replace(EQUAL, per_prompt=5, prompt_correlation=0.8),
    ],
)
def test_equal_models_are_told_apart_in_one_study_of_twenty(design):
    assert estimate_power(design, studies=1500) == pytest.approx(0.05, abs=0.017)  # three standard errors


@pytest.mark.parametrize("design", [SEEDS, replace(SEEDS, seeds=2, data_sets=3)])
def test_equal_methods_are_told_apart_in_one_study_of_twenty_whatever_their_seeds(design):
    equal = replace(design, r_baseline=0.7, r_model=0.7)
    assert 0.025 <= estimate_power(equal, studies=600) <= 0.07


def test_with_one_seed_each_luck_passes_for_a_better_method():
    lucky = replace(EQUAL, pairs=600, seed_sd=0.03, seeds=1)
    assert estimate_power(lucky, studies=300) > 0.15
    assert estimate_power(replace(lucky, seeds=3), studies=300) < 0.09


@pytest.mark.parametrize(
    ("alpha", "swaps"), [(0.05, 199), (0.025, 199), (0.01, 499), (0.05 / 6, 599), (0.05 / 12, 1199)]
)
def test_a_share_of_the_level_is_met_exactly(alpha, swaps):
    assert enough_swaps(alpha) == swaps
    assert alpha * (1 + swaps) == pytest.approx(round(alpha * (1 + swaps)))


def test_a_difference_of_12_is_found_15_times_in_100_with_25_pairs_and_54_with_150():
    # Three raters of SD .18 who estimate; the known figures name no correlation between the models: it is about .45.
    design = Design.from_observed(0.64, 0.12, ratings="estimates", between=0.45)
    baseline, model, human = replace(design, pairs=2000).draw(50, np.random.default_rng(0))
    assert (corr(baseline, human), corr(model, human)) == pytest.approx((0.64, 0.76), abs=0.01)  # as is observed
    assert estimate_power(replace(design, pairs=25), studies=1000) == pytest.approx(0.15, abs=0.04)
    assert estimate_power(design, studies=1000) == pytest.approx(0.54, abs=0.045)


@pytest.mark.parametrize(
    ("design", "power"),
    [
        (Design.from_observed(0.5, 0.15, per_prompt=2, data_sets=2), 0.8),
        (Design.from_observed(0.5, 0.15, per_prompt=2, seeds=2, seed_sd=0.01), 0.6),
    ],
)
def test_so_many_pairs_reach_the_power(design, power):
    """Which is simulated with a standard error of .015 to .018."""
    pairs = find_pairs(design, power)
    assert pairs % (2 * design.data_sets) == 0
    assert estimate_power(replace(design, pairs=pairs), studies=750, seed=9) == pytest.approx(power, abs=0.06)


def test_the_fewest_pairs_are_those_that_a_test_and_a_correlation_take():
    # The swaps of m prompts make 2^(m - 1) differences.
    few = Design(r_baseline=0.0, r_model=0.95, between=0.0, per_prompt=20)
    assert find_pairs(few, 0.8, alpha=0.025) >= 7 * 20
    assert find_pairs(Design(r_baseline=-0.9, r_model=0.9, between=-0.9, data_sets=3)) >= 12
    assert find_pairs(Design(r_baseline=0.6, r_model=0.601)) is None  # beyond reach
    with pytest.raises(InputError, match="equally good"):
        find_pairs(EQUAL)


def test_better_people_and_more_alike_models_need_fewer_pairs(monkeypatch):
    monkeypatch.setattr(sample_size, "SEARCH_STEPS", (1.0,))
    design = Design(r_baseline=0.5, r_model=0.75, between=0.6)
    plans = plan(design, [1, 3, 10], studies=100)
    assert [p.pairs for p in plans] == sorted((p.pairs for p in plans), reverse=True)
    assert [p.ceiling for p in plans] == sorted(p.ceiling for p in plans)
    assert find_pairs(replace(design, between=0.85)) < plans[1].pairs < find_pairs(replace(design, between=0.4))
    assert find_pairs(design, seed=1) == pytest.approx(plans[1].pairs, rel=0.15)
    assert find_pairs(design) == plans[1].pairs


def test_seeds_limit_the_power_of_any_number_of_pairs():
    design = Design(r_baseline=0.7, r_model=0.75, seeds=3, seed_sd=0.03)
    assert find_pairs(design) is None
    [planned] = plan(design, [3], studies=100)
    assert planned.pairs is None
    assert planned.limit == find_limit(design) < 0.4
    assert find_limit(replace(design, seed_sd=0.0)) == find_limit(replace(design, seeds=1)) == 1
    needed = find_seeds(design)
    assert find_limit(replace(design, seeds=needed)) > 0.8 > find_limit(replace(design, seeds=needed - 2))
    assert find_seeds(replace(design, r_model=0.701)) is None


def test_with_endless_pairs_the_test_is_that_of_welch():
    outlook = Outlook(0.05, 0.05, 4, prompts=0.0, seed_sd=0.03, interaction=(0.0, 0.0))
    rng = np.random.default_rng(0)
    first, second = 0.03 * rng.standard_normal((2, 4, 10_000))
    found = ttest_ind(first + 0.05, second, equal_var=False).pvalue <= 0.05
    assert outlook.power(1) == pytest.approx(found.mean(), abs=0.015)


def test_with_one_seed_the_outlook_is_the_normal_approximation():
    outlook = Outlook(0.05, 0.05, 1, prompts=0.4, seed_sd=0.0, interaction=(0.0, 0.0))
    textbook = 0.4 * ((norm.ppf(0.975) + norm.ppf(0.8)) / 0.05) ** 2
    assert outlook.pairs_for(0.8, 1e5) == pytest.approx(textbook, rel=1e-4)
    assert outlook.power(textbook) == pytest.approx(0.8, abs=1e-4)
    several = Outlook(0.05, 0.05, 3, prompts=0.4, seed_sd=0.02, interaction=(0.1, 0.1))
    assert several.with_seeds(3) == several
    powers = [several.with_seeds(k).power(500) for k in range(2, 12)]
    assert powers == sorted(powers)  # more seeds find more


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pairs": 3}, "too few for a correlation: give at least 4"),
        ({"pairs": 20, "data_sets": 6}, "at least 24"),
        ({"r_model": 1.0}, "r of the model would be 1.000"),
        ({"r_baseline": 0.2, "r_model": 0.9}, "cannot correlate 0.800 with each other, only between -0.2"),
        ({"between": -1.5}, "correlation between the models"),
        ({"preference_sd": 0.5}, "between 0 and .5"),
        ({"preference_sd": float("nan")}, "between 0 and .5"),
        ({"r_model": float("nan")}, "r of the model"),
        ({"annotators": 0}, "one annotator"),
        ({"ratings": "estimates", "rater_sd": -1.0}, "SD of a rater"),
        ({"prompt_correlation": 1.0}, "within a prompt"),
        ({"seeds": 0}, "at least one training seed"),
        ({"seeds": 3, "seed_sd": -0.1}, "SD of r between seeds cannot be -0.1"),
        ({"seeds": 3, "seed_sd": float("nan")}, "SD of r between seeds"),
        ({"seeds": 3, "seed_sd": 0.1}, "would reach r = 1"),
        ({"seeds": 3, "between_seeds": 1.0}, "between seeds of one method cannot be 1.000"),
        ({"seeds": 3, "between": 0.95, "between_seeds": 0.9}, r"only from 0\.95\d to below 1"),
    ],
)
def test_impossible_designs_say_why(fields, message):
    with pytest.raises(InputError, match=message):
        Design(**fields)


def test_the_limits_that_a_message_names_are_the_limits():
    with pytest.raises(InputError, match=r"a perfect model would have 0\.77"):
        Design.from_observed(0.7, 0.1)
    low, high = Design(r_baseline=0.7, r_model=0.9).possible_between
    for between in (low + 0.003, high - 0.003):
        Design(r_baseline=0.7, r_model=0.9, between=between)
    for between in (low - 0.003, high + 0.003):
        with pytest.raises(InputError, match="only between"):
            Design(r_baseline=0.7, r_model=0.9, between=between)
    least = Design(seeds=3, between=0.95, between_seeds=0.99).least_between_seeds
    Design(seeds=3, between=0.95, between_seeds=least)
    with pytest.raises(InputError, match="only from"):
        Design(seeds=3, between=0.95, between_seeds=least - 0.002)
    assert Design(r_model=0.7, between=0.8).least_between_seeds == pytest.approx(0.8, abs=0.001)
