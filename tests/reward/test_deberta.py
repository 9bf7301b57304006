"""Our DeBERTa against transformers' own, on random models."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from dissensus.reward.fast import deberta
from dissensus.reward.fast.deberta import restore, use_fast_attention
from dissensus.reward.text.backbone import load_backbone

V3 = {
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "max_position_embeddings": 512,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "vocab_size": 300,
    "num_labels": 1,
}
LENGTHS = (140, 1, 131, 40, 140, 7)
"""Some past the beginning of the logarithmic buckets, and of several blocks."""


def make(layers: int = 2, hidden: int = 64, heads: int = 4, **settings: Any) -> DebertaV2ForSequenceClassification:
    torch.manual_seed(0)
    config = V3 | {"intermediate_size": 4 * hidden} | settings
    return DebertaV2ForSequenceClassification(
        DebertaV2Config(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, **config)
    ).eval()


def batch(lengths: tuple[int, ...] = LENGTHS) -> dict[str, Tensor]:
    ids = torch.randint(300, (len(lengths), max(lengths) + 2), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}


def run(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient by every weight of a sum that tells the texts apart."""
    logits = model(**inputs).logits
    model.zero_grad()
    (logits * torch.arange(1.0, len(logits) + 1, dtype=logits.dtype)[:, None]).sum().backward()
    return logits.detach(), {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


def assert_same(
    found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]], rtol: float
) -> None:
    assert found[1].keys() == expected[1].keys()
    scale = max(gradient.abs().max() for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        gap = (found[1][name] - gradient).abs().max()
        assert gap <= rtol * max(gradient.abs().max(), 1e-3 * scale), name


def test_a_size_in_use_gives_the_same_logits_and_gradients_in_single_precision(monkeypatch) -> None:
    """All of deberta-v3-xsmall: gradients of the deepest and the shallowest attention have passed through the rest."""
    model, inputs = make(12, 384, 6), batch((70, 1))
    only = ("rel_embeddings", "layer.0.attention", "layer.11.attention")
    for weight, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in weight for part in only))
    expected = run(model, inputs)
    # Its own check would take as long again.
    monkeypatch.setattr(deberta, "probe", lambda *_: None)
    monkeypatch.setattr(deberta, "disagreement", lambda *_: None)
    assert use_fast_attention(model) is None
    found = run(model, inputs)
    assert (found[0] - expected[0]).abs().max() < 1e-6
    assert_same(found, expected, rtol=1e-4)


VARIANTS: dict[str, dict[str, Any]] = {
    "v3": {},
    "c2p": {"pos_att_type": ["c2p"]},
    "p2c": {"pos_att_type": "p2c"},
    "no positions": {"pos_att_type": []},
    "own projections": {"share_att_key": False},
    "own projection of keys": {"share_att_key": False, "pos_att_type": ["c2p"]},
    "absolute": {"relative_attention": False, "position_biased_input": True},
    "absolute and relative": {"position_biased_input": True, "type_vocab_size": 2, "norm_rel_ebd": "none"},
    "no buckets": {"position_buckets": -1},
    "few positions": {"position_buckets": -1, "max_relative_positions": 20},
    "small buckets": {"position_buckets": 8, "max_relative_positions": 64},
    "convolution": {"conv_kernel_size": 3, "conv_act": "gelu", "num_labels": 3},
    "one convolved layer": {"conv_kernel_size": 3, "layers": 1},
    "narrow embeddings": {"embedding_size": 32},
    "one head": {"heads": 1, "hidden": 16},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_agrees_in_double_precision(variant: str) -> None:
    model, inputs = make(**VARIANTS[variant]).double(), batch()
    if model.config.type_vocab_size:
        inputs["token_type_ids"] = (inputs["input_ids"] > 100).long()
    expected = run(model, inputs)
    assert use_fast_attention(model) is None
    found = run(model, inputs)
    assert (found[0] - expected[0]).abs().max() < 1e-11
    # transformers takes the square root of the scale in single precision.
    assert_same(found, expected, rtol=1e-6)


@pytest.mark.parametrize("buckets", [-1, 4, 256])
@pytest.mark.parametrize("length", [1, 2, 129, 512])
def test_the_relative_positions_are_transformers_own(length: int, buckets: int) -> None:
    span = buckets if buckets > 0 else 512
    first, stop, rows = deberta._embedding_rows(length, buckets, 512, span, torch.device("cpu"))
    states = torch.empty(1, length, 1)
    theirs = (build_relative_position(states, states, buckets, 512)[0] + span).clamp(0, 2 * span - 1)
    places = torch.arange(length)
    assert ((rows + first)[places[:, None] - places + length - 1] == theirs).all()
    assert (first, stop) == (theirs.min(), theirs.max() + 1)


def test_under_bfloat16_it_is_as_close_to_float32_as_transformers_own() -> None:
    model, inputs = make(2, 128, 4, initializer_range=0.1), batch((140, 130, 33, 20, 2))
    exact, gradients = run(model, inputs)

    def errors() -> tuple[float, float]:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**inputs).logits.float()
        model.zero_grad()
        (logits * torch.arange(1.0, len(logits) + 1)[:, None]).sum().backward()
        gap = {
            n: (w.grad - gradients[n]).norm() / gradients[n].norm()
            for n, w in model.named_parameters()
            if n in gradients and n.endswith("weight")
        }
        logits = logits.detach()
        return float((logits - exact).norm() / exact.norm()), float(torch.stack(list(gap.values())).mean())

    theirs = errors()
    assert use_fast_attention(model) is None
    ours = errors()
    assert ours[0] < 1.5 * theirs[0]
    assert ours[1] < 1.2 * theirs[1]


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool) -> None:
    model, inputs = make().train(), batch()
    expected = run(model, inputs)
    assert use_fast_attention(model) is None
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert_same(run(model, inputs), expected, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing:FutureWarning")
def test_dropout_falls_in_training_alone() -> None:
    model, inputs = make(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1).double(), batch((9, 4))
    whole = model(**inputs).logits
    assert use_fast_attention(model) is None
    torch.testing.assert_close(model(**inputs).logits, whole, rtol=0, atol=1e-11)
    model.train()
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(3)
    _, checkpointed = run(model, inputs)
    model.gradient_checkpointing_disable()
    torch.manual_seed(3)
    _, kept = run(model, inputs)
    assert all(torch.equal(checkpointed[name], kept[name]) for name in kept)


def test_given_lengths_stand_for_the_mask() -> None:
    model, inputs = make(), batch()
    assert use_fast_attention(model) is None
    expected = model(**inputs).logits
    torch.testing.assert_close(model(**inputs, lengths=list(LENGTHS)).logits, expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="padded on the right"):
        model(inputs["input_ids"], inputs["attention_mask"].flip(1))


@pytest.mark.parametrize("wrong", ["logits", "gradient"])
def test_a_corrupted_path_is_refused_and_the_model_left_alone(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    model, inputs = make(), batch()
    expected = model(**inputs).logits
    exact = deberta.disentangled_attention

    def corrupted(q: Tensor, k: Tensor, *rest: Any, scale: float, dropout: float) -> Tensor:
        if wrong == "logits":
            scale *= 1.01
        else:
            k = k.detach() + 0.9 * (k - k.detach())
        return exact(q, k, *rest, scale=scale, dropout=dropout)

    monkeypatch.setattr(deberta, "disentangled_attention", corrupted)
    assert "differ" in (use_fast_attention(model) or "")
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)


def test_it_can_be_switched_on_twice_and_off_and_saves_the_plain_model(tmp_path: Path) -> None:
    model, inputs = make(), batch()
    expected, keys = model(**inputs).logits, model.state_dict().keys()
    assert use_fast_attention(model) is None
    assert use_fast_attention(model) is None
    assert model.state_dict().keys() == keys
    model.save_pretrained(tmp_path)
    again = DebertaV2ForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-6)
    restore(model)
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)


def test_models_it_cannot_help_are_named(tiny_bert: Path) -> None:
    assert "BertForSequenceClassification" in (
        use_fast_attention(load_backbone(str(tiny_bert), new_head=False)[0]) or ""
    )
    assert "bfloat16" in (use_fast_attention(make().bfloat16()) or "")
    model = make()
    model.forward = lambda **_: None
    assert "forward" in (use_fast_attention(model) or "")


def test_a_model_that_has_predicted_can_be_trained() -> None:
    deberta._embedding_rows.cache_clear()
    model, inputs = make(), batch((17, 3))
    assert use_fast_attention(model) is None
    with torch.inference_mode():
        model(**inputs)
    assert run(model, inputs)[1]


def test_a_copy_stands_on_its_own_weights() -> None:
    model, inputs = make(), batch((5, 3))
    assert use_fast_attention(model) is None
    expected = model(**inputs).logits
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(**inputs).logits, expected, rtol=0, atol=0)
    with torch.no_grad():
        twin.deberta.encoder.layer[0].attention.self.value_proj.weight.mul_(2)
    assert not torch.equal(twin(**inputs).logits, expected)
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)


class Adapted(nn.Module):
    """A projection with a low-rank addition, as adapters make it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x.to(self.down.weight.dtype)))


def test_projections_replaced_later_are_the_ones_that_run() -> None:
    model, inputs = make(), batch()
    assert use_fast_attention(model) is None
    model.requires_grad_(False)
    for layer in model.deberta.encoder.layer:
        attention = layer.attention.self
        attention.query_proj, attention.value_proj = Adapted(attention.query_proj), Adapted(attention.value_proj)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(**inputs).logits.isfinite().all()
    found = run(model, inputs)
    restore(model)
    expected = run(model, inputs)
    assert (found[0] - expected[0]).abs().max() < 1e-6
    assert_same(found, expected, rtol=1e-4)
    assert set(found[1]) == {n for n, _ in model.named_parameters() if ".up." in n or ".down." in n}
