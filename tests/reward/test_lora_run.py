"""A run that trains adapters: resumed exactly, saved whole, for us and for PEFT."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.training.run import train
from dissensus.reward.training.trainer import PairTrainer

peft = pytest.importorskip("peft", reason="peft is not installed (extra lora)")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


def _config(backbone: Path, **settings: Any) -> TrainConfig:
    return TrainConfig(
        **{
            "model": str(backbone),
            "lora_rank": 4,
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 1e-2,
            "max_length": 32,
            "logging_steps": 1,
            "checkpoint_steps": 2,
            "precision": "fp32",
            "validation": 0.2,
            **settings,
        }
    )


def _texts(pairs: list[Pair]) -> list[tuple[Any, Any]]:
    return [(pair.prompt, response) for pair in pairs for response in (pair.response_a, pair.response_b)]


@pytest.mark.parametrize(("backbone", "dropout"), [("tiny_bert", 0.2), ("tiny_llama", 0.0)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    backbone: str,
    dropout: float,
    request: pytest.FixtureRequest,
    pairs: list[Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    config = _config(request.getfixturevalue(backbone), dropout=dropout)
    train(pairs, config, tmp_path / "whole", progress=False)
    inner = PairTrainer.training_step

    def dies(self: PairTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return inner(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "training_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train(pairs, config, tmp_path / "broken", progress=False)
    checkpoint = tmp_path / "broken.part" / "checkpoint-4"
    # Adapters and head alone: a checkpoint of a large backbone stays small.
    kept = load_file(checkpoint / "adapter_model.safetensors")
    assert kept
    assert all("lora_" in name or "classifier" in name or "pooler" in name or "score" in name for name in kept)
    assert not (checkpoint / "model.safetensors").exists()
    assert train(pairs, config, tmp_path / "broken", progress=False).resumed_from == 4
    logs = [(tmp_path / name / "training.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    whole, broken = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    for name, weight in whole.items():
        assert weight.equal(broken[name])


@pytest.mark.parametrize(("backbone", "objective"), [("tiny_bert", "mean-variance"), ("tiny_llama", "bradley-terry")])
def test_the_folder_is_plain_and_its_adapter_gives_the_same_rewards(
    backbone: str, objective: str, request: pytest.FixtureRequest, pairs: list[Pair], tmp_path: Path
):
    folder = request.getfixturevalue(backbone)
    out = tmp_path / "m"
    train(pairs, _config(folder, objective=objective, gradient_checkpointing=True), out, progress=False)
    model = RewardModel.load(out)
    texts = _texts(pairs)
    expected = model.outputs(texts)
    # The pairs are told apart, which the backbone's own head does not do.
    rewards = expected.reshape(len(pairs), 2, -1)[..., 0]
    right = [(a > b) == (pair.label == "a") for (a, b), pair in zip(rewards, pairs, strict=True)]
    assert np.mean(right) > 0.9
    base, tokenizer = load_backbone(str(folder), new_head=True, outputs=expected.shape[1])
    adapted = peft.PeftModel.from_pretrained(base, out / "adapter").merge_and_unload()
    found = RewardModel(adapted.eval(), tokenizer, max_length=32, config=model.config).outputs(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["r"] == 4


def test_the_backbones_own_weights_move_by_a_low_rank(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    train(pairs, _config(tiny_bert, lora_rank=2, epochs=1), tmp_path / "m", progress=False)
    folders = (tiny_bert, tmp_path / "m")
    before, after = (load_backbone(str(folder), new_head=False)[0].state_dict() for folder in folders)
    moved = {name for name in before if not before[name].equal(after[name])}
    assert not [name for name in moved if "LayerNorm" in name or "embeddings" in name]
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert query in moved
    change = (after[query] - before[query]).double().numpy()
    assert np.linalg.matrix_rank(change, tol=1e-5) == 2
