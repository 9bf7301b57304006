"""Where the tokens of packed texts stand: every text whole, and none more often than it must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissensus.reward.fast.packing import pack_texts


def tries(tokens: int) -> st.SearchStrategy[list[list[int]]]:
    """Texts over few tokens, so that beginnings are shared by chance."""
    return st.lists(st.lists(st.integers(1, tokens), min_size=1, max_size=12), min_size=1, max_size=8)


@given(tries(3))
def test_any_forest_of_texts_is_laid_out_whole(texts: list[list[int]]):
    plan = pack_texts(texts)
    ids, positions = plan.input_ids[0], plan.position_ids[0]
    trunks, branches = plan.trunks, plan.branches
    assert sorted(plan.last) == sorted(start + length - 1 for start, length, _ in branches)
    for text, last in zip(texts, plan.last, strict=True):
        start, length, trunk = branches[np.flatnonzero(branches[:, 0] + branches[:, 1] - 1 == last)[0]]
        above = trunks[trunk]
        seen = [*range(above[0], above[0] + above[1]), *range(start, start + length)]
        assert ids[seen].tolist() == text
        assert positions[seen].tolist() == list(range(len(text)))
    assert plan.tokens == trunks[:, 1].sum() + branches[:, 1].sum() <= sum(map(len, texts))


@given(tries(2))
def test_no_choice_of_runs_leaves_fewer_tokens(texts: list[list[int]]):
    ordered = sorted(texts)

    def fewest(n: int) -> int:
        """Try every way to cut the first n texts, in lexicographic order, into runs that share a trunk."""
        if n == 0:
            return 0
        return min(fewest(start) + _tokens(ordered[start:n]) for start in range(n))

    assert pack_texts(texts).tokens == fewest(len(texts))


def _tokens(texts: list[list[int]]) -> int:
    shared = 0
    if len(texts) > 1:
        longest = min(map(len, texts)) - 1
        shared = max(n for n in range(longest + 1) if len({tuple(text[:n]) for text in texts}) == 1)
    return sum(map(len, texts)) - (len(texts) - 1) * shared


@pytest.mark.parametrize(("texts", "message"), [([], "no texts"), ([[1], []], "no tokens")])
def test_nothing_to_read_is_an_error(texts: list[list[int]], message: str):
    with pytest.raises(ValueError, match=message):
        pack_texts(texts)
