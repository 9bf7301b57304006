import json
from functools import cache

import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.errors import InputError
from dissensus.stats.design import sample_size

command = command_of_step("power")


@cache
def run(*options):
    return CliRunner().invoke(command, ["--r", "0.5", "--delta", "0.2", "--studies", "100", *options])


def found(*options):
    return json.loads(run("--json", *options).stdout)


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    monkeypatch.setattr(sample_size, "SEARCH_STEPS", (1.0,))
    monkeypatch.setattr("dissensus.steps.power._COMPARED", (1, 3))


def test_prints_a_row_for_each_number_of_annotators_and_nothing_else_on_stdout():
    result = run("--annotators", "4")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0].isdigit()][1:] == ["1", "3", "4"]
    [ours] = [row for row in rows if row[:2] == ["4", "*"]]
    assert ours[3:5] == [".500", ".700"]
    assert "simulating" not in result.stdout
    assert "simulating" in result.stderr
    assert "one trained model each: a power to tell these two apart, not their methods" in result.stdout
    assert "swap test at .025, a share of .05 for each of 2 primary tests" in result.stdout


def test_prints_json_that_is_the_same_with_the_same_seed():
    first, again, other = found(), json.loads(run.__wrapped__("--json").stdout), found("--seed", "2")
    assert first == again
    assert first["plans"] != other["plans"]
    assert first["design"]["pairs"] == 150
    assert [plan["annotators"] for plan in first["plans"]] == [1, 3]
    assert all(0 < plan["power"] <= 1 and plan["pairs"] > 0 for plan in first["plans"])


def test_r_with_the_true_preferences():
    design = found("--true-r", "--between", "0.6")["design"]
    assert (design["r_baseline"], design["r_model"]) == (0.5, 0.7)


def test_one_of_two_primary_tests_has_half_of_alpha():
    two, one = found(), found("--tests", "1")
    assert (two["alpha"], two["tests"], two["level"], one["level"]) == (0.05, 2, 0.025, 0.05)
    assert two["plans"][0]["power"] < one["plans"][0]["power"]


def test_says_where_seeds_limit_the_power_and_how_many_it_takes():
    options = ("--delta", "0.05", "--seeds", "2", "--seed-sd", "0.03")
    result = run(*options)
    assert result.exit_code == 0, result.output
    table = result.stdout.split("─\n")[1].splitlines()
    assert [row.split()[-1] for row in table[:2]] == ["none"] * 2
    assert "2 seeds of each method, SD of r between seeds " in result.stdout
    assert "2 seeds that differ so much, and 3 annotators: a power of " in result.stdout
    assert "no number of pairs reaches 80%: it takes " in result.stdout
    alike = run("--seeds", "3").stdout
    assert "3 seeds of each method, which have the same r with the true preferences (--seed-sd)" in alike
    assert "at most" not in alike


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--delta", "0"), "difference of 0"),
        (("--delta", "0.3"), "cannot be observed"),
        (("--pairs", "3"), "too few"),
        (("--seed-sd", "0.02"), "give --seeds 2 or more"),
    ],
)
def test_bad_input(options, message):
    result = run(*options)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
