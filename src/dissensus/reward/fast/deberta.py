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

from dissensus.reward.fast.disentangled import Layout, count_tokens, disentangled_attention, make_layout
from dissensus.reward.fast.equivalence import disagreement, probe

_WEIGHTS = ("rel_embeddings.weight", "query_proj.weight", "key_proj.weight", "value_proj.bias")


def use_fast_attention(model: nn.Module, *, gradients: bool = True) -> str | None:
    """Switch on the fast forward of this ``DebertaV2ForSequenceClassification``, if it agrees with transformers' own.

    Both run on a few random texts; logits and, unless they are not wanted, the ``gradients`` of some weights must
    agree. Returns None when it is on, and otherwise the reason why the model was left as it was.
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
    # Bound methods and not partials: accelerate binds what is none to the model once more.
    model.forward = MethodType(_forward, model)
    for module in model.modules():
        if isinstance(module, DisentangledSelfAttention):
            module.forward = MethodType(_attend, module)
    reason = disagreement(probe(model, weights), expected)
    if reason is not None:
        restore(model)
    return reason


def restore(model: nn.Module) -> None:
    """Give a model back transformers' own forward; nothing happens to one that has it."""
    for module in model.modules():
        if getattr(vars(module).get("forward"), "__func__", None) in (_forward, _attend):
            del module.forward


def _forward(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None = None,
    lengths: Sequence[int] | None = None,
) -> Any:
    """Return the logits of texts padded on the right; ``lengths`` spare asking the device for the mask's sums."""
    deberta, encoder = model.deberta, model.deberta.encoder
    counts = count_tokens(attention_mask) if lengths is None else lengths
    heads = model.config.num_attention_heads
    layout = make_layout(counts, input_ids.shape[1], heads=heads, device=input_ids.device)
    hidden = deberta.embeddings(
        input_ids=input_ids.reshape(-1)[layout.take][None],
        token_type_ids=None if token_type_ids is None else token_type_ids.reshape(-1)[layout.take][None],
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
            hidden = _convolve(encoder.conv, embedded, hidden, layout)
            hidden = hidden[layout.starts] if i == last else hidden
    first_tokens = torch.empty_like(hidden).index_copy(0, layout.order, hidden)[:, None]
    return SequenceClassifierOutput(logits=model.classifier(model.dropout(model.pooler(first_tokens))))


def _convolve(conv: Any, embedded: Tensor, hidden: Tensor, layout: Layout) -> Tensor:
    """Run the convolution of v2-xlarge, which reads neighbours, on padded texts."""
    texts, width = len(layout.order), layout.length
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
    layout: Layout,
    output_attentions: bool,
    query_states: Tensor | None,
    relative_pos: None,
    rel_embeddings: Tensor | None,
) -> tuple[Tensor, None]:
    """Stand in for ``DisentangledSelfAttention.forward``, with a layout of tokens without padding as the mask."""
    device = hidden_states.device.type
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
    """Return where the relative embeddings in use begin and stop, and which belongs to each query - key, ascending."""
    with torch.inference_mode(False):  # what is kept must serve training too
        differences = torch.arange(1 - length, length, device=device)
        if buckets > 0 and furthest > 0:
            differences = make_log_bucket_position(differences, buckets, furthest).long()
        rows = (differences + span).clamp(0, 2 * span - 1)
        first, last = rows.min(), rows.max()
        return int(first), int(last) + 1, rows - first
