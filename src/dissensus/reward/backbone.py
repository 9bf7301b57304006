"""The backbone: a sequence classifier and its tokenizer, loaded so that nothing is lost on the way."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor, nn

from dissensus.encoder import quiet_transformers, resolve_model
from dissensus.errors import InputError

_DROPOUT = re.compile(r"drop(out)?(_prob|_rate)?$|pdrop$|dropout")


def load_backbone(name: str, *, new_head: bool, outputs: int = 1, dropout: float = 0.0) -> tuple[Any, Any]:
    """Load a sequence classifier and its tokenizer, in float32, with padding on the right.

    With ``new_head`` it gets a fresh head of so many ``outputs``; otherwise the checkpoint's own head is kept.

    Raises InputError when the folder or id cannot be loaded.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    source = resolve_model(name)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, padding_side="right")
            _need_padding(tokenizer, name)
            config = AutoConfig.from_pretrained(source, **({"num_labels": outputs} if new_head else {}))
            _adapt(config, dropout=dropout, new_head=new_head, pad_id=tokenizer.pad_token_id)
            # The checkpoint's own dtype may be half precision, in which a fresh head overflows.
            # A head of as many outputs is kept, so that a reward model can be trained further; another is made anew.
            model = AutoModelForSequenceClassification.from_pretrained(
                source, config=config, dtype=torch.float32, ignore_mismatched_sizes=new_head
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot load model '{name}': {reason}; give a folder, a Hub id or 'minilm'") from error
    keep_head_in_float32(model)
    return model, tokenizer


def model_file(name: str | Path, file: str) -> Path | None:
    """Find a file of ours beside a model that ``load_backbone`` has loaded; None where there is none.

    ``name`` is a folder or a Hub id. A line on stderr says so where the Hub could not be asked.
    """
    source = Path(resolve_model(str(name)))
    if source.is_dir():
        return source / file if (source / file).is_file() else None
    try:
        return Path(hf_hub_download(str(name), file))
    except LocalEntryNotFoundError:
        notice = f"{name}: the Hub cannot be asked for {file}; going on as if there were none"
        print(notice, file=sys.stderr)  # noqa: T201
        return None
    except EntryNotFoundError:
        return None


def _need_padding(tokenizer: Any, name: str) -> None:
    """Name a token to pad with: masks hide it, but pooling must be able to tell it from the text's last token."""
    if tokenizer.pad_token_id is not None:
        return
    tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"cannot load model '{name}': its tokenizer has neither a padding nor an unknown nor an end-of-text token; "
            "set tokenizer.pad_token and save it again"
        )


def position_limit(model: nn.Module) -> int | None:
    """Return how many tokens a model with a table of positions can read; None for relative or rotary positions."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rsplit(".", 1)[-1] in ("position_embeddings", "wpe"):
            # RoBERTa's table begins behind the padding token's row.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def checkpoint_activations(model: Any) -> None:
    """Keep only the inputs of each layer for the backward pass. The library's name for it changes with version 6."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _adapt(config: Any, *, dropout: float, new_head: bool, pad_id: int) -> None:
    for key, value in config.to_dict().items():
        if _DROPOUT.search(key) and (value is None or isinstance(value, float)):
            setattr(config, key, dropout)
    if new_head:
        config.problem_type = "regression"
    config.pad_token_id = pad_id


def keep_head_in_float32(model: nn.Module) -> nn.Module:
    """Keep and run the head in float32, and return it: in bfloat16 its outputs would be 0.03 apart at a reward of 4."""
    named = dict(model.named_children())
    head = named.get("score") or named.get("classifier") or list(named.values())[-1]
    run_in_float32(head)
    return head


def run_in_float32(head: nn.Module) -> None:
    """Widen half-precision weights of a module of one tensor to float32, and run it outside autocast."""
    if is_half(head):
        head.float()
    head.forward = MethodType(_in_full_precision, head)


def is_half(module: nn.Module) -> bool:
    """Whether any weights are in half precision."""
    return any(weight.dtype in (torch.bfloat16, torch.float16) for weight in module.parameters())


def _in_full_precision(head: nn.Module, features: Tensor, *args: Any, **kwargs: Any) -> Any:
    # In the weights' own precision: float32, unless somebody chose float64.
    precision = next(head.parameters()).dtype
    with torch.autocast(features.device.type, enabled=False):
        return type(head).forward(head, features.to(precision), *args, **kwargs)
