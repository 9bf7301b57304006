"""An exact, faster DeBERTa-v2 and -v3: no padding, cheap relative positions, and no work that no reward reads.

The reward of a text is read off its first token, so the last layer computes its queries, and all that follows them,
for first tokens only. Everything else is transformers' own: its layers run on the tokens of all texts laid behind
one another, (tokens, hidden) instead of (texts, length, hidden), and only their attention is replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2ForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, make_log_bucket_position

from dissensus.reward.disentangled import Layout, disentangled_attention, make_layout

_CHECKED_LENGTHS = (133, 40, 1)
"""Tokens of the texts that a loaded model is checked on: past the logarithmic buckets' beginning, padded, and one."""
_TOLERANCE = 1e-5
"""Of the logits, relative to their scale (or absolute, where that is below one)."""
_GRADIENT_TOLERANCE = 1e-4
"""Of the gradients of a weight, relative to the largest among them (or to a thousandth of the largest of any)."""
_CHECKED_WEIGHTS = ("rel_embeddings.weight", "query_proj.weight", "key_proj.weight", "value_proj.bias")


def use_fast_attention(model: nn.Module) -> str | None:
    """Switch on the fast forward of this ``DebertaV2ForSequenceClassification``, if it agrees with transformers' own.

    Both run on a few random texts; the logits must agree within 1e-5 of their scale and the gradients of some weights
    within 1e-4. Returns None when it is on, and otherwise the reason why the model was left as it was. Weights,
    hooks, adapters, gradient checkpointing and ``save_pretrained`` work as before. A call that asks for more than
    logits (labels, hidden states, attentions), or whose mask is not a run of ones from the first token on, goes
    through transformers' own forward.
    """
    restore(model)
    if not isinstance(model, DebertaV2ForSequenceClassification):
        return f"{type(model).__name__} is not DebertaV2ForSequenceClassification"
    if type(model).forward is not DebertaV2ForSequenceClassification.forward or "forward" in vars(model):
        return "its forward is not transformers' own"
    if model.dtype not in (torch.float32, torch.float64):
        return f"its weights are {model.dtype}; the check needs float32"
    expected = _probe(model)
    _replace(model)
    difference = _difference(_probe(model), expected)
    if difference is not None:
        restore(model)
    return difference


def restore(model: nn.Module) -> None:
    """Give a model back transformers' own forward; nothing happens to one that has it."""
    for module in model.modules():
        if getattr(vars(module).get("forward"), "func", None) in (_forward, _attend):
            del module.forward


def _replace(model: DebertaV2ForSequenceClassification) -> None:
    # A partial, unlike a bound method, follows its module into a copy and through pickle.
    model.forward = functools.partial(_forward, model)
    for module in model.modules():
        if isinstance(module, DisentangledSelfAttention):
            module.forward = functools.partial(_attend, module)


def _forward(
    model: Any,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    token_type_ids: Tensor | None = None,
    position_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    labels: Tensor | None = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    return_dict: bool | None = None,
    lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> Any:
    """Return the logits, (texts, outputs); ``lengths``, where given, spares asking the device for the mask's sums."""
    config = model.config
    plain = position_ids is None and inputs_embeds is None and labels is None and input_ids is not None
    asked = (output_attentions, config.output_attentions), (output_hidden_states, config.output_hidden_states)
    extra = any(default if choice is None else choice for choice, default in asked)
    if plain and not extra and (config.return_dict if return_dict is None else return_dict):
        lengths = _lengths(input_ids, attention_mask) if lengths is None else lengths
        if lengths is not None:
            pooled = model.dropout(model.pooler(_first_tokens(model.deberta, input_ids, token_type_ids, lengths)))
            return SequenceClassifierOutput(logits=model.classifier(pooled))
    return type(model).forward(
        model,
        input_ids,
        attention_mask=attention_mask,
        token_type_ids=token_type_ids,
        position_ids=position_ids,
        inputs_embeds=inputs_embeds,
        labels=labels,
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
        return_dict=return_dict,
        **kwargs,
    )


def _lengths(input_ids: Tensor, attention_mask: Tensor | None) -> list[int] | None:
    """Return the tokens of each text, or None where the mask is not a run of ones from the first token on."""
    if attention_mask is None:
        return [input_ids.shape[1]] * len(input_ids)
    if attention_mask.shape != input_ids.shape:
        return None
    counts = attention_mask.long().sum(1)
    places = torch.arange(input_ids.shape[1], device=counts.device)
    right = (attention_mask == (places < counts[:, None])).all(1) & (counts > 0)
    lengths: list[int] = torch.where(right, counts, 0).tolist()
    return lengths if all(lengths) else None


def _first_tokens(deberta: Any, input_ids: Tensor, token_type_ids: Tensor | None, lengths: Sequence[int]) -> Tensor:
    """Return the last hidden states of the first tokens, shape (texts, 1, hidden)."""
    encoder = deberta.encoder
    heads = deberta.config.num_attention_heads
    layout = make_layout(lengths, input_ids.shape[1], heads=heads, device=input_ids.device)

    def tokens(ids: Tensor) -> Tensor:
        return ids.reshape(-1)[layout.take][None]

    hidden = deberta.embeddings(
        input_ids=tokens(input_ids),
        token_type_ids=None if token_type_ids is None else tokens(token_type_ids),
        position_ids=layout.positions[None],
    )[0]
    embedded, relative = hidden, encoder.get_rel_embedding()
    last = len(encoder.layer) - 1
    for i, layer in enumerate(encoder.layer):
        convolved = i == 0 and encoder.conv is not None
        first = hidden[layout.starts] if i == last and not convolved else None
        # By position: checkpointing that runs the layer anew takes gradients for positional arguments only.
        hidden, _ = layer(hidden, layout, first, None, relative, False)
        if convolved:
            hidden = _convolve(encoder.conv, embedded, hidden, layout, len(lengths))
            hidden = hidden[layout.starts] if i == last else hidden
    return torch.empty_like(hidden).index_copy(0, layout.order, hidden)[:, None]


def _convolve(conv: Any, embedded: Tensor, hidden: Tensor, layout: Layout, texts: int) -> Tensor:
    """Run the convolution of v2-xlarge, which reads neighbours, on padded texts."""
    width = layout.length
    rows = torch.arange(texts, device=hidden.device)
    place = torch.zeros_like(layout.take)
    place[layout.starts] = 1
    place = (place.cumsum(0) - 1) * width + layout.positions

    def padded(x: Tensor) -> Tensor:
        return x.new_zeros(len(rows) * width, x.shape[1]).index_copy(0, place, x).unflatten(0, (-1, width))

    mask = place.new_zeros(texts * width).index_fill(0, place, 1).unflatten(0, (-1, width))
    return conv(padded(embedded), padded(hidden), mask).flatten(0, 1)[place]


def _attend(
    attention: Any,
    hidden_states: Tensor,
    attention_mask: Any,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Stand in for ``DisentangledSelfAttention.forward`` where the mask is a layout of tokens without padding."""
    if not isinstance(attention_mask, Layout):
        return type(attention).forward(
            attention, hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
        )
    layout = attention_mask
    device = hidden_states.device
    if torch.is_autocast_enabled(device.type):
        # Once for the three projections, which would each do it again.
        hidden_states = hidden_states.to(torch.get_autocast_dtype(device.type))
    by_head = (-1, attention.num_attention_heads, attention.attention_head_size)
    query_states = hidden_states if query_states is None else query_states
    queries, keys, values = (
        projection(states).view(by_head)
        for projection, states in (
            (attention.query_proj, query_states),
            (attention.key_proj, hidden_states),
            (attention.value_proj, hidden_states),
        )
    )
    kinds = attention.pos_att_type
    used = [kind for kind in ("c2p", "p2c") if kind in kinds]
    position_keys = position_queries = None
    if attention.relative_attention and used:
        first, stop, rows = _relative_rows(attention, layout.length, device)
        relative = attention.pos_dropout(rel_embeddings[first:stop])
        shared = attention.share_att_key
        if "c2p" in used:
            project = attention.key_proj if shared else attention.pos_key_proj
            position_keys = project(relative)[rows.flip(0)].view(by_head)
        if "p2c" in used:
            project = attention.query_proj if shared else attention.pos_query_proj
            position_queries = project(relative)[rows].view(by_head)
    context = disentangled_attention(
        queries,
        keys,
        values,
        position_keys,
        position_queries,
        layout,
        scale=(attention.attention_head_size * (1 + len(used))) ** -0.5,
        dropout=attention.dropout.p if attention.training else 0.0,
    )
    return context.flatten(1), None


def _relative_rows(attention: Any, length: int, device: torch.device) -> tuple[int, int, Tensor]:
    return _cached_rows(
        length, attention.position_buckets, attention.max_relative_positions, attention.pos_ebd_size, device
    )


@functools.lru_cache(maxsize=1024)
def _cached_rows(length: int, buckets: int, furthest: int, span: int, device: torch.device) -> tuple[int, int, Tensor]:
    """Return the first and the last but one relative embedding in use, and which of them each difference has.

    The differences query - key run from 1 - length to length - 1.
    """
    with torch.inference_mode(False):  # what is kept must serve training too
        differences = torch.arange(1 - length, length, device=device)
        if buckets > 0 and furthest > 0:
            differences = make_log_bucket_position(differences, buckets, furthest).long()
        rows = (differences + span).clamp(0, 2 * span - 1)
        first, last = rows.min(), rows.max()
        return int(first), int(last) + 1, rows - first


def _probe(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return logits of random texts and gradients of their sum by a few weights, without dropout."""
    limit, vocabulary = model.config.max_position_embeddings, model.config.vocab_size
    lengths = torch.tensor([min(length, limit) for length in _CHECKED_LENGTHS])
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (len(lengths), int(lengths.max())), generator=generator)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    weights = {n: w for n, w in model.named_parameters() if w.requires_grad and n.endswith(_CHECKED_WEIGHTS)}
    with _settled(model), torch.inference_mode(False), torch.enable_grad():
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        found: Sequence[Tensor | None] = ()
        if weights:
            found = torch.autograd.grad(logits.sum(), list(weights.values()), allow_unused=True)
    gradients = {name: gradient for name, gradient in zip(weights, found, strict=True) if gradient is not None}
    return logits.detach(), gradients


@contextmanager
def _settled(model: nn.Module) -> Iterator[None]:
    """Switch a model to evaluation in full precision, and back."""
    training = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device.type
    model.eval()
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _difference(found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> str | None:
    """Say where two probes differ by more than rounding; None where they agree."""
    scale = max(float(expected[0].abs().max()), 1.0)
    gap = float((found[0] - expected[0]).abs().max())
    if not gap <= _TOLERANCE * scale:
        return f"its logits differ from transformers' own by {gap:.1e}"
    if found[1].keys() != expected[1].keys():
        return f"no gradient reaches {', '.join(sorted(found[1].keys() ^ expected[1].keys()))}"
    largest = {name: float(gradient.abs().max()) for name, gradient in expected[1].items()}
    for name, gradient in expected[1].items():
        gap = float((found[1][name] - gradient).abs().max())
        if not gap <= _GRADIENT_TOLERANCE * max(largest[name], 1e-3 * max(largest.values())):
            return f"the gradient of {name} differs from transformers' own by {gap:.1e} (it is {largest[name]:.1e})"
    return None
