"""A finished run in memory, with names that try to break out of the page."""

import numpy as np
import pytest

from dissensus.evaluate.join import join
from dissensus.evaluate.scorecard import score
from dissensus.records import Margin, Pair, Prediction, Votes
from dissensus.report.run import RunData

HOSTILE = '</svg></style><script>alert("x")</script><img src=https://evil.example/x.png>'


def _pairs(rng):
    return [
        Pair(
            id=f"p{i}",
            prompt=f"prompt {i // 2}",
            response_a="x",
            response_b="y",
            category=HOSTILE if i % 4 < 2 else "plain $\\alpha$",
            votes=Votes(a=int(k), b=5 - int(k)),
        )
        for i, k in enumerate(rng.integers(0, 6, 80))
    ]


def _predictions(pairs, rng):
    return [
        Prediction(pair_id=p.id, model=m, seed=s, reward_a=0, reward_b=0, preference_a=float(x))
        for m, noise in (("base", 0.4), (HOSTILE, 0.1))
        for s in (0, 1)
        for p in pairs
        for x in [np.clip(p.votes.preference + rng.normal(0, noise), 0, 1)]
    ]


@pytest.fixture(scope="session")
def hostile():
    return HOSTILE


@pytest.fixture(scope="session")
def run_data():
    rng = np.random.default_rng(0)
    pairs = _pairs(rng)
    predictions = _predictions(pairs, rng)
    log = [{"step": k, "epoch": k / 9, "nll": 0.7 - k / 50, "accuracy": 0.5 + k / 50} for k in range(10)]
    log.append({"step": 9, "epoch": 1.0, "validation_nll": 0.55, "validation_accuracy": 0.7})
    return RunData(
        name="run",
        manifest={
            "title": f"A run {HOSTILE}",
            "command": f"dissensus study {HOSTILE}",
            "environment": {"python": "3.11", "platform": HOSTILE},
            "git_commit": "0" * 40,
            "inputs": [{"path": HOSTILE, "sha256": "f" * 64, "rows": 80}],
            "stages": [{"name": "pairs", "seconds": 61.0, "finished": "today", "counts": {"test": 80}, "outputs": {}}],
        },
        config=f"name: run\n# see https://example.org {HOSTILE}\n",
        metrics=score(pairs, predictions, baseline="base", n_resamples=50),
        joined=join(pairs, predictions),
        margins=[Margin(pair_id=f"t{i}", margin=(i % 6) / 5, n_judgments=9, n_invalid=1) for i in range(50)],
        logs={"base": {"0": log, "1": log}, HOSTILE: {"0": log}},
    )
