"""An exact, faster DeBERTa-v2 and -v3: no padding, cheap relative positions, and no work that no reward reads.

The reward of a text is read off its first token, so the last layer computes its queries, and all that follows them,
for first tokens only. Everything else is transformers' own: its layers run on the tokens of all texts laid behind
one another, (tokens, hidden) instead of (texts, length, hidden), and only their attention is replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DebertaV2ForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, make_log_bucket_position

from dissensus.reward.fast.disentangled import Layout, disentangled_attention, make_layout
from dissensus.reward.fast.equivalence import disagreement, probe

_WEIGHTS = ("rel_embeddings.weight", "query_proj.weight", "key_proj.weight", "value_proj.bias")


def use_fast_attention(model: nn.Module, *, gradients: bool = True) -> str | None:
    """Switch on the fast forward of this ``DebertaV2ForSequenceClassification``, if it agrees with transformers' own.

    Both run on a few random texts; the logits must agree within 1e-5 of their scale and, unless they are not wanted,
    the ``gradients`` of some weights within 1e-4. Returns None when it is on, and otherwise the reason why the
    model was left as it was. Weights, hooks, adapters, gradient checkpointing and ``save_pretrained`` work as before.
    A call that asks for more than logits (labels, hidden states, attentions), or whose mask is not a run of ones from
    the first token on, goes through transformers' own forward.
    """
    restore(model)
    if not isinstance(model, DebertaV2ForSequenceClassification):
        return f"{type(model).__name__} is not DebertaV2ForSequenceClassification"
    if type(model).forward is not DebertaV2ForSequenceClassification.forward or "forward" in vars(model):
        return "its forward is not transformers' own"
    if model.dtype not in (torch.float32, torch.float64):
        return f"its weights are {model.dtype}; the check needs float32"
    weights = _WEIGHTS if gradients else ()
    expected = probe(model, weights)
    _replace(model)
    reason = disagreement(probe(model, weights), expected)
    if reason is not None:
        restore(model)
    return reason


def restore(model: nn.Module) -> None:
    """Give a model back transformers' own forward; nothing happens to one that has it."""
    for module in model.modules():
        if getattr(vars(module).get("forward"), "__func__", None) in (_forward, _attend):
            del module.forward


def _replace(model: DebertaV2ForSequenceClassification) -> None:
    # Bound methods and not partials: accelerate binds what is none to the model once more.
    model.forward = MethodType(_forward, model)
    for module in model.modules():
        if isinstance(module, DisentangledSelfAttention):
            module.forward = MethodType(_attend, module)


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
    asked = (output_attentions, config.output_attentions), (output_hidden_states, config.output_hidden_states)
    extra = any(default if choice is None else choice for choice, default in asked)
    plain = not extra and (config.return_dict if return_dict is None else return_dict)
    if plain and input_ids is not None and position_ids is None and inputs_embeds is None and labels is None:
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
    place = torch.zeros_like(layout.take)
    place[layout.starts] = 1
    place = ((place.cumsum(0) - 1) * width + layout.positions)[: layout.tokens]

    def padded(x: Tensor) -> Tensor:
        return x.new_zeros(texts * width, x.shape[1]).index_copy(0, place, x[: layout.tokens]).view(texts, width, -1)

    mask = place.new_zeros(texts * width).index_fill(0, place, 1).view(texts, width)
    convolved: Tensor = conv(padded(embedded), padded(hidden), mask)
    return F.pad(convolved.flatten(0, 1)[place], (0, 0, 0, len(hidden) - len(place)))


def _attend(
    attention: Any,
    hidden_states: Tensor,
    attention_mask: Any,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
) -> Any:
    """Stand in for ``DisentangledSelfAttention.forward`` where the mask is a layout of tokens without padding."""
    if not isinstance(attention_mask, Layout):
        return type(attention).forward(
            attention, hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
        )
    layout, device = attention_mask, hidden_states.device.type
    if torch.is_autocast_enabled(device):
        # Once for the three projections, which would each do it again.
        hidden_states = hidden_states.to(torch.get_autocast_dtype(device))
    query_states = hidden_states if query_states is None else query_states
    position_keys, position_queries = _position_rows(attention, layout, rel_embeddings)
    used = sum(kind in attention.pos_att_type for kind in ("c2p", "p2c"))
    context = disentangled_attention(
        _by_head(attention, attention.query_proj(query_states)),
        _by_head(attention, attention.key_proj(hidden_states)),
        _by_head(attention, attention.value_proj(hidden_states)),
        position_keys,
        position_queries,
        layout,
        scale=(attention.attention_head_size * (1 + used)) ** -0.5,
        dropout=attention.dropout.p if attention.training else 0.0,
    )
    return context.flatten(1), None


def _by_head(attention: Any, rows: Tensor) -> Tensor:
    return rows.view(len(rows), attention.num_attention_heads, attention.attention_head_size)


def _position_rows(attention: Any, layout: Layout, embeddings: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Project the relative embeddings in use and lay them out by difference, as keys and as queries."""
    if embeddings is None:
        return None, None
    furthest, span = attention.max_relative_positions, attention.pos_ebd_size
    first, stop, rows = _embedding_rows(layout.length, attention.position_buckets, furthest, span, embeddings.device)
    used, shared = attention.pos_dropout(embeddings[first:stop]), attention.share_att_key
    keys = queries = None
    if "c2p" in attention.pos_att_type:
        project = attention.key_proj if shared else attention.pos_key_proj
        keys = _by_head(attention, project(used).index_select(0, rows.flip(0)))
    if "p2c" in attention.pos_att_type:
        project = attention.query_proj if shared else attention.pos_query_proj
        queries = _by_head(attention, project(used).index_select(0, rows))
    return keys, queries


@functools.lru_cache(maxsize=1024)
def _embedding_rows(
    length: int, buckets: int, furthest: int, span: int, device: torch.device
) -> tuple[int, int, Tensor]:
    """Return where the relative embeddings in use begin and stop, and which of them belongs to each difference.

    The differences query - key run from 1 - length to length - 1.
    """
    with torch.inference_mode(False):  # what is kept must serve training too
        differences = torch.arange(1 - length, length, device=device)
        if buckets > 0 and furthest > 0:
            differences = make_log_bucket_position(differences, buckets, furthest).long()
        rows = (differences + span).clamp(0, 2 * span - 1)
        first, last = rows.min(), rows.max()
        return int(first), int(last) + 1, rows - first
