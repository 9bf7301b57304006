"""Without padding, BERT and its kin give what transformers gives: rewards and gradients."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, ElectraConfig, RobertaConfig

from dissensus.reward.fast import unpadded
from dissensus.reward.fast.select import lay_out_for
from dissensus.reward.fast.unpadded import use_unpadded
from dissensus.reward.text.backbone import checkpoint_activations
from dissensus.reward.text.token_cache import EncodedTexts, in_memory

SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
SMALL |= {"vocab_size": 60, "max_position_embeddings": 130, "num_labels": 1, "pad_token_id": 1}
SMALL |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
CONFIGS = {
    "bert": BertConfig(type_vocab_size=2, **SMALL),
    "roberta": RobertaConfig(type_vocab_size=1, **SMALL),
    "electra": ElectraConfig(type_vocab_size=2, embedding_size=16, **SMALL),
}


def _model(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[name])
    config.update(changes)
    return AutoModelForSequenceClassification.from_config(config).double().train()


def _texts(lengths: list[int], *, typed: bool, seed: int = 0) -> EncodedTexts:
    rng = np.random.default_rng(seed)
    rows = ((rng.integers(5, 60, n).tolist(), n // 2 if typed else n, False, False) for n in lengths)
    return in_memory(rows, typed=typed)


def _run(model: Any, encoded: EncodedTexts, *, fast: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    layout = lay_out_for(model, pad_id=1, fast=fast)
    assert layout.kind == ("unpadded" if fast else "padded"), layout.reason
    model.zero_grad()
    logits = model(**layout(encoded, np.arange(len(encoded)))).logits[:, 0]
    (logits * torch.linspace(1, 2, len(logits))).sum().backward()
    return logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lengths", [[1], [17, 17], [3, 90, 1, 40, 41, 64, 7, 128], list(range(1, 40))])
def test_logits_and_gradients_are_those_of_transformers(name: str, lengths: list[int]):
    model = _model(name)
    encoded = _texts(lengths, typed=name != "roberta")
    expected, gradients = _run(copy.deepcopy(model), encoded, fast=False)
    found, ours = _run(model, encoded, fast=True)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    for one, other in zip(ours, gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("other", ["checkpointed", "on a GPU"])
def test_other_routes_give_the_same(other: str, monkeypatch: pytest.MonkeyPatch):
    encoded = _texts([5, 30, 12, 64], typed=True)
    expected, gradients = _run(_model("bert"), encoded, fast=True)
    model = _model("bert")
    if other == "checkpointed":
        checkpoint_activations(model)
    else:
        monkeypatch.setattr(unpadded, "_plain_attention", unpadded._fused_attention)
    found, ours = _run(model, encoded, fast=True)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    for one, other_one in zip(ours, gradients, strict=True):
        torch.testing.assert_close(one, other_one, atol=1e-9, rtol=1e-9)


def test_dropout_of_attention_has_the_distribution_of_transformers():
    encoded, draws = _texts([20, 9], typed=True), 200
    drawn = {}
    for fast in (False, True):
        model = _model("bert", attention_probs_dropout_prob=0.2)
        layout = lay_out_for(model, pad_id=1, fast=fast)
        batch = layout(encoded, np.arange(2))
        torch.manual_seed(int(fast))
        with torch.no_grad():
            drawn[fast] = torch.stack([model(**batch).logits[:, 0] for _ in range(draws)])
    error = (drawn[True].var(dim=0) / draws + drawn[False].var(dim=0) / draws).sqrt()
    assert error.min() > 1e-4
    assert ((drawn[True].mean(dim=0) - drawn[False].mean(dim=0)).abs() < 4 * error).all()
    torch.testing.assert_close(
        drawn[True].std(dim=0), drawn[False].std(dim=0), rtol=0.2, atol=0
    )  # under three standard errors


@pytest.mark.parametrize("broken", [float("nan"), 1.01])
def test_a_pass_with_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch, broken: float):
    inner = unpadded._plain_attention
    monkeypatch.setattr(unpadded, "_plain_attention", lambda *inputs: inner(*inputs) * broken)
    model = _model("bert")
    reason = use_unpadded(model)
    assert reason is not None
    assert "differ from transformers' own" in reason
    assert "forward" not in vars(model)


def test_models_of_another_kind_are_left_alone(tiny_llama: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_llama)
    assert use_unpadded(model) == "not written for model type 'llama'"
    assert use_unpadded(_model("bert", is_decoder=True)) == "the model is a decoder"
