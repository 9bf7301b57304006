"""Packed texts: the oracle is always the model's own forward pass on each text alone."""

import copy
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from dissensus.reward.fast.packed_attention import Packing
from dissensus.reward.fast.packed_model import packed_inputs, use_packing
from dissensus.reward.fast.packing import PackingPlan, pack_texts

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
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
GPT2 |= {key: SIZE[key] for key in ("vocab_size", "num_labels", "pad_token_id", "initializer_range")}
GEMMA = {"head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 5, "attn_logit_softcapping": 1.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama with grouped queries": ("Llama", GROUPED),
    "Qwen2, one layer windowed": (
        "Qwen2", {**GROUPED, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "Mistral with a window": ("Mistral", {**GROUPED, "sliding_window": 6}),
    "Gemma2: bounded scores and a window": ("Gemma2", {**GROUPED, **GEMMA}),
    "GPT-NeoX": ("GPTNeoX", SIZE),
    "GPT2: learned positions": ("GPT2", GPT2),
}  # fmt: skip
LLAMA = "Llama with grouped queries"


def _make(kind: str, settings: dict[str, Any], attention: str = "sdpa") -> PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings)
    return (
        getattr(transformers, f"{kind}ForSequenceClassification")
        ._from_config(config, attn_implementation=attention)
        .eval()
    )


def _model(name: str = LLAMA, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    kind, settings = MODELS[name]
    # SDPA knows no bound on scores, so the plain attention is the one to equal.
    return _make(kind, settings, "eager" if kind == "Gemma2" else "sdpa").to(dtype)


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
TEXTS = BATCHES["two responses to each of two prompts"]


def tries(tokens: int) -> st.SearchStrategy[list[list[int]]]:
    """Texts over few tokens, so that beginnings are shared by chance."""
    return st.lists(st.lists(st.integers(1, tokens), min_size=1, max_size=12), min_size=1, max_size=8)


def _branches(plan: PackingPlan) -> list[list[int]]:
    """The places of each text in the row, in the order of the row: those of its trunk, and its own."""
    found, start = [], 0
    for trunk, branches in plan.groups:
        shared = [*range(start, start + trunk)]
        ends = [*accumulate(branches, initial=start + trunk)]
        found += [[*shared, *range(*piece)] for piece in pairwise(ends)]
        start = ends[-1]
    return found


@given(tries(3))
def test_any_forest_of_texts_is_laid_out_whole(texts: list[list[int]]):
    plan = pack_texts(texts)
    ids, positions = plan.input_ids[0], plan.position_ids[0]
    by_end = {places[-1]: places for places in _branches(plan)}
    assert sorted(plan.last) == sorted(by_end)
    for text, last in zip(texts, plan.last.tolist(), strict=True):
        assert ids[by_end[last]].tolist() == text
        assert positions[by_end[last]].tolist() == list(range(len(text)))
    assert plan.tokens == len({place for places in by_end.values() for place in places}) <= sum(map(len, texts))


@given(tries(2))
def test_no_choice_of_runs_leaves_fewer_tokens(texts: list[list[int]]):
    ordered = sorted(texts)

    def tokens(run: list[list[int]]) -> int:
        longest = min(map(len, run)) - 1 if len(run) > 1 else 0
        shared = max(n for n in range(longest + 1) if len({tuple(text[:n]) for text in run}) == 1)
        return sum(map(len, run)) - (len(run) - 1) * shared

    def fewest(n: int) -> int:
        """Try every way to cut the first n texts, in lexicographic order, into runs that share a trunk."""
        return min(fewest(start) + tokens(ordered[start:n]) for start in range(n)) if n else 0

    assert pack_texts(texts).tokens == fewest(len(texts))


@pytest.mark.parametrize(("texts", "message"), [([], "no texts"), ([[1], []], "no tokens")])
def test_nothing_to_read_is_an_error(texts: list[list[int]], message: str):
    with pytest.raises(ValueError, match=message):
        pack_texts(texts)


def packed_rewards(model: nn.Module, plan: PackingPlan) -> Tensor:
    return model(**packed_inputs(plan)).logits


def _alone(model: nn.Module, texts: list[list[int]]) -> Tensor:
    return torch.cat([model(input_ids=torch.tensor([text])).logits for text in texts])


def _gradients(model: nn.Module, logits: Tensor) -> list[Tensor]:
    model.zero_grad()
    (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


def _assert_same_as_alone(model: nn.Module, texts: list[list[int]], tolerance: float = 1e-5) -> None:
    expected = _alone(model, texts)
    wanted = _gradients(model, expected)
    assert use_packing(model) is None
    found = packed_rewards(model, pack_texts(texts, pad_id=PAD))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    _assert_near(_gradients(model, found), wanted, tolerance)


@pytest.fixture(scope="module")
def packing_llama() -> PreTrainedModel:
    model = _model()
    assert use_packing(model) is None
    return model


@pytest.mark.parametrize("name", MODELS)
def test_rewards_and_gradients_are_those_of_each_text_alone(name: str):
    _assert_same_as_alone(_model(name), TEXTS)
    # A trunk that is longer than the windows.
    trunk = list(range(1, 20))
    _assert_same_as_alone(_model(name), [[*trunk, 3, 4, 5], [*trunk, 9], [*trunk, *range(20, 30)]])


@pytest.mark.parametrize("name", BATCHES)
def test_every_shape_of_batch_is_exact(name: str):
    _assert_same_as_alone(_model(), BATCHES[name])
    # In float64 throughout, which Llama's norms are not.
    _assert_same_as_alone(_model("GPT2: learned positions", torch.float64), BATCHES[name], tolerance=1e-12)


@settings(max_examples=40)
@given(tries(3))
def test_random_forests_are_exact(packing_llama: PreTrainedModel, texts: list[list[int]]):
    found = packed_rewards(packing_llama, pack_texts(texts))
    torch.testing.assert_close(found, _alone(packing_llama, texts), rtol=1e-5, atol=1e-5)


def test_where_padding_is_the_end_of_text_the_reward_is_read_where_transformers_reads_it(packing_llama):
    ended = [[*PROMPT, 3, PAD], [*PROMPT, 4, 5, PAD]]
    plan = pack_texts(ended, pad_id=PAD)
    torch.testing.assert_close(packed_rewards(packing_llama, plan), _alone(packing_llama, ended), rtol=1e-5, atol=1e-5)
    # The tokens after it are not even read.
    assert plan.tokens == len(PROMPT) + 3
    assert pack_texts([[PAD, PAD]], pad_id=PAD).tokens == 1


def test_flex_attention_sees_what_the_pieces_see():
    """The block mask of the CUDA route, entry by entry, against the definition; windows too."""
    plan = pack_texts([*TEXTS, PROMPT])
    index, positions = torch.arange(plan.tokens), plan.position_ids[0]
    owner = [{i for i, places in enumerate(_branches(plan)) if token in places} for token in range(plan.tokens)]
    for window in (None, 3):
        sees = Packing(plan).visibility(window, "cpu")(None, None, index[:, None], index[None, :])
        for query in range(plan.tokens):
            for key in range(plan.tokens):
                # A query sees a key if a text that holds the query holds the key no later, and in its window.
                together = owner[query] <= owner[key] and positions[key] <= positions[query]
                near = window is None or positions[query] - positions[key] < window
                assert bool(sees[query, key]) == (together and near)


def test_padded_batches_are_read_as_before(packing_llama: PreTrainedModel):
    ids = torch.zeros((len(TEXTS), 10), dtype=torch.long)
    for row, text in enumerate(TEXTS):
        ids[row, : len(text)] = torch.tensor(text)
    batch = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
    assert torch.equal(packing_llama(**batch).logits, _model()(**batch).logits)
    inputs = packed_inputs(pack_texts([PROMPT]))
    with pytest.raises(ValueError, match="neither an attention_mask nor labels"):
        packing_llama(**inputs, attention_mask=torch.ones(1, len(PROMPT)))


def test_a_copy_packs_with_its_own_weights(packing_llama: PreTrainedModel):
    plan = pack_texts(TEXTS)
    before, twin = packed_rewards(packing_llama, plan), copy.deepcopy(packing_llama)
    assert torch.equal(packed_rewards(twin, plan), before)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0.5)
    assert not torch.equal(packed_rewards(twin, plan), before)
    assert torch.equal(packed_rewards(packing_llama, plan), before)


def test_what_is_saved_is_the_plain_model(packing_llama: PreTrainedModel, tmp_path: Path):
    plain = _model()
    assert packing_llama.state_dict().keys() == plain.state_dict().keys()
    for folder, saved in (("packing", packing_llama), ("plain", plain)):
        saved.save_pretrained(tmp_path / folder)
    assert (tmp_path / "packing/config.json").read_text() == (tmp_path / "plain/config.json").read_text()
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "packing").eval()
    assert reloaded.config._attn_implementation == "sdpa"
    _assert_same_as_alone(reloaded, TEXTS)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool):
    model = _model()
    wanted = _gradients(model, _alone(model, TEXTS))
    assert use_packing(model) is None
    model.train()
    for part in model.modules():
        if hasattr(part, "gradient_checkpointing"):
            part.gradient_checkpointing = True
            part._gradient_checkpointing_func = partial(checkpoint, use_reentrant=reentrant)
    model.enable_input_require_grads()
    _assert_near(_gradients(model, packed_rewards(model, pack_texts(TEXTS))), wanted)


def test_under_autocast_the_head_stays_in_float32(packing_llama: PreTrainedModel):
    exact = _alone(packing_llama, TEXTS).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = packed_rewards(packing_llama, pack_texts(TEXTS)).detach()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.1 * float(exact.abs().max()))
    # No reward is on the coarse grid of bfloat16.
    assert not torch.equal(found, found.bfloat16().float())


def test_attention_dropout_is_applied_in_training_only():
    model, plan = _model(), pack_texts(TEXTS)
    for part in model.modules():
        if hasattr(part, "attention_dropout"):
            part.attention_dropout = 0.5
    assert use_packing(model) is None
    still = packed_rewards(model, plan)
    model.train()
    torch.manual_seed(0)
    assert not torch.allclose(packed_rewards(model, plan), still)
    model.eval()
    assert torch.equal(packed_rewards(model, plan), still)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_a_model_that_peft_has_wrapped_packs():
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["score"], init_lora_weights=False)
    _assert_same_as_alone(peft.get_peft_model(_model(), settings).eval(), TEXTS)


class _LooksAhead(nn.Module):
    """An embedding that adds to each token the next one of the row: what a sum over texts must not have."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor) -> Tensor:
        states = self.inner(ids)
        return states + states.roll(1, dims=1)


def _looking_ahead() -> PreTrainedModel:
    model = _model()
    model.model.embed_tokens = _LooksAhead(model.model.embed_tokens)
    return model


REFUSED: dict[str, Callable[[], PreTrainedModel]] = {
    "no head named 'score'": lambda: _make("Bert", SIZE),
    "does not go through transformers' AttentionInterface": lambda: _make(
        "Bloom", {"vocab_size": 32, "hidden_size": 16, "n_layer": 1, "n_head": 2, "pad_token_id": PAD}, "eager"
    ),
    "bidirectional": lambda: _make("Llama", {**SIZE, "is_causal": False}),
    "bfloat16": lambda: _model().bfloat16(),
    "flex_attention": lambda: _make("Llama", SIZE, "flex_attention"),
    "differ from those of each text alone": _looking_ahead,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_architecture_that_cannot_pack_is_refused_and_left_alone(reason: str):
    model = REFUSED[reason]()
    before, attributes = model.config._attn_implementation, set(vars(model))
    assert reason in (use_packing(model) or "")
    assert model.config._attn_implementation == before
    assert set(vars(model)) == attributes


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
