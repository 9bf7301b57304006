"""Which pairs go into which step: seeded, the same for a resumed run, and shaped to waste nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from dissensus.reward.encoding import EncodedText

_WINDOW = 50
"""Batches whose pairs are sorted by length together: enough to waste little padding, few enough to stay random."""

Ints = NDArray[np.int64]


class PairBatches(Sampler[list[int]]):
    """Batches of pair indices, different in every epoch and fixed by (seed, epoch).

    ``texts`` holds the two text indices of each pair, shape (pairs, 2); ``lengths`` the tokens of each
    text, shape (texts,); ``groups`` each pair's prompt, shape (pairs,). The last batch may be smaller.
    """

    def __init__(
        self, texts: Ints, lengths: Ints, groups: Ints, *, batch_size: int, seed: int, by_prompt: bool = False
    ) -> None:
        self.texts, self.groups = texts, groups
        self.pair_lengths = lengths[texts].max(axis=1)
        self.batch_size, self.seed, self.by_prompt, self.epoch = batch_size, seed, by_prompt, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.texts) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = self._order_by_prompt(rng) if self.by_prompt else self._order_by_length(rng)
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        for i in rng.permutation(len(batches)):
            yield batches[i].tolist()

    def _order_by_length(self, rng: np.random.Generator) -> Ints:
        order = rng.permutation(len(self.texts))
        window = _WINDOW * self.batch_size
        parts = [order[i : i + window] for i in range(0, len(order), window)]
        return np.concatenate([part[np.argsort(self.pair_lengths[part], kind="stable")] for part in parts])

    def _order_by_prompt(self, rng: np.random.Generator) -> Ints:
        """Order pairs so that neighbours share responses.

        A prompt's responses fall into random blocks of about sqrt(batch_size); the pairs between two blocks
        stand together, so that a batch of n pairs needs about 2 sqrt(n) responses instead of 2n.
        """
        side = max(round(self.batch_size**0.5), 1)
        n_texts = int(self.texts.max()) + 1
        text_group = np.zeros(n_texts, dtype=np.int64)
        text_group[self.texts[:, 0]] = text_group[self.texts[:, 1]] = self.groups
        # Rank of each text within its group under a random order, cut into blocks.
        shuffled = rng.permutation(n_texts)
        by_group = shuffled[np.argsort(text_group[shuffled], kind="stable")]
        starts = np.searchsorted(text_group[by_group], text_group[by_group])
        block = np.empty(n_texts, dtype=np.int64)
        block[by_group] = (np.arange(n_texts) - starts) // side
        blocks = np.sort(block[self.texts], axis=1)
        group_order = rng.permutation(int(self.groups.max()) + 1)
        ties = rng.permutation(len(self.texts))
        return np.lexsort((ties, blocks[:, 1], blocks[:, 0], group_order[self.groups]))


class Collator:
    """Turns pair indices into one padded batch in which each distinct text stands once.

    Returns ``input_ids`` and ``attention_mask`` of shape (texts, length), ``a`` and ``b`` of shape (pairs,)
    pointing into them, and the rows of each column (target, margin, label), shape (pairs,).
    """

    def __init__(
        self,
        encoded: Sequence[EncodedText],
        texts: Ints,
        columns: Mapping[str, NDArray[np.float32]],
        *,
        pad_id: int,
    ) -> None:
        self.encoded, self.texts, self.columns, self.pad_id = encoded, texts, columns, pad_id

    def __call__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Collate the pairs at these indices."""
        rows = np.asarray(indices)
        distinct, inverse = np.unique(self.texts[rows], return_inverse=True)
        where = torch.from_numpy(inverse.reshape(-1, 2))
        batch = pad_texts([self.encoded[i] for i in distinct], pad_id=self.pad_id)
        batch["a"], batch["b"] = where[:, 0], where[:, 1]
        return batch | {name: torch.from_numpy(values[rows]) for name, values in self.columns.items()}


def pad_texts(encoded: Sequence[EncodedText], *, pad_id: int) -> dict[str, Tensor]:
    """Pad on the right to the longest text; tensors of shape (texts, length)."""
    length = max(len(text.input_ids) for text in encoded)
    ids = torch.full((len(encoded), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(encoded), length), dtype=torch.long)
    types = torch.zeros((len(encoded), length), dtype=torch.long)
    for row, text in enumerate(encoded):
        n = len(text.input_ids)
        ids[row, :n] = torch.tensor(text.input_ids)
        mask[row, :n] = 1
        if text.token_type_ids is not None:
            types[row, :n] = torch.tensor(text.token_type_ids)
    batch = {"input_ids": ids, "attention_mask": mask}
    if encoded[0].token_type_ids is not None:
        batch["token_type_ids"] = types
    return batch
