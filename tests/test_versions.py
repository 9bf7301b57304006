"""What a newer version wrote is told from what is damaged: nobody trains a model again that an upgrade can read."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dissensus import __version__
from dissensus.errors import InputError
from dissensus.judge_calibration import read_calibration as read_judge_calibration
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import (
    RECORD_FILE,
    ModelRecord,
    find_record,
    left_record,
    read_record,
    record_content,
)
from dissensus.reward.serving.calibration import load_calibration, save_calibration
from dissensus.reward.training.sweep import SweepSummary, read_sweep
from dissensus.run_records import read_manifest
from dissensus.versions import NewerVersionError, stamped


def _left(path: Path) -> Any:
    class Settings:
        dissensus = json.loads(path.read_text())

    return left_record(Settings())


READERS: dict[str, Callable[[Path], Any]] = {
    RECORD_FILE: read_record,
    "calibration.json": lambda path: load_calibration(path.parent),
    "sweep.json": read_sweep,
    "margins.calibration.json": read_judge_calibration,
    "manifest.json": read_manifest,
    "config.json": _left,
}


@pytest.mark.parametrize("name", READERS)
def test_a_newer_version_is_named(name: str, tmp_path: Path):
    path, unknown = tmp_path / name, {"config": {"objective": "of-tomorrow"}, "stages": 0}
    for version in ("99.1", __version__, None):
        environment = {"dissensus": version} if version else {}
        path.write_text(json.dumps({"version": version, "environment": environment, **unknown}))
        with pytest.raises(InputError) as caught:
            READERS[name](path)
        is_newer = f"written by dissensus 99.1, and this is {__version__}, which cannot read it; upgrade with: pip"
        assert (is_newer in str(caught.value)) == (version == "99.1"), version
        assert isinstance(caught.value, NewerVersionError) == (version == "99.1")
    path.write_text("{")
    if name != "config.json":  # which transformers reads
        with pytest.raises(InputError, match="again"):
            READERS[name](path)


def test_what_is_written_says_by_which_version(tmp_path: Path):
    record = ModelRecord(config=TrainConfig())
    (tmp_path / RECORD_FILE).write_text(json.dumps(record_content(record)))
    assert read_record(tmp_path / RECORD_FILE) == record
    assert json.loads((tmp_path / RECORD_FILE).read_text())["version"] == __version__
    from dissensus.reward.serving.calibration import Calibration

    fitted = Calibration(method="temperature", slope=0.5, nll_before=0.7, nll_after=0.6, pairs=30, votes=30)
    assert json.loads(save_calibration(tmp_path, fitted).read_text())["version"] == __version__
    assert load_calibration(tmp_path) == fitted
    table = SweepSummary("nll", [], 1e-4, chosen={"learning_rate": 1e-4}, among={"learning_rate": [1e-4]})
    (tmp_path / "sweep.json").write_text(json.dumps(stamped(asdict(table))))
    assert read_sweep(tmp_path / "sweep.json") == table
    # What a newer version added may be part of the reward: it is no damage, and another run's only where that is asked.
    (tmp_path / RECORD_FILE).write_text(json.dumps({**record_content(record), "version": "99.1", "shift": 0.3}))
    with pytest.raises(NewerVersionError):
        find_record(tmp_path)
    assert find_record(tmp_path, overwrite=True) is None
