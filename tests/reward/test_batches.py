import numpy as np
import pytest
import torch

from dissensus.reward.batches import Collator, PairBatches
from dissensus.reward.encoding import EncodedText


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


def test_every_pair_stands_in_one_batch_of_each_epoch(batches: PairBatches):
    for epoch in range(3):
        batches.set_epoch(epoch)
        served = [i for batch in batches for i in batch]
        assert sorted(served) == list(range(len(batches.texts)))
        assert len(list(batches)) == len(batches)


def test_the_order_is_fixed_by_seed_and_epoch(batches: PairBatches):
    batches.set_epoch(1)
    first = list(batches)
    assert list(batches) == first
    batches.set_epoch(2)
    assert list(batches) != first


def test_batches_by_prompt_share_responses():
    texts, groups = _complete_graph(3, 30)
    lengths = np.full(90, 10)
    distinct = {
        by_prompt: np.mean(
            [
                len(np.unique(texts[b]))
                for b in PairBatches(texts, lengths, groups, batch_size=64, seed=0, by_prompt=by_prompt)
            ]
        )
        for by_prompt in (False, True)
    }
    assert distinct[True] < 0.5 * distinct[False]


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


def test_a_text_shared_by_pairs_is_encoded_once():
    encoded = [EncodedText([1, 2, 3][: i + 1], None, False) for i in range(3)]
    column = np.array([1, 0], dtype=np.float32)
    batch = Collator(encoded, np.array([[0, 2], [2, 1]]), {"target": column}, pad_id=9)([1, 0])
    assert batch["input_ids"].tolist() == [[1, 9, 9], [1, 2, 9], [1, 2, 3]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [1, 2, 3]
    assert (batch["a"].tolist(), batch["b"].tolist()) == ([2, 0], [1, 2])
    assert torch.equal(batch["target"], torch.tensor([0.0, 1.0]))
