"""Layouts of texts: the fastest exact way to feed a model that a check on the model itself allows.

Most models hide padding behind a mask. Some read it: off the end of the row (XLNet), in convolutions or transforms over
the row, or because their padding is not the tokenizer's. So before a model is used, no reward may depend on the texts
beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dissensus.errors import InputError
from dissensus.records import Message, Text
from dissensus.reward.fast.deberta import use_fast_attention
from dissensus.reward.fast.equivalence import settled
from dissensus.reward.fast.packed_model import packed_inputs, use_packing
from dissensus.reward.fast.packing import pack_texts
from dissensus.reward.fast.unpadded import LIKE_BERT, use_unpadded
from dissensus.reward.serving.score import memory_reported
from dissensus.reward.text.batches import move, pad_texts
from dissensus.reward.text.encode import Encoding, UnreadableTextError
from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.text.pretrained import first_line

Ints = NDArray[np.int64]
_ENCODERS = dict.fromkeys(LIKE_BERT, use_unpadded) | {"deberta-v2": use_fast_attention}
"""By model type; the others are taken for causal, and `use_packing` says whether they are."""
_TEXTS: tuple[tuple[str, str], ...] = (
    ("Which is longer?", "A day."),
    ("How do I look after basil, which likes neither frost nor wet feet?", "Keep the pot at a window, and be patient."),
)
_TOLERANCE = 1e-4
"""Of rewards, relative to the largest (or absolute, below a tenth): float32 rounding over many layers is below it."""


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

    def __call__(self, encoded: EncodedTexts, rows: Ints) -> Mapping[str, object]:
        """Lay these texts out; the model returns their logits in the same order."""
        if self.kind == "packed":
            return packed_inputs(pack_texts([encoded.ids(row) for row in rows], pad_id=self.pad_id))
        padded = pad_texts(encoded, rows, pad_id=self.pad_id, left=self.left)
        # The model takes the padding out again, and need not ask the device where it is.
        return {**padded, "lengths": encoded.lengths[rows].tolist()} if self.kind == "unpadded" else {**padded}


def lay_out_for(model: Any, *, pad_id: int, fast: bool = True, training: bool = True, sharded: bool = False) -> Layout:
    """Choose how to feed this model, and prepare its forward pass for it; for ``training``, gradients are checked too.

    Where weights are ``sharded`` layer by layer the layers' own forward pass stays in place: it gathers them.
    """
    if not fast:
        return Layout("padded", pad_id, "switched off")
    encoder = _ENCODERS.get(model.config.model_type)
    if encoder and sharded:
        return Layout("padded", pad_id, "weights are sharded layer by layer")
    reason = encoder(model, gradients=training) if encoder else use_packing(model, gradients=training)
    return Layout("padded" if reason else "unpadded" if encoder else "packed", pad_id, reason)


def settle(model: Any, layout: Layout, encoding: Encoding) -> Layout:
    """Return how to feed a model so that each text has the reward that it has alone.

    That is ``layout``, or padding, on the left where need be (the tokenizer then says so): two short texts are scored
    alone, padded and as ``layout`` lays them out. Raises InputError where no way does, or it cannot read two texts.
    """
    encoded, name = _encode(encoding), type(model).__name__
    padded = Layout("padded", layout.pad_id)
    device = next(model.parameters()).device

    def logits(layout: Layout, *rows: int) -> Tensor:
        found: Tensor = model(**move(layout(encoded, np.array(rows)), device)).logits
        return found.float()

    def gap(layout: Layout) -> float | None:
        """The largest difference to each text alone; None where it is within rounding."""
        worst = float((alone - logits(layout, 0, 1)).abs().max())
        return None if worst <= _TOLERANCE * max(float(alone.abs().max()), 0.1) else worst

    try:
        with settled(model), torch.inference_mode(), memory_reported("two short texts"):
            alone = torch.cat([logits(padded, row) for row in range(len(_TEXTS))])
            if not alone.isfinite().all():
                raise InputError(
                    f"{name} gives rewards that are not numbers, as weights do that are none or too large; take an "
                    "earlier checkpoint of it"
                )
            right = gap(padded)
            if right is not None and gap(replace(padded, left=True)) is not None:
                raise InputError(
                    f"{name} gives a text another reward beside a longer one, by {right:.2g}: it reads the padding; "
                    "take another architecture"
                )
            if layout.kind != "padded" and (other := gap(layout)) is not None:
                reason = f"{layout.kind}, its rewards differ from those of each text alone by {other:.2g}"
                layout = replace(layout, kind="padded", reason=reason)
    except (IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{name} cannot read two texts in one batch ({first_line(error)}); check that tokenizer and configuration "
            "belong to it"
        ) from error
    if right is not None:
        encoding.tokenizer.padding_side = "left"
    return replace(layout, left=right is not None)


def _encode(encoding: Encoding) -> EncodedTexts:
    """Encode the two texts; with a system message where the chat template wants one."""
    system = Message(role="system", content="Be brief.")
    led: list[tuple[Text, Text]] = [
        ((system, Message(role="user", content=prompt)), response) for prompt, response in _TEXTS
    ]
    try:
        return encoding.encode(_TEXTS)
    except UnreadableTextError as refusal:
        try:
            return encoding.encode(led)
        except UnreadableTextError:
            raise InputError(
                f"the tokenizer's chat template fails on a user's turn and an assistant's ({refusal.said}); fix "
                "tokenizer.chat_template and save it again, or give another model"
            ) from refusal
