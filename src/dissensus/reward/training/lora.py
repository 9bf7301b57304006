"""Low-rank adapters through PEFT: the backbone's linear layers learn a low-rank change, the head is trained whole.

Source: Hu et al. (2021), *LoRA*, arXiv:2106.09685: W becomes W + alpha / rank * B A, where B begins at zero.
"""

from __future__ import annotations

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dissensus.errors import MissingDependencyError, TrainingError
from dissensus.reward.fast.equivalence import probe
from dissensus.reward.text.backbone import is_half, run_in_float32
from dissensus.text.pretrained import first_line

ADAPTER_FOLDER = "adapter"
"""In a model's folder: the adapters and the head for PEFT; the model beside it has them merged."""
_LINEAR = (nn.Linear, Conv1D)
_NAME = "default"


def add_adapters(model: Any, rank: int, alpha: float | None = None, *, dropout: float = 0.0) -> Any:
    """Freeze a sequence classifier, and return it wrapped: all linear layers of its backbone adapted, its head trained.

    ``alpha`` is twice the rank unless given. A forward pass is best replaced (``lay_out_for``) before: its check then
    sees all gradients. Adapters and head are trained in float32, whatever the model's own dtype.

    Raises TrainingError where no head or nothing to adapt can be found, MissingDependencyError without PEFT.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingDependencyError("peft", extra="lora", need="training low-rank adapters") from error
    head = head_modules(model)
    layers = _layers_beside(model, head)
    for part in map(model.get_submodule, head):
        # PEFT widens its adapters, and not its trained copies of other modules.
        if is_half(part):
            run_in_float32(part)
    settings = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=layers,
        modules_to_save=head,
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in layers),
    )
    # No task type: PEFT's wrapper for classifiers would hand our forward passes arguments that they do not take.
    adapted = _wrap(model, settings)
    # With a name, every checkpoint would ask the Hub whether the vocabulary has grown since.
    adapted.peft_config[_NAME].base_model_name_or_path = None
    return adapted


def head_modules(model: Any) -> list[str]:
    """Name the modules that make outputs of a text's one vector: what stands outside the backbone, and its pooler.

    They are found by running the model: a pooler is a part of the backbone with one row for each text, and what
    stands outside must have gradients. Raises TrainingError where there is no such thing.
    """
    prefix = model.base_model_prefix
    backbone = getattr(model, prefix, None) if prefix else None
    outside = [name for name, part in model.named_children() if part is not backbone and _has_weights(part)]
    if not isinstance(backbone, nn.Module) or not outside:
        raise TrainingError(_no_head(model, "it has no parts outside its backbone"))
    poolers: dict[str, None] = {}

    def look(name: str, _part: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 2:
            poolers[f"{prefix}.{name}"] = None

    parts = [(name, part) for name, part in backbone.named_children() if _has_weights(part)]
    hooks = [part.register_forward_hook(partial(look, name)) for name, part in parts]
    weights = [f"{name}.{weight}" for name in outside for weight, _ in model.get_submodule(name).named_parameters()]
    try:
        reached = probe(model, weights).gradients
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        reason = f"its forward pass over token ids fails: {first_line(error)}"
        raise TrainingError(_no_head(model, reason)) from error
    finally:
        for hook in hooks:
            hook.remove()
    head = [name for name in outside if any(weight.startswith(f"{name}.") for weight in reached)]
    if not head:
        raise TrainingError(_no_head(model, f"its outputs do not depend on {', '.join(outside)}"))
    return [*poolers, *head]


def rebuild_adapted(plain: Any, model: Any, weights: dict[str, Tensor]) -> Any:
    """Adapt ``plain``, the backbone anew, as ``model`` is, with weights gathered from its shards."""
    adapted = _wrap(plain, model.peft_config[_NAME])
    adapted.load_state_dict(weights)
    return adapted


def merge_adapters(model: Any) -> Any:
    """Add the adapters to the weights, in place, and return the plain sequence classifier with its trained head."""
    merged = model.merge_and_unload()
    merged.requires_grad_(True)
    return merged


def save_adapter(model: Any, folder: str | Path, *, base: str, weights: dict[str, Tensor] | None = None) -> None:
    """Write adapters and head so that ``PeftModel.from_pretrained(base_model, folder)`` gives the rewards of training.

    ``base`` is the backbone's name, for people and for PEFT's automatic classes; ``weights`` a state that was gathered.
    Raises OSError and its like where the folder cannot be written.
    """
    folder = Path(folder)
    model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    # PEFT's card is a form without answers; the card of the model says what there is to say.
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content |= {"base_model_name_or_path": base, "task_type": "SEQ_CLS", "auto_mapping": None}
    path.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def is_adapted(model: Any) -> bool:
    """Say whether a model is one that ``add_adapters`` wrapped."""
    return hasattr(model, "merge_and_unload") and hasattr(model, "peft_config")


def _wrap(model: Any, settings: Any) -> Any:
    from peft import get_peft_model

    with warnings.catch_warnings():
        # PEFT asks for gradient checkpointing by a name that transformers is about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, settings)


def _layers_beside(model: Any, head: list[str]) -> list[str]:
    """Name the linear layers outside the head: plain ones, or where all are subclasses (Falcon's) those of PEFT."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as NAMED

    prefixes = tuple(f"{name}." for name in head)
    beside = {n: p for n, p in model.named_modules() if n not in head and not n.startswith(prefixes)}
    layers = [name for name, part in beside.items() if type(part) in _LINEAR]
    if not layers:
        named = NAMED.get(model.config.model_type, ())
        layers = [n for n, p in beside.items() if isinstance(p, _LINEAR) and n.rpartition(".")[2] in named]
    if not layers:
        raise TrainingError(
            f"{type(model).__name__} has no linear layers to adapt; train all weights, without --lora-rank"
        )
    return layers


def _has_weights(part: nn.Module) -> bool:
    return any(True for _ in part.parameters())


def _no_head(model: Any, reason: str) -> str:
    return (
        f"the head of {type(model).__name__} cannot be found ({reason}), and without it adapters would train towards "
        "random rewards; train all weights, without --lora-rank"
    )
