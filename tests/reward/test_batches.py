from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dissensus.reward.fast.select import Layout
from dissensus.reward.text.batches import Collator, PairBatches
from dissensus.reward.text.token_cache import EncodedTexts, in_memory


def _complete_graph(groups: int, texts: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs among ``texts`` responses of each of ``groups`` prompts."""
    rows = [(g * texts + i, g * texts + j, g) for g in range(groups) for i in range(texts) for j in range(i)]
    array = np.array(rows)
    return array[:, :2], array[:, 2]


@pytest.fixture(params=[False, True])
def batches(request: pytest.FixtureRequest) -> PairBatches:
    texts, groups = _complete_graph(3, 12)
    lengths = np.random.default_rng(0).integers(5, 60, size=36)
    return PairBatches(texts, lengths, groups, batch_size=16, seed=7, by_prompt=request.param)


def test_every_pair_stands_in_one_batch_of_each_epoch_in_an_order_fixed_by_seed_and_epoch(batches: PairBatches):
    orders = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        orders.append(list(batches))
        assert sorted(i for batch in orders[-1] for i in batch) == list(range(len(batches.texts)))
        assert len(orders[-1]) == len(batches)
        assert list(batches) == orders[-1]
    assert orders[0] != orders[1]


def test_batches_by_prompt_have_few_responses():
    texts, groups = _complete_graph(3, 30)
    batches = PairBatches(texts, np.full(90, 10), groups, batch_size=32, seed=0, by_prompt=True)
    distinct = [len(np.unique(texts[batch])) for batch in batches]
    # Nine texts have 36 pairs, so 32 pairs have nine texts at least; the last ones of a prompt are what is left over.
    assert min(distinct) == 9
    assert np.mean(distinct) < 12.5


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5)), min_size=1), st.integers(1, 9))
def test_batches_by_prompt_serve_every_pair_once_whatever_is_compared(rows: list[tuple[int, int, int]], size: int):
    """Also the same pair twice, a text with itself, and prompts whose texts fall apart into several parts."""
    texts = np.array([(6 * group + a, 6 * group + b) for group, a, b in rows])
    _, groups = np.unique([group for group, _, _ in rows], return_inverse=True)
    batches = PairBatches(texts, np.full(24, 3), groups, batch_size=size, seed=0, by_prompt=True)
    served = list(batches)
    assert sorted(i for batch in served for i in batch) == list(range(len(rows)))
    assert [len(batch) for batch in served].count(size) >= len(rows) // size


def test_batches_by_length_waste_little_padding():
    rng = np.random.default_rng(0)
    n = 4000
    lengths = rng.geometric(1 / 80, size=2 * n) + 5
    batches = PairBatches(np.arange(2 * n).reshape(n, 2), lengths, np.arange(n), batch_size=16, seed=0)
    longest = lengths.reshape(n, 2).max(axis=1)
    sorted_waste = np.mean([longest[b].max() * len(b) / longest[b].sum() for b in batches])
    shuffled = rng.permutation(n).reshape(-1, 16)
    random_waste = np.mean([longest[b].max() * len(b) / longest[b].sum() for b in shuffled])
    assert sorted_waste < 1.2 < random_waste


def _encoded(texts: Iterable[list[int]]) -> EncodedTexts:
    return in_memory(((ids, len(ids), False, False) for ids in texts), typed=False)


def _collator(n: int = 40, **options: Any) -> Collator:
    rng = np.random.default_rng(1)
    encoded = _encoded([1] * k for k in rng.integers(1, 60, size=2 * n))
    columns = {"target": np.arange(n, dtype=np.float32)}
    layout = Layout("padded", 9, None)
    return Collator(encoded, np.arange(2 * n).reshape(n, 2), columns, lay_out=layout, **options)


def test_a_text_shared_by_pairs_is_encoded_once():
    encoded = _encoded([1, 2, 3][: i + 1] for i in range(3))
    columns = {"target": np.array([1, 0], dtype=np.float32)}
    layout = Layout("padded", 9, None)
    collator = Collator(encoded, np.array([[0, 2], [2, 1]]), columns, lay_out=layout, budget=100, by_prompt=True)
    [batch] = collator([1, 0])["micro_batches"]
    assert batch["inputs"]["input_ids"].tolist() == [[1, 9, 9], [1, 2, 9], [1, 2, 3]]
    assert batch["inputs"]["attention_mask"].sum(dim=1).tolist() == [1, 2, 3]
    assert (batch["a"].tolist(), batch["b"].tolist()) == ([2, 0], [1, 2])
    assert torch.equal(batch["target"], torch.tensor([0.0, 1.0]))
    assert torch.equal(batch["weight"], torch.ones(2))


@pytest.mark.parametrize("budget", [1, 60, 300, 10**6])
def test_micro_batches_share_out_the_pairs_of_a_step(budget: int):
    collator = _collator(budget=budget)
    step = collator(list(range(3, 40)))
    assert step["pairs"] == 37
    served = [t for part in step["micro_batches"] for t in part["target"].tolist()]
    assert sorted(served) == list(range(3, 40))
    real = [int(part["inputs"]["attention_mask"].sum()) for part in step["micro_batches"]]
    # A part's middle lies within its share, so it exceeds the budget by less than one pair.
    assert max(real) <= budget + 120
    assert len(real) <= -(-sum(real) // budget)


@pytest.mark.parametrize("pairs", [1, 2, 5, 40])
@pytest.mark.parametrize("processes", [2, 3])
def test_every_process_has_as_many_micro_batches(pairs: int, processes: int):
    shares = [
        _collator(budget=200, rank=rank, processes=processes)(list(range(pairs)))["micro_batches"]
        for rank in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1
    weighed = [
        target
        for share in shares
        for part in share
        for target, weight in zip(part["target"].tolist(), part["weight"].tolist(), strict=True)
        if weight
    ]
    assert sorted(weighed) == list(range(pairs))
