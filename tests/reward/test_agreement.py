"""The check of a fast path on the loaded model."""

from pathlib import Path

import pytest
import torch
from transformers import PretrainedConfig

from dissensus.reward.fast.equivalence import disagreement, probe
from dissensus.reward.text.backbone import load_backbone

WEIGHTS = ("query.weight", "dense.bias")


@pytest.fixture
def model(tiny_bert: Path) -> torch.nn.Module:
    return load_backbone(str(tiny_bert), new_head=False, dropout=0.2)[0]


def test_a_model_agrees_with_itself_and_is_left_as_it_was(model: torch.nn.Module) -> None:
    model.train()
    model.bert.embeddings.eval()
    modes = [module.training for module in model.modules()]
    with torch.inference_mode():
        first, second = probe(model, WEIGHTS), probe(model, WEIGHTS)
    assert disagreement(second, first) is None
    assert first.gradients
    assert all(name.endswith(WEIGHTS) for name in first.gradients)
    assert [module.training for module in model.modules()] == modes
    assert all(weight.grad is None for weight in model.parameters())


def test_a_change_too_small_to_see_in_a_loss_is_found(model: torch.nn.Module) -> None:
    expected = probe(model, WEIGHTS)
    with torch.no_grad():
        model.classifier.bias += 1e-4
    assert "logits differ" in (disagreement(probe(model, WEIGHTS), expected) or "")


def test_a_wrong_gradient_is_found_behind_right_logits(model: torch.nn.Module) -> None:
    expected = probe(model, WEIGHTS)
    hook = model.bert.encoder.layer[0].output.dense.bias.register_hook(lambda gradient: gradient * 1.01)
    found = probe(model, WEIGHTS)
    hook.remove()
    assert "bert.encoder.layer.0.output.dense.bias" in (disagreement(found, expected) or "")


def test_a_gradient_that_does_not_arrive_is_found(model: torch.nn.Module) -> None:
    expected = probe(model, WEIGHTS)
    model.bert.encoder.layer[1].attention.self.query.weight.requires_grad_(False)
    assert "layer.1.attention.self.query.weight" in (disagreement(probe(model, WEIGHTS), expected) or "")


def test_a_number_that_is_none_never_agrees(model: torch.nn.Module) -> None:
    expected = probe(model)
    with torch.no_grad():
        model.classifier.bias.fill_(torch.nan)
    assert disagreement(probe(model), expected) is not None
    assert disagreement(expected, probe(model)) is not None


def test_the_precision_of_products_is_put_back() -> None:
    switch = torch.backends.cuda.matmul
    before = switch.fp32_precision
    switch.fp32_precision = "tf32"
    try:

        class Broken(torch.nn.Linear):
            config = PretrainedConfig(max_position_embeddings=8, vocab_size=4)
            device = torch.device("cpu")

            def forward(self, **_: object) -> None:
                assert switch.fp32_precision == "ieee"
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            probe(Broken(1, 1))
        assert switch.fp32_precision == "tf32"
    finally:
        switch.fp32_precision = before
