import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit, logit

from dissensus.errors import InputError, TrainingError
from dissensus.records import Label, Pair, Votes
from dissensus.reward.serving.calibration import (
    Calibration,
    CalibrationMethod,
    fit_calibration,
    load_calibration,
    observed_preferences,
    save_calibration,
)

METHODS: list[CalibrationMethod] = ["temperature", "platt"]


def _votes(seed: int, pairs: int, temperature: float, intercept: float = 0.0, scale: float = 3.0):
    """Gaps of a model that is wrong by a temperature, and the votes of one to nine people on each pair."""
    rng = np.random.default_rng(seed)
    gap, weight = scale * rng.standard_normal(pairs), rng.integers(1, 10, pairs).astype(float)
    return gap, rng.binomial(weight.astype(int), expit(gap / temperature + intercept)) / weight, weight


@pytest.mark.parametrize(
    ("temperature", "scale"), [(0.5, 3.0), (1.0, 3.0), (4.0, 3.0), (300.0, 1000.0), (0.002, 0.004)]
)
def test_a_known_temperature_is_recovered(temperature: float, scale: float):
    found = fit_calibration(*_votes(0, 20_000, temperature, scale=scale))
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert (found.intercept, found.note) == (0, None)


def test_a_known_side_preference_is_recovered_by_platt_alone():
    data = _votes(1, 20_000, 2.0, intercept=0.7)
    platt = fit_calibration(*data, method="platt")
    assert (platt.temperature, platt.intercept) == (pytest.approx(2, rel=0.03), pytest.approx(0.7, abs=0.03))
    assert platt.nll_after < fit_calibration(*data).nll_after


def test_platt_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    gap, preference, weight = _votes(2, 500, 1.7, intercept=-0.4)
    both = np.repeat(gap, 2)[:, None], np.tile([1, 0], 500), np.stack([preference, 1 - preference], 1).ravel()
    theirs = LogisticRegression(C=1e9, tol=1e-10).fit(both[0], both[1], sample_weight=both[2] * np.repeat(weight, 2))
    ours = fit_calibration(gap, preference, weight, "platt")
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_worked_by_hand():
    # Three of four voted for a at a gap of 2: sigma(2 s) = 3/4, so s = log(3) / 2. A million votes drown the prior.
    found = fit_calibration(np.array([2.0, -2.0]), np.array([0.75, 0.25]), np.array([1e6, 1e6]))
    assert found.slope == pytest.approx(math.log(3) / 2, abs=1e-4)
    assert found.nll_before == pytest.approx(-(0.75 * math.log(expit(2)) + 0.25 * math.log(expit(-2))), abs=1e-9)
    assert found.nll_after == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-7)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 1), st.integers(1, 20)), min_size=1, max_size=12).filter(
        lambda rows: any(abs(row[0]) > 1e-3 for row in rows)
    )
)
def test_a_calibrated_model_is_never_less_likely(method: CalibrationMethod, rows: list[tuple[float, float, int]]):
    gap, preference, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = fit_calibration(gap, preference, weight, method)
    assert found.nll_after <= found.nll_before
    # What is told is what the calibrated preferences give.
    z = found.slope * gap + found.intercept
    assert found.preference(gap) == pytest.approx(expit(z))
    told = np.average(-(preference * log_expit(z) + (1 - preference) * log_expit(-z)), weights=weight)
    assert found.nll_after == pytest.approx(told, abs=1e-9)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.floats(0.01, 5))
def test_a_temperature_changes_no_order_and_no_antisymmetry(gaps: list[float], slope: float):
    temperature = Calibration(method="temperature", slope=slope, nll_before=1, nll_after=1, pairs=1, votes=1)
    gap = np.array(gaps)
    calibrated = temperature.preference(gap)
    assert np.all(np.diff(calibrated[np.argsort(gap)]) >= 0)
    assert calibrated + temperature.preference(-gap) == pytest.approx(1)
    far = np.abs(gap) > 1e-12
    assert np.array_equal(calibrated[far] > 0.5, gap[far] > 0)


@settings(max_examples=20)
@given(st.floats(1e-3, 1e3))
def test_the_unit_of_rewards_does_not_matter(unit: float):
    gap, preference, weight = _votes(3, 40, 2.0)
    # The raw model is another one in another unit; from the same start the calibrated one is the same.
    ours, theirs = fit_calibration(gap, preference, weight * 1e6), fit_calibration(gap * unit, preference, weight * 1e6)
    assert theirs.preference(gap * unit) == pytest.approx(ours.preference(gap), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pairs", [2, 100, 10_000])
def test_votes_without_an_error_do_not_run_away(method: CalibrationMethod, pairs: int):
    gap = np.linspace(0.5, 1.5, pairs) * np.where(np.arange(pairs) % 2, 1, -1)
    found = fit_calibration(gap, (gap > 0).astype(float), np.ones(pairs), method)
    assert found.note is not None
    assert "errs on none of these votes" in found.note
    assert 1 < found.slope < 50
    # Ever more votes without an error earn ever more certainty, but slowly.
    assert 0.9 < found.preference(np.ones(1)).item() < 1 - 1e-12


def test_votes_against_the_model_leave_it_unsure():
    gap, preference, weight = _votes(4, 300, 1.0)
    found = fit_calibration(gap, 1 - preference, weight)
    assert found.note == "the votes contradict the model, so its calibrated probabilities are all near one half"
    assert found.preference(gap) == pytest.approx(0.5, abs=0.01)
    assert found.slope > 0
    assert fit_calibration(*_votes(5, 19, 1.0)).note == "rests on only 19 pairs"


ONES, SOME = np.ones(2), np.array([0.5, -0.5])


@pytest.mark.parametrize(
    ("gap", "preference", "weight", "error", "message"),
    [
        (np.zeros(0), np.zeros(0), np.zeros(0), TrainingError, "no pairs to calibrate on"),
        (np.zeros(2), ONES, ONES, TrainingError, "same reward: nothing to calibrate"),
        (np.array([np.nan, 1]), ONES, ONES, TrainingError, "not numbers for 1 of 2 pairs"),
        (SOME, np.array([1.5, 0]), ONES, ValueError, "fraction from 0 to 1"),
        (SOME, np.array([np.nan, 0]), ONES, ValueError, "fraction from 0 to 1"),
        (SOME, ONES, np.array([1.0, 0]), ValueError, "votes above 0"),
        (SOME, ONES, np.ones((2, 1)), ValueError, "one shape"),
    ],
)
def test_what_cannot_be_calibrated(gap, preference, weight, error, message):
    with pytest.raises(error, match=message):
        fit_calibration(gap, preference, weight)


def test_votes_come_before_the_label():
    def pair(name: str, label: Label | None, votes: Votes | None = None) -> Pair:
        return Pair(id=name, prompt="x", response_a="a", response_b="b", label=label, votes=votes)

    pairs = [
        pair("votes", "b", Votes(a=3, b=1)),
        pair("label", "b"),
        pair("tie", "tie"),
        pair("neither", None),
        pair("votes alone", None, Votes(a=0, b=1, tie=1)),
    ]
    rows, preference, weight = observed_preferences(pairs)
    assert [pairs[row].id for row in rows] == ["votes", "label", "tie", "votes alone"]
    assert preference.tolist() == [0.75, 0, 0.5, 0.25]
    assert weight.tolist() == [4, 1, 1, 2]
    assert [array.tolist() for array in observed_preferences(pairs[3:4])] == [[], [], []]


def test_a_calibration_comes_back_from_its_folder(tmp_path: Path):
    assert load_calibration(tmp_path) is None
    calibration = fit_calibration(*_votes(6, 50, 2.0), method="platt")
    assert save_calibration(tmp_path, calibration) == tmp_path / "calibration.json"
    assert load_calibration(tmp_path) == calibration
    content = json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps(content | {"slope": -1}))
    with pytest.raises(InputError, match="not a calibration; run 'dissensus calibrate' again"):
        load_calibration(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        save_calibration(tmp_path / "nowhere", calibration)


def test_the_fit_is_a_minimum():
    gap, preference, weight = _votes(7, 200, 3.0, intercept=0.2)
    found = fit_calibration(gap, preference, weight, "platt")

    def nll(slope: float, intercept: float) -> float:
        z = slope * gap + intercept
        return float(np.average(np.logaddexp(0, z) - preference * z, weights=weight))

    for step in (-0.02, 0.02):
        assert nll(found.slope + step, found.intercept) > found.nll_after
        assert nll(found.slope, found.intercept + step) > found.nll_after
    assert logit(found.preference(np.zeros(1))).item() == pytest.approx(found.intercept)


def test_few_labels_draw_the_temperature_to_one_and_many_drown_the_prior():
    """A model that hardly learnt is contradicted by thirty labels, or seems ten times too shy, by chance alone."""
    rng = np.random.default_rng(0)
    gap = 0.05 * rng.standard_normal((200, 30))
    labels = rng.integers(0, 2, (200, 30)).astype(float)
    fitted = [
        [fit_calibration(g, label, np.ones(30), log_sd=sd).slope for g, label in zip(gap, labels, strict=True)]
        for sd in (None, 1.0)
    ]
    assert np.abs(np.log(fitted[0])).max() > 3
    assert np.abs(np.log(fitted[1])).max() < np.log(2)
    few, many = (fit_calibration(*_votes(3, pairs, 3.0), log_sd=1.0).temperature for pairs in (50, 5000))
    assert (1 < few < 3.6, many) == (True, pytest.approx(3, rel=0.05))
    gap, preference, weight = _votes(4, 5000, 3.0)
    alone, stacked = (fit_calibration(g, preference, weight, log_sd=1.0) for g in (gap, np.stack([gap, gap])))
    assert stacked.slope == pytest.approx(alone.slope, rel=1e-6)
