"""A new metric is one row: scores, tables, options and report find it."""

import importlib
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.evaluation.evaluate_predictions import evaluate_predictions
from dissensus.evaluation.metrics import METRICS, MetricDefinition, keys_of, register
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.render import render
from dissensus.files import write_records
from dissensus.reports.group_tables import GroupTable
from dissensus.stats.agreement.coefficients import COEFFICIENTS

command = command_of_step("evaluate")

MODULE = """
import numpy as np
from dissensus.evaluation.metrics import MetricDefinition, register
from dissensus.stats.metrics import PairMean
from dissensus.stats.weighted import divide, prepare

def rmse(predicted, human, weights=None):
    p, h, w = prepare(predicted, human, weights)
    return np.sqrt(divide(w @ (p - h) ** 2, w.sum(axis=-1)))

cubic = PairMean(lambda p, h: np.abs(p - h) ** 3)
register(
    MetricDefinition("cubic", "Cubic error", kind="error", source="here", better="lower", digits=4, function=cubic)
)
register(MetricDefinition("rmse", "RMSE", kind="error", source="here", better="lower", function=rmse))
"""


@pytest.fixture(scope="module")
def own_metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_metrics.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("own_metrics")
    sys.path.remove(str(folder))
    del sys.modules["own_metrics"], METRICS["cubic"], METRICS["rmse"]


@pytest.fixture(scope="module")
def rows(own_metrics, make_study):
    pairs, predictions = make_study(n=24, seeds=(0,))
    return evaluate_predictions(
        pairs, predictions, baseline="base", primary=["cubic", "rmse"], n_resamples=50, n_swaps=99
    )


def find(rows, metric, baseline=None):
    [row] = [r for r in rows if (r.model, r.metric, r.group, r.baseline) == ("better", metric, "all", baseline)]
    return row


def test_it_is_scored_with_an_interval_and_tested(rows):
    for metric, other in (("cubic", "l1"), ("rmse", "brier")):
        own, difference = find(rows, metric), find(rows, metric, "base")
        assert own.low < own.value < own.high
        assert (difference.role, difference.p_holm is None) == ("primary", False)
        # Both grow with the errors, so swaps make them as large together, or nearly.
        assert difference.p_value == pytest.approx(find(rows, other, "base").p_value, abs=0.1)
    assert find(rows, "rmse").value == pytest.approx(np.sqrt(find(rows, "brier").value))


def test_tables_and_report_show_it(rows):
    text = render(rows)
    assert "Cubic error (lower is better)" in text
    assert f"{find(rows, 'cubic').value:.4f}".removeprefix("0") in text
    table = GroupTable.of(Scores(rows), "cubic")
    assert (table.title, table.better) == ("Cubic error", "lower")


def test_the_command_line_takes_it(own_metrics, make_study, tmp_path):
    pairs, predictions = make_study(n=12, seeds=(0,))
    write_records(tmp_path / "pairs.jsonl", pairs)
    write_records(tmp_path / "predictions.jsonl", predictions)
    words = [str(tmp_path / "pairs.jsonl"), "--predictions", str(tmp_path / "predictions.jsonl"), "--baseline", "base"]
    words += ["--out", str(tmp_path / "scores.json"), "--primary", "cubic", "--resamples", "0", "--swaps", "19"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Cubic error (lower is better)")


def test_every_coefficient_of_agreement_is_a_row_and_a_key_is_given_once():
    assert keys_of("agreement") == list(COEFFICIENTS)
    with pytest.raises(ValueError, match="there is a metric 'l1' already"):
        register(MetricDefinition("l1", "L1", kind="error", source="here"))
