"""Forward passes that go on from what was computed before: one beginning, many continuations, in batches.

Continuations are padded on the left, in between what was read and what is new; the mask hides the padding and positions
count real tokens only, so a text's logits are those of reading it alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dissensus.text.length_batches import length_batches

Ids = list[int]

_ALIKE = 0.8
"""Rows of one group stand in one batch if they have at least this share of the longest one's tokens."""
_WORTH = 0.1
"""The share of a batch's tokens that a common beginning must save to be computed by itself."""


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass, in groups that have a common beginning."""

    rows: tuple[int, ...]
    groups: tuple[int, ...]
    """For each row, which group it is of."""
    shared: tuple[int, ...]
    """For each group, how many tokens its rows begin with in common; all 0 where sharing saves too little."""


def plan_batches(
    rows: Sequence[Ids], groups: Sequence[Hashable], *, budget: int, tail: int, trunk: int = 0
) -> Iterator[Batch]:
    """Deal rows into batches of at most ``budget`` padded tokens, longest first; a longer row stands alone.

    Args:
        rows: token ids.
        groups: for each row what it is likely to begin like.
        budget: tokens, padding counted.
        tail: tokens at each end that are never shared.
        trunk: tokens that all rows begin with and that are computed elsewhere.
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    runs: list[list[int]] = []  # rows of one group and of like length
    for indices in members.values():
        ordered = sorted(indices, key=lambda row: -len(rows[row]))
        runs += [ordered[part] for part in length_batches([len(rows[row]) for row in ordered], budget, alike=_ALIKE)]
    runs.sort(key=lambda run: -len(rows[run[0]]))
    for part in length_batches([len(rows[run[0]]) for run in runs], budget, counts=list(map(len, runs))):
        yield _batch(rows, runs[part], tail, trunk)


def common_beginning(rows: Sequence[Ids], *, tail: int) -> int:
    """Count the tokens that all rows begin with, ``tail`` at the end of each left out.

    >>> common_beginning([[1, 2, 3, 4], [1, 2, 5]], tail=1)
    2
    >>> common_beginning([[1, 2, 3]], tail=1)
    2
    """
    first, last = min(rows), max(rows)
    shared = next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last)))
    return max(0, min(shared, min(map(len, rows)) - tail))


def _batch(rows: Sequence[Ids], runs: list[list[int]], tail: int, trunk: int) -> Batch:
    shared = [common_beginning([rows[row] for row in run], tail=tail) if len(run) > 1 else trunk for run in runs]
    saved = sum((len(run) - 1) * max(count - trunk, 0) for run, count in zip(runs, shared, strict=True))
    total = sum(len(rows[row]) - trunk for run in runs for row in run)
    if saved < _WORTH * total:
        shared = [trunk] * len(runs)
    return Batch(
        rows=tuple(row for run in runs for row in run),
        groups=tuple(group for group, run in enumerate(runs) for _ in run),
        shared=tuple(shared),
    )


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
        config = self.model.config.get_text_config(decoder=True)
        names = ["sliding_window", "attention_chunk_size"]
        if getattr(config, "use_sliding_window", True) is False:
            names.remove("sliding_window")
        windows = [window for name in names if (window := getattr(config, name, None))]
        is_within = 2 * length <= min(windows, default=float("inf"))
        return "position_ids" in self._accepts and not self.recurrent and is_within

    @property
    def recurrent(self) -> bool:
        """Whether the model carries a state, into which padding would leak."""
        return bool(getattr(self.model, "_is_stateful", False))

    def read(self, rows: Sequence[Ids], *, after: State | None = None, keep: int = 1) -> tuple[Tensor, State]:
        """Read one continuation for each text of ``after``; logits of the last ``keep`` positions, and the new state.

        Logits have shape (rows, keep, vocabulary), in the model's own precision.
        """
        width, device = max(map(len, rows)), self.model.device
        ids = torch.tensor([[self.pad] * (width - len(row)) + row for row in rows], device=device)
        real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
        known = after.mask if after else real[:, :0]
        mask = torch.cat([known, real], dim=1)
        more = {
            "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)[:, known.shape[1] :],
            "logits_to_keep": keep,
        }
        more = {name: value for name, value in more.items() if name in self._accepts}
        if after:
            more["past_key_values"] = after.cache
        out = self.model(input_ids=ids, attention_mask=mask.long(), use_cache=True, **more)
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
