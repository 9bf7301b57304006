"""How a model is fed: the fastest exact way that a check on the model itself allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.reward.batches import pad_texts
from dissensus.reward.tokens import EncodedTexts
from dissensus.reward.unpadded import first_position, unpadded_layout, use_unpadded

Ints = NDArray[np.int64]
Kind = Literal["padded", "unpadded"]


@dataclass(frozen=True)
class Layout:
    """Turns encoded texts into what the model's forward pass takes."""

    kind: Kind
    pad_id: int
    reason: str | None
    """Why no faster way is used; None where one is."""
    first_position: int = 0

    def __call__(self, encoded: EncodedTexts, rows: Ints) -> dict[str, Any]:
        """Lay these texts out; the model returns their logits in the same order."""
        if self.kind == "unpadded":
            return self._unpadded(encoded, rows)
        return pad_texts(encoded, rows, pad_id=self.pad_id)

    def _unpadded(self, encoded: EncodedTexts, rows: Ints) -> dict[str, Any]:
        lengths = encoded.lengths[rows]
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions = np.arange(int(lengths.sum())) - starts + self.first_position
        laid_out = {
            "input_ids": torch.from_numpy(np.concatenate([encoded.ids(row) for row in rows]).astype(np.int64)),
            "position_ids": torch.from_numpy(positions),
            "layout": unpadded_layout(lengths),
        }
        if encoded.typed:
            laid_out["token_type_ids"] = torch.from_numpy(np.concatenate([encoded.types(row) for row in rows]))
        return laid_out


def lay_out_for(model: Any, *, pad_id: int, fast: bool = True, training: bool = True) -> Layout:
    """Choose how to feed this model, and prepare its forward pass for it.

    With ``training`` the check on the model compares gradients as well. ``fast=False`` keeps transformers' own way.
    """
    if not fast:
        return Layout("padded", pad_id, "switched off")
    reason = use_unpadded(model, gradients=training)
    if reason is None:
        return Layout("unpadded", pad_id, None, first_position=first_position(model))
    return Layout("padded", pad_id, reason)
