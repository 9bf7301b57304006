"""What is primary is tested as one family; all else is exploratory."""

import json

import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.evaluation.groups import Group
from dissensus.evaluation.primary import NOT_COUNTED, PRIMARY, check_primary, too_few_swaps, with_roles
from dissensus.evaluation.tables.number_format import stars
from dissensus.evaluation.tables.render import render
from dissensus.records import Judgment, Metric
from dissensus.stats.resampling.multiplicity import gated_holm
from dissensus.steps.evaluate import EvaluateSettings

QUICK = {"n_resamples": 0, "n_swaps": 199}


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(models=("base", "better", "best"))


@pytest.fixture(scope="module")
def rows(study):
    pairs, predictions = study
    judgments = [
        Judgment(pair_id=pair.id, judge="gpt", sample=k, order=order, choice="a" if k else "b")
        for pair in pairs
        for k, order in enumerate(("ab", "ba"))
    ]
    return evaluate_predictions(pairs, predictions, baseline="base", judgments=judgments, **QUICK)


def family(rows, model, metric):
    """The whole first; where a group lies in one data set, r stands for r within data sets."""
    spans = {r.group for r in rows if r.metric == "pearson_within"}
    found = [
        r
        for r in rows
        if r.baseline and (r.model, r.target) == (model, "votes") and not Group.parse(r.group).is_exploratory
        if r.metric == metric or (metric == "pearson_within" and r.metric == "pearson" and r.group not in spans)
    ]
    return sorted(found, key=lambda r: r.group != "all")


def test_each_model_and_primary_metric_is_a_family_with_all_pairs_first(rows):
    families = [family(rows, model, metric) for model in ("better", "best") for metric in PRIMARY]
    assert {len(found) for found in families} == {11}
    assert {r.metric for r in families[0]} == {"pearson_within", "pearson"}
    assert all(r.role == "primary" for found in families for r in found)
    adjusted = gated_holm([[r.p_value for r in found] for found in families])
    assert [[r.p_holm for r in found] for found in families] == adjusted
    assert all(r.p_value <= r.p_holm for found in families for r in found)


def test_everything_else_is_exploratory_and_earns_no_star(rows):
    primary = [id(r) for model in ("better", "best") for metric in PRIMARY for r in family(rows, model, metric)]
    others = [r for r in rows if r.baseline and id(r) not in primary]
    assert {r.role for r in others} == {"exploratory"}
    assert {r.p_holm for r in others} == {None}
    assert not any(stars(r) for r in others)
    judged = [r for r in others if r.kind == "judge" and r.metric == "l1" and r.group == "all"]
    assert judged[0].p_value is not None
    kinds = {(r.kind, r.target == "votes", Group.parse(r.group).is_exploratory, r.metric in PRIMARY) for r in others}
    assert {("judge", True, False, True), ("model", True, False, False), ("model", True, True, True)} <= kinds
    assert {r.role for r in rows if r.baseline is None} == {None}


def test_of_one_data_set_r_is_the_r_within_it(study):
    pairs = [pair.model_copy(update={"dataset": "web", "domain": None, "category": None}) for pair in study[0]]
    rows = evaluate_predictions(pairs, study[1], baseline="base", **QUICK)
    found = {(r.metric, r.group) for r in rows if r.role == "primary"}
    assert found == {("pearson", "all"), ("l1", "all")}
    assert {r.p_holm is None for r in rows if r.role == "primary"} == {False}


def test_where_r_within_data_sets_is_unknown_it_is_not_counted(make_pair, make_prediction):
    """Six sets of nine pairs: none has ten."""
    rng = np.random.default_rng(0)
    pairs = [make_pair(f"p{i}", int(rng.integers(11)), dataset=f"d{i % 6}", domain="in") for i in range(54)]
    noisy = ((m, p, rng.normal(0, noise)) for m, noise in (("base", 0.4), ("new", 0.02)) for p in pairs)
    predictions = [make_prediction(p.id, np.clip(p.votes.preference + e, 0.01, 0.99), m) for m, p, e in noisy]
    rows = evaluate_predictions(pairs, predictions, baseline="base", **QUICK)
    (within,) = [r for r in rows if r.metric == "pearson_within" and r.baseline and r.group == "all"]
    assert (within.role, within.value, within.p_holm) == ("primary", None, None)
    assert within.notes[-1] == NOT_COUNTED
    alone = {r.group: r for r in rows if r.metric == "l1" and r.baseline}
    assert alone["all"].p_holm == alone["all"].p_value  # it is the only family
    assert {r.role for r in rows if r.metric == "pearson" and r.baseline} == {"exploratory"}
    assert {r.group for r in rows if r.p_holm is not None} == {"all", *(f"dataset=d{k}" for k in range(6))}


def test_without_tests_what_was_declared_is_still_primary(study):
    rows = evaluate_predictions(*study, baseline="base", n_resamples=0, n_swaps=0)
    assert {r.metric for r in rows if r.role == "primary" and r.group == "all"} == {"pearson_within", "l1"}
    assert not any(NOT_COUNTED in r.notes for r in rows)


@pytest.mark.parametrize(("n_swaps", "enough"), [(799, False), (800, True)])
def test_swaps_that_cannot_show_anything_are_too_few(n_swaps, enough):
    """Of ten groups in four families one differs as clearly as it can: its adjusted p is 40 / (1 + swaps)."""
    rows = [
        Metric(
            model=model, group=group, metric=metric, value=0.1, n=9, baseline="base",
            p_value=1 / (1 + n_swaps) if (model, metric) == ("a", "l1") and group in ("all", "dataset=d0") else 1.0,
        )
        for group in ("all", *(f"dataset=d{k}" for k in range(10)))
        for model in ("a", "b")
        for metric in ("pearson", "l1")
    ]  # fmt: skip
    adjusted = with_roles(rows)
    smallest = min(row.p_holm for row in adjusted if row.group != "all")
    assert smallest == pytest.approx(40 / (1 + n_swaps))
    assert (smallest < 0.05) == enough
    words = too_few_swaps(adjusted, n_swaps)
    assert (
        words is None if enough else words.endswith("10 groups and 4 models and primary metrics, so take 800 or more")
    )
    assert too_few_swaps([], n_swaps) is None


def test_a_metric_that_is_not_tested_cannot_be_primary(study):
    with pytest.raises(
        EvaluationError, match=r"'ece' is no metric whose.*; choose among pearson_within, pearson, .*l1"
    ):
        evaluate_predictions(*study, primary=["l1", "ece"])
    with pytest.raises(EvaluationError, match="none is named"):
        evaluate_predictions(*study, primary=[])
    assert check_primary(["l1", "brier", "l1"]) == ("l1", "brier")
    assert check_primary("l1") == ("l1",)
    assert EvaluateSettings.model_fields["primary"].default == PRIMARY


def test_a_scorecard_of_an_earlier_version_keeps_its_stars(make_scorecard):
    old = [json.loads(row.model_dump_json(exclude={"role"})) for row in make_scorecard()]
    rows = [Metric.model_validate(row) for row in old]
    assert {row.role for row in rows} == {None}
    assert {stars(row) for row in rows if row.baseline} == {"*"}
    assert "Holm over the groups" in render(rows)


def null_study(rng, groups=8, size=40):
    """P-values of three models, four metrics and eight groups in which nothing differs: z-tests that share their data.

    A group's statistic is a part of the whole's, metrics of a model correlate .8, and models share their baseline.
    """
    base, own, kind = rng.standard_normal((groups, 1, 1)), *rng.standard_normal((2, groups, 3, 4)) * 1.0
    own = own[:, :, :1]
    z = (base + own + kind * 0.7) / np.sqrt(2.49)
    p = 2 * (1 - _cdf(np.abs(np.concatenate([z.sum(axis=0, keepdims=True) / np.sqrt(groups), z]))))
    return [
        Metric(
            model=f"m{m}", group="all" if g == 0 else f"dataset=d{g}", metric=metric, value=0.1, n=size,
            baseline="base", p_value=float(p[g, m, k]),
        )
        for g in range(groups + 1)
        for m in range(3)
        for k, metric in enumerate(("pearson", "l1", "brier", "spearman"))
    ]  # fmt: skip


def _cdf(x):
    from scipy.stats import norm

    return norm.cdf(x)


def test_where_nothing_differs_a_star_is_rare():
    """400 studies; by Holm over the groups of each model and metric alone, .3 of them have a star."""
    rng = np.random.default_rng(5)
    starred = [any(stars(row) for row in with_roles(null_study(rng), ("pearson", "l1"))) for _ in range(400)]
    assert np.mean(starred) <= 0.05
