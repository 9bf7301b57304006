"""``torch.compile`` for what stands between attentions.

Texts differ in number and length from batch to batch. Attention is given them as lists, on which a compiler would
specialise until it gives up; the rest of a layer works on rows of tokens, whose number alone changes.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def compile_between_attentions(model: nn.Module) -> int:
    """Compile, in place, the parts of each layer that hold no attention; return how many there are.

    Weights keep their names. Equal parts of all layers share their code, and a new number of tokens needs no new one.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=len, default=nn.ModuleList())
    parts = [part for layer in layers for part in _without_attention(layer)]
    for part in parts:
        part.compile(dynamic=True)
    return len(parts)


def _without_attention(module: nn.Module) -> Iterator[nn.Module]:
    """Find the largest parts without attention; torch's own modules are one product or kernel each as they are."""
    for child in module.children():
        if any(type(part).__name__.endswith("Attention") for part in child.modules()):
            yield from _without_attention(child)
        elif not type(child).__module__.startswith("torch."):
            yield child
