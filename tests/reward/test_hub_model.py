"""Models are read from the Hub's cache in its own layout, without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dissensus.files import write_records
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.calibration import Calibration, save_calibration
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train

READ = """
import json, sys
from dissensus.files import read_pairs
from dissensus.reward.serving.reward_model import RewardModel

ours, plain = (RewardModel.load(name, device="cpu") for name in ("org/ours", "org/plain"))
rows = ours.predict(list(read_pairs(sys.argv[1])), name="m", calibrated=True)
print(json.dumps([ours.encoding.max_length, plain.calibration, plain.config, [row.model_dump() for row in rows]]))
"""


def _put(cache: Path, name: str, folder: Path) -> None:
    """Lay a folder out as the Hub's client does after a download."""
    repo = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")


def test_a_model_on_the_hub_keeps_window_objective_and_calibration(
    tiny_bert: Path, pairs: list[Pair], tmp_path: Path
) -> None:
    config = TrainConfig(model=str(tiny_bert), objective="categorical", epochs=1, max_length=24, precision="fp32")
    train(pairs, config, tmp_path / "ours", progress=False)
    fitted = Calibration(method="temperature", slope=0.5, nll_before=1.0, nll_after=0.5, pairs=3, votes=9)
    save_calibration(tmp_path / "ours", fitted)
    for name, folder in (("org/ours", tmp_path / "ours"), ("org/plain", tiny_bert)):
        _put(tmp_path / "cache", name, folder)
    write_records(tmp_path / "pairs.jsonl", pairs)
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "pairs.jsonl"],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    window, calibration, settings, rows = json.loads(done.stdout.splitlines()[-1])
    expected = RewardModel.load(tmp_path / "ours", device="cpu").predict(pairs, name="m", calibrated=True)
    assert (window, calibration, settings) == (24, None, None)
    assert rows == [row.model_dump() for row in expected]
    # Whether this one has settings of ours was never asked, and now nobody can say.
    assert "org/plain: the Hub cannot be asked for dissensus.json" in done.stderr
    assert "org/ours" not in done.stderr
