"""The check of a fast path on the loaded model, and what is done once per optimiser step for all micro-batches."""

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM, PretrainedConfig

from dissensus.reward.fast.equivalence import disagreement, probe
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.training.trainer import RowGradients, casts_kept

WEIGHTS = ("query.weight", "dense.bias")


@pytest.fixture
def model(tiny_bert: Path) -> nn.Module:
    return load_backbone(str(tiny_bert), new_head=False, dropout=0.2)[0]


def test_a_model_agrees_with_itself_and_is_left_as_it_was(model: nn.Module) -> None:
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


def _shift_bias(model: nn.Module) -> None:
    with torch.no_grad():
        model.classifier.bias += 1e-4


def _scale_gradient(model: nn.Module) -> None:
    model.bert.encoder.layer[0].output.dense.bias.register_hook(lambda gradient: gradient * 1.01)


def _freeze(model: nn.Module) -> None:
    model.bert.encoder.layer[1].attention.self.query.weight.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_shift_bias, "logits differ"),  # too little to see in a loss
        (_scale_gradient, "bert.encoder.layer.0.output.dense.bias"),
        (_freeze, "layer.1.attention.self.query.weight"),
    ],
)
def test_a_small_difference_is_found(model: nn.Module, change: Callable[[nn.Module], None], said: str):
    expected = probe(model, WEIGHTS)
    change(model)
    assert said in (disagreement(probe(model, WEIGHTS), expected) or "")


def test_a_number_that_is_none_never_agrees(model: nn.Module) -> None:
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

        class Broken(nn.Linear):
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


IDS = [torch.tensor([[2, 5, 5, 0], [7, 2, 0, 0]]), torch.tensor([[5, 9, 3, 7]])]


def _bert(**settings: object) -> BertForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=16, num_labels=1, **settings))
    return model.eval()


def _backward(model: nn.Module) -> None:
    for ids in IDS:
        model(input_ids=ids).logits.square().sum().backward()


def _gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_rows_get_the_gradient_that_the_whole_table_would() -> None:
    plain = _bert()
    ours = copy.deepcopy(plain)
    RowGradients(ours)
    for _ in range(2):  # the second step starts from the memory of the first
        for model in (plain, ours):
            _backward(model)
        torch.testing.assert_close(_gradients(ours), _gradients(plain))
        assert not ours.get_input_embeddings().weight.grad[0].any()  # padding
        for model in (plain, ours):
            model.zero_grad()


def test_a_table_that_is_not_trained_or_shared_with_an_output_layer_is_left_to_autograd() -> None:
    model = _bert()
    model.get_input_embeddings().weight.requires_grad_(False)
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    tied = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=16, tie_word_embeddings=True))
    for plain in (model, tied):
        RowGradients(plain)
        assert "forward" not in vars(plain.get_input_embeddings())


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
@pytest.mark.parametrize("checkpointed", [False, True])
def test_casts_are_kept_within_a_step_and_made_anew_after_it(checkpointed: bool) -> None:
    model = _bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    if checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    plain = copy.deepcopy(model)
    for network, keep in ((plain, False), (model, True)):
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(2):
            with casts_kept() if keep else contextlib.nullcontext():
                for ids in IDS:
                    with torch.autocast("cpu", dtype=torch.bfloat16):
                        loss = network(input_ids=ids).logits.float().square().sum()
                    loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    torch.testing.assert_close(dict(model.named_parameters()), dict(plain.named_parameters()))
