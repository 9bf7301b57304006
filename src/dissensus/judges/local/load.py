"""A causal language model from a folder, a GGUF file or the Hub: checked, loaded, and identified by its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissensus.errors import InputError, JudgeError
from dissensus.files.source import print_notice
from dissensus.hashing import digest_of, file_digest
from dissensus.judges.base import JsonObject
from dissensus.judges.language.settings import Dtype
from dissensus.judges.local.gguf import gguf_file, how_to_read, how_to_unpack, remedy
from dissensus.text.encoder import best_device, has_bfloat16, quiet_transformers
from dissensus.text.pretrained import check_weights, explained, locate

_DECIDING = ["config.json", "generation_config.json", "tokenizer*", "chat_template*", "special_tokens_map.json"]
_DECIDING += ["added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken"]
_UNBOUNDED = 10**9
"""Tokenizers without a limit say so with an enormous one."""


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model with its tokenizer, and what decides its answers."""

    model: Any
    tokenizer: Any
    identity: JsonObject
    context: int | None
    vocabulary: int
    """Tokens that the model gives logits for, perhaps more than the tokenizer has."""
    stops: tuple[int, ...]
    """Tokens that end a reply."""


def load_language_model(
    name: str, *, revision: str | None = None, device: str | None = None, dtype: Dtype = "auto"
) -> LanguageModel:
    """Load a folder, a GGUF file or a Hub id; ``device`` ``auto`` is all devices that there are.

    ``dtype`` ``auto`` is that of the weights, or float32 on a processor that does not compute in it: it would take a
    minute for what takes a second. What it is becomes part of the model's identity.

    Raises:
        InputError: there is no such model, or it is no causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    with quiet_transformers():
        config, tokenizer, origin = load_parts(name, revision=revision)
        source, options = _source(name, origin.get("revision", revision))
        is_gguf = "gguf_file" in options
        do = "give another model"
        with explained(f"--model {name}: cannot be loaded", remedy(do) if is_gguf else do):
            model, loading = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                device_map="auto" if device == "auto" else None,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
                **(how_to_unpack() if is_gguf else {}),
            )
            check_weights(model, loading)
    model.eval().requires_grad_(False)
    if device != "auto":
        device = device or best_device()
        # Float16 has even fewer instructions: of the processors with these, all have bfloat16.
        if dtype == "auto" and model.dtype in (torch.bfloat16, torch.float16) and not has_bfloat16(device):
            weights = str(model.dtype).removeprefix("torch.")
            print_notice(
                f"{name}: its weights are {weights}, which this processor only emulates, so it runs in float32, "
                "in twice the memory; --dtype bfloat16 emulates all the same"
            )
            model.float()
        model.to(device)
    identity = {**origin, "dtype": str(model.dtype).removeprefix("torch.")}
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    with explained("the model's end-of-text token", "fix eos_token_id in its generation_config.json"):
        stops = tuple(sorted({int(end) for end in (*ends, tokenizer.eos_token_id) if end is not None}))
    if not stops:
        raise JudgeError("the model names no end-of-text token, so its replies would not end; set eos_token_id")
    # What generate is not told it would take from here: Llama 3 says temperature 0.6 and top-p 0.9.
    model.generation_config = GenerationConfig(eos_token_id=list(stops), pad_token_id=stops[0])
    vocabulary = model.get_output_embeddings().weight.shape[0]
    return LanguageModel(model, tokenizer, identity, context_of(config, tokenizer), vocabulary, stops)


def load_parts(name: str, *, revision: str | None = None) -> tuple[Any, Any, JsonObject]:
    """Load configuration and tokenizer, and say which model it is: by content, or by id and commit.

    Raises:
        InputError: there is no such model, it is no causal language model, or the folder has no weights.
    """
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    do = "give a folder with config.json, weights and a tokenizer, a GGUF file, or the id of a model on the Hub"
    file = gguf_file(name)
    with explained(f"--model {name}: no such model", do if file is None else remedy(do)):
        source, options = _source(name, revision)
        config = AutoConfig.from_pretrained(source, **options)
    built = config.architectures or []
    if config.is_encoder_decoder or (built and not set(built) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())):
        kind = ", ".join(built) or config.model_type
        raise InputError(f"--model {name}: not a causal language model ({kind}); give one that writes text")
    with explained(f"--model {name}: no such model", do if file is None else remedy(do)):
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
    if file is not None:  # which holds all that decides: nothing beside it is read
        return config, tokenizer, {"model": "gguf", "digest": file_digest(file).hex()}
    folder = Path(name)
    if not folder.is_dir():
        return config, tokenizer, {"model": name, "revision": config._commit_hash or revision or "main"}
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise InputError(f"--model {folder}: no weights; expected *.safetensors, as save_pretrained writes them")
    others = {path for pattern in _DECIDING for path in folder.glob(pattern) if path.is_file()}
    digest = digest_of(path.name.encode() + b"\0" + file_digest(path) for path in (*weights, *sorted(others)))
    return config, tokenizer, {"model": "folder", "digest": digest}


def _source(name: str, revision: str | None) -> tuple[str, JsonObject]:
    """Return what ``from_pretrained`` is to read, a folder or a Hub id, and the keyword arguments that say how."""
    if (file := gguf_file(name)) is not None:
        return str(file.parent), how_to_read(file)
    return name, {"revision": revision, **locate(name, revision=revision)}


def context_of(config: Any, tokenizer: Any) -> int | None:
    """Tokens that a prompt and its reply may have together; None where neither configuration nor tokenizer says."""
    text = config.get_text_config(decoder=True)
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    limits += [tokenizer.model_max_length if tokenizer.model_max_length < _UNBOUNDED else None]
    return min((int(limit) for limit in limits if limit), default=None)
