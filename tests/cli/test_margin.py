from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli.options import command_of_step
from dissensus.errors import ConfigError, InputError, JudgeError
from dissensus.files import read_records, write_records
from dissensus.judge_calibration import read_calibration
from dissensus.judges import JudgmentStore
from dissensus.records import Judgment, Margin, Pair

command = command_of_step("margin")

PAIRS = [Pair(id=f"p{i}", prompt="q", response_a=f"yes {i}", response_b="no") for i in range(4)]
BY_ID = {pair.id: pair for pair in PAIRS}


def votes(judge: str, for_a: int, n: int, pairs: list[Pair]) -> list[Judgment]:
    return [
        Judgment(pair_id=pair.id, judge=judge, sample=i, choice="a" if i < for_a else "b")
        for pair in pairs
        for i in range(n)
    ]


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    names = {"pairs": tmp_path / "pairs.jsonl", "store": tmp_path / "judgments.db", "out": tmp_path / "margins.parquet"}
    write_records(names["pairs"], PAIRS)
    with JudgmentStore(names["store"]) as store:
        store.add(votes("alpha-00000001", 8, 10, PAIRS), BY_ID)
    return names


def margin(files: dict[str, Path], *arguments: str) -> str:
    fixed = [str(files["pairs"]), "--store", str(files["store"]), "--out", str(files["out"])]
    result = CliRunner().invoke(command, [*fixed, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_margins_are_written_for_every_pair_in_order(files):
    assert "4 of 4 pairs" in margin(files)
    rows = list(read_records(files["out"], Margin))
    assert [row.pair_id for row in rows] == [pair.id for pair in PAIRS]
    assert [row.margin for row in rows] == pytest.approx([0.6] * 4)


def test_the_first_n_judgments_can_be_used_alone(files):
    margin(files, "--n", "4")
    assert {(row.margin, row.n_judgments) for row in read_records(files["out"], Margin)} == {(1.0, 4)}


def test_of_several_judges_one_is_chosen_by_the_beginning_of_its_name(files):
    with JudgmentStore(files["store"]) as store:
        store.add(votes("beta-00000002", 1, 4, PAIRS) + votes("alpha-00000003", 1, 1, PAIRS), BY_ID)
    assert "beta-00000002" in margin(files, "--judge", "beta")
    assert next(read_records(files["out"], Margin)).preference_a == 0.25
    with pytest.raises(InputError, match=r"alpha-00000001 \(40 judgments\), alpha-00000003 \(4 judgments\)"):
        margin(files, "--judge", "alpha")
    with pytest.raises(InputError, match=r"several judges.*beta"):
        margin(files)
    with pytest.raises(InputError, match=r"no judge is called 'gamma'.*alpha-00000001"):
        margin(files, "--judge", "gamma")


def test_pairs_without_a_judgment_are_an_error_or_left_out(files):
    write_records(files["pairs"], [*PAIRS, Pair(id="new", prompt="q", response_a="x", response_b="y")])
    with pytest.raises(JudgeError, match=r"1 of 5 pairs.*new.*allow_missing=True"):
        margin(files)
    assert not files["out"].exists()
    printed = margin(files, "--allow-missing")
    assert "4 of 5 pairs" in printed
    assert "left out" in printed


def test_judgments_of_other_pairs_give_no_empty_file(files):
    write_records(files["pairs"], [Pair(id="new", prompt="q", response_a="x", response_b="y")])
    with pytest.raises(InputError, match="nothing is written"):
        margin(files, "--allow-missing")
    assert not files["out"].exists()


def test_a_store_that_is_missing_or_empty_says_what_to_run(files, tmp_path):
    with pytest.raises(InputError, match="dissensus judge"):
        margin(files | {"store": tmp_path / "none.db"})
    JudgmentStore(tmp_path / "empty.db").close()
    with pytest.raises(InputError, match="no judgments yet"):
        margin(files | {"store": tmp_path / "empty.db"})


def test_the_limit_of_judgments_that_say_how_probable_they_are_weighs_both_orders_alike(files):
    said = [("ab", 0, 0.9), ("ab", 1, 0.7), ("ba", 0, 0.2)]
    rows = [
        Judgment(
            pair_id=p.id, judge="gamma-00000004", sample=i, order=order, choice="a" if q > 0.5 else "b", probability_a=q
        )
        for p in PAIRS
        for order, i, q in said
    ]
    rows += [Judgment(pair_id="p0", judge="gamma-00000004", sample=2, choice=None)]
    with JudgmentStore(files["store"]) as store:
        store.add(rows, BY_ID)
    margin(files, "--judge", "gamma", "--votes", "limit")
    found = list(read_records(files["out"], Margin))
    assert [row.preference_a for row in found] == pytest.approx([0.5] * 4)  # (0.8 + 0.2) / 2
    assert [(row.n_judgments, row.n_invalid) for row in found] == [(3, 1), (3, 0), (3, 0), (3, 0)]
    with pytest.raises(JudgeError, match="no probabilities"):
        margin(files, "--judge", "alpha", "--votes", "limit")


def test_several_judges_are_combined_and_what_was_found_is_kept_beside_the_margins(files):
    pairs = [
        Pair(
            id=f"q{i}",
            prompt=f"prompt {i % 6}",
            response_a="x" * (9 - i % 5),
            response_b="y" * (3 + i % 4),
            label=label,
        )
        for i, label in enumerate(["a", "a", "b", "a", "b"] * 6)
    ]
    write_records(files["pairs"], pairs)
    for_a = {pair.id: (8 if pair.label == "a" else 3) - (i % 7 == 0) * 4 for i, pair in enumerate(pairs)}
    with JudgmentStore(files["store"]) as store:
        rows = [row for pair in pairs for row in votes("beta-00000002", max(0, for_a[pair.id]), 10, [pair])]
        store.add(rows + votes("zeta-00000005", 4, 10, pairs[::2]), {pair.id: pair for pair in pairs})
    with pytest.raises(ConfigError, match="--judge is given 2 times, and margins are of one judge; combine them"):
        margin(files, "--judge", "beta", "--judge", "zeta")
    said = margin(files, "--judge", "beta", "--judge", "zeta", "--calibrate", "labels")
    assert "zeta-00000005 is the same on every pair, and is left out" in said
    rows = list(read_records(files["out"], Margin))
    assert [row.n_judgments for row in rows] == [20, 10] * 15
    assert all(row.margin == pytest.approx(abs(2 * row.preference_a - 1)) for row in rows)
    found = read_calibration(files["out"].with_name("margins.calibration.json"))
    assert [one.name for one in found.predictors] == ["beta-00000002", "length"]
    assert found.calibrated.nll < found.judges[1].fit.nll
    margin(files, "--judge", "beta", "--calibrate", "labels", "--covariates", "none")
    assert len(read_calibration(files["out"].with_name("margins.calibration.json")).predictors) == 1
    with pytest.raises(InputError, match="no judge is called 'omega'"):
        margin(files, "--judge", "beta", "--judge", "omega", "--calibrate", "labels")
    with pytest.raises(ConfigError, match="--rewards is a column beside calibrated judges"):
        margin(files, "--judge", "beta", "--rewards", str(files["pairs"]))
    with pytest.raises(ConfigError, match="--votes drawn: --calibrate takes a judge's probabilities"):
        margin(files, "--judge", "beta", "--calibrate", "labels", "--votes", "drawn")
    with pytest.raises(InputError, match="not valid JSON"):
        read_calibration(files["pairs"])
