"""What is done once per optimiser step gives what doing it for each micro-batch gives."""

import contextlib
import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from dissensus.reward.fast.embedding_grads import RowGradients, casts_kept

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


def test_rows_are_added_to_a_gradient_that_is_already_there() -> None:
    model = _bert()
    table = model.get_input_embeddings().weight
    RowGradients(model)
    _backward(model)
    once = table.grad.clone()
    _backward(model)
    torch.testing.assert_close(table.grad, 2 * once)


def test_a_table_that_is_not_trained_gets_no_gradient() -> None:
    model = _bert()
    model.get_input_embeddings().weight.requires_grad_(False)
    RowGradients(model)
    _backward(model)
    assert model.get_input_embeddings().weight.grad is None


def test_a_table_that_an_output_layer_shares_is_left_to_autograd() -> None:
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=16, tie_word_embeddings=True))
    RowGradients(model)
    assert "forward" not in vars(model.get_input_embeddings())


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
