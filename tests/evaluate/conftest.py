"""Small pairs and predictions for the tests of the evaluation."""

import numpy as np
import pytest

from dissensus.records import Pair, Prediction, Votes


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


@pytest.fixture(scope="session")
def make_pair():
    return _make_pair


@pytest.fixture(scope="session")
def make_prediction():
    return _make_prediction


@pytest.fixture(scope="session")
def make_study():
    return _make_study
