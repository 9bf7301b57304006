"""Packed texts: the oracle is always the model's own forward pass on each text alone."""

import copy
import io
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BloomConfig,
    BloomForSequenceClassification,
    Gemma2Config,
    Gemma2ForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from dissensus.reward.fast.packed_attention import Packing
from dissensus.reward.fast.packed_model import packed_inputs, use_packing
from dissensus.reward.fast.packing import PackingPlan, pack_texts

from .test_packing_plan import tries

PAD = 0
SIZE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "num_labels": 2,
    "pad_token_id": PAD,
    # Large weights, so that attention decides the rewards.
    "initializer_range": 0.4,
}
GROUPED = {**SIZE, "num_key_value_heads": 2}


def _gemma2(**settings: object) -> PreTrainedModel:
    settings = {"head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 5, **settings}
    # SDPA knows no bound on scores, so the plain attention is the one to equal.
    return Gemma2ForSequenceClassification._from_config(
        Gemma2Config(**GROUPED, **settings), attn_implementation="eager"
    )


def _gpt2() -> PreTrainedModel:
    size = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
    shared = {key: SIZE[key] for key in ("vocab_size", "num_labels", "pad_token_id", "initializer_range")}
    return GPT2ForSequenceClassification(GPT2Config(**size, **shared))


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "Llama with grouped queries": lambda: LlamaForSequenceClassification(LlamaConfig(**GROUPED)),
    "Qwen2, one layer windowed": lambda: Qwen2ForSequenceClassification(
        Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    "Mistral with a window": lambda: MistralForSequenceClassification(MistralConfig(**GROUPED, sliding_window=6)),
    "Gemma2: bounded scores and a window": lambda: _gemma2(attn_logit_softcapping=1.0),
    "GPT-NeoX": lambda: GPTNeoXForSequenceClassification(GPTNeoXConfig(**SIZE)),
    "GPT2: learned positions": _gpt2,
}

PROMPT = [5, 6, 7, 8, 9, 10, 11]
BATCHES: dict[str, list[list[int]]] = {
    "two responses to each of two prompts": [[*PROMPT, 1, 2, 3], [4, 3, 2, 9], [*PROMPT, 2, 2], [4, 3, 2, 8, 7, 6, 5]],
    "identical texts": [PROMPT, PROMPT, PROMPT],
    "a text that begins another": [[*PROMPT, 12], PROMPT, [*PROMPT, 12, 13]],
    "one-token responses": [[*PROMPT, 1], [*PROMPT, 2], [*PROMPT, 3]],
    "one text": [PROMPT],
    "one token": [[3]],
    "nothing in common": [[1, 2, 3], [2, 3], [3, 2, 1, 4, 5, 6, 7, 8]],
}


def _model(name: str = "Llama with grouped queries", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    return MODELS[name]().to(dtype).eval()


def packed_rewards(model: nn.Module, plan: PackingPlan) -> Tensor:
    return model(**packed_inputs(plan)).logits


def _alone(model: nn.Module, texts: list[list[int]]) -> Tensor:
    return torch.cat([model(input_ids=torch.tensor([text])).logits for text in texts])


def _gradients(model: nn.Module, logits: Tensor) -> list[Tensor]:
    model.zero_grad()
    (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _assert_same_as_alone(model: PreTrainedModel, texts: list[list[int]], tolerance: float = 1e-5) -> None:
    expected = _alone(model, texts)
    wanted = _gradients(model, expected)
    assert use_packing(model) is None
    found = packed_rewards(model, pack_texts(texts, pad_id=PAD))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for one, other in zip(_gradients(model, found), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


@pytest.fixture(scope="module")
def packing_llama() -> PreTrainedModel:
    model = _model()
    assert use_packing(model) is None
    return model


@pytest.mark.parametrize("name", MODELS)
def test_rewards_and_gradients_are_those_of_each_text_alone(name: str):
    _assert_same_as_alone(_model(name), BATCHES["two responses to each of two prompts"])
    # A trunk that is longer than the windows.
    trunk = list(range(1, 20))
    _assert_same_as_alone(_model(name), [[*trunk, 3, 4, 5], [*trunk, 9], [*trunk, *range(20, 30)]])


@pytest.mark.parametrize("name", BATCHES)
def test_every_shape_of_batch_is_exact(name: str):
    _assert_same_as_alone(_model(), BATCHES[name])
    # In float64 throughout, which Llama's norms are not.
    _assert_same_as_alone(_model("GPT2: learned positions", torch.float64), BATCHES[name], tolerance=1e-12)


@given(tries(3))
def test_random_forests_are_exact(packing_llama: PreTrainedModel, texts: list[list[int]]):
    model = packing_llama
    found = packed_rewards(model, pack_texts(texts))
    torch.testing.assert_close(found, _alone(model, texts), rtol=1e-5, atol=1e-5)


def test_where_padding_is_the_end_of_text_the_reward_is_read_where_transformers_reads_it(
    packing_llama: PreTrainedModel,
):
    ended = [[*PROMPT, 3, PAD], [*PROMPT, 4, 5, PAD]]
    model = packing_llama
    expected = _alone(model, ended)
    torch.testing.assert_close(packed_rewards(model, pack_texts(ended, pad_id=PAD)), expected, rtol=1e-5, atol=1e-5)
    # The tokens after it are not even read.
    assert pack_texts(ended, pad_id=PAD).tokens == len(PROMPT) + 3
    assert pack_texts([[PAD, PAD]], pad_id=PAD).tokens == 1


def test_flex_attention_sees_what_the_pieces_see():
    """The block mask of the CUDA route, entry by entry, against the definition; windows too."""
    plan = pack_texts(BATCHES["two responses to each of two prompts"] + [PROMPT])
    owner, positions = _owners(plan), plan.position_ids[0]
    index = torch.arange(plan.tokens)
    for window in (None, 3):
        sees = Packing(plan).visibility(window, "cpu")(None, None, index[:, None], index[None, :])
        for query in range(plan.tokens):
            for key in range(plan.tokens):
                # A query sees a key if a text that holds the query holds the key no later, and in its window.
                together = owner[query] <= owner[key] and positions[key] <= positions[query]
                near = window is None or positions[query] - positions[key] < window
                assert bool(sees[query, key]) == (together and near)


def _owners(plan: PackingPlan) -> list[set[int]]:
    """The texts that hold each token of the row."""
    owner: list[set[int]] = [set() for _ in range(plan.tokens)]
    for text, (start, length, trunk) in enumerate(plan.branches.tolist()):
        above, shared = plan.trunks[trunk].tolist()
        for token in (*range(above, above + shared), *range(start, start + length)):
            owner[token].add(text)
    return owner


def test_padded_batches_are_read_as_before(packing_llama: PreTrainedModel):
    texts, untouched = BATCHES["two responses to each of two prompts"], _model()
    ids = torch.zeros((len(texts), 10), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    batch = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
    assert torch.equal(packing_llama(**batch).logits, untouched(**batch).logits)


def test_a_copy_packs_with_its_own_weights(packing_llama: PreTrainedModel):
    model, plan = packing_llama, pack_texts([[*PROMPT, 1], [*PROMPT, 2]])
    before = packed_rewards(model, plan)
    twin = copy.deepcopy(model)
    assert torch.equal(packed_rewards(twin, plan), before)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0.5)
    assert not torch.equal(packed_rewards(twin, plan), before)
    assert torch.equal(packed_rewards(model, plan), before)


def test_what_is_saved_is_the_plain_model(packing_llama: PreTrainedModel, tmp_path: Path):
    model, plain = packing_llama, _model()
    assert model.state_dict().keys() == plain.state_dict().keys()
    for folder, saved in (("packing", model), ("plain", plain)):
        saved.save_pretrained(tmp_path / folder)
    assert (tmp_path / "packing/config.json").read_text() == (tmp_path / "plain/config.json").read_text()
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "packing").eval()
    assert reloaded.config._attn_implementation == "sdpa"
    texts = BATCHES["two responses to each of two prompts"]
    torch.testing.assert_close(_alone(reloaded, texts), packed_rewards(model, pack_texts(texts)), rtol=1e-5, atol=1e-5)
    assert use_packing(reloaded) is None


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool):
    texts = BATCHES["two responses to each of two prompts"]
    model = _model()
    wanted = _gradients(model, _alone(model, texts))
    assert use_packing(model) is None
    model.train()
    for part in model.modules():
        if hasattr(part, "gradient_checkpointing"):
            part.gradient_checkpointing = True
            part._gradient_checkpointing_func = partial(checkpoint, use_reentrant=reentrant)
    model.enable_input_require_grads()
    found = _gradients(model, packed_rewards(model, pack_texts(texts)))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_under_autocast_the_head_stays_in_float32(packing_llama: PreTrainedModel):
    texts = BATCHES["two responses to each of two prompts"]
    model = packing_llama
    exact = _alone(model, texts).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = packed_rewards(model, pack_texts(texts)).detach()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.1 * float(exact.abs().max()))
    # No reward is on the coarse grid of bfloat16.
    assert not torch.equal(found, found.bfloat16().float())


def test_attention_dropout_is_applied_in_training_only():
    model = _model()
    for part in model.modules():
        if hasattr(part, "attention_dropout"):
            part.attention_dropout = 0.5
    plan = pack_texts([[*PROMPT, 1], [*PROMPT, 2]])
    assert use_packing(model) is None
    still = packed_rewards(model, plan)
    model.train()
    torch.manual_seed(0)
    assert not torch.allclose(packed_rewards(model, plan), still)
    model.eval()
    assert torch.equal(packed_rewards(model, plan), still)


def test_distributed_wrappers_pass_the_packing_on(tmp_path: Path):
    texts, model = BATCHES["two responses to each of two prompts"], _model()
    expected = _alone(model, texts).detach()
    assert use_packing(model) is None
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        with redirect_stderr(io.StringIO()):
            found = packed_rewards(DistributedDataParallel(model), pack_texts(texts))
        found.sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # PEFT asks by an older name
@pytest.mark.filterwarnings("ignore::FutureWarning:peft")
@pytest.mark.parametrize("before", [True, False])
def test_adapters_are_trained_on_packed_texts(before: bool):
    """Packing goes on before or after PEFT wraps the model; the head is trained beside the adapters."""
    peft = pytest.importorskip("peft")
    texts, model = BATCHES["two responses to each of two prompts"], _model()
    if before:
        assert use_packing(model) is None
    settings = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["q_proj"], modules_to_save=["score"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(model, settings).eval()
    expected = _alone(adapted, texts)
    wanted = _gradients(adapted, expected)
    assert use_packing(adapted) is None
    found = packed_rewards(adapted, pack_texts(texts))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(_gradients(adapted, found), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: BertForSequenceClassification(BertConfig(**SIZE)), "no head named 'score'"),
        (
            lambda: BloomForSequenceClassification(
                BloomConfig(vocab_size=32, hidden_size=16, n_layer=1, n_head=2, pad_token_id=PAD)
            ),
            "does not go through transformers' AttentionInterface",
        ),
        (lambda: LlamaForSequenceClassification(LlamaConfig(**SIZE, is_causal=False)), "bidirectional"),
        (lambda: LlamaForSequenceClassification(LlamaConfig(**SIZE)).bfloat16(), "bfloat16"),
        (
            lambda: LlamaForSequenceClassification._from_config(
                LlamaConfig(**SIZE), attn_implementation="flex_attention"
            ),
            "flex_attention",
        ),
    ],
)
def test_an_architecture_that_cannot_pack_is_refused_and_left_alone(make: Callable[[], PreTrainedModel], reason: str):
    model = make()
    before, attributes = model.config._attn_implementation, set(vars(model))
    found = use_packing(model)
    assert found is not None
    assert reason in found
    assert model.config._attn_implementation == before
    assert set(vars(model)) == attributes


class _LooksAhead(nn.Module):
    """An embedding that adds to each token the next one of the row: what a sum over texts must not have."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor) -> Tensor:
        states = self.inner(ids)
        return states + states.roll(1, dims=1)


def test_a_model_whose_texts_are_not_independent_in_a_row_is_refused():
    model = _model()
    model.model.embed_tokens = _LooksAhead(model.model.embed_tokens)
    reason = use_packing(model)
    assert reason is not None
    assert "differ from those of each text alone" in reason
    assert model.config._attn_implementation == "sdpa"
    assert "forward" not in vars(model)


def test_the_check_leaves_no_trace():
    model = _model().train()
    model.model.layers[0].eval()
    modes = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    assert use_packing(model) is None
    assert use_packing(model) is None
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_packed_texts_take_no_padding_mask(packing_llama: PreTrainedModel):
    inputs = packed_inputs(pack_texts([PROMPT]))
    with pytest.raises(ValueError, match="neither an attention_mask nor labels"):
        packing_llama(**inputs, attention_mask=torch.ones(1, len(PROMPT)))
