import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluate.scorecard import score
from dissensus.stats.metrics import METRICS


def find(rows, **wanted):
    wanted = {"group": "all", "baseline": None} | wanted
    [row] = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    return row


@pytest.fixture(scope="module")
def study(make_study):
    return make_study()


@pytest.fixture(scope="module")
def rows(study):
    return score(*study, baseline="base", n_resamples=300)


def test_every_model_metric_and_group_has_one_row(rows):
    keys = [(r.model, r.metric, r.group, r.baseline) for r in rows]
    assert len(keys) == len(set(keys))
    groups = {r.group for r in rows if not r.group.startswith("majority=")}
    assert {"all", "dataset=web", "domain=out", "category=multiple&domain=in", "contested=yes"} <= groups
    for group in groups:
        expected = set(METRICS) | {"ece_null"} | ({"pearson_within"} if spans_data_sets(group) else set())
        for model in ("base", "better"):
            assert {r.metric for r in rows if (r.model, r.group, r.baseline) == (model, group, None)} == expected
        compared = {r.metric for r in rows if r.group == group and r.baseline == "base"}
        assert compared == expected - {"ece_null", "brier_uncertainty"}


def spans_data_sets(group):
    return "dataset" not in group and "domain" not in group  # each domain of the study has one data set


def test_groups_by_majority_are_for_accuracy_alone(study, rows):
    shares = [max(p.votes.preference, 1 - p.votes.preference) for p in study[0]]
    groups = {r.group: r for r in rows if r.group.startswith("majority=") and r.model == "base"}
    assert {r.metric for r in rows if r.group in groups} == {"accuracy"}
    assert groups["majority=0.5-0.7"].n == sum(0.5 < s <= 0.7 for s in shares)
    assert groups["majority=1"].n == sum(s == 1 for s in shares)
    assert sum(r.n for r in groups.values()) == sum(s > 0.5 for s in shares)
    assert "exploratory" in groups["majority=1"].note


def test_value_is_the_mean_over_seeds(study, rows):
    pairs, predictions = study
    human = np.array([pair.votes.preference for pair in pairs])
    by_seed = [
        METRICS["pearson"](np.array([p.preference_a for p in predictions if (p.model, p.seed) == ("base", s)]), human)
        for s in (0, 1)
    ]
    assert find(rows, model="base", metric="pearson").value == pytest.approx(np.mean(by_seed))


def test_difference_is_model_minus_baseline(rows):
    ours, theirs = (find(rows, model=m, metric="l1").value for m in ("better", "base"))
    difference = find(rows, model="better", metric="l1", baseline="base")
    assert difference.value == pytest.approx(ours - theirs)
    assert difference.low < difference.value < difference.high < 0


def test_intervals_surround_their_values(rows):
    assert all(r.low <= r.value <= r.high for r in rows if r.low is not None and r.metric in {"l1", "brier"})


def test_a_prompt_that_fills_a_megabyte_is_no_trouble(study, peak_memory):
    pairs, predictions = study
    pairs = [pair.model_copy(update={"group": "x" * 1_000_000}) if i == 0 else pair for i, pair in enumerate(pairs)]
    assert peak_memory(lambda: score(pairs, predictions, n_resamples=5)) < 20_000_000


def test_a_copy_of_the_baseline_does_not_differ_from_it(study):
    pairs, predictions = study
    base = [p for p in predictions if p.model == "base"]
    rows = score(pairs, base + [p.model_copy(update={"model": "copy"}) for p in base], baseline="base", n_resamples=99)
    assert all((r.value, r.low, r.high) == (0, 0, 0) for r in rows if r.baseline)


def test_one_seed_gives_one_answer(study):
    assert score(*study, n_resamples=50, seed=3) == score(*study, n_resamples=50, seed=3)
    assert score(*study, n_resamples=50, seed=3) != score(*study, n_resamples=50, seed=4)


def test_clusters_are_prompts_and_few_of_them_are_noted(make_study):
    pairs, predictions = make_study(n=60, per_prompt=10)
    row = find(score(pairs, predictions, n_resamples=100), model="base", metric="l1")
    assert (row.n, row.clusters) == (60, 6)
    assert row.note.split("; ")[0] == "interval rests on only 6 prompts"


def test_one_prompt_has_no_interval(make_study):
    pairs, predictions = make_study(n=12, per_prompt=12)
    pairs = [pair.model_copy(update={"dataset": "web"}) for pair in pairs]
    row = find(score(pairs, predictions, n_resamples=100), model="base", metric="l1")
    assert row.value is not None
    assert row.low is None
    assert "one prompt is too few to resample" in row.note


def test_two_prompts_get_no_interval_that_would_look_certain(make_study):
    pairs, predictions = make_study(n=60, per_prompt=30)
    rows = score(pairs, predictions, baseline="base", n_resamples=100)
    assert all(
        r.low is None and "2 prompts are too few" in r.note for r in rows if r.group == "all" and r.metric != "ece_null"
    )
    assert all(r.p_value is None for r in rows)


def test_equal_human_preferences_are_said_in_words(make_pair, make_prediction):
    pairs = [make_pair(f"p{i}", 5) for i in range(4)]
    rows = score(pairs, [make_prediction(p.id, 0.2 + i / 10) for i, p in enumerate(pairs)], n_resamples=50)
    for metric, note in {
        "pearson": "all human preferences are equal: Pearson is undefined",
        "accuracy": "people are split evenly on every pair: accuracy is undefined",
    }.items():
        row = find(rows, model="m", metric=metric)
        assert (row.value, row.low, row.high) == (None, None, None)
        assert row.note.startswith(note)
    assert find(rows, model="m", metric="l1").value == pytest.approx(0.15)


def test_equal_predictions_are_said_in_words(make_pair, make_prediction):
    pairs = [make_pair(f"p{i}", i) for i in range(4)]
    constant = [make_prediction(p.id, 0.7, "flat") for p in pairs]
    varied = [make_prediction(p.id, 0.2 + i / 10, "varied") for i, p in enumerate(pairs)]
    rows = score(pairs, constant + varied, baseline="flat", n_resamples=50)
    assert find(rows, model="flat", metric="pearson").note.startswith("all predictions of flat are equal")
    against = find(rows, model="varied", metric="pearson", baseline="flat")
    assert against.value is None
    assert "all predictions of flat are equal" in against.note


def test_accuracy_counts_the_pairs_that_have_a_winner(make_pair, make_prediction):
    pairs = [make_pair("p", 5), make_pair("q", 9), make_pair("r", 8)]
    rows = score(pairs, [make_prediction(p.id, 0.6) for p in pairs], n_resamples=0)
    assert find(rows, model="m", metric="accuracy").n == 2


def test_left_out_pairs_are_counted_in_a_note(make_pair, make_prediction):
    pairs = [make_pair("p", 5), make_pair("q", 9), make_pair("r")]
    rows = score(pairs, [make_prediction(p.id, 0.6) for p in pairs], n_resamples=0)
    assert find(rows, model="m", metric="l1").note == "1 of 3 pairs carry no votes and are left out"


def test_unknown_baseline_lists_the_models(study):
    with pytest.raises(EvaluationError, match="'bse'; there are: base, better"):
        score(*study, baseline="bse")


def test_a_level_in_percent_is_a_mistake(study):
    with pytest.raises(ValueError, match="level"):
        score(*study, level=95)
