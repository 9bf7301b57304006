"""A run that trains adapters: resumed exactly, saved whole, for us and for PEFT."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dissensus.records import Pair
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.training.run import train

from .tiny_config import tiny_config

peft = pytest.importorskip("peft", reason="peft is not installed (extra lora)")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


_config = functools.partial(tiny_config, lora_rank=4, epochs=3, learning_rate=1e-2)


def _texts(pairs: list[Pair]) -> list[tuple[Any, Any]]:
    return [(pair.prompt, response) for pair in pairs for response in (pair.response_a, pair.response_b)]


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
