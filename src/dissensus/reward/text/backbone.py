"""The backbone: a sequence classifier and its tokenizer, loaded so that nothing is lost on the way."""

from __future__ import annotations

import math
import re
from inspect import signature
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor, nn

from dissensus.errors import ConfigError, InputError
from dissensus.reward.notices import report
from dissensus.text.encoder import quiet_transformers, resolve_model
from dissensus.text.pretrained import (
    check_table,
    check_tokens,
    check_weights,
    explained,
    locate,
    position_limit,
    stated_positions,
)

_DROPOUT = re.compile(r"drop(out)?(_prob|_rate)?$|pdrop$|dropout")


def load_backbone(
    name: str, *, new_head: bool, outputs: int = 1, dropout: float = 0.0, made: list[str] | None = None
) -> tuple[Any, Any]:
    """Load a sequence classifier and its tokenizer, in float32, with padding on the right.

    With ``new_head`` it gets a fresh head where it has none of so many ``outputs``, whose weights are added to
    ``made``; otherwise the checkpoint's own head is kept.

    Raises InputError when the folder or id cannot be loaded.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    source = resolve_model(name)
    remedy = "give another model: a folder as save_pretrained writes it, a Hub id or 'minilm'"
    with explained(f"cannot load model '{name}'", remedy), quiet_transformers():
        options = locate(source)
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="right", **options)
        _fit_tokenizer(tokenizer)
        config = AutoConfig.from_pretrained(source, **options, **({"num_labels": outputs} if new_head else {}))
        _fit_config(config, tokenizer, dropout=dropout)
        if new_head:
            config.problem_type = "regression"
        # The checkpoint's own dtype may be half precision, in which a fresh head overflows.
        # A head of as many outputs is kept, so that a reward model can be trained further; another is made anew.
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
        fresh = check_weights(model, loading, spared=lambda weight: new_head and _in_head(model, weight))
        check_table(model, tokenizer)
    if fresh:
        report(f"{name}: a new head is made ({', '.join(fresh)})")
    if made is not None:
        made += fresh
    # Token types that the model does not take, or has but one of, are left out.
    takes = "token_type_ids" in signature(model.forward).parameters
    if not takes or getattr(model.config, "type_vocab_size", None) == 1:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    if model.config.is_encoder_decoder:
        # A bound method, as accelerate binds whatever is none to the model itself.
        model.forward = MethodType(_apart_by_ends, model)
    keep_head_in_float32(model)
    return model, tokenizer


def _in_head(model: Any, name: str) -> bool:
    """Whether a weight belongs to the head: what stands outside the backbone, and its pooler."""
    prefix = f"{model.base_model_prefix}."
    return not name.startswith(prefix) or name.removeprefix(prefix).startswith("pooler.")


def _fit_tokenizer(tokenizer: Any) -> None:
    """Check that texts can be encoded and templates chosen, and name a token to pad with where there is none."""
    if not tokenizer.is_fast:
        raise InputError(
            f"its tokenizer ({type(tokenizer).__name__}) has no fast form, in which places of texts are known; "
            "give a model with a tokenizer.json"
        )
    if tokenizer.pad_token_id is None:
        # Masks hide padding, but pooling must be able to tell it from the text's last token.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise InputError(
            "its tokenizer has neither a padding nor an unknown nor an end-of-text token; set tokenizer.pad_token and "
            "save it again"
        )
    specials = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    templates = tokenizer.chat_template
    if None not in specials and not templates and specials.isdisjoint(tokenizer("a", "b")["input_ids"]):
        raise InputError(
            f"its tokenizer has {tokenizer.cls_token} and {tokenizer.sep_token} and puts neither around a text; give "
            "it a post-processor (tokenizers.processors.TemplateProcessing) and save it again"
        )
    if isinstance(templates, dict) and "default" not in templates:
        raise InputError(
            f"its tokenizer has the chat templates {', '.join(sorted(templates))} and none called default; set "
            "tokenizer.chat_template to one of them and save it again"
        )


def _fit_config(config: Any, tokenizer: Any, *, dropout: float) -> None:
    # Models that see as well keep the settings of their language model apart, and pool by the padding named there.
    text = config.get_text_config()
    for part in {id(part): part for part in (config, text)}.values():
        for key, value in part.to_dict().items():
            if _DROPOUT.search(key) and (value is None or isinstance(value, float)):
                setattr(part, key, dropout)
        # RoBERTa and its kin count positions from the padding that they were trained with.
        if tokenizer.cls_token_id is None or getattr(part, "pad_token_id", None) is None:
            part.pad_token_id = tokenizer.pad_token_id
    # The table cannot even be made where its padding lies beyond it.
    if (getattr(text, "pad_token_id", None) or 0) >= getattr(text, "vocab_size", math.inf):
        check_tokens(text.vocab_size, tokenizer)


def _apart_by_ends(model: Any, input_ids: Tensor, **inputs: Any) -> Any:
    """Run T5, BART and their kin on texts with as many ends of text together: of others in one batch they read none.

    A text that writes the token itself (``</s>``) has one more than its neighbours.
    """
    from transformers.modeling_outputs import SequenceClassifierOutput

    forward = type(model).forward
    counts = (input_ids == model.config.eos_token_id).sum(dim=1)
    groups = [(counts == count).nonzero().flatten() for count in counts.unique()]
    if len(groups) == 1:
        return forward(model, input_ids, **inputs)
    parts = [
        forward(model, input_ids[rows], **{name: value[rows] for name, value in inputs.items()}).logits
        for rows in groups
    ]
    return SequenceClassifierOutput(logits=torch.cat(parts)[torch.cat(groups).argsort()])


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
        report(f"{name}: the Hub cannot be asked for {file}; going on as if there were none")
        return None
    except EntryNotFoundError:
        return None


def report_window(model: Any, max_length: int, name: str) -> None:
    """Say on stderr where a window is wider than what the model was made for, though it has no table that ends there.

    Rotary positions go on for ever, and what a model makes of those that it never saw is anything.
    """
    stated = stated_positions(model)
    if position_limit(model) is None and stated is not None and max_length > stated:
        report(
            f"{name}: max_length {max_length} is more than the {stated} positions that its configuration names; "
            "longer texts are beyond what it was made for (--max-length sets the window)"
        )


def checkpoint_activations(model: Any) -> None:
    """Keep only the inputs of each layer for the backward pass. The library's name for it changes with version 6.

    Raises ConfigError where the architecture cannot.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(f"{type(model).__name__} has no gradient checkpointing; leave out --gradient-checkpointing")
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


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
