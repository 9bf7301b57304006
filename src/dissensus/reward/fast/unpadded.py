"""BERT and its kin without padding: the same numbers, fewer of them.

Every layer works on the tokens of all texts in one long row; only attention needs to know which text a token belongs
to. A text's reward is read off its first token, so the last layer computes queries, and all that follows them, for
first tokens alone. Training on a CPU, attention runs as plain matrix products (`disentangled_attention` without its
relative terms), several times faster than ``scaled_dot_product_attention``, whose fused backward pass is slow there.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import SequenceClassifierOutput

from dissensus.reward.fast.disentangled import (
    Layout,
    count_tokens,
    disentangled_attention,
    gathered,
    make_layout,
    spread_out,
    views,
)
from dissensus.reward.fast.equivalence import disagreement, probe

LIKE_BERT = ("bert", "electra", "roberta", "xlm-roberta", "camembert")
"""Model types whose layers are laid out like BERT's."""
_WEIGHTS = ("query.weight", "value.weight", "intermediate.dense.weight", "word_embeddings.weight")


def use_unpadded(model: Any, *, gradients: bool = True) -> str | None:
    """Switch on the unpadded forward pass, checked as `use_fast_attention` is; return None, or why it stays off."""
    config = model.config
    if config.model_type not in LIKE_BERT:
        return f"not written for model type '{config.model_type}'"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "the model is a decoder"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"positions are '{config.position_embedding_type}'"
    if "forward" in vars(model):
        return "its forward is not transformers' own"
    weights = _WEIGHTS if gradients else ()
    expected = probe(model, weights)
    # A bound method and not another callable: accelerate binds whatever is none to the model itself.
    model.forward = MethodType(_forward, model)
    reason = disagreement(probe(model, weights), expected)
    if reason is not None:
        del model.forward
    return reason


def _forward(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None = None,
    lengths: Sequence[int] | None = None,
) -> Any:
    """Return the logits of texts padded on the right; ``lengths`` spare asking the device for the mask's sums."""
    backbone = getattr(model, model.base_model_prefix)
    counts = count_tokens(attention_mask) if lengths is None else lengths
    heads = model.config.num_attention_heads
    layout = make_layout(counts, input_ids.shape[1], heads=heads, device=input_ids.device)
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    # RoBERTa counts positions from behind the padding token's.
    padding = backbone.embeddings.position_embeddings.padding_idx
    hidden = backbone.embeddings(
        input_ids=input_ids.reshape(-1)[layout.take][None],
        token_type_ids=types.reshape(-1)[layout.take][None],
        position_ids=layout.positions[None] + (0 if padding is None else padding + 1),
    )[0]
    if hasattr(backbone, "embeddings_project"):
        hidden = backbone.embeddings_project(hidden)
    layers = backbone.encoder.layer
    for i, layer in enumerate(layers):
        arguments = (layer, hidden, layout, i == len(layers) - 1)
        if getattr(layer, "gradient_checkpointing", False) and layer.training:
            hidden = checkpoint(_layer, *arguments, use_reentrant=False)
        else:
            hidden = _layer(*arguments)
    # Heads read the first token of each row, and it is the only one there.
    first = torch.empty_like(hidden).index_copy(0, layout.order, hidden)[:, None]
    pooler = getattr(backbone, "pooler", None)
    return SequenceClassifierOutput(logits=model.classifier(first if pooler is None else model.dropout(pooler(first))))


def _layer(layer: Any, hidden: Tensor, layout: Layout, last: bool) -> Tensor:
    """One layer of BERT on (tokens, hidden); the last one returns the first tokens' rows alone, (texts, hidden)."""
    own, out = layer.attention.self, layer.attention.output
    device = hidden.device.type
    narrow = hidden.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden
    keys, values = own.key(narrow), own.value(narrow)
    if last:
        hidden, narrow = hidden[layout.starts], narrow[layout.starts]
    queries = own.query(narrow)
    shape = (-1, own.num_attention_heads, queries.shape[1] // own.num_attention_heads)
    fused = device == "cuda" or not torch.is_grad_enabled()
    attend = _fused_attention if fused else _plain_attention
    dropout = own.dropout.p if layer.training else 0.0
    seen = attend(queries.view(shape), keys.view(shape), values.view(shape), layout, dropout)
    hidden = out.LayerNorm(out.dropout(out.dense(seen.flatten(1))) + hidden)
    after: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return after


def _plain_attention(queries: Tensor, keys: Tensor, values: Tensor, layout: Layout, dropout: float) -> Tensor:
    scale = queries.shape[2] ** -0.5
    return disentangled_attention(queries, keys, values, None, None, layout, scale=scale, dropout=dropout)


def _fused_attention(queries: Tensor, keys: Tensor, values: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Attend through ``scaled_dot_product_attention``, which is the faster on a GPU and without gradients."""
    parts, size = [], queries.shape[2]
    spread = (views(spread_out(rows, layout), layout) for rows in (queries, keys, values))
    for group, *three in zip(layout.groups, *spread, strict=True):
        query, key, value = (part.transpose(0, 1) for part in three)
        mask = None if group.real is None else group.real[:, None, None]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        parts.append(seen.transpose(0, 1).reshape(-1, size))
    return gathered(torch.cat(parts), layout)
