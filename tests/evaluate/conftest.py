"""Small pairs and predictions for the tests of the evaluation."""

import numpy as np
import pytest

from dissensus.records import Metric, Pair, Prediction, Votes


def _make_pair(pair_id, a=None, n=10, prompt=None, **fields):
    votes = None if a is None else Votes(a=a, b=n - a)
    return Pair(id=pair_id, prompt=prompt or f"prompt {pair_id}", response_a="x", response_b="y", votes=votes, **fields)


def _make_prediction(pair_id, preference, model="m", seed=None):
    preference = float(preference)
    gap = float(np.log(preference) - np.log1p(-preference))
    return Prediction(pair_id=pair_id, model=model, seed=seed, reward_a=gap, reward_b=0, preference_a=preference)


def _make_study(n=60, per_prompt=3, models=("base", "better"), seeds=(0, 1), rng_seed=0):
    """Pairs of two data sets and domains, two categories; the second model is less noisy than the first."""
    rng = np.random.default_rng(rng_seed)
    pairs = [
        _make_pair(
            f"p{i}",
            int(rng.integers(0, 11)),
            prompt=f"prompt {i // per_prompt}",
            dataset="web" if i < n // 2 else "prism",
            domain="in" if i < n // 2 else "out",
            category="multiple" if (i // per_prompt) % 2 else "single",
        )
        for i in range(n)
    ]
    predictions = []
    for k, model in enumerate(models):
        for seed in seeds:
            noise = rng.normal(0, 0.3 / (k + 1), n)
            predictions += [
                _make_prediction(pair.id, np.clip(pair.votes.preference + e, 0.01, 0.99), model, seed)
                for pair, e in zip(pairs, noise, strict=True)
            ]
    return pairs, predictions


@pytest.fixture(scope="module", autouse=True)
def _few_simulations():
    """Of calibrated models: a yardstick, whose own precision is looked at with the statistics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dissensus.evaluation.resample._SIMULATIONS", 100)
        yield


@pytest.fixture(scope="session")
def make_pair():
    return _make_pair


@pytest.fixture(scope="session")
def make_prediction():
    return _make_prediction


@pytest.fixture(scope="session")
def make_study():
    return _make_study


PAPER_GROUPS = (
    "all", "dataset=hh-rlhf", "dataset=summarize-from-feedback", "dataset=synthetic-instruct", "dataset=webgpt",
    "domain=in", "dataset=prism", "dataset=ultrafeedback", "domain=out", "category=multiple", "category=single",
    "category=multiple&domain=in", "category=multiple&domain=out", "category=single&domain=in",
    "category=single&domain=out", "distinct=yes", "distinct=no",
)  # fmt: skip
"""As ``find_groups`` lists them."""


def _make_scorecard(models=("base", "margin"), groups=PAPER_GROUPS, baseline="base", metrics=("pearson", "l1")):
    """Rows of a scorecard, each with a value of its own and an interval around it."""
    rows = []

    def add(model, group, metric, against=None, **fields):
        value = 0.3 + (len(rows) * 37 % 500) / 1000
        if against is not None:
            value -= 0.5
        fields = {"low": value - 0.1, "high": value + 0.1, "n": 25, "clusters": 25, "method": "bca"} | fields
        rows.append(Metric(model=model, group=group, metric=metric, value=value, baseline=against, **fields))

    for group in groups:
        for metric in metrics:
            for model in models:
                add(model, group, metric)
                if baseline is not None and model != baseline:
                    add(model, group, metric, baseline, p_value=0.004, p_holm=0.03)
    return rows


@pytest.fixture(scope="session")
def make_scorecard():
    return _make_scorecard
