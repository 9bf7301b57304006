"""Causal sequence classifiers that read packed texts, each checked against itself before it does."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from dissensus.reward.fast.equivalence import settled
from dissensus.reward.fast.packed_attention import PREFIX, REPLACED, Packing
from dissensus.reward.fast.packing import PackingPlan, pack_texts
from dissensus.reward.text.batches import move
from dissensus.text.pretrained import first_line

_TOLERANCE = 1e-4
"""Largest difference in the check, as a share of the largest value: float32 rounding over many layers is below it."""
_LARGEST = 1 << 24
"""Parameters of more elements than this are left out of the check of gradients, to save memory."""


class PackedInputs(TypedDict):
    """What a model that packs is called with."""

    input_ids: Tensor
    """Shape (1, T)."""
    position_ids: Tensor
    """Shape (1, T)."""
    packing: Packing


def packed_inputs(plan: PackingPlan) -> PackedInputs:
    """Return what the model is called with."""
    return {
        "input_ids": torch.from_numpy(plan.input_ids),
        "position_ids": torch.from_numpy(plan.position_ids),
        "packing": Packing(plan),
    }


def use_packing(model: Any, *, gradients: bool = True) -> str | None:
    """Let a causal sequence classifier read packed texts; None when it does, else the reason why it cannot.

    Afterwards ``model(**packed_inputs(plan))`` returns logits of shape (texts, outputs), and a call without
    ``packing`` does what it did before. The model, wrapped by PEFT at most, is tried on a few random texts first: its
    rewards and, unless they are not wanted, some of its ``gradients`` must be those of each text alone.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    implementation = str(inner.config._attn_implementation)
    if implementation.startswith(PREFIX):
        return None
    reason = _unsuitable(inner, implementation)
    if reason is None:
        with settled(model), torch.set_grad_enabled(gradients):
            reason = _try(model, inner, implementation)
    return reason


def _forward(self: Any, *args: Any, packing: Packing | None = None, **kwargs: Any) -> Any:
    """Read packed texts where there is a packing, and do what the class does otherwise."""
    if packing is None:
        return type(self).forward(self, *args, **kwargs)
    return SequenceClassifierOutput(logits=_packed_logits(self, packing, *args, **kwargs))


def _packed_logits(
    model: Any,
    packing: Packing,
    input_ids: Tensor,
    attention_mask: None = None,
    *,
    position_ids: Tensor,
    labels: None = None,
    **_: Any,
) -> Tensor:
    """Read one row of packed texts; other settings of ``forward`` (outputs to return, caches) have no meaning here."""
    if attention_mask is not None or labels is not None:
        raise ValueError("packed texts take neither an attention_mask nor labels; pass what packed_inputs returns")
    backbone = getattr(model, model.base_model_prefix)
    # A mask of four dimensions is taken as it is: without one, transformers would make one of (T, T).
    states = backbone(
        input_ids=input_ids,
        attention_mask=input_ids.new_ones((1, 1, 1, 1)),
        position_ids=position_ids,
        use_cache=False,
        packing=packing,
    ).last_hidden_state
    read = states[0].index_select(0, packing.to(states.device).last)
    with torch.autocast(states.device.type, enabled=False):
        logits: Tensor = model.score(read.to(next(model.score.parameters()).dtype))
    return logits


def _unsuitable(model: Any, implementation: str) -> str | None:
    """Say why an architecture cannot read packed texts, as far as its settings tell."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    found = {
        "its forward has been replaced; turn packing on before the model is wrapped": "forward" in vars(model),
        "it has no head named 'score' on a causal backbone": not isinstance(getattr(model, "score", None), nn.Module),
        "its attention does not go through transformers' AttentionInterface": not model._supports_attention_backend,
        "its attention is bidirectional": any(
            getattr(x, "is_causal", None) is False for x in (config, *model.modules())
        ),
        f"some of its layers are {', '.join(sorted(kinds))}": kinds,
        "its attention is cut into chunks": getattr(config, "attention_chunk_size", None),
        f"its attention is {implementation}, not one of {', '.join(REPLACED)}": implementation not in REPLACED,
        f"its weights are {model.dtype}; the check needs float32": model.dtype not in (torch.float32, torch.float64),
    }
    return next((reason for reason, holds in found.items() if holds), None)


def _try(model: Any, inner: Any, implementation: str) -> str | None:
    """Turn packing on, and off again where rewards or gradients differ from those of each text alone."""
    config, device = inner.config.get_text_config(), next(inner.parameters()).device
    # Random texts: three with a common beginning, one of which is nothing but that, and one apart.
    ids = np.delete(np.arange(config.vocab_size), [i for i in [config.pad_token_id] if i is not None])
    draw = np.random.default_rng(0)
    shared, one, other, apart = (draw.choice(ids, n).tolist() for n in (9, 5, 3, 7))
    texts = [shared + one, apart, shared, shared + other]
    alone = [model(input_ids=torch.tensor([text], device=device)).logits for text in texts]
    expected = _with_gradients(model, torch.cat(alone))
    inputs = move(packed_inputs(pack_texts(texts)), device)
    _set_attention(inner, PREFIX + implementation)
    inner.forward = MethodType(_forward, inner)
    try:
        reason = _difference(expected, _with_gradients(model, model(**inputs).logits))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = f"its forward pass over packed texts fails: {first_line(error)}"
    windows = inputs["packing"].windows
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    if not windows:
        reason = "its attention is not given the keyword arguments of forward"
    elif windows == {None} and sliding and getattr(config, "sliding_window", None) is not None:
        reason = "its sliding window is known to its mask alone"
    if reason is not None:
        del inner.forward
        _set_attention(inner, implementation)
    return reason


def _set_attention(model: nn.Module, implementation: str) -> None:
    """Name the attention in the configs of a model and its parts, which need not be one object."""
    for part in model.modules():
        config = getattr(part, "config", None)
        if hasattr(config, "_attn_implementation"):
            config._attn_implementation = implementation  # type: ignore[union-attr]


def _with_gradients(model: nn.Module, logits: Tensor) -> list[Tensor]:
    """Return logits, and the gradients of their weighted sum for the first and last few trained parameters."""
    trained = [p for p in model.parameters() if p.requires_grad and p.numel() <= _LARGEST]
    some = trained[:2] + trained[2:][-4:]
    if not torch.is_grad_enabled():
        return [logits]
    weighted = (logits * torch.linspace(1, 2, logits.numel(), device=logits.device).view_as(logits)).sum()
    gradients = torch.autograd.grad(weighted, some, allow_unused=True) if some else ()
    return [logits.detach(), *(torch.zeros(()) if g is None else g for g in gradients)]


def _difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> str | None:
    for name, one, other in zip(["rewards", *["gradients"] * len(expected)], expected, found, strict=False):
        worst, largest = float((one - other).abs().max()), float(one.abs().max())
        if not worst <= _TOLERANCE * largest:
            return f"its {name} differ from those of each text alone, by {worst:.2g} where the largest is {largest:.2g}"
    return None
