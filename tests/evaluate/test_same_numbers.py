"""A scorecard that an earlier version wrote: it is still read, and its numbers are still found."""

import math
from pathlib import Path

import numpy as np
import pytest

from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.files import read_records
from dissensus.records import Judgment, Margin, Metric

WRITTEN = Path(__file__).parent / "scorecard.jsonl.gz"
GROUPS = ("all", "category=multiple&domain=in", "contested=yes")


@pytest.fixture(scope="module")
def rows(make_study):
    pairs, predictions = make_study(n=48, per_prompt=2)
    rng = np.random.default_rng(4)
    judgments = [
        Judgment(pair_id=pair.id, judge="gpt", sample=0, order=order, choice="a" if rng.random() < 0.6 else "b")
        for pair in pairs[:40]
        for order in ("ab", "ba")
    ]
    rule = [Margin(pair_id=pair.id, margin=1.0, preference_a=round(rng.random(), 2)) for pair in pairs[:40]]
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("dissensus.evaluation.resample._SIMULATIONS", 1000)
    found = evaluate_predictions(
        pairs,
        [p for p in predictions if (p.model, p.seed) != ("base", 1)],
        baseline="base",
        judgments=judgments,
        targets={"own": rule},
        n_resamples=40,
        n_swaps=59,
        notice=lambda text: None,
    )
    monkeypatch.undo()
    return [row for row in found if row.group in GROUPS]


def test_the_numbers_are_those_of_an_earlier_version(rows):
    written = list(read_records(WRITTEN, Metric))
    assert len(written) == len(rows) > 200
    assert any(len(row.notes) > 1 for row in written)
    for before, now in zip(written, rows, strict=True):
        old, new = ({k: v for k, v in row.model_dump().items() if k != "notes"} for row in (before, now))
        assert {k: v for k, v in old.items() if not isinstance(v, float)} == {
            k: v for k, v in new.items() if not isinstance(v, float)
        }
        if before.method == "t" and before.metric == "accuracy" and (before.low < 1e-4 or before.high > 1 - 1e-4):
            # Resamples without an error had made it the whole scale.
            assert before.low <= now.low < now.value < now.high <= before.high
            old |= {"low": now.low, "high": now.high, "data_se": now.data_se}
        for field in ("value", "low", "high", "p_value", "p_holm", "seed_sd", "data_se"):
            assert old[field] == new[field] or math.isclose(old[field], new[field], rel_tol=1e-9, abs_tol=1e-11), now
