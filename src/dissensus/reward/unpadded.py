"""BERT and its kin without padding: the same numbers, fewer of them.

Every layer works on the tokens of all texts in one long row; only attention needs to know which text a token
belongs to. It is computed for groups of texts of like length. On a CPU plain matrix products do that several times
faster than ``scaled_dot_product_attention``, whose fused backward pass is slow there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dissensus.reward.batches import move

Ints = NDArray[np.int64]

_BACKBONES = ("bert", "electra", "roberta", "xlm-roberta", "camembert")
"""Model types whose layers are laid out like BERT's."""
_ROUND = 16
"""Lengths within a group are rounded up to this: whole vectors for softmax."""
_WASTE = 1.3
"""A group ends where its longest text makes attention to the next cost this much more than that one alone would."""
_TOLERANCE = 1e-4
"""Largest difference from transformers' own forward pass, relative to the largest number compared."""

Layout = dict[str, Any]


def unpadded_layout(lengths: Ints) -> Layout:
    """Plan attention over texts that stand one after the other in a row; ``lengths`` has shape (texts,).

    Returns ``first``, shape (texts,): where each text begins; and ``groups``, for texts of like length: ``taken``
    of shape (texts in the group, width), the token at each place (any token where there is none), ``bias`` of the
    same shape (minus infinity where there is none, else 0), and ``places`` and ``tokens`` of shape (real tokens,):
    the flat places that hold a token and which token that is.
    """
    starts = np.cumsum(lengths) - lengths
    groups = []
    for rows in _groups_of_like_length(lengths):
        width = -(-int(lengths[rows].max()) // _ROUND) * _ROUND
        place = np.arange(width)
        real = place < lengths[rows, None]
        taken = np.where(real, starts[rows, None] + place, starts[rows, None])
        group = {
            "taken": torch.from_numpy(taken),
            "bias": torch.from_numpy(np.where(real, 0.0, -np.inf).astype(np.float32)),
            "places": torch.from_numpy(np.flatnonzero(real)),
            "tokens": torch.from_numpy(taken[real]),
        }
        groups.append(group)
    return {"first": torch.from_numpy(starts), "groups": groups}


def _groups_of_like_length(lengths: Ints) -> Iterator[Ints]:
    order = np.argsort(-lengths, kind="stable")
    work = (lengths[order] + _ROUND) ** 2
    begin = 0
    for i in range(1, len(order) + 1):
        if i == len(order) or work[begin] > _WASTE * work[i]:
            yield order[begin:i]
            begin = i


class _GroupedAttention(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v within each text, from q, k and v of shape (tokens, 3, heads, d)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, dropout: float, *layout: Tensor) -> Tensor:
        """Return shape (tokens, heads, d)."""
        out = qkv.new_empty(qkv.shape[0], *qkv.shape[2:])
        saved: list[Tensor] = []
        for taken, bias, places, tokens in _by_four(layout):
            query, key, value = _take(qkv, taken).unbind()
            weights = _attention(query, key, bias)
            saved.append(weights)
            if dropout:
                kept = torch.empty_like(weights).bernoulli_(1 - dropout).div_(1 - dropout)
                saved.append(kept)
                weights = weights * kept
            out[tokens] = _rows(torch.bmm(weights, value), len(taken))[places]
        ctx.save_for_backward(qkv, *layout, *saved)
        ctx.n_layout, ctx.dropout = len(layout), dropout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Return the gradient of q, k and v."""
        qkv, *rest = ctx.saved_tensors
        layout, saved = rest[: ctx.n_layout], iter(rest[ctx.n_layout :])
        result = torch.empty_like(qkv)
        for taken, _, places, tokens in _by_four(layout):
            query, key, value = _take(qkv, taken).unbind()
            [above] = _take(grads[0][:, None], taken)
            # What stands in where there is no token must not add to the gradients of real keys.
            above.view(len(taken), -1, *above.shape[1:]).masked_fill_(_absent(places, taken), 0)
            weights = seen = next(saved)
            to_weights = torch.bmm(above, value.transpose(1, 2))
            if ctx.dropout:
                kept = next(saved)
                seen = weights * kept
                to_weights.mul_(kept)
            to_scores = torch.ops.aten._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            to_scores.mul_(query.shape[2] ** -0.5)
            parts = (
                torch.bmm(to_scores, key),
                torch.bmm(to_scores.transpose(1, 2), query),
                torch.bmm(seen.transpose(1, 2), above),
            )
            result[tokens] = torch.stack([_rows(part, len(taken)) for part in parts], dim=1)[places]
        return result, None, *[None] * len(layout)


def _by_four(tensors: tuple[Tensor, ...] | list[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    for i in range(0, len(tensors), 4):
        yield tensors[i], tensors[i + 1], tensors[i + 2], tensors[i + 3]


def _absent(places: Tensor, taken: Tensor) -> Tensor:
    absent = torch.ones(taken.numel(), dtype=torch.bool, device=taken.device)
    absent[places] = False
    return absent.view(len(taken), 1, -1, 1)


def _take(rows: Tensor, taken: Tensor) -> Tensor:
    """Bring (tokens, n, heads, d) into the shape (n, texts * heads, width, d)."""
    _, n, heads, d = rows.shape
    texts, width = taken.shape
    pieces = rows[taken.view(-1)].view(texts, width, n, heads, d).permute(2, 0, 3, 1, 4)
    return pieces.reshape(n, texts * heads, width, d)


def _rows(values: Tensor, texts: int) -> Tensor:
    """Bring (texts * heads, width, d) into the shape (texts * width, heads, d)."""
    _, width, d = values.shape
    return values.view(texts, -1, width, d).transpose(1, 2).reshape(texts * width, -1, d)


def _attention(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    texts, width = bias.shape
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(query.shape[2] ** -0.5)
    scores.view(texts, -1, width, width).add_(bias.to(scores.dtype)[:, None, None, :])
    return torch.softmax(scores, -1)


def _fused_attention(qkv: Tensor, dropout: float, *layout: Tensor) -> Tensor:
    """Compute the same through ``scaled_dot_product_attention``, which is the faster where there is a GPU."""
    out = qkv.new_zeros(qkv.shape[0], *qkv.shape[2:])
    for taken, bias, places, tokens in _by_four(layout):
        query, key, value = _take(qkv, taken).view(3, len(taken), qkv.shape[2], taken.shape[1], -1)
        mask = bias.to(query.dtype)[:, None, None, :]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        out = out.index_copy(0, tokens, _rows(seen.flatten(0, 1), len(taken))[places])
    return out


def _layer(layer: Any, hidden: Tensor, *layout: Tensor) -> Tensor:
    """One layer of BERT on (tokens, hidden)."""
    own, out = layer.attention.self, layer.attention.output
    qkv = _project(hidden, (own.query, own.key, own.value)).view(len(hidden), 3, own.num_attention_heads, -1)
    attend: Callable[..., Tensor] = _fused_attention if qkv.is_cuda else _GroupedAttention.apply
    seen = attend(qkv, own.dropout.p if layer.training else 0.0, *layout)
    hidden = out.LayerNorm(out.dropout(out.dense(seen.view(len(hidden), -1))) + hidden)
    return layer.output(layer.intermediate(hidden), hidden)  # type: ignore[no-any-return]


def _project(hidden: Tensor, parts: tuple[nn.Module, ...]) -> Tensor:
    """Apply the three projections: as one product, unless one of them is more than a plain linear layer."""
    if any(type(part) is not nn.Linear for part in parts):
        return torch.cat([part(hidden) for part in parts], dim=1)
    weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])  # type: ignore[misc]
    return F.linear(hidden, weight, bias)


class UnpaddedForward:
    """The forward pass of a sequence classifier on a row of tokens; stands in for the model's own."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.backbone = getattr(model, model.base_model_prefix)

    def __call__(
        self, input_ids: Tensor, position_ids: Tensor, layout: Layout, token_type_ids: Tensor | None = None
    ) -> Any:
        """Return ``logits`` of shape (texts, outputs); ids, positions and types have shape (tokens,)."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        embedded = self.backbone.embeddings(
            input_ids=input_ids[None], token_type_ids=types[None], position_ids=position_ids[None]
        )
        hidden = embedded[0]
        if hasattr(self.backbone, "embeddings_project"):
            hidden = self.backbone.embeddings_project(hidden)
        flat = [group[key] for group in layout["groups"] for key in ("taken", "bias", "places", "tokens")]
        for layer in self.backbone.encoder.layer:
            if getattr(layer, "gradient_checkpointing", False) and layer.training:
                hidden = checkpoint(_layer, layer, hidden, *flat, use_reentrant=False)
            else:
                hidden = _layer(layer, hidden, *flat)
        return SequenceClassifierOutput(logits=self._head(hidden[layout["first"]][:, None]))

    def _head(self, first: Tensor) -> Tensor:
        pooler = getattr(self.backbone, "pooler", None)
        if pooler is None:
            return self.model.classifier(first)  # type: ignore[no-any-return]
        return self.model.classifier(self.model.dropout(pooler(first)))  # type: ignore[no-any-return]


def first_position(model: Any) -> int:
    """Return the number of the first token's position: RoBERTa counts from behind the padding token's."""
    table = getattr(model, model.base_model_prefix).embeddings.position_embeddings
    return 0 if table.padding_idx is None else table.padding_idx + 1


def use_unpadded(model: nn.Module, *, gradients: bool = True) -> str | None:
    """Replace the forward pass of this model with the unpadded one; return None, or why it was left alone.

    The check is made on the model itself: random texts of unlike lengths, in float32, against its own forward pass;
    logits and, unless they are not wanted, ``gradients``.
    """
    reason = _unfit(model)
    if reason is not None:
        return reason
    ours = UnpaddedForward(model)
    difference = _largest_difference(model, ours, gradients=gradients)
    if not difference <= _TOLERANCE:
        return f"its numbers are {difference:.1g} off those of transformers"
    model.forward = ours
    return None


def _unfit(model: Any) -> str | None:
    config = model.config
    if config.model_type not in _BACKBONES:
        return f"not written for model type '{config.model_type}'"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "the model is a decoder"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"positions are '{config.position_embedding_type}'"
    return None


def _largest_difference(model: Any, ours: UnpaddedForward, *, gradients: bool) -> float:
    """Compare both passes, each difference relative to the largest number of its kind."""
    rng = np.random.default_rng(0)
    limit = getattr(model, model.base_model_prefix).embeddings.position_embeddings.num_embeddings - 2
    lengths = np.minimum([7, 40, 3, 23], limit)
    # Ids of special tokens are left out: padding among the text would be taken for padding.
    ids = torch.from_numpy(rng.integers(min(5, model.config.vocab_size - 1), model.config.vocab_size, lengths.sum()))
    pad = model.config.pad_token_id or 0
    ids[ids == pad] = (pad + 1) % model.config.vocab_size
    pieces = torch.split(ids, lengths.tolist())
    theirs = {
        "input_ids": nn.utils.rnn.pad_sequence(list(pieces), batch_first=True, padding_value=pad),
        "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(p) for p in pieces], batch_first=True),
    }
    positions = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths])) + first_position(model)
    own = {"input_ids": ids, "position_ids": positions, "layout": unpadded_layout(np.asarray(lengths))}
    was_training = model.training
    model.eval()
    try:
        expected, found = (
            _numbers(model, forward, batch, gradients=gradients) for forward, batch in ((model, theirs), (ours, own))
        )
    finally:
        model.train(was_training)
        model.zero_grad(set_to_none=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in zip(expected, found, strict=True))


def _numbers(model: Any, forward: Callable[..., Any], batch: dict[str, Any], *, gradients: bool) -> list[Tensor]:
    """Logits, and the gradients of a few weights from bottom to top."""
    model.zero_grad(set_to_none=True)
    device = model.device
    with torch.set_grad_enabled(gradients), torch.autocast(device.type, enabled=False):
        logits = forward(**move(batch, device)).logits
    if not gradients:
        return [logits.float()]
    logits.float().square().sum().backward()
    layer = getattr(model, model.base_model_prefix).encoder.layer[0]
    weights = (layer.attention.self.query.weight, layer.attention.self.value.weight, layer.intermediate.dense.weight)
    return [logits.detach().float(), *(weight.grad.float().clone() for weight in weights if weight.grad is not None)]
