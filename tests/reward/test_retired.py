"""Objectives of before train nothing, and their models are read as ever."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from transformers import AutoConfig, AutoModelForSequenceClassification

from dissensus.errors import ConfigError, TrainingError
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import ModelRecord, RetiredConfig, read_record
from dissensus.reward.objectives import RETIRED, objective_of
from dissensus.reward.serving.calibration import save_calibration
from dissensus.reward.serving.model_card import write_card
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train
from dissensus.study.config import StudyConfig

BEFORE = json.loads(Path(__file__).with_name("model_of_0_1.json").read_text())


def _record(objective: str, **config: Any) -> dict[str, Any]:
    return {**BEFORE, "config": BEFORE["config"] | {"objective": objective, "atoms": 5} | config}


def _folder(tiny_bert: Path, folder: Path, objective: str, outputs: int) -> Path:
    """A folder as version 0.1 left it, with random weights."""
    shutil.copytree(tiny_bert, folder)
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(tiny_bert, num_labels=outputs)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    (folder / "dissensus.json").write_text(json.dumps(_record(objective)))
    return folder


@pytest.mark.parametrize("name", RETIRED)
def test_nobody_trains_with_them_and_the_line_says_what_with(
    name: str, tiny_bert: Path, pairs, margins, tmp_path: Path
):
    instead = {"scaled": "margin", "categorical": "bradley-terry"}[name]
    line = (
        f"objective: '{name}' is no longer trained: measured on real votes it is no better than {instead}; "
        f"take {instead} instead (docs/when-it-helps.md)"
    )
    with pytest.raises(ConfigError) as error:
        TrainConfig.load({"objective": name, "atoms": 5})
    assert str(error.value) == line
    with pytest.raises(ConfigError) as error:
        StudyConfig.load({"pairs": "x.jsonl", "models": {"old": {"objective": name, "atoms": 5}}})
    assert str(error.value) == f"models.old.{line}"
    # Nor with the settings of a model of before, as they are or with others.
    old = read_record(Path(), _record(name, model=str(tiny_bert))).config
    with pytest.raises(TrainingError, match=f"objective '{name}' is no longer trained"):
        train(pairs, old, tmp_path / "m", margins=margins, progress=False)


@pytest.mark.parametrize(("objective", "outputs"), [("scaled", 1), ("categorical", 5)])
def test_a_folder_of_before_predicts_calibrates_and_has_its_card(tiny_bert, pairs, tmp_path, objective, outputs):
    folder = _folder(tiny_bert, tmp_path / "m", objective, outputs)
    model = RewardModel.load(folder)
    rows = model.predict(pairs, name="m")
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    assert [row.reward_a for row in rows] == pytest.approx(model.rewards(texts).tolist(), abs=1e-6)
    assert all((row.variance_a is None) == (objective == "scaled") for row in rows)
    mirrored = [p.model_copy(update={"response_a": p.response_b, "response_b": p.response_a}) for p in pairs]
    for row, other in zip(rows, model.predict(mirrored, name="m"), strict=True):
        assert row.preference_a + other.preference_a == pytest.approx(1, abs=1e-6)
    if objective == "scaled":
        assert rows[0].preference_a == pytest.approx(expit(rows[0].reward_a - rows[0].reward_b), abs=1e-6)
    save_calibration(folder, model.calibrate(pairs))
    assert RewardModel.load(folder).predict(pairs, name="m")[0].calibrated_a is not None
    card = write_card(folder).read_text()
    assert f"with the objective `{objective}`." in card
    assert "`atoms`" not in card
    assert ("n/2| / (n/2) over n judgments" in card) == (objective == "scaled")


def test_the_record_stays_as_it_was():
    record = ModelRecord.model_validate(_record("categorical"))
    assert isinstance(record.config, RetiredConfig)
    again = ModelRecord.model_validate_json(record.model_dump_json())
    assert (again, again.config.loss()["atoms"]) == (record, 5)
    # What TRL's trainer left in a model's config is less.
    left = {"text_style": "joined", "config": {"objective": "categorical", "center": 0.0, "soft_targets": False}}
    assert objective_of(read_record(Path(), left).config).outputs == 10
    assert type(read_record(Path(), BEFORE).config) is TrainConfig


def _atoms(number: int) -> Any:
    return objective_of(read_record(Path(), _record("categorical", atoms=number)).config)


def test_atoms_worked_by_hand():
    # p = (1/4, 3/4), q = (1/2, 1/2): above 3/8, level 1/8 + 3/8, so 3/8 + 1/4.
    found = _atoms(2).log_preference(torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2))
    assert found.exp().item() == pytest.approx(5 / 8, abs=1e-6)
    # Atoms 0, 1/2 and 1 with probabilities 1/4, 1/4 and 1/2: mean 5/8, mean square 9/16.
    outputs = torch.tensor([[0.0, 0.0, math.log(2)]])
    assert _atoms(3).reward(outputs).item() == pytest.approx(5 / 8, abs=1e-6)
    assert _atoms(3).variance(outputs).item() == pytest.approx(9 / 16 - 25 / 64, abs=1e-6)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=7))
def test_atoms_agree_with_the_double_sum(logits: list[tuple[float, float]]):
    a, b = torch.tensor(logits, dtype=torch.float64).T.unsqueeze(1)
    p, q = a.softmax(-1)[0], b.softmax(-1)[0]
    above = torch.ones(len(p), len(p), dtype=torch.float64).tril(-1) + 0.5 * torch.eye(len(p), dtype=torch.float64)
    found = [_atoms(len(p)).log_preference(*sides).exp().item() for sides in ((a, b), (b, a))]
    assert found[0] == pytest.approx((p[:, None] * q[None, :] * above).sum().item(), abs=1e-12)
    assert sum(found) == pytest.approx(1, abs=1e-12)
