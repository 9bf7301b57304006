"""GGUF files, llama.cpp's form of models: found, and read by transformers into weights like any other's."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from dissensus.errors import InputError
from dissensus.judges.base import JsonObject
from dissensus.text.pretrained import check_pointer, explained

_PART = re.compile(r"-\d{5}-of-\d{5}$")


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file that is meant: by its own path, or as all the weights that a folder has; None elsewhere.

    Raises:
        InputError: it is one part of several, or no file but a pointer, or the folder has several.
    """
    path = Path(name)
    if path.is_dir():
        others = [*path.glob("*.safetensors"), *path.glob("*.bin")]
        files = [] if others else sorted(path.glob("*.gguf"))
    else:
        files = [path] if path.suffix == ".gguf" and path.is_file() else []
    if not files:
        return None
    if any(_PART.search(file.stem) for file in files):
        raise InputError(
            f"--model {name}: {files[0].name} is one part of several; put them together with llama.cpp's "
            "'llama-gguf-split --merge'"
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"--model {name}: the folder has {len(files)} GGUF files ({names}); give the path of one")
    with explained(f"--model {name}", "give another file"):
        check_pointer(files[0])
    return files[0]


def how_to_read(path: Path) -> JsonObject:
    """Return the keyword arguments with which ``from_pretrained`` reads a GGUF file, given its folder."""
    return {"gguf_file": path.name, "trust_remote_code": False}


def how_to_unpack() -> JsonObject:
    """Return those for the model alone: weights as plain tensors, whatever kernels this machine has for packed ones.

    A model that transformers unpacks for want of kernels it calls quantised, and neither casts nor saves.
    """
    import transformers

    config = getattr(transformers, "GgufConfig", None)  # before it, weights were always unpacked
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def remedy(otherwise: str) -> str:
    """Say what to do about a GGUF file that cannot be read: most architectures need a package for it."""
    if importlib.util.find_spec("gguf") is None:
        return "reading GGUF needs the package gguf, which is not installed; run: pip install gguf"
    return otherwise
