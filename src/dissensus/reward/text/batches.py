"""The pairs of each optimiser step: seeded, the same for a resumed run, and shaped to waste nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.text.length_batches import order_by_length

_WINDOW = 50
"""Batches whose pairs are sorted by length together: enough to waste little padding, few enough to stay random."""

_TRIES = 16
"""At the batches of a prompt."""

Ints = NDArray[np.int64]


class PairBatches(Sampler[list[int]]):
    """The pairs of each optimiser step, different in every epoch and fixed by (seed, epoch).

    ``texts`` holds the two text indices of each pair, shape (pairs, 2); ``lengths`` the tokens of each
    text, shape (texts,); ``groups`` each pair's prompt, shape (pairs,). The last batch may be smaller.
    """

    def __init__(
        self, texts: Ints, lengths: Ints, groups: Ints, *, batch_size: int, seed: int, by_prompt: bool = False
    ) -> None:
        self.texts, self.lengths, self.groups = texts, lengths, groups
        self.batch_size, self.seed, self.by_prompt, self.epoch = batch_size, seed, by_prompt, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.texts) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.by_prompt:
            order = self._order_by_prompt(rng)
        else:
            order = order_by_length(self.lengths[self.texts].max(axis=1), _WINDOW * self.batch_size, rng)
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        for i in rng.permutation(len(batches)):
            yield batches[i].tolist()

    def _order_by_prompt(self, rng: np.random.Generator) -> Ints:
        """Order pairs prompt by prompt, so that a batch of them has few responses."""
        rows = np.argsort(self.groups, kind="stable")
        parts = np.split(rows, np.cumsum(np.bincount(self.groups))[:-1])
        order: list[int] = []
        for group in rng.permutation(len(parts)):
            room = self.batch_size - len(order) % self.batch_size
            chosen = _by_shared_texts(self.texts[parts[group]], self.lengths, room, self.batch_size, rng)
            order += parts[group][chosen].tolist()
        return np.array(order, dtype=np.int64)


def _by_shared_texts(texts: Ints, lengths: Ints, room: int, batch_size: int, rng: np.random.Generator) -> list[int]:
    """Order pairs, (pairs, 2), into batches of few tokens, the best of a few tries; the first has ``room`` left."""
    if len(texts) <= room:
        return list(range(len(texts)))
    cuts = range(room, len(texts), batch_size)

    def tokens(order: list[int]) -> int:
        """Count the tokens of batches in which each text stands once."""
        return sum(int(lengths[np.unique(part)].sum()) for part in np.split(texts[order], cuts))

    return min([_grow_batches(texts, room, batch_size, rng) for _ in range(_TRIES)], key=tokens)


def _grow_batches(texts: Ints, room: int, batch_size: int, rng: np.random.Generator) -> list[int]:
    """Build batches text by text: the next is the one that makes most pairs with those inside, and few outside.

    Texts with few pairs left go first, or what remains for the last batch shares nothing.
    """
    names, ends = np.unique(texts, return_inverse=True)
    ends = ends.reshape(-1, 2)
    partners: list[list[tuple[int, int]]] = [[] for _ in names]
    for pair, (a, b) in enumerate(ends.tolist()):
        partners[a].append((pair, b))
        partners[b].append((pair, a))
    waiting = np.bincount(ends.reshape(-1), minlength=len(names))
    order: list[int] = []
    done = np.zeros(len(texts), dtype=bool)
    while len(order) < len(texts):
        inside, gain = np.zeros(len(names), dtype=bool), np.zeros(len(names))
        while room and (waiting[~inside] > 0).any():
            rank = (gain if inside.any() else 0) - (0.1 if inside.any() else 1) * waiting + rng.random(len(names)) / 2
            text = int(np.where(inside | (waiting == 0), -np.inf, rank).argmax())
            inside[text] = True
            for pair, other in partners[text]:
                if done[pair]:
                    continue
                if not inside[other]:
                    gain[other] += 1
                elif room:
                    done[pair] = True
                    order.append(pair)
                    np.subtract.at(waiting, ends[pair], 1)
                    room -= 1
            partners[text] = [row for row in partners[text] if not done[row[0]]]
        room = room or batch_size
    return order


class Collator:
    """Turns the pairs of an optimiser step into micro-batches in which each distinct text stands once.

    A micro-batch holds at most ``budget`` tokens, unless a single pair has more. It is a dict of ``inputs`` (what
    ``lay_out`` makes of its texts), ``a`` and ``b`` of shape (pairs,) pointing into them, the rows of each column
    (target, margin, label) and ``weight``, all of shape (pairs,). Of ``processes`` that train together each gets as
    many micro-batches as the others, so that they meet as often; where there are too few pairs for that, one of
    weight zero fills in.
    """

    def __init__(
        self,
        encoded: EncodedTexts,
        texts: Ints,
        columns: Mapping[str, NDArray[np.float32]],
        *,
        lay_out: Callable[[EncodedTexts, Ints], Mapping[str, object]],
        budget: int,
        by_prompt: bool = False,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.encoded, self.texts, self.columns, self.lay_out = encoded, texts, columns, lay_out
        self.budget, self.by_prompt, self.rank, self.processes = budget, by_prompt, rank, processes

    def __call__(self, indices: Sequence[int]) -> Mapping[str, object]:
        """Collate the pairs at these indices; ``pairs`` counts those of all processes."""
        rows = np.asarray(indices)
        if not self.by_prompt:
            rows = rows[np.argsort(self.encoded.lengths[self.texts[rows]].sum(axis=1), kind="stable")]
        parts = self._parts(rows)[self.rank :: self.processes]
        return {"micro_batches": [self._micro_batch(part) for part in parts], "indices": rows, "pairs": len(indices)}

    def _parts(self, rows: Ints) -> list[Ints]:
        """Cut pairs into micro-batches of like size: as few as the budget allows, as many for each process."""
        # Each pair's tokens that no pair before it has.
        flat = self.texts[rows].reshape(-1)
        counted = np.zeros(len(flat), dtype=np.int64)
        _, first = np.unique(flat, return_index=True)
        counted[first] = self.encoded.lengths[flat[first]]
        first_seen = counted.reshape(-1, 2).sum(axis=1)
        wanted = -(-int(first_seen.sum()) // self.budget)
        count = min(-(-wanted // self.processes) * self.processes, len(rows))
        # The middle of a pair's tokens decides, so that no part is empty and none is much longer than the others.
        middle = np.cumsum(first_seen) - first_seen / 2
        part = np.minimum((middle / max(float(first_seen.sum()), 1.0) * count).astype(np.int64), count - 1)
        parts = [rows[part == i] for i in range(count)]
        parts = [part for part in parts if len(part)]
        filling = -len(parts) % self.processes
        return parts + [rows[:0]] * filling

    def _micro_batch(self, rows: Ints) -> Mapping[str, object]:
        weight = torch.ones(max(len(rows), 1))
        if not len(rows):
            rows, weight = np.zeros(1, dtype=np.int64), torch.zeros(1)
        distinct, inverse = np.unique(self.texts[rows], return_inverse=True)
        where = torch.from_numpy(inverse.reshape(-1, 2))
        columns = {name: torch.from_numpy(values[rows]) for name, values in self.columns.items()}
        inputs = self.lay_out(self.encoded, distinct)
        return {"inputs": inputs, "a": where[:, 0], "b": where[:, 1], "weight": weight, **columns}


def pad_texts(encoded: EncodedTexts, rows: Ints, *, pad_id: int, left: bool = False) -> dict[str, Tensor]:
    """Pad these texts, on the right unless ``left``, to the longest; tensors of shape (texts, length)."""
    length = int(encoded.lengths[rows].max())
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for place, row in enumerate(rows):
        n = int(encoded.lengths[row])
        filled = slice(length - n, length) if left else slice(n)
        ids[place, filled] = encoded.ids(row)
        mask[place, filled] = 1
        if encoded.typed:
            types[place, filled] = encoded.types(row)
    batch = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if encoded.typed else {})
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def move(value: Any, device: torch.device) -> Any:
    """Move the tensors of nested dicts and lists to a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, dict):
        return {key: move(inner, device) for key, inner in value.items()}
    return [move(inner, device) for inner in value] if isinstance(value, list) else value
