import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dissensus.cli.power import command
from dissensus.errors import InputError


def run(*options):
    return CliRunner().invoke(command, ["--r", "0.5", "--delta", "0.2", "--studies", "200", *options])


def test_prints_a_row_for_each_number_of_annotators_and_nothing_else_on_stdout():
    result = run("--annotators", "4")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0].isdigit()][1:] == ["1", "3", "4", "5", "10"]
    [ours] = [row for row in rows if row[:2] == ["4", "*"]]
    assert ours[3:5] == [".500", ".700"]
    assert "simulating" not in result.stdout
    assert "simulating" in result.stderr


def test_prints_json_that_is_the_same_with_the_same_seed():
    first, again, other = (json.loads(run("--json", "--seed", seed).stdout) for seed in ("1", "1", "2"))
    assert first == again
    assert first["plans"] != other["plans"]
    assert first["design"]["pairs"] == 150
    assert [plan["annotators"] for plan in first["plans"]] == [1, 3, 5, 10]
    assert all(0 < plan["power"] <= 1 and plan["pairs"] > 0 for plan in first["plans"])


def test_r_with_the_true_preferences():
    design = json.loads(run("--json", "--true-r", "--between", "0.6").stdout)["design"]
    assert (design["r_baseline"], design["r_model"]) == (0.5, 0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--delta", "0"), "difference of 0"),
        (("--delta", "0.3"), "cannot be observed"),
        (("--between", "-0.9"), "only between"),
        (("--pairs", "3"), "too few"),
        (("--data-sets", "50"), "at least 200"),
    ],
)
def test_bad_input(options, message):
    result = run(*options)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_a_bad_design_is_one_line_and_exit_code_2():
    arguments = [sys.executable, "-m", "dissensus", "power", "--r", "0.5", "--delta", "0"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("dissensus: ")
    assert "Traceback" not in done.stderr
