import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import EvaluationError, InputError, TrainingError
from dissensus.files import read_records, write_records
from dissensus.records import Metric, Pair, Prediction, Votes


@pytest.fixture
def files(tmp_path: Path, pairs: list[Pair], tiny_bert: Path) -> Path:
    shutil.copytree(tiny_bert, tmp_path / "m")
    voted = [p.model_copy(update={"votes": Votes(a=1 + i % 4, b=4)}) for i, p in enumerate(pairs)]
    write_records(tmp_path / "pairs.parquet", voted)
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(group, list(map(str, arguments)))


@pytest.mark.parametrize(("method", "shown"), [("temperature", "temperature "), ("platt", ", intercept ")])
def test_calibrate_then_predict_then_evaluate(files: Path, method: str, shown: str):
    pairs, model = files / "pairs.parquet", files / "m"
    result = run("calibrate", pairs, "--model", model, "--method", method)
    assert result.exit_code == 0, result.output
    saved = json.loads((model / "calibration.json").read_text())
    assert (saved["method"], saved["pairs"], saved["votes"]) == (method, 24, 24 * 4 + 6 * (1 + 2 + 3 + 4))
    assert shown in result.stdout
    assert f"nll {saved['nll_before']:.4f} before, {saved['nll_after']:.4f} after" in result.stdout
    for name, options in (("raw", ["--raw"]), ("sure", [])):
        assert run("predict", pairs, "--model", model, "--out", files / f"{name}.parquet", *options).exit_code == 0
    raw, sure = (list(read_records(files / f"{name}.parquet", Prediction)) for name in ("raw", "sure"))
    assert [row.preference_a for row in raw] == [row.preference_a for row in sure]
    assert {row.calibrated_a is None for row in raw} == {True}
    assert {row.calibrated_a is None for row in sure} == {False}
    assert {row.temperature for row in sure} == {1 / saved["slope"]}
    l1 = {}
    for options in (["--raw"], []):
        scored = ["evaluate", pairs, "--predictions", files / "sure.parquet", "--resamples", 0]
        shown = run(*scored, "--out", files / "scores.json", *options)
        assert shown.exit_code == 0
        told = f"preferences of m are calibrated: temperature {1 / saved['slope']:.3g}"
        assert (told in shown.output.replace("\n", " ")) == (not options)
        rows = [Metric.model_validate(row) for row in json.loads((files / "scores.json").read_text())]
        [l1[not options]] = [row.value for row in rows if (row.kind, row.group, row.metric) == ("model", "all", "l1")]
    assert l1[True] < l1[False]
    result = run("evaluate", pairs, "--predictions", files / "raw.parquet", "--out", files / "s.json", "--calibrated")
    assert isinstance(result.exception, EvaluationError)
    assert "model 'm': the prediction for p0 has no calibrated preference" in str(result.exception)


def test_a_model_without_a_calibration(files: Path):
    result = run("predict", files / "pairs.parquet", "--model", files / "m", "--out", files / "p.csv", "--calibrated")
    assert isinstance(result.exception, InputError)
    assert "model 'm' has no calibration" in str(result.exception)
    assert not (files / "p.csv").exists()


def test_nothing_to_calibrate_on_and_nowhere_to_keep_it(files: Path, pairs: list[Pair]):
    write_records(files / "bare.jsonl", [p.model_copy(update={"label": None}) for p in pairs])
    result = run("calibrate", files / "bare.jsonl", "--model", files / "m")
    assert isinstance(result.exception, TrainingError)
    assert not (files / "m" / "calibration.json").exists()
    result = run("calibrate", files / "pairs.parquet", "--model", files / "nowhere")
    assert isinstance(result.exception, InputError)
    assert "no such folder" in str(result.exception)


def test_predictions_of_an_older_version_are_read(files: Path):
    old = {"pair_id": "p", "model": "m", "seed": None, "reward_a": 1.0, "reward_b": 0.0, "preference_a": 0.7310585786}
    (files / "old.jsonl").write_text(json.dumps(old) + "\n")
    [row] = read_records(files / "old.jsonl", Prediction)
    assert (row.calibrated_a, row.variance_a) == (None, None)
