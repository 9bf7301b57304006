import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation import scorecard
from dissensus.evaluation.groups import Group
from dissensus.evaluation.join import join
from dissensus.evaluation.metrics import primary_candidates, scored_metrics
from dissensus.evaluation.resample import Contender, Part, Sample, _swaps
from dissensus.evaluation.scorecard import Reference

METRICS, TESTED = scored_metrics(), list(primary_candidates())


def score(pairs, predictions, n_swaps=19, **settings):
    return scorecard.score(join(pairs, predictions), n_swaps=n_swaps, **settings)


def find(rows, **wanted):
    wanted = {"group": "all", "baseline": None} | wanted
    [row] = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    return row


@pytest.fixture(scope="module")
def study(make_study):
    return make_study()


@pytest.fixture(scope="module")
def rows(study):
    return score(*study, baseline="base", n_resamples=300, n_swaps=999)


def test_every_model_metric_and_group_has_one_row(rows):
    keys = [(r.model, r.metric, r.group, r.baseline) for r in rows]
    assert len(keys) == len(set(keys))
    groups = {r.group for r in rows if not r.group.startswith("majority=")}
    assert {"all", "dataset=web", "domain=out", "category=multiple&domain=in", "contested=yes"} <= groups
    for group in groups:
        expected = set(METRICS) | {"ece_null"}
        expected -= set() if spans_data_sets(group) else {"pearson_within"}
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
    assert "exploratory" in str(groups["majority=1"].notes)


def test_of_unequal_numbers_of_seeds_the_difference_that_is_shown_is_tested(study):
    """Each seed weighs the same in the test, whatever order they come in, as it does in the mean."""
    pairs, predictions = study
    extra = [p.model_copy(update={"seed": 2}) for p in predictions if (p.model, p.seed) == ("base", 0)]
    rows = score(pairs, [*predictions, *extra], baseline="base", n_resamples=0, n_swaps=199)
    turned = score(pairs, [*extra, *predictions[::-1]], baseline="base", n_resamples=0, n_swaps=199)
    for metric in ("pearson", "l1"):
        here, there = (find(r, model="better", metric=metric, baseline="base") for r in (rows, turned))
        assert here.p_value == there.p_value
    joined = join(pairs, [*predictions, *extra])
    sample = Sample.of(joined)
    n = joined.human.size
    everywhere = np.ones(n, dtype=bool)
    contenders = [
        Contender(m, "model", p, np.broadcast_to(joined.human, p.shape), everywhere, rival=rival)
        for (m, p), rival in zip(joined.predicted.items(), (None, 0), strict=True)
    ]
    parts = {i: Part.of(sample, everywhere) for i in (0, 1)}
    swaps = _swaps(sample, contenders, parts)[1]
    unswapped = np.mean([swap(np.zeros((sample.clusters.count, 1)))[TESTED.index("l1"), 0] for swap in swaps])
    assert unswapped == pytest.approx(find(rows, model="better", metric="l1", baseline="base").value)


def test_difference_is_model_minus_baseline(rows):
    ours, theirs = (find(rows, model=m, metric="l1").value for m in ("better", "base"))
    difference = find(rows, model="better", metric="l1", baseline="base")
    assert difference.value == pytest.approx(ours - theirs)
    assert difference.low < difference.value < difference.high
    methods = {metric: find(rows, model="base", metric=metric).method for metric in ("pearson", "ece", "ece_null")}
    assert methods == {"pearson": "t", "ece": "percentile", "ece_null": None}
    assert all(r.low <= r.value <= r.high for r in rows if r.low is not None and r.metric in {"l1", "brier"})


def test_a_prompt_that_fills_a_megabyte_is_no_trouble(study, peak_memory):
    pairs, predictions = study
    pairs = [pair.model_copy(update={"group": "x" * 1_000_000}) if i == 0 else pair for i, pair in enumerate(pairs)]
    assert peak_memory(lambda: score(pairs, predictions, n_resamples=5)) < 20_000_000


@pytest.mark.parametrize("turned", [{0: 0, 1: 1}, {0: 1, 1: 0}])
def test_a_copy_of_the_baseline_does_not_differ_from_it(study, turned):
    """Nor do its seeds from those of the baseline: they are the same trained models, in whatever order."""
    pairs, predictions = study
    base = [p for p in predictions if p.model == "base"]
    copy = [p.model_copy(update={"model": "copy", "seed": turned[p.seed]}) for p in base]
    rows = [r for r in score(pairs, base + copy, baseline="base", n_resamples=99) if r.baseline]
    assert all((abs(r.value), abs(r.low), abs(r.high)) == (0, 0, 0) for r in rows)
    if turned[0] == 0:
        tested = [r for r in rows if r.metric not in UNTESTED and not Group.parse(r.group).is_exploratory]
        assert {r.p_value for r in tested} == {1}
        assert {r.p_holm for r in tested if r.role == "primary"} == {1}


def test_seeds_are_counted_where_there_are_several_and_asked_for_where_there_is_one(make_pair, make_prediction):
    """Two equal ways to train, whose seeds differ more than the pairs leave open: a lucky seed is no better way."""
    rng = np.random.default_rng(6)
    utility = rng.normal(0.3, 1.5, 400)
    votes = rng.binomial(5, 1 / (1 + np.exp(-utility)))
    pairs = [make_pair(f"p{i}", int(v), 5) for i, v in enumerate(votes)]

    def predict(model, seed, noise):
        shown = 1 / (1 + np.exp(-(0.7 * utility + rng.normal(0, noise, 400))))
        return [make_prediction(f"p{i}", p, model, seed) for i, p in enumerate(shown)]

    lucky = [predict(m, s, noise) for m, s, noise in (("a", 0, 0.9), ("a", 1, 0.5), ("a", 2, 0.3), ("b", 0, 0.8))]
    more = [*lucky, predict("b", 1, 0.6), predict("b", 2, 1.0)]
    alone = [predict("a", 0, 0.3), predict("b", 0, 0.9)]
    settings = {"baseline": "b", "n_resamples": 300, "n_swaps": 199}
    three, mixed, one = (
        find(score(pairs, [p for m in models for p in m], **settings), model="a", metric="l1", baseline="b")
        for models in (more, lucky, alone)
    )
    assert three.high - three.low > 2 * (one.high - one.low)
    assert three.p_value > 0.02 > one.p_value
    assert "one training seed each" in str(one.notes)
    assert "b has one training seed" in str(mixed.notes)
    assert "seed" not in str(three.notes)
    untested = score(pairs, [p for m in alone for p in m], baseline="b", n_resamples=100, n_swaps=0)
    assert "one training seed each" in str(find(untested, model="a", metric="l1", baseline="b").notes)


def test_one_seed_gives_one_answer(study):
    assert score(*study, n_resamples=50, seed=3) == score(*study, n_resamples=50, seed=3)
    assert score(*study, n_resamples=50, seed=3) != score(*study, n_resamples=50, seed=4)


@pytest.mark.parametrize(
    ("n", "per_prompt", "note"),
    [
        (60, 10, "interval rests on only 6 prompts"),
        (60, 30, "no interval: 2 prompts are too few to resample"),
        (12, 12, "no interval: one prompt is too few to resample"),
    ],
)
def test_clusters_are_prompts_and_few_of_them_are_noted(make_study, n, per_prompt, note):
    pairs, predictions = make_study(n=n, per_prompt=per_prompt)
    pairs = [pair.model_copy(update={"dataset": "web"}) for pair in pairs]
    rows = [r for r in score(pairs, predictions, baseline="base", n_resamples=100) if r.metric != "ece_null"]
    row = find(rows, model="base", metric="l1")
    assert (row.n, row.clusters, row.notes[0]) == (n, n // per_prompt, note)
    assert not [r for r in rows if r.metric == "pearson_within"], "of one data set it is r"
    if n // per_prompt < 5:
        assert all(r.low is None and r.p_value is None and note in r.notes for r in rows if r.group == "all")


def test_equal_predictions_are_said_in_words(make_pair, make_prediction):
    pairs = [make_pair(f"p{i}", i) for i in range(4)]
    constant = [make_prediction(p.id, 0.7, "flat") for p in pairs]
    varied = [make_prediction(p.id, 0.2 + i / 10, "varied") for i, p in enumerate(pairs)]
    rows = score(pairs, constant + varied, baseline="flat", n_resamples=50)
    assert find(rows, model="flat", metric="pearson").notes[0].startswith("all predictions of flat are equal")
    against = find(rows, model="varied", metric="pearson", baseline="flat")
    assert against.value is None
    assert "all predictions of flat are equal" in str(against.notes)
    assert "seed" not in str(against.notes)  # there is neither an interval nor a test that it could be said of


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"baseline": "bse"}, EvaluationError, "'bse'; there are: base, better"),
        ({"level": 95}, ValueError, "level"),
        ({"references": [Reference("short", "reference", np.zeros(59))]}, ValueError, "60 pairs"),
        (
            {"references": [Reference("base", "reference", np.zeros(60))]},
            EvaluationError,
            "one name: base, better, base",
        ),
    ],
)
def test_what_cannot_be_scored_is_named(study, settings, error, message):
    with pytest.raises(error, match=message):
        score(*study, **settings)


UNTESTED = {"ece", "brier_reliability", "brier_resolution"}


def test_every_difference_is_tested_and_the_primary_ones_are_adjusted(rows):
    compared = [r for r in rows if r.baseline and r.low is not None]
    differences = [r for r in compared if r.metric not in UNTESTED and not Group.parse(r.group).is_exploratory]
    assert differences
    assert {r.p_value for r in compared if r.metric in UNTESTED or Group.parse(r.group).is_exploratory} == {None}
    assert all(0 < r.p_value <= 1 for r in differences)
    assert all(r.p_value <= r.p_holm <= 1 for r in differences if r.role == "primary")
    assert {r.metric for r in differences if r.role == "primary"} == {"pearson_within", "pearson", "l1"}
    assert all(r.p_value is None for r in rows if r.baseline is None)


def test_the_spread_between_seeds_is_given_apart_from_that_of_the_data(study, rows):
    pairs, predictions = study
    human = np.array([pair.votes.preference for pair in pairs])
    by_seed = [
        METRICS["l1"](np.array([p.preference_a for p in predictions if (p.model, p.seed) == ("base", s)]), human)
        for s in (0, 1)
    ]
    row = find(rows, model="base", metric="l1")
    assert row.value == pytest.approx(np.mean(by_seed))
    assert (row.seeds, row.seed_sd) == (2, pytest.approx(np.std(by_seed, ddof=1)))
    assert row.data_se < (row.high - row.low) / 4  # the interval counts the seeds, of which there are two
    one = find(score(pairs, [p for p in predictions if p.seed == 0], n_resamples=50), model="base", metric="l1")
    assert (one.seeds, one.seed_sd) == (None, None)
    assert one.data_se == pytest.approx((one.high - one.low) / 4, rel=0.35)


def test_calibration_error_stands_beside_what_a_calibrated_model_would_have(make_pair, make_prediction):
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.02, 0.98, 200)
    pairs = [make_pair(f"p{i}", int(rng.binomial(10, q))) for i, q in enumerate(truth)]
    calibrated = [make_prediction(f"p{i}", q, "calibrated") for i, q in enumerate(truth)]
    bold = [make_prediction(f"p{i}", np.clip(2 * q - 0.5, 0.01, 0.99), "bold") for i, q in enumerate(truth)]
    rows = score(pairs, calibrated + bold, n_resamples=0)
    null = find(rows, model="calibrated", metric="ece_null")
    assert null.low < find(rows, model="calibrated", metric="ece").value < null.high
    assert find(rows, model="bold", metric="ece").value > find(rows, model="bold", metric="ece_null").high


def test_references_are_rows_and_a_judge_is_compared_with_the_baseline(study):
    pairs, predictions = study
    human = np.array([pair.votes.preference for pair in pairs])
    judge = np.clip(human + np.random.default_rng(0).normal(0, 0.2, 60), 0, 1)
    judge[:6] = np.nan
    rows = score(
        pairs,
        predictions,
        baseline="base",
        n_resamples=100,
        references=[Reference("one half", "reference", np.full(60, 0.5)), Reference("gpt", "judge", judge)],
    )
    half = find(rows, model="one half", metric="l1")
    assert (half.kind, half.value) == ("reference", pytest.approx(np.abs(human - 0.5).mean()))
    assert find(rows, model="one half", metric="pearson").notes[0].startswith("all predictions of one half are equal")
    row = find(rows, model="gpt", metric="l1")
    assert (row.kind, row.n, row.seeds) == ("judge", 54, None)
    assert "6 of 60 pairs have no opinion of gpt" in str(row.notes)
    compared = find(rows, model="gpt", metric="l1", baseline="base")
    seeds = [[p.preference_a for p in predictions if (p.model, p.seed) == ("base", s)][6:] for s in (0, 1)]
    on_the_same = np.mean([METRICS["l1"](np.array(p), human[6:]) for p in seeds])
    assert compared.value == pytest.approx(row.value - on_the_same)
    assert compared.p_value is not None
    assert not [r for r in rows if r.model == "one half" and r.baseline]
    assert len([r for r in rows if (r.model, r.metric, r.group, r.baseline) == ("base", "l1", "all", None)]) == 1


def test_one_person_is_compared_with_the_others_vote(study):
    pairs, predictions = study
    human = np.array([pair.votes.preference for pair in pairs])
    person = (np.random.default_rng(0).random((4, 60)) < human).astype(float)
    others = (10 * human - person) / 9
    rows = score(
        pairs, predictions, n_resamples=60, references=[Reference("one person", "reference", person, human=others)]
    )
    row = find(rows, model="one person", metric="l1")
    assert row.value == pytest.approx(np.abs(person - others).mean())
    assert (row.seeds, row.n) == (None, 60)
    assert row.low < row.value < row.high
    assert not [r for r in rows if r.model == "one person" and r.metric == "ece_null"]


def test_pooled_and_within_data_sets_that_tell_different_stories_are_noted(make_pair, make_prediction):
    """Six data sets that differ in their means; within each the model knows nothing (facts of the field: Simpson)."""
    rng = np.random.default_rng(1)
    pairs, predictions = [], []
    for i in range(180):
        level = (i % 6) / 6
        pairs.append(make_pair(f"p{i}", int(10 * level + rng.integers(0, 4)), dataset=f"d{i % 6}", n=12))
        predictions.append(make_prediction(f"p{i}", 0.05 + 0.7 * level + 0.2 * rng.random()))
    rows = score(pairs, predictions, n_resamples=300)
    pooled = find(rows, model="m", metric="pearson")
    assert pooled.value > 0.7
    assert abs(find(rows, model="m", metric="pearson_within").value) < 0.25
    assert " within data sets and " in str(pooled.notes)


def test_shown_models_do_not_depend_on_who_else_is_scored(study):
    pairs, predictions = study
    alone = score(pairs, [p for p in predictions if p.model == "base"], n_resamples=60, n_swaps=0)
    together = [r for r in score(pairs, predictions, n_resamples=60, n_swaps=0) if r.model == "base"]
    assert [r for r in alone if r.metric != "ece_null"] == [r for r in together if r.metric != "ece_null"]


def test_what_cannot_vary_has_an_interval_of_no_width(study):
    rows = score(*study, n_resamples=100, references=[Reference("one half", "reference", np.full(60, 0.5))])
    for metric, value in {"nll": np.log(2), "brier_resolution": 0, "accuracy": 0.5}.items():
        row = find(rows, model="one half", metric=metric)
        assert row.value == row.low == row.high == pytest.approx(value)


def test_what_is_undefined_or_left_out_is_said_in_words(make_pair, make_prediction):
    def rows_of(votes, predicted=None, **fields):
        pairs = [make_pair(f"p{i}", a, **{k: f(i) for k, f in fields.items()}) for i, a in enumerate(votes)]
        shares = predicted or [0.2 + i % 7 / 10 for i in range(len(votes))]
        made = [make_prediction(p.id, x) for p, x in zip(pairs, shares, strict=True)]
        return {row.metric: row for row in score(pairs, made, n_resamples=50) if row.group == "all"}

    even = rows_of([5] * 4)
    assert (even["pearson"].value, even["pearson"].low, even["pearson"].high) == (None, None, None)
    assert even["pearson"].notes[0].startswith("all human preferences are equal: r is undefined")
    assert even["accuracy"].notes[0].startswith("people are split evenly on every pair: accuracy is undefined")
    assert even["l1"].value == pytest.approx(0.15)
    some = rows_of([5, 9, 8, None], [0.6] * 4)
    assert some["accuracy"].n == 2, "the pairs that have a winner"
    assert some["l1"].notes[0] == "no interval: 3 prompts are too few to resample"
    assert some["l1"].notes[-1] == "1 of 4 pairs carry no votes and are left out"
    small = rows_of([i % 6 for i in range(27)], dataset=lambda i: f"set-{i // 9}")
    assert small["pearson_within"].notes[0].startswith("no data set has 10 pairs that differ")
