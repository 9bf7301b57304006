"""The check, on the loaded model itself, that another way to compute its rewards agrees with the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dissensus.text.pretrained import position_limit

_LENGTHS = (133, 40, 1)
"""Tokens of the texts looked at: past the beginning of DeBERTa's logarithmic buckets, padded, and one."""
_TOLERANCE = 1e-5
"""Of the logits, relative to their scale (or absolute, where that is below one)."""
_GRADIENT_TOLERANCE = 1e-4
"""Of the gradient of a weight, relative to its largest entry (or to a thousandth of the largest of any weight)."""


@dataclass(frozen=True)
class Probe:
    """What a model makes of a few random texts."""

    logits: Tensor
    """Shape (texts, outputs)."""
    gradients: dict[str, Tensor]
    """Of the sum of the logits, by some weights' names."""


def probe(model: Any, weights: Sequence[str] = ()) -> Probe:
    """Run padded random texts forward and backward, in evaluation mode and full precision.

    ``weights`` are endings of the names of those whose gradients are kept; frozen ones have none. The model is left
    as it was, its own gradients included.
    """
    wanted = {n: w for n, w in model.named_parameters() if w.requires_grad and n.endswith(tuple(weights))}
    with settled(model), torch.inference_mode(False), torch.enable_grad():
        logits = model(**_texts(model)).logits
        found = torch.autograd.grad(logits.sum(), list(wanted.values()), allow_unused=True) if wanted else ()
    gradients = {name: gradient for name, gradient in zip(wanted, found, strict=True) if gradient is not None}
    return Probe(logits.detach(), gradients)


def _texts(model: Any) -> dict[str, Tensor]:
    settings = model.config.get_text_config()
    limit, vocabulary = position_limit(model) or max(_LENGTHS), settings.vocab_size
    lengths = torch.tensor([min(length, limit) for length in _LENGTHS])
    ids = torch.randint(vocabulary, (len(lengths), int(lengths.max())), generator=torch.Generator().manual_seed(0))
    # Padding within a text has a meaning of its own to some models.
    padding = getattr(settings, "pad_token_id", None)
    if padding is not None:
        ids[ids == padding] = (padding + 1) % vocabulary
    if model.config.is_encoder_decoder and (end := model.config.eos_token_id) is not None:
        # These read their outputs off the last end of text, and want as many in each text of a batch.
        ids[ids == end] = (end + 1) % vocabulary
        ids[torch.arange(len(lengths)), lengths - 1] = end
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}


def disagreement(found: Probe, expected: Probe) -> str | None:
    """Say where two probes of one model differ by more than rounding; None where they agree."""
    gap = float((found.logits - expected.logits).abs().max())
    if not gap <= _TOLERANCE * max(float(expected.logits.abs().max()), 1.0):
        return f"its logits differ from transformers' own by {gap:.1e}"
    if found.gradients.keys() != expected.gradients.keys():
        return f"gradients reach other weights: {', '.join(sorted(found.gradients.keys() ^ expected.gradients.keys()))}"
    largest = {name: float(gradient.abs().max()) for name, gradient in expected.gradients.items()}
    for name, gradient in expected.gradients.items():
        gap = float((found.gradients[name] - gradient).abs().max())
        if not gap <= _GRADIENT_TOLERANCE * max(largest[name], 1e-3 * max(largest.values())):
            return f"the gradient of {name} differs from transformers' own by {gap:.1e} (it is {largest[name]:.1e})"
    return None


@contextmanager
def settled(model: nn.Module) -> Iterator[None]:
    """Switch off dropout and autocast, keep float32 products in float32, and set all back to what it was."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False), _full_precision():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def _full_precision() -> Iterator[None]:
    switches: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    # Older releases have one switch, which newer ones refuse to read beside these.
    settings = [(switch, switch.fp32_precision) for switch in switches if hasattr(switch, "fp32_precision")]
    legacy = None if settings else torch.get_float32_matmul_precision()
    try:
        for switch, _ in settings:
            switch.fp32_precision = "ieee"
        if legacy is not None:
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        for switch, precision in settings:
            switch.fp32_precision = precision
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
