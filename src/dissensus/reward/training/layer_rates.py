"""Layer-wise learning rates: lower layers of a backbone, which know language, move less than those above them.

The topmost layer has the learning rate, each below it that of the layer above times the decay, and the embeddings the
lowest; the head, which may be new, has a rate of its own. Sources: Howard and Ruder (2018, arXiv:1801.06146), for
encoders that are trained on few pairs Zhang et al. (2021, arXiv:2006.05987).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dissensus.errors import TrainingError
from dissensus.reward.config import TrainConfig
from dissensus.reward.training.lora import head_modules

_WRAPPERS = re.compile(r"(^base_model\.model\.|(?<![^.])(module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)")
"""What PEFT and processes that train together put into the names of weights."""


class LayerRates:
    """The learning rate of each weight of a sequence classifier.

    Raises TrainingError where head or layers cannot be found.
    """

    def __init__(self, model: Any, config: TrainConfig) -> None:
        self._rate, decay = config.rate, config.layer_decay
        try:
            head = head_modules(model)
        except TrainingError as error:
            raise TrainingError(_cannot(model, "has no head that can be found")) from error
        below = _below_head(model, self._rate, decay) if decay < 1 else ()
        outside = {part: rate for part, rate in below if not part.startswith(tuple(f"{name}." for name in head))}
        self._rates = outside | dict.fromkeys(head, config.head_learning_rate or self._rate)

    def __getitem__(self, name: str) -> float:
        """Return the rate of the weight of this name: that of the innermost part that has one."""
        parts = _WRAPPERS.sub("", name).split(".")
        outward = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((self._rates[part] for part in outward if part in self._rates), self._rate)

    def spread(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Divide the groups of a new optimizer of this model by rate; first those of the rate that is logged.

        Raises TrainingError where layers share a weight.
        """
        names = {weight: name for name, weight in model.named_parameters()}
        if any("_flat_param" in name for name in names.values()):
            raise TrainingError(
                "weights of several layers are one where FSDP 1 flattens them, and cannot have several learning rates; "
                "set fsdp_version 2 or fsdp_use_orig_params, or leave out --layer-decay and --head-learning-rate"
            )
        groups: list[dict[str, Any]] = []
        for group in optimizer.param_groups:
            rates = {weight: self[names[weight]] for weight in group["params"]}
            for rate in sorted({*rates.values()}, key=lambda rate: (rate != self._rate, -rate)):
                weights = [weight for weight in group["params"] if rates[weight] == rate]
                groups.append({**group, "params": weights, "lr": rate})
        optimizer.param_groups[:] = sorted(groups, key=lambda group: group["lr"] != self._rate)


def _below_head(model: Any, rate: float, decay: float) -> Iterator[tuple[str, float]]:
    """Yield the parts of the backbone with their rates: layers, and what stands below them or above."""
    prefix = model.base_model_prefix
    backbone = getattr(model, prefix, None) if prefix else None
    if not isinstance(backbone, nn.Module):
        raise TrainingError(_cannot(model, "has no backbone that can be found"))
    where, layers = _layers(model, backbone)
    yield from ((f"{prefix}.{where}.{i}", rate * decay ** (len(layers) - 1 - i)) for i in range(len(layers)))
    lowest, reached = rate * decay ** len(layers), False
    for name, _ in backbone.named_parameters():
        if name.startswith(f"{where}."):
            reached = True
            continue
        owner = name.rpartition(".")[0]
        module = backbone.get_submodule(owner)
        # Tables are read before the first layer wherever they stand, positions that all layers share among them.
        below = not reached or isinstance(module, nn.Embedding)
        # A module with others in it has weights of its own by their names alone.
        whole = owner if owner and not any(True for _ in module.children()) else name
        yield f"{prefix}.{whole}", lowest if below else rate


def _layers(model: Any, backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find the stack of layers, a list that holds most weights of all lists, and its name within the backbone."""
    if model.config.is_encoder_decoder:
        raise TrainingError(_cannot(model, "has two stacks of layers, of an encoder and a decoder"))
    found: dict[str, nn.ModuleList] = {}
    for name, part in backbone.named_modules():
        if isinstance(part, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = part
    sizes = {name: sum(weight.numel() for weight in part.parameters()) for name, part in found.items()}
    largest = max(sizes, key=lambda name: sizes[name], default="")
    if not largest or 2 * sizes[largest] <= sum(sizes.values()):
        raise TrainingError(_cannot(model, "has no single list of layers"))
    return largest, found[largest]


def _cannot(model: Any, reason: str) -> str:
    return f"{type(model).__name__} {reason}; train it with one rate, without --layer-decay and --head-learning-rate"
