"""The check, before a model is used, that no reward depends on the texts beside it.

Most models hide padding behind a mask. Some read it: off the end of the row (XLNet), in convolutions or transforms over
the row, or because their padding is not the tokenizer's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dissensus.errors import InputError
from dissensus.records import Message, Text
from dissensus.reward.fast.equivalence import full_precision, settled
from dissensus.reward.fast.select import Layout
from dissensus.reward.serving.score import memory_reported
from dissensus.reward.text.batches import move
from dissensus.reward.text.encode import Encoding, UnreadableTextError
from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.text.pretrained import first_line

_TEXTS: tuple[tuple[str, str], ...] = (
    ("Which is longer?", "A day."),
    ("How do I look after basil, which likes neither frost nor wet feet?", "Keep the pot at a window, and be patient."),
)
_TOLERANCE = 1e-4
"""Of rewards, relative to the largest (or absolute, below a tenth): float32 rounding over many layers is below it."""


def settle(model: Any, layout: Layout, encoding: Encoding) -> Layout:
    """Return how to feed a model so that each text has the reward that it has alone.

    That is ``layout`` where it does, padding on the left where that does (the tokenizer then says so), or padding at
    all where packing does not. Two short texts are scored alone, padded and as ``layout`` lays them out.

    Raises InputError where no way does, or the model cannot read two texts.
    """
    encoded = _encode(encoding)
    padded = Layout("padded", layout.pad_id)
    try:
        with settled(model), full_precision(), torch.inference_mode(), memory_reported("two short texts"):
            alone = torch.cat([_logits(model, padded, encoded, [row]) for row in range(len(_TEXTS))])
            if not alone.isfinite().all():
                raise InputError(
                    f"{type(model).__name__} gives rewards that are not numbers, as weights do that are none or too "
                    "large; take an earlier checkpoint of it"
                )
            gaps = {}
            for left in (False, True):
                gaps[left] = _gap(alone, _logits(model, replace(padded, left=left), encoded, [0, 1]))
                if gaps[left] is None:
                    break
            else:
                raise InputError(
                    f"{type(model).__name__} gives a text another reward beside a longer one, by {gaps[False]:.2g}: it "
                    "reads the padding; take another architecture"
                )
            if layout.kind != "padded":
                gap = _gap(alone, _logits(model, layout, encoded, [0, 1]))
                if gap is not None:
                    reason = f"{layout.kind}, its rewards differ from those of each text alone by {gap:.2g}"
                    layout = replace(layout, kind="padded", reason=reason)
    except (IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{type(model).__name__} cannot read two texts in one batch ({first_line(error)}); "
            "check that tokenizer and configuration belong to it"
        ) from error
    if left:
        encoding.tokenizer.padding_side = "left"
    return replace(layout, left=left)


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


def _logits(model: Any, layout: Layout, encoded: EncodedTexts, rows: list[int]) -> Tensor:
    device = next(model.parameters()).device
    logits: Tensor = model(**move(layout(encoded, np.array(rows)), device)).logits
    return logits.float()


def _gap(expected: Tensor, found: Tensor) -> float | None:
    """Return the largest difference, None where it is within rounding."""
    worst = float((expected - found).abs().max())
    return None if worst <= _TOLERANCE * max(float(expected.abs().max()), 0.1) else worst
