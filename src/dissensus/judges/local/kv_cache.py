"""Forward passes that go on from what was computed before: one beginning, many continuations.

A `State` holds the keys and values of texts read so far. Continuations of different lengths are padded on the left, in
between what was read and what is new; the mask hides the padding and positions count real tokens only, so a text's
logits are those of reading it alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dissensus.judges.local.prompt_batches import Batch, Ids


@dataclass(frozen=True)
class State:
    """Texts read so far: their keys and values, and which positions hold tokens, shape (texts, length)."""

    cache: Any
    mask: Tensor

    def select(self, texts: Sequence[int]) -> State:
        """Take texts by number, any of them any number of times; this state stays as it is."""
        index = torch.tensor(texts, device=self.mask.device)
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        cache.reorder_cache(index)
        return State(cache, self.mask[index])


class Reader:
    """Reads token ids with a causal language model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.pad = model.config.get_text_config(decoder=True).pad_token_id or 0
        self._accepts = set(inspect.signature(model.forward).parameters)

    def shares(self, length: int) -> bool:
        """Whether texts up to ``length`` tokens may go on from a common beginning.

        Not where attention has a window that they might leave (it counts padding, of which there may be as much again),
        where positions cannot be given, or where the model carries a state instead of keys and values.
        """
        return "position_ids" in self._accepts and not self.recurrent and 2 * length <= self._window

    @property
    def recurrent(self) -> bool:
        """Whether the model carries a state, into which padding would leak."""
        return bool(getattr(self.model, "_is_stateful", False))

    def read(self, rows: Sequence[Ids], *, after: State | None = None, keep: int = 1) -> tuple[Tensor, State]:
        """Read one continuation for each text of ``after``; logits of the last ``keep`` positions, and the new state.

        Logits have shape (rows, keep, vocabulary), in the model's own precision.
        """
        ids, real = self._pad(rows)
        known = after.mask if after else real[:, :0]
        mask = torch.cat([known, real], dim=1)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long(), "use_cache": True}
        if "position_ids" in self._accepts:
            inputs["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)[:, known.shape[1] :]
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = keep
        if after:
            inputs["past_key_values"] = after.cache
        out = self.model(**inputs)
        return out.logits[:, -keep:], State(getattr(out, "past_key_values", None), mask)

    def read_batch(
        self, rows: Sequence[Ids], batch: Batch, *, trunk: State | None, keep: int = 1
    ) -> tuple[Tensor, State]:
        """Read the rows of a batch behind ``trunk``, each group's common beginning only once."""
        state, begun = trunk, [trunk.mask.shape[1] if trunk else 0] * len(batch.shared)
        parents: Sequence[int] = [0] * len(batch.rows)
        if list(batch.shared) != begun:
            first = [rows[batch.rows[batch.groups.index(group)]] for group in range(len(batch.shared))]
            parts = [row[start:end] for row, start, end in zip(first, begun, batch.shared, strict=True)]
            _, state = self.read(parts, after=state.select([0] * len(parts)) if state else None)
            begun, parents = list(batch.shared), batch.groups
        rest = [rows[row][begun[group] :] for row, group in zip(batch.rows, batch.groups, strict=True)]
        return self.read(rest, after=state.select(parents) if state else None, keep=keep)

    def _pad(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        ids = [[self.pad] * (width - len(row)) + row for row in rows]
        real = [[False] * (width - len(row)) + [True] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(real, device=device)

    @property
    def _window(self) -> float:
        config = self.model.config.get_text_config(decoder=True)
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        if getattr(config, "use_sliding_window", True) is False:
            windows[0] = None
        return min((window for window in windows if window), default=float("inf"))
