import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit, logit

from dissensus.cli import group
from dissensus.errors import InputError
from dissensus.files import write_records
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.length_covariate import LengthSlope, log_lengths, log_ratios
from dissensus.reward.model_record import RECORD_FILE, read_record
from dissensus.reward.objectives import OBJECTIVES, objective_of
from dissensus.reward.objectives.targets import build_targets
from dissensus.reward.serving.model_card import write_card
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train

from .tiny_config import changed, tiny_config, train_until_killed


def _pairs(seed: int, n: int, slope: float) -> list[Pair]:
    """Pairs of which the longer response is preferred with log-odds ``slope`` times the log ratio of lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 300, (n, 2))
    label = rng.random(n) < expit(slope * np.log((lengths[:, 0] + 1) / (lengths[:, 1] + 1)))
    return [
        Pair(id=str(i), prompt="x", response_a="a" * a, response_b="b" * b, label="a" if label[i] else "b")
        for i, (a, b) in enumerate(lengths.tolist())
    ]


def _fit(pairs: list[Pair]) -> LengthSlope:
    return LengthSlope.fit(build_targets(pairs, None, TrainConfig()))


def test_a_known_slope_is_recovered_and_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    pairs = _pairs(0, 4000, 0.7)
    found = _fit(pairs)
    assert abs(found.value - 0.7) < 3 * found.precision**-0.5
    label = np.array([pair.label == "a" for pair in pairs])
    theirs = LogisticRegression(C=1e9, tol=1e-10, fit_intercept=False).fit(log_ratios(pairs)[:, None], label)
    assert found.value == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    swapped = [
        pair.model_copy(
            update={"response_a": pair.response_b, "response_b": pair.response_a, "label": "ba"["ab".index(pair.label)]}
        )
        for pair in pairs
    ]
    assert _fit(swapped).value == pytest.approx(found.value, abs=1e-6)
    alike = [pair.model_copy(update={"response_b": pair.response_a}) for pair in pairs[:5]]
    assert _fit(alike) == LengthSlope(0.0, 0.0)


def test_what_a_model_says_of_length_already_counts_once():
    """Beside a model that is right of the pairs, length says what it said in its reward; and what is new is found."""
    pairs, rng = _pairs(2, 4000, 0.0), np.random.default_rng(3)
    ratio = log_ratios(pairs)
    gap = rng.standard_normal(4000) + 0.8 * ratio  # a reward that likes longer texts by itself
    bare = build_targets(pairs, None, TrainConfig())

    def found(scale: float, slope: float, said: float) -> LengthSlope:
        target = expit(scale * gap + slope * ratio).astype(np.float32)
        return LengthSlope.fit_beside(gap, said, replace(bare, target=target))

    assert found(1.0, 0.4, 0.4).value == pytest.approx(0.4, abs=1e-5), "nothing is new"
    assert found(1.0, 0.0, 0.0).value == pytest.approx(0.0, abs=1e-5), "the classifier has it all"
    assert found(0.5, 0.2, 0.4).value == pytest.approx(0.2, abs=0.01), "it was too sure"
    assert found(1.0, -0.5, 0.4).value == pytest.approx(-0.5, abs=0.01), "people who like short texts"
    labels = (rng.random(4000) < expit(0.5 * gap + 0.3 * ratio)).astype(np.float32)
    drawn = LengthSlope.fit_beside(gap, 0.0, replace(bare, target=labels))
    assert abs(drawn.value - 0.3) < 3 * drawn.precision**-0.5
    assert 1 / drawn.precision == pytest.approx(_variance(gap, ratio, 0.5, 0.3), rel=0.1)
    assert LengthSlope.fit_beside(0 * gap, 0.4, bare) == LengthSlope.fit(bare), "a model that says nothing"


def _variance(gap: Any, ratio: Any, scale: float, slope: float) -> float:
    """That of a slope that is fitted together with a scale, by the inverse of the information."""
    sure = expit(scale * gap + slope * ratio)
    design = np.stack([gap, ratio]) * np.sqrt(sure * (1 - sure))
    return float(np.linalg.inv(design @ design.T)[1, 1])


def test_a_model_is_trained_further_from_its_whole_reward(tiny_bert: Path, pairs: list[Pair], tmp_path: Path, capsys):
    config = tiny_config(tiny_bert, length_covariate=True, epochs=4, validation=0)
    slope = train(pairs, config, tmp_path / "m", progress=False).length_slope
    assert slope
    first = RewardModel.load(tmp_path / "m")
    standing = changed(config, model=str(tmp_path / "m"), learning_rate=1e-12, epochs=1)
    summary = train(pairs, standing, tmp_path / "n", progress=False)
    expected = LengthSlope.fit_beside(first.gaps(pairs)[0], slope, build_targets(pairs, None, config))
    assert summary.length_slope == pytest.approx(expected.value, abs=1e-6)
    assert RewardModel.load(tmp_path / "n").gaps(pairs) == pytest.approx(first.gaps(pairs), abs=1e-5)
    assert "is in its reward" not in capsys.readouterr().err
    without = train(pairs, changed(standing, length_covariate=False), tmp_path / "o", progress=False)
    assert without.length_slope is None
    assert f"m: {slope:+.3f} * log(characters of the response) is in its reward, and left" in capsys.readouterr().err


@pytest.mark.parametrize(("scale", "slope"), [(0.25, 0.8), (2.0, -0.3)])
@pytest.mark.parametrize("unit", [1.0, 5.0])
def test_scale_and_slope_are_corrected_together_on_held_out_preferences(scale: float, slope: float, unit: float):
    rng = np.random.default_rng(1)
    gap, ratio, weight = unit * rng.standard_normal(20_000), rng.standard_normal(20_000), np.ones(20_000)
    preference = expit(scale * gap / unit + slope * ratio)
    free = LengthSlope(0.1, 1e-9)
    # Per unit of the model's reward: what calibration scales down, scales the slope up.
    assert free.corrected(gap, ratio, preference, weight) == pytest.approx(unit * slope / scale, rel=0.03)
    # A slope that many training pairs have fixed stays as it was in log-odds, whatever the scale has to be.
    known = LengthSlope(slope, 1e9)
    assert known.corrected(gap, ratio, preference, weight) == pytest.approx(unit * slope / scale, rel=0.03)
    assert free.corrected(0 * gap, ratio, preference, weight) == 0.1
    # A model that learnt nothing, and is sure of it, gives way to length.
    assert LengthSlope(0.7, 1e3).corrected(gap, ratio, expit(0.7 * ratio), weight) > 0.7 * 5 / unit


@pytest.mark.parametrize("name", [name for name, kind in OBJECTIVES.items() if not kind.is_distributed])
@given(seed=st.integers(0, 1000))
def test_what_length_adds_is_a_part_of_the_gap_that_the_centre_does_not_see(name: Any, seed: int):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 5, 1, generator=generator)
    target, margin, added = torch.rand(3, 5, generator=generator)
    plain, centred = (objective_of(TrainConfig(objective=name, center=center)) for center in (0.0, 0.1))
    moved = plain.losses(a + added[:, None] / 2, b - added[:, None] / 2, target, margin)
    torch.testing.assert_close(plain.losses(a, b, target, margin, added), moved)
    torch.testing.assert_close(centred.losses(a, b, target, margin, added) - moved, 0.1 * (a + b)[:, 0] ** 2)


def test_length_is_added_shown_and_taken_out(tiny_bert: Path, more_pairs: list[Pair], tmp_path: Path):
    pairs, settings = more_pairs, {"batch_size": 48, "logging_steps": 1, "checkpoint_steps": 2}
    config = tiny_config(tiny_bert, length_covariate=True, **settings)
    out = tmp_path / "m"
    train(pairs, config, out, progress=False)
    summary = read_record(out / RECORD_FILE).summary
    assert summary is not None
    slope = summary.length_slope
    assert slope
    model = RewardModel.load(out)
    full, bare = (model.predict(pairs, name="m", debias=one) for one in (None, "length"))
    lengths = slope * log_lengths(pairs)
    for i, (one, other) in enumerate(zip(full, bare, strict=True)):
        assert (one.reward_a, one.reward_b) == pytest.approx((other.reward_a, other.reward_b) + lengths[i], abs=1e-6)
        added = lengths[i, 0] - lengths[i, 1]
        assert logit(one.preference_a) - logit(other.preference_a) == pytest.approx(added, abs=1e-5)
        assert model.calibration is not None
        of_calibrated = logit(one.calibrated_a) - logit(other.calibrated_a)
        assert of_calibrated == pytest.approx(model.calibration.slope * added, abs=1e-5)
    turned = [pair.model_copy(update={"response_a": pair.response_b, "response_b": pair.response_a}) for pair in pairs]
    for one, other in zip(full, model.predict(turned, name="m"), strict=True):
        assert one.preference_a == pytest.approx(1 - other.preference_a, abs=1e-6)
        assert one.calibrated_a == pytest.approx(1 - (other.calibrated_a or 0), abs=1e-6)
    # The example of the card knows transformers alone.
    scope: dict[str, Any] = {}
    plain = re.findall(r"```python\n(.*?)```", write_card(out).read_text(), flags=re.DOTALL)[1]
    exec(plain.replace("path/to/this/folder", str(out)), scope)
    assert scope["reward"] == pytest.approx(model.rewards([(scope["prompt"], scope["response"])])[0], abs=1e-5)
    # Killed on the way it comes to the same.
    train_until_killed(pairs, config, tmp_path / "broken", step=3)
    again = train(pairs, config, tmp_path / "broken", progress=False)
    assert (again.length_slope, again.validation_nll) == (slope, summary.validation_nll)
    write_records(tmp_path / "p.jsonl", pairs)
    command = ["predict", tmp_path / "p.jsonl", "--model", out, "--out", tmp_path / "o.jsonl", "--debias", "length"]
    said = CliRunner().invoke(group, list(map(str, command)))
    assert f"length is left out of the rewards: {slope:+.3f} * log(characters" in said.stdout


def test_models_and_objectives_without_a_length_covariate(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    train(pairs, tiny_config(tiny_bert, epochs=1), tmp_path / "m", progress=False)
    with pytest.raises(InputError, match="model 'x' has no length covariate to leave out"):
        RewardModel.load(tmp_path / "m").predict(pairs, name="x", debias="length")
    with pytest.raises(ValidationError, match="length_covariate adds to a reward that is a number"):
        TrainConfig(objective="mean-variance", length_covariate=True)
    # Runs of before the setting are known by the same name, where it is off.
    assert "length_covariate" not in TrainConfig(length_covariate=False).deciding()
    assert TrainConfig().deciding() == TrainConfig(length_covariate=True).deciding()
    assert TrainConfig().deciding()["length_covariate"] is True
    assert not TrainConfig(objective="mean-variance").adds_length
    before = {"config": TrainConfig().model_dump(exclude={"length_covariate"})}
    assert not read_record(Path(), before).config.adds_length
