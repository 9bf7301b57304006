"""How a model is fed: the fastest exact way that a check on the model itself allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.reward.batches import pad_texts
from dissensus.reward.deberta import use_fast_attention
from dissensus.reward.tokens import EncodedTexts
from dissensus.reward.unpadded import use_unpadded

Ints = NDArray[np.int64]
_WAYS = {"deberta-v2": use_fast_attention}
"""By model type; `use_unpadded` says of the others whether it is made for them."""


@dataclass(frozen=True)
class Layout:
    """Turns encoded texts into what the model's forward pass takes."""

    kind: str
    """``padded`` or ``unpadded``."""
    pad_id: int
    reason: str | None = None
    """Why no faster way is used; None where one is."""

    def __call__(self, encoded: EncodedTexts, rows: Ints) -> dict[str, Any]:
        """Lay these texts out; the model returns their logits in the same order."""
        padded: dict[str, Any] = dict(pad_texts(encoded, rows, pad_id=self.pad_id))
        # The model takes the padding out again, and need not ask the device where it is.
        return padded | {"lengths": encoded.lengths[rows].tolist()} if self.kind == "unpadded" else padded


def lay_out_for(model: Any, *, pad_id: int, fast: bool = True, training: bool = True) -> Layout:
    """Choose how to feed this model, and prepare its forward pass for it.

    With ``training`` the check on the model compares gradients as well. ``fast=False`` keeps transformers' own way.
    """
    if not fast:
        return Layout("padded", pad_id, "switched off")
    way = _WAYS.get(model.config.model_type, use_unpadded)
    reason = way(model, gradients=training)
    return Layout("padded" if reason else "unpadded", pad_id, reason)
