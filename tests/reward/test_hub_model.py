"""Models are read from the Hub's cache in its own layout, without a network."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.calibration import Calibration, save_calibration
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train


def _put(cache: Path, name: str, folder: Path) -> None:
    """Lay a folder out as the Hub's client does after a download."""
    repo = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")


def test_a_model_on_the_hub_keeps_window_objective_and_calibration(
    tiny_bert: Path,
    pairs: list[Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = TrainConfig(model=str(tiny_bert), objective="categorical", epochs=1, max_length=24, precision="fp32")
    train(pairs, config, tmp_path / "ours", progress=False)
    fitted = Calibration(method="temperature", slope=0.5, nll_before=1.0, nll_after=0.5, pairs=3, votes=9)
    save_calibration(tmp_path / "ours", fitted)
    for name, folder in (("org/ours", tmp_path / "ours"), ("org/plain", tiny_bert)):
        _put(tmp_path / "cache", name, folder)
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
