"""Layouts of texts: the fastest exact way to feed a model that a check on the model itself allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.reward.fast.deberta import use_fast_attention
from dissensus.reward.fast.packed_model import packed_inputs, use_packing
from dissensus.reward.fast.packing import pack_texts
from dissensus.reward.fast.unpadded import LIKE_BERT, use_unpadded
from dissensus.reward.text.batches import pad_texts
from dissensus.reward.text.token_cache import EncodedTexts

Ints = NDArray[np.int64]
_ENCODERS = dict.fromkeys(LIKE_BERT, use_unpadded) | {"deberta-v2": use_fast_attention}
"""By model type; the others are taken for causal, and `use_packing` says whether they are."""


@dataclass(frozen=True)
class Layout:
    """Turns encoded texts into what the model's forward pass takes."""

    kind: str
    """``padded``; ``unpadded``, where the model takes padding out again; or ``packed``, where prompts are shared."""
    pad_id: int
    reason: str | None = None
    """Why no faster way is used; None where one is."""
    left: bool = False
    """Pad on the left: some models read the reward off the end of the row."""

    def __call__(self, encoded: EncodedTexts, rows: Ints) -> dict[str, Any]:
        """Lay these texts out; the model returns their logits in the same order."""
        if self.kind == "packed":
            texts = [encoded.ids(row) for row in rows]
            return packed_inputs(pack_texts(texts, pad_id=self.pad_id))  # type: ignore[arg-type]
        padded: dict[str, Any] = dict(pad_texts(encoded, rows, pad_id=self.pad_id, left=self.left))
        # The model takes the padding out again, and need not ask the device where it is.
        return padded | {"lengths": encoded.lengths[rows].tolist()} if self.kind == "unpadded" else padded


def lay_out_for(model: Any, *, pad_id: int, fast: bool = True, training: bool = True, sharded: bool = False) -> Layout:
    """Choose how to feed this model, and prepare its forward pass for it.

    With ``training`` the check on the model compares gradients as well. ``fast=False`` keeps transformers' own way.
    Where weights are ``sharded`` over processes layer by layer, only what leaves the layers' own forward pass in place
    is possible: it gathers them.
    """
    if not fast:
        return Layout("padded", pad_id, "switched off")
    encoder = _ENCODERS.get(model.config.model_type)
    if encoder and sharded:
        return Layout("padded", pad_id, "weights are sharded layer by layer")
    reason = encoder(model, gradients=training) if encoder else use_packing(model, gradients=training)
    return Layout("padded" if reason else "unpadded" if encoder else "packed", pad_id, reason)
