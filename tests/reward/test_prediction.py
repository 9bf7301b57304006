import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from scipy.special import expit
from transformers import AutoConfig, AutoModelForSequenceClassification

from dissensus.errors import InputError, TrainingError
from dissensus.records import Pair, Votes
from dissensus.reward.config import TrainConfig
from dissensus.reward.objectives import ObjectiveName, objective_of
from dissensus.reward.serving.calibration import Calibration, save_calibration
from dissensus.reward.serving.reward_model import RewardModel, predictions_of, preference_logits
from dissensus.reward.training.run import train

PLAIN, NORMAL = (objective_of(TrainConfig(objective=name)) for name in ("bradley-terry", "mean-variance"))


@pytest.fixture(scope="module")
def judged(pairs: list[Pair]) -> list[Pair]:
    """The 24 pairs, on three of four of which people voted 4 to 1 for the label."""
    votes = {"a": Votes(a=4, b=1), "b": Votes(a=1, b=4)}
    return [p if i % 4 == 0 else p.model_copy(update={"votes": votes[p.label or "a"]}) for i, p in enumerate(pairs)]


def _with_objective(tiny_bert: Path, folder: Path, objective: ObjectiveName, outputs: int) -> Path:
    """A folder as training leaves it, with random weights and as many outputs as its objective has."""
    shutil.copytree(tiny_bert, folder)
    config = AutoConfig.from_pretrained(tiny_bert, num_labels=outputs)
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    content = {"config": TrainConfig(objective=objective, max_length=32).model_dump(mode="json")}
    (folder / "dissensus.json").write_text(json.dumps(content))
    return folder


def test_predictions_worked_by_hand():
    pair = Pair(id="p", prompt="x", response_a="a", response_b="b")
    [row] = predictions_of([pair], np.array([[[2.0], [0.5]]], dtype=np.float32), PLAIN, name="m", seed=0)
    assert (row.reward_a, row.reward_b, row.preference_a) == (2, 0.5, pytest.approx(expit(1.5)))
    assert (row.calibrated_a, row.variance_a, row.variance_b, row.seed) == (None, None, None, 0)
    # Equal means are a coin toss, whatever the variances.
    outputs = np.array([[[1.0, 0.0], [1.0, 3.0]]], dtype=np.float32)
    [row] = predictions_of([pair], outputs, NORMAL, name="m")
    assert row.preference_a == pytest.approx(0.5)
    assert (row.variance_a, row.variance_b) == (pytest.approx(np.log(2)), pytest.approx(np.log1p(np.exp(3))))
    with pytest.raises(TrainingError, match="not numbers for 1 of 1 pairs"):
        predictions_of([pair], np.array([[[2.0], [np.nan]]], dtype=np.float32), PLAIN, name="m")


def test_many_pairs_are_integrated_in_parts(monkeypatch: pytest.MonkeyPatch):
    outputs = np.random.default_rng(0).standard_normal((10, 2, 2)).astype(np.float32)
    whole = preference_logits(NORMAL, outputs)
    monkeypatch.setattr("dissensus.reward.serving.reward_model._PAIRS_AT_ONCE", 3)
    assert np.array_equal(preference_logits(NORMAL, outputs), whole)


def test_a_folder_knows_its_objective(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    model = RewardModel.load(_with_objective(tiny_bert, tmp_path / "m", "mean-variance", 2))
    rows = model.predict(pairs, name="m")
    assert [row.reward_a for row in rows] == pytest.approx(
        model.rewards([(p.prompt, p.response_a) for p in pairs]).tolist(), abs=1e-6
    )
    assert all(row.variance_a and row.variance_b for row in rows)
    mirrored = [p.model_copy(update={"response_a": p.response_b, "response_b": p.response_a}) for p in pairs]
    for row, other in zip(rows, model.predict(mirrored, name="m"), strict=True):
        assert row.preference_a + other.preference_a == pytest.approx(1, abs=1e-6)
        assert row.variance_a == pytest.approx(other.variance_b, abs=1e-6)
    assert model.predict([], name="m") == []


def test_other_outputs_than_the_objective_has_are_refused(tiny_bert: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"'mean-variance' has 2 output\(s\), this model has 5"):
        RewardModel.load(_with_objective(tiny_bert, tmp_path / "m", "mean-variance", 5))
    shutil.rmtree(tmp_path / "m")
    folder = _with_objective(tiny_bert, tmp_path / "m", "mean-variance", 2)
    (folder / "dissensus.json").unlink()
    with pytest.raises(InputError, match=r"a reward model has one output\(s\), this model has 2"):
        RewardModel.load(folder)


@pytest.mark.parametrize(("objective", "outputs"), [("bradley-terry", 1), ("mean-variance", 2)])
def test_raw_and_calibrated_are_both_kept(tiny_bert, judged, tmp_path, objective, outputs):
    folder = _with_objective(tiny_bert, tmp_path / "m", objective, outputs)
    model = RewardModel.load(folder)
    raw = model.predict(judged, name="m")
    with pytest.raises(InputError, match="model 'm' has no calibration; fit one with 'dissensus calibrate'"):
        model.predict(judged, name="m", calibrated=True)
    calibration = model.calibrate(judged)
    assert (calibration.pairs, calibration.votes) == (24, 6 + 18 * 5)
    save_calibration(folder, calibration)
    rows = RewardModel.load(folder).predict(judged, name="m", calibrated=True)
    assert [row.model_copy(update={"calibrated_a": None, "temperature": None}) for row in rows] == raw
    calibrated = np.array([row.calibrated_a for row in rows])
    p = np.array([row.preference_a for row in raw])
    # On the log-odds of the raw preference, whatever its distribution: the order stays as it is.
    assert calibrated == pytest.approx(expit(calibration.slope * np.log(p / (1 - p))), abs=1e-6)
    assert np.argsort(calibrated, kind="stable").tolist() == np.argsort(p, kind="stable").tolist()
    assert calibration.nll_after < calibration.nll_before


def test_pairs_that_nobody_judged_calibrate_nothing(tiny_bert: Path, pairs: list[Pair]):
    bare = [p.model_copy(update={"label": None}) for p in pairs]
    with pytest.raises(TrainingError, match="none of the 24 pairs has votes or a label"):
        RewardModel.load(tiny_bert).calibrate(bare)


def test_a_model_on_the_hub_keeps_window_objective_and_calibration(tiny_bert, pairs, tmp_path, monkeypatch, capsys):
    config = TrainConfig(model=str(tiny_bert), objective="mean-variance", epochs=1, max_length=24, precision="fp32")
    train(pairs, config, tmp_path / "ours", progress=False)
    fitted = Calibration(method="temperature", slope=0.5, nll_before=1.0, nll_after=0.5, pairs=3, votes=9)
    save_calibration(tmp_path / "ours", fitted)
    for name, folder in (("ours", tmp_path / "ours"), ("plain", tiny_bert)):
        # As the Hub's client lays a folder out after a download.
        repo = tmp_path / "cache" / f"models--org--{name}"
        shutil.copytree(folder, repo / "snapshots" / "abc")
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ours, plain = (RewardModel.load(name, device="cpu") for name in ("org/ours", "org/plain"))
    rows = ours.predict(pairs, name="m", calibrated=True)
    expected = RewardModel.load(tmp_path / "ours", device="cpu").predict(pairs, name="m", calibrated=True)
    assert (ours.encoding.max_length, plain.calibration, plain.config) == (24, None, None)
    assert rows == expected
    # Whether this one has settings of ours was never asked, and now nobody can say.
    said = capsys.readouterr().err
    assert "org/plain: the Hub cannot be asked for dissensus.json" in said
    assert "org/ours: the Hub" not in said
