"""Disentangled attention against its formula, written out with loops."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dissensus.reward.fast.disentangled import _SPARE, Layout, count_tokens, disentangled_attention, make_layout

HEADS, SIZE = 2, 4
LENGTHS = [5, 70, 1, 69, 70, 3]
DOUBLE = {"dtype": torch.float64}


def _layout(lengths: list[int]) -> Layout:
    return make_layout(lengths, max(lengths), heads=HEADS, device=torch.device("cpu"))


def _inputs(layout: Layout, *, first_only: bool) -> list[Tensor]:
    tokens, generator = len(layout.take), torch.Generator().manual_seed(0)
    rows = (len(layout.order) if first_only else tokens, tokens, tokens, *[2 * layout.length - 1] * 2)
    return [torch.randn(n, HEADS, SIZE, generator=generator, **DOUBLE).requires_grad_() for n in rows]


def _by_hand(q: Tensor, k: Tensor, v: Tensor, pk: Tensor | None, pq: Tensor | None, layout: Layout) -> Tensor:
    """softmax_j(scale * (q_i k_j + q_i pk[i - j] + k_j pq[i - j])) v_j, text by text."""
    starts = [*layout.starts.tolist(), layout.tokens]
    contexts = []
    for text, (start, stop) in enumerate(pairwise(starts)):
        queries = q[start:stop] if len(q) == len(k) else q[text : text + 1]
        for i, query in enumerate(queries):
            scores = torch.einsum("hd,jhd->hj", query, k[start:stop])
            difference = i - torch.arange(stop - start)
            if pk is not None:
                scores = scores + torch.einsum("hd,jhd->hj", query, pk[layout.length - 1 - difference])
            if pq is not None:
                scores = scores + torch.einsum("jhd,jhd->hj", k[start:stop], pq[difference + layout.length - 1])
            contexts.append(torch.einsum("hj,jhd->hd", (0.3 * scores).softmax(-1), v[start:stop]))
    fillers = [torch.zeros_like(v[0])] * (len(q) - len(contexts))
    return torch.stack(contexts + fillers)


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize(("c2p", "p2c"), [(True, True), (True, False), (False, True), (False, False)])
def test_it_is_the_formula_and_so_are_its_gradients(c2p: bool, p2c: bool, first_only: bool) -> None:
    layout = _layout(LENGTHS)
    inputs = _inputs(layout, first_only=first_only)
    q, k, v, pk, pq = inputs
    tables = (pk if c2p else None, pq if p2c else None)
    found = disentangled_attention(q, k, v, *tables, layout, scale=0.3)
    expected = _by_hand(q, k, v, *tables, layout)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    used = [q, k, v, *(t for t in tables if t is not None)]
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), **DOUBLE)
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), used),
        torch.autograd.grad((expected * weights).sum(), used),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_dropout_keeps_the_mean_and_its_gradient_is_that_of_the_same_draw() -> None:
    layout = _layout([3, 2, 2, 1])
    inputs = _inputs(layout, first_only=False)
    assert len(layout.take) == layout.tokens == 8

    def dropped(*rows: Tensor, seed: int = 0) -> Tensor:
        torch.manual_seed(seed)
        return disentangled_attention(*rows, layout, scale=0.3, dropout=0.25)

    assert torch.autograd.gradcheck(dropped, inputs)
    with torch.no_grad():
        draws = torch.stack([dropped(*inputs, seed=seed) for seed in range(400)])
        whole = disentangled_attention(*inputs, layout, scale=0.3)
    error = (draws.mean(0) - whole) / (draws.std(0) / math.sqrt(len(draws)) + 1e-12)
    assert error.abs().max() < 4.5  # standard errors, over 64 entries


def test_scores_of_any_size_do_not_overflow() -> None:
    layout = _layout([4, 2])
    q, k, v, pk, pq = _inputs(layout, first_only=False)
    found = disentangled_attention(q * 1e6, k, v, pk, pq, layout, scale=1.0)
    # So steep a softmax picks one value for each head and query.
    assert all(
        ((found[row, head] - v[:4, head]).abs().sum(-1) < 1e-9).sum() == 1 for row in range(4) for head in (0, 1)
    )


def test_a_layout_holds_every_token_once_text_behind_text() -> None:
    lengths, width = [3, 5, 1, 5], 7
    layout = make_layout(lengths, width, heads=HEADS, device=torch.device("cpu"))
    real = [row * width + place for row, n in enumerate(lengths) for place in range(n)]
    assert sorted(layout.take[: layout.tokens].tolist()) == real
    assert (layout.take % width == layout.positions).all()
    assert layout.positions[layout.starts].tolist() == [0] * 4
    assert [lengths[i] for i in layout.order] == [5, 5, 3, 1]


@pytest.mark.parametrize("lengths", [[1], [512] * 3, list(range(1, 200)), [7, 300, 299, 298, 20, 20]])
def test_groups_cover_all_texts_and_pad_little(lengths: list[int]) -> None:
    """By an eighth at most, rounding included, but for what costs less than one more group would."""
    layout = _layout(lengths)
    ordered, texts, places = sorted(lengths, reverse=True), 0, 0
    for group in layout.groups:
        own = ordered[group.texts]
        assert (group.texts.start, group.rows.start) == (texts, places)
        padding = HEADS * sum(max(own) ** 2 - n**2 for n in own if n < max(own) * 15 / 16)
        assert max(own) <= group.length <= max(own) * 17 / 16
        assert padding <= _SPARE
        texts, places = texts + len(own), places + len(own) * group.length * HEADS
        assert group.rows.stop == places
    assert (texts, places) == (len(lengths), len(layout.spread))
    assert layout.tokens == sum(lengths) <= len(layout.take) <= layout.tokens * 17 / 16


def test_lengths_of_all_kinds_make_few_shapes() -> None:
    layouts = [_layout([n, n - 1]) for n in range(33, 513)]
    assert len({layout.length for layout in layouts}) == len({len(layout.take) for layout in layouts}) == 64


def test_padding_anywhere_but_on_the_right_is_refused() -> None:
    assert count_tokens(torch.tensor([[1, 1, 1], [1, 0, 0]])) == [3, 1]
    for row in ([0, 1, 1], [1, 0, 1], [0, 0, 0]):
        with pytest.raises(ValueError, match="padded on the right"):
            count_tokens(torch.tensor([[1, 1, 1], row]))
