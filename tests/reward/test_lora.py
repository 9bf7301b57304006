"""Adapters: what is trained, and that nothing is lost between training, the merged folder and PEFT's own."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, FalconConfig, FalconForSequenceClassification

from dissensus.errors import MissingDependencyError, TrainingError
from dissensus.records import Pair
from dissensus.reward.fast.select import lay_out_for
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.text.token_cache import in_memory
from dissensus.reward.training.lora import (
    add_adapters,
    head_modules,
    merge_adapters,
    rebuild_adapted,
    save_adapter,
)
from dissensus.reward.training.run import train

from .tiny_config import tiny_config

peft = pytest.importorskip("peft", reason="peft is not installed (extra lora)")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(params=["tiny_bert", "tiny_llama", "tiny_deberta"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def _load(folder: Path) -> Any:
    torch.manual_seed(1)
    model, _ = load_backbone(str(folder), new_head=False)
    return model.eval()


def _batch() -> dict[str, Tensor]:
    ids = torch.randint(4, 20, (5, 9), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(9) < torch.tensor([9, 4, 7, 1, 9])[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def _rewards(model: Any) -> Tensor:
    with torch.no_grad():
        rewards: Tensor = model(**_batch()).logits[:, 0]
    return rewards


def _train(model: Any, steps: int = 8) -> Any:
    """Train on pairs of the batch's neighbours, and leave the model in evaluation mode."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    for _ in range(steps):
        rewards = model(**_batch()).logits[:, 0]
        # Pairs alone leave the rewards' constant free, and with it the head's bias.
        (F.softplus(rewards[1:] - rewards[:-1]).mean() + 0.1 * rewards.square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("tiny_bert", ["bert.pooler", "classifier"]),
        ("tiny_llama", ["score"]),
        ("tiny_deberta", ["pooler", "classifier"]),
    ],
)
def test_the_head_is_all_that_reads_a_texts_one_vector(backbone: str, head: list[str], request: pytest.FixtureRequest):
    model = _load(request.getfixturevalue(backbone))
    assert head_modules(model) == head
    # Looked at through our own forward pass it is the same.
    lay_out_for(model, pad_id=0)
    assert head_modules(model) == head
    assert not [hook for part in model.modules() for hook in part._forward_hooks.values()]


def test_adapters_and_head_are_trained_and_nothing_else(folder: Path):
    model = _load(folder)
    linear = sum(isinstance(part, nn.Linear) for part in model.base_model.modules())
    head = head_modules(model)
    in_head = sum(isinstance(part, nn.Linear) for name in head for part in model.get_submodule(name).modules())
    pooled = sum(name.count("pooler") for name in head if "." in name)
    rewards = _rewards(model)
    adapted = add_adapters(model, 2).eval()
    torch.testing.assert_close(_rewards(adapted), rewards, atol=1e-6, rtol=0)
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    # Two factors for every linear layer outside the head, a pooler inside the backbone being part of the head.
    assert sum("lora_" in name for name in names) == 2 * (linear - pooled)
    assert sum("modules_to_save" in name for name in names) == len(names) - 2 * (linear - pooled) >= in_head
    before = {name: weight.detach().clone() for name, weight in adapted.named_parameters()}
    _train(adapted)
    moved = {name for name, weight in adapted.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == set(names)


def test_a_merged_model_is_a_plain_folder_with_the_rewards_of_the_adapters(folder: Path, tmp_path: Path):
    plain = _load(folder)
    adapted = _train(add_adapters(_load(folder), 4))
    expected = _rewards(adapted)
    assert float((expected - _rewards(plain)).abs().max()) > 0.01
    merged = merge_adapters(adapted)
    torch.testing.assert_close(_rewards(merged), expected, atol=1e-5, rtol=0)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    merged.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    torch.testing.assert_close(_rewards(again), expected, atol=1e-5, rtol=0)


def test_a_saved_adapter_brings_its_head_along(folder: Path, tmp_path: Path):
    """PEFT gives the same rewards on a backbone with any other head: users lose heads on save again and again."""
    adapted = _train(add_adapters(_load(folder), 4))
    expected = _rewards(adapted)
    save_adapter(adapted, tmp_path, base="someone/backbone")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == ("someone/backbone", "SEQ_CLS")
    base = _load(folder)
    for name in head_modules(base):
        for weight in base.get_submodule(name).parameters():
            nn.init.normal_(weight)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    torch.testing.assert_close(_rewards(loaded), expected, atol=1e-6, rtol=0)
    # Gathered from shards, the weights make the same model.
    fresh, _ = load_backbone(str(folder), new_head=True, outputs=1)
    rebuilt = rebuild_adapted(fresh.eval(), adapted, adapted.state_dict())
    torch.testing.assert_close(_rewards(rebuilt), expected, atol=0, rtol=0)


def test_our_forward_passes_run_through_the_adapters(folder: Path):
    """Unpadded or packed, adapters give the rewards and gradients of the plain route."""

    def run(fast: bool) -> tuple[Tensor, dict[str, Tensor]]:
        model = _load(folder)
        layout = lay_out_for(model, pad_id=model.config.pad_token_id, fast=fast)
        assert (layout.reason is None) == fast
        torch.manual_seed(2)
        adapted = add_adapters(model, 2).eval()
        generator = torch.Generator().manual_seed(4)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.3, generator=generator)
        rows = [([4, 5, 6, 7], 4, False, False), ([4, 5, 9], 3, False, False), ([8], 1, False, False)]
        encoded = in_memory(iter(rows), typed=False)
        logits = adapted(**layout(encoded, np.arange(3))).logits
        logits.square().sum().backward()
        return logits.detach(), {n: w.grad for n, w in adapted.named_parameters() if w.grad is not None}

    plain, expected = run(False)
    fast, found = run(True)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-3)


def test_the_wrapped_head_stays_in_float32(folder: Path):
    """Under autocast neighbouring rewards at 4 would be 0.03 apart; before merging as after."""
    adapted = add_adapters(_load(folder), 2)
    for model in (adapted, merge_adapters(adapted)):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            logits = model(**_batch()).logits
        assert logits.dtype == torch.float32
        assert not torch.equal(logits, logits.bfloat16().float())


class _Headless(nn.Module):
    """A classifier whose outputs do not come from what stands beside its backbone."""

    base_model_prefix = "backbone"

    def __init__(self, model: Any, *, unused: bool) -> None:
        super().__init__()
        self.backbone, self.config, self.device = model, model.config, torch.device("cpu")
        if unused:
            self.score = nn.Linear(16, 1)

    def forward(self, **inputs: Any) -> Any:
        return self.backbone(**inputs)


@pytest.mark.parametrize(("unused", "reason"), [(False, "no parts outside"), (True, "do not depend on score")])
def test_a_model_whose_head_is_not_found_is_refused(tiny_bert: Path, unused: bool, reason: str):
    with pytest.raises(TrainingError, match=f"{reason}.*without --lora-rank"):
        add_adapters(_Headless(_load(tiny_bert), unused=unused), 4)


def test_without_peft_the_extra_is_named(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependencyError, match=r"dissensus\[lora\]"):
        add_adapters(_load(tiny_bert), 4)


def test_the_alpha_scales_what_the_adapters_add(tiny_bert: Path):
    """W + alpha / rank * B A, and twice the rank where none is given (Hu et al., 2021, section 4.1)."""

    def merged(**settings: Any) -> Tensor:
        torch.manual_seed(2)
        adapted = add_adapters(_load(tiny_bert), 4, **settings)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.ones_(weight)
        return merge_adapters(adapted).bert.encoder.layer[0].attention.self.query.weight.detach()

    before = _load(tiny_bert).bert.encoder.layer[0].attention.self.query.weight.detach()
    one, four = merged(alpha=4) - before, merged(alpha=16) - before
    torch.testing.assert_close(four, 4 * one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(merged() - before, 2 * one, atol=1e-5, rtol=1e-4)


def test_layers_of_a_kind_of_their_own_are_those_that_peft_names():
    """Falcon has no plain linear layers beside its head."""
    torch.manual_seed(0)
    settings = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    config = FalconConfig(vocab_size=20, num_labels=1, pad_token_id=0, **settings)
    model = FalconForSequenceClassification(config).eval()
    before = _rewards(model)
    adapted = add_adapters(model, 2).eval()
    torch.testing.assert_close(_rewards(adapted), before, atol=1e-6, rtol=0)
    assert adapted.peft_config["default"].target_modules == {
        f"transformer.h.{layer}.self_attention.query_key_value" for layer in (0, 1)
    }
    trained = _rewards(_train(adapted))
    assert (trained - before).abs().max() > 1e-3
    torch.testing.assert_close(_rewards(merge_adapters(adapted)), trained, atol=1e-5, rtol=0)


_config = functools.partial(tiny_config, lora_rank=4, epochs=3, learning_rate=1e-2)


@pytest.mark.parametrize(("backbone", "objective"), [("tiny_bert", "mean-variance"), ("tiny_llama", "bradley-terry")])
def test_the_folder_is_plain_and_its_adapter_gives_the_same_rewards(backbone, objective, request, pairs, tmp_path):
    folder = request.getfixturevalue(backbone)
    out = tmp_path / "m"
    train(pairs, _config(folder, objective=objective, gradient_checkpointing=True), out, progress=False)
    model = RewardModel.load(out)
    texts = [(pair.prompt, response) for pair in pairs for response in (pair.response_a, pair.response_b)]
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
