"""Scoring encoded texts in eval mode: sorted, under a token budget, each once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dissensus.errors import ConfigError
from dissensus.reward.text.batches import move
from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.text.length_batches import length_batches

if TYPE_CHECKING:
    from dissensus.reward.fast.select import Layout

Ints = NDArray[np.int64]
TOKENS_PER_BATCH = 4096
_OUT_OF_MEMORY = re.compile(r"out of memory|(can't|cannot|failed to) allocate|ALLOC_FAILED|not enough memory", re.I)


def score_texts(
    model: Any,
    layout: Layout,
    encoded: EncodedTexts,
    *,
    rows: Ints | None = None,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    half: bool = False,
    progress: bool = False,
) -> NDArray[np.float32]:
    """Return the model's outputs for these rows of the encoded texts (all of them unless given), longest first.

    Shape (texts, outputs), in the order of the rows. Texts that are read as the same tokens have the same outputs:
    scored twice, in rows of two batches, they would differ by rounding, and a pair of them would be no tie.
    With ``half``, matrix products are made in bfloat16. Where memory runs out, half as many are scored at once.

    Raises OutOfMemoryError where memory does not suffice for one text.
    """
    rows = np.arange(len(encoded)) if rows is None else rows
    first: dict[tuple[bytes, int], int] = {}
    keys = [(encoded.ids(row).tobytes(), int(encoded.second[row])) for row in rows.tolist()]
    places = np.array([first.setdefault(key, len(first)) for key in keys], dtype=np.int64)
    rows = rows[np.unique(places, return_index=True)[1]]
    order = np.argsort(-encoded.lengths[rows], kind="stable")
    outputs = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    # Once around all batches, so that weights are cast once.
    cast = torch.autocast(device.type, torch.bfloat16) if half else nullcontext()
    with torch.inference_mode(), cast, tqdm(total=len(order), desc="score", unit="text", disable=not progress) as bar:
        waiting = [order[part] for part in length_batches(encoded.lengths[rows][order], tokens_per_batch)][::-1]
        while waiting:
            part = waiting.pop()
            what = f"scoring {len(part)} text(s) of up to {encoded.lengths[rows[part[0]]]} tokens"
            try:
                with memory_reported(what, "lower --max-length (max_length)"):
                    logits = model(**move(layout(encoded, rows[part]), device)).logits
                    outputs[part] = logits.float().cpu().numpy()
            except OutOfMemoryError:
                if len(part) == 1:
                    raise
                waiting += np.array_split(part, 2)[::-1]
            else:
                bar.update(len(part))
    model.train(was_training)
    return outputs[places]


class OutOfMemoryError(ConfigError):
    """Memory that does not suffice, on whatever device."""


@contextmanager
def memory_reported(what: str, remedy: str = "use a machine with more of it") -> Iterator[None]:
    """Turn exceptions that say that memory ran out into one line of OutOfMemoryError, ``what`` and a remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise OutOfMemoryError(f"memory does not suffice for {what}; {remedy}") from error
