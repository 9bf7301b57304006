import json
import re

import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.errors import ConfigError, EvaluationError
from dissensus.files import read_records, write_records
from dissensus.records import Margin, Metric, Pair, Prediction, Votes

command = command_of_step("evaluate")


def predictions(model, tilt):
    return [
        Prediction(pair_id=f"p{i}", model=model, reward_a=0, reward_b=0, preference_a=(i % 6) * tilt / 5)
        for i in range(30)
    ]


@pytest.fixture
def files(tmp_path):
    pairs = [
        Pair(id=f"p{i}", prompt=f"q{i}", response_a="x", response_b="y", votes=Votes(a=i % 6, b=5 - i % 6))
        for i in range(30)
    ]
    write_records(tmp_path / "pairs.parquet", pairs)
    write_records(tmp_path / "base.jsonl", predictions("base", 0.5))
    write_records(tmp_path / "ours.csv", predictions("ours", 1.0))
    return tmp_path


def run(folder, *options):
    arguments = [str(folder / "pairs.parquet"), "--predictions", str(folder / "base.jsonl")]
    arguments += ["--predictions", str(folder / "ours.csv"), "--out", str(folder / "scores.json"), *options]
    return CliRunner().invoke(command, arguments)


def test_writes_the_rows_and_prints_the_tables(files):
    result = run(files, "--baseline", "base", "--resamples", "50")
    assert result.exit_code == 0, result.output
    rows = [Metric.model_validate(row) for row in json.loads((files / "scores.json").read_text())]
    [l1] = [r for r in rows if (r.model, r.metric, r.group, r.baseline) == ("ours", "l1", "all", "base")]
    assert l1.value == pytest.approx(-0.25)
    assert "L1 (lower is better)" in result.stdout
    assert "−.250" in result.stdout
    (files / "scores.json").unlink()
    assert isinstance(run(files, "--baseline", "bose").exception, EvaluationError)
    assert not (files / "scores.json").exists()


def test_results_alone_go_to_stdout_in_the_format_that_was_asked_for(files):
    result = run(files, "--resamples", "0", "--swaps", "0", "--format", "json", "--against", "paper")
    assert "paper: baseline" in {c["column"] for c in json.loads(result.stdout)["tables"][0]["rows"][0]["cells"]}


def test_the_primary_metrics_are_declared(files):
    """Only what was declared can have a star, whatever else differs."""
    options = ("--baseline", "base", "--resamples", "0", "--swaps", "999", "--format", "csv")
    for chosen, starred in (((), {"pearson", "l1"}), (("brier",), {"brier"}), (("brier", "nll"), {"brier", "nll"})):
        assert run(files, *options, *(word for name in chosen for word in ("--primary", name))).exit_code == 0
        rows = [Metric.model_validate(row) for row in json.loads((files / "scores.json").read_text())]
        assert {r.metric for r in rows if r.role == "primary"} == starred
        assert {r.metric for r in rows if r.p_holm is not None} <= starred
        assert any(r.p_value is not None and r.p_value < 0.01 for r in rows if r.role == "exploratory")
    refused = run(files, *options, "--primary", "ece")
    assert isinstance(refused.exception, ConfigError)
    assert re.search("--primary: .*'ece' is no metric .*; choose among pearson_within, pearson", str(refused.exception))


def test_a_part_of_what_was_predicted(files):
    write_records(files / "pairs.parquet", list(read_records(files / "pairs.parquet", Pair))[:12])
    result = run(files, "--resamples", "0", "--swaps", "0")
    assert result.exit_code == 0, result.output
    assert "predictions for 18 pairs that are not among the 12 given were passed over" in result.stderr
    write_records(files / "base.jsonl", predictions("base", 0.5)[:6])
    assert "allow_missing=True" in str(run(files, "--resamples", "0").exception)
    result = run(files, "--resamples", "0", "--swaps", "0", "--allow-missing")
    assert result.exit_code == 0, result.output
    assert "6 of 12 pairs lack a prediction" in (files / "scores.json").read_text()


def test_another_rule_has_a_table_of_its_own(files):
    rule = [Margin(pair_id=f"p{i}", margin=1.0, preference_a=float(i % 6 >= 3)) for i in range(30)]
    write_records(files / "worst-off.parquet", rule)
    result = run(
        files, "--baseline", "base", "--resamples", "0", "--swaps", "0", "--target", str(files / "worst-off.parquet")
    )
    assert result.exit_code == 0, result.output
    assert "Sensitivity to how votes are aggregated" in result.stdout
    [l1] = [
        row
        for row in json.loads((files / "scores.json").read_text())
        if (row["target"], row["model"], row["metric"], row["group"]) == ("worst-off", "ours", "l1", "all")
        and row["baseline"] is None
    ]
    assert l1["value"] == pytest.approx(0.2)  # 0, .2 and .4 off on either side of one half


def test_rules_of_one_name_are_refused(files):
    (files / "other").mkdir()
    twice = [files / "rule.jsonl", files / "other" / "rule.parquet"]
    result = run(files, *(word for file in twice for word in ("--target", str(file))))
    assert isinstance(result.exception, ConfigError)
    assert "two are the same" in str(result.exception)
