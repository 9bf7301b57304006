from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import permutation_test

from dissensus.errors import InputError
from dissensus.evaluate.evaluation import evaluate_predictions
from dissensus.records import Pair, Prediction, Votes
from dissensus.stats import permutation
from dissensus.stats.ceiling import ceiling
from dissensus.stats.planning import find_pairs, plan
from dissensus.stats.power import Design, estimate_power
from dissensus.stats.swap import swap_test, swapped_differences

EQUAL = Design(r_baseline=0.7, r_model=0.7)


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


def test_the_attenuation_is_the_noise_ceiling_of_such_people():
    design = replace(EQUAL, ratings="estimates")
    rng = np.random.default_rng(0)
    truth = design._marginal.of_scores(rng.standard_normal(20_000))
    single = replace(design, annotators=1)
    rated = np.stack([single._rate(truth, rng) for _ in range(3)], axis=1)
    assert ceiling(rated).pearson == pytest.approx(design.attenuation(), abs=0.005)


def test_the_swap_test_is_that_of_scipy():
    rng = np.random.default_rng(0)
    human, baseline, model = rng.random((3, 8))
    baseline, model = ((x - x.mean()) / x.std() for x in (baseline, model))

    def difference(x, y):
        return np.corrcoef(y, human)[0, 1] - np.corrcoef(x, human)[0, 1]

    exact = permutation_test((baseline, model), difference, permutation_type="samples", n_resamples=np.inf).pvalue
    labels = np.arange(8), np.zeros(8, dtype=int)
    ours = [swap_test(baseline[None], model[None], human[None], *labels, rng)[0] for _ in range(100)]
    assert np.mean(ours) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(
    ("design", "metric"),
    [
        (Design(pairs=40, per_prompt=2), "pearson"),
        (Design(pairs=60, per_prompt=3, data_sets=3), "pearson_within"),
        (Design(pairs=57, per_prompt=2, data_sets=5, ratings="estimates"), "pearson_within"),
        (Design(pairs=30, data_sets=6), "pearson"),  # of data sets of five pairs there is no r within them
    ],
)
def test_the_swap_test_is_that_of_the_evaluation(design, metric):
    rng = np.random.default_rng(1)
    baseline, model, human = design.draw(3, rng)
    prompts, data_sets = design.labels
    model = model**2  # on a scale of its own, as a trained model's predictions are
    swapped = rng.integers(2, size=(prompts.max() + 1, 40)).astype(float)
    ours = swapped_differences(baseline, model, human, prompts, data_sets, swapped)
    for i in range(3):
        evaluated = permutation.Swap(model[i], baseline[i], human[i], prompts, data_sets)(swapped)
        assert ours[i] == pytest.approx(evaluated[permutation.TESTED.index(metric)], abs=1e-12)


def test_a_study_is_tested_as_evaluate_tests_it():
    design = Design(pairs=36, per_prompt=2, data_sets=3, r_model=0.8)
    baseline, model, human = design.draw(1, np.random.default_rng(3))
    prompts, data_sets = design.labels
    pairs = [
        Pair(id=str(i), prompt=f"{prompts[i]}", response_a="a", response_b=f"b{i}", dataset=f"{data_sets[i]}",
             votes=Votes(a=round(3 * human[0, i]), b=3 - round(3 * human[0, i])))
        for i in range(36)
    ]  # fmt: skip
    predictions = [
        Prediction(pair_id=str(i), model=name, reward_a=0, reward_b=0, preference_a=float(found[0, i]))
        for name, found in (("baseline", baseline), ("model", model))
        for i in range(36)
    ]
    rows = evaluate_predictions(pairs, predictions, baseline="baseline", n_resamples=0, n_swaps=4999)
    [evaluated] = [
        row.p_value for row in rows if (row.group, row.metric, row.baseline) == ("all", "pearson_within", "baseline")
    ]
    ours = [swap_test(baseline, model, human, prompts, data_sets, np.random.default_rng(i))[0] for i in range(100)]
    assert np.mean(ours) == pytest.approx(evaluated, abs=0.02)


def test_what_an_evaluation_does_not_test_is_never_found():
    few = Design(pairs=40, per_prompt=10, r_baseline=0.1, r_model=0.9, between=0.1)
    assert estimate_power(few, studies=100) == 0
    one_prompt_each = Design(pairs=80, per_prompt=10, data_sets=8, r_baseline=0.1, r_model=0.9, between=0.1)
    assert estimate_power(one_prompt_each, studies=100) == 0
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
    assert estimate_power(design, studies=4000) == pytest.approx(0.05, abs=0.011)


def test_pairs_of_a_prompt_are_no_independent_evidence():
    design = replace(EQUAL, pairs=200, per_prompt=10, prompt_correlation=0.9)

    def pairwise(baseline, model, human, prompts, data_sets, rng):
        return swap_test(baseline, model, human, np.arange(prompts.size), data_sets, rng)

    assert estimate_power(design, test=pairwise) > 0.12
    assert estimate_power(design) < 0.07


def test_a_difference_of_12_is_found_15_times_in_100_with_25_pairs_and_54_with_150():
    # Three raters of SD .18 who estimate; the known figures name no correlation between the models: it is about .45.
    design = Design.from_observed(0.64, 0.12, ratings="estimates", between=0.45)
    assert estimate_power(replace(design, pairs=25), studies=4000) == pytest.approx(0.15, abs=0.04)
    assert estimate_power(design, studies=4000) == pytest.approx(0.54, abs=0.03)


def test_what_was_asked_for_is_what_is_observed():
    design = Design.from_observed(0.5, 0.1, annotators=3, pairs=2000)
    baseline, model, human = design.draw(50, np.random.default_rng(0))
    assert (corr(baseline, human), corr(model, human)) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.6, abs=0.01))


@pytest.mark.parametrize("power", [0.5, 0.8])
def test_so_many_pairs_reach_the_power(power):
    design = Design.from_observed(0.6, 0.1, per_prompt=2, data_sets=2)
    pairs = find_pairs(design, power)
    assert pairs % 4 == 0
    assert estimate_power(replace(design, pairs=pairs), studies=4000, seed=9) == pytest.approx(power, abs=0.03)


def test_better_people_and_more_alike_models_need_fewer_pairs():
    design = Design(r_baseline=0.6, r_model=0.75, between=0.6)
    plans = plan(design, [1, 3, 10], studies=400)
    assert [p.pairs for p in plans] == sorted((p.pairs for p in plans), reverse=True)
    assert [p.ceiling for p in plans] == sorted(p.ceiling for p in plans)
    assert find_pairs(replace(design, between=0.85)) < plans[1].pairs < find_pairs(replace(design, between=0.4))
    assert find_pairs(design, seed=1) == pytest.approx(plans[1].pairs, rel=0.08)
    assert find_pairs(design) == plans[1].pairs


def test_a_hair_of_a_difference_is_beyond_reach():
    assert find_pairs(Design(r_baseline=0.6, r_model=0.601)) is None


def test_a_huge_difference_needs_no_fewer_than_a_correlation_does():
    assert find_pairs(Design(r_baseline=-0.9, r_model=0.9, between=-0.9, data_sets=3)) >= 12


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
    ],
)
def test_impossible_designs_say_why(fields, message):
    with pytest.raises(InputError, match=message):
        Design(**fields)


def test_the_limits_that_a_message_names_are_the_limits():
    low, high = Design(r_baseline=0.7, r_model=0.9).possible_between
    for between in (low + 0.003, high - 0.003):
        Design(r_baseline=0.7, r_model=0.9, between=between)
    for between in (low - 0.003, high + 0.003):
        with pytest.raises(InputError, match="only between"):
            Design(r_baseline=0.7, r_model=0.9, between=between)


def test_no_difference_and_one_above_the_ceiling():
    with pytest.raises(InputError, match="equally good"):
        find_pairs(EQUAL)
    with pytest.raises(InputError, match=r"a perfect model would have 0\.77"):
        Design.from_observed(0.7, 0.1)
