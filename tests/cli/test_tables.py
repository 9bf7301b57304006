import csv
import io
import json
from typing import get_args

import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.errors import InputError
from dissensus.evaluation.tables.render import FORMATS
from dissensus.files import write_json
from dissensus.steps.tables import Format

command = command_of_step("tables")

OLD_ROW = {"model": "m", "group": "all", "metric": "pearson", "value": 0.5, "low": 0.4, "high": 0.6, "n": 30}


@pytest.fixture
def scores(tmp_path):
    # As a scorecard was written before there were kinds, targets and tests.
    rows = [OLD_ROW, OLD_ROW | {"metric": "l1", "value": 0.2, "low": None, "high": None, "clusters": 9, "note": "few"}]
    write_json(tmp_path / "scores.json", rows)
    return tmp_path / "scores.json"


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_choices_are_the_formats():
    assert get_args(Format) == tuple(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_prints_a_scorecard_again(scores, form):
    result = run(scores, "--format", form)
    assert result.exit_code == 0, result.output
    assert ".500" in result.stdout or "0.5" in result.stdout
    assert {"csv": csv_value, "json": json_value}.get(form, lambda text: 0.5)(result.stdout) == 0.5
    assert "paper: regularised" in run(scores, "--format", form, "--against", "paper").stdout


def csv_value(text):
    return float(next(csv.DictReader(io.StringIO(text)))["value"])


def json_value(text):
    return json.loads(text)["tables"][0]["rows"][0]["cells"][1]["value"]


def test_a_runs_folder_will_do(scores):
    assert run(scores.parent).stdout == run(scores).stdout


def test_what_is_no_scorecard(tmp_path):
    write_json(tmp_path / "empty.json", [])
    for file, said in ((tmp_path / "empty.json", "there are no rows"), (tmp_path / "none.json", "none.json")):
        result = run(file)
        assert isinstance(result.exception, InputError)
        assert said in str(result.exception)
    assert "scores.json" in str(run(tmp_path).exception)
