"""A finished run in memory, with names that try to break out of the page."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.evaluation.join import join
from dissensus.evaluation.scorecard import score
from dissensus.records import Judgment, Margin, Pair, Prediction, Votes
from dissensus.reports.charts import plots
from dissensus.reports.folder.run_reader import RunData
from dissensus.run_records import RunManifest

from . import odd_folders
from .opening import CHROMIUM

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


@pytest.fixture(scope="session", autouse=True)
def _drawn_once():
    """Draw each picture once: most tests render pages of the same numbers."""
    kept = {}

    def once(draw):
        def drawn(*given):
            key = (draw.__name__, pickle.dumps(given))
            if key not in kept:
                kept[key] = draw(*given)
            return kept[key]

        return drawn

    with pytest.MonkeyPatch.context() as patch:
        names = "forest", "training_curves", "density", "calibration", "margin_histogram", "margin_against_people"
        for name in names:
            patch.setattr(plots, name, once(getattr(plots, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_simulations():
    """Of calibrated models, whose precision is looked at with the statistics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dissensus.evaluation.resample._SIMULATIONS", 100)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with a study's run and one with what the verbs leave of it."""
    folder = tmp_path_factory.mktemp("made")
    odd_folders.make(folder / "run")
    odd_folders.make_loose(folder / "run", folder / "loose")
    return folder


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
        manifest=RunManifest.model_validate(
            {
                "name": "run",
                "title": f"A run {HOSTILE}",
                "command": f"dissensus study {HOSTILE}",
                "environment": {"python": "3.11", "platform": HOSTILE},
                "git_commit": "0" * 40,
                "inputs": [{"path": HOSTILE, "sha256": "f" * 64, "rows": 80}],
                "stages": [
                    {"name": "pairs", "seconds": 61.0, "finished": "today", "counts": {"test": 80}, "outputs": {}}
                ],
            }
        ),
        config=f"name: run\n# see https://example.org {HOSTILE}\n",
        metrics=score(join(pairs, predictions), baseline="base", n_resamples=50, n_swaps=1999),
        joined=join(pairs, predictions),
        margins=[Margin(pair_id=f"t{i}", margin=(i % 6) / 5, n_judgments=9, n_invalid=1) for i in range(50)],
        logs={"base": {"0": log, "1": log}, HOSTILE: {"0": log}},
    )


@pytest.fixture(scope="session")
def full_run(run_data):
    """A run whose scorecard has rows of every kind: data sets, domains, ties, judges, references, ceilings, people."""
    rng = np.random.default_rng(1)
    pairs = [
        pair.model_copy(
            update={
                "dataset": f"set {k // 27}",
                "domain": "in" if k < 54 else "out",
                "distinct": "yes" if k % 3 else "no",
                "votes": Votes(a=(tie := pair.votes.a // 3) + pair.votes.a % 3, b=pair.votes.b, tie=2 * tie),
            }
        )
        for k, pair in enumerate(run_data.joined.pairs)
    ]
    predictions = [row.model_copy(update={"reward_a": 1.5, "reward_b": -0.25}) for row in _predictions(pairs, rng)]
    judgments = [
        Judgment(pair_id=pair.id, judge=judge, sample=k, order=order, choice=choice)
        for judge in ("committee", "gpt-3.5-turbo")
        for pair in pairs
        for k, order in enumerate(("ab", "ba"))
        for choice in [rng.choice(["a", "b"])]
    ]
    quick = {"n_resamples": 50, "n_swaps": 1999}
    metrics = evaluate_predictions(pairs, predictions, baseline="base", judgments=judgments, **quick)
    return replace(run_data, metrics=metrics, joined=join(pairs, predictions), predictions=predictions)


@pytest.fixture(scope="module")  # its loop would run in the tests of other modules
def browser():
    """Chromium, started once."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()
