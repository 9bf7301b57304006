"""DeBERTa's disentangled attention (He et al. 2021, eq. 4) on texts without padding, with a backward of its own.

The score of query i and key j is ``q_i . k_j + q_i . pos_k[i - j] + k_j . pos_q[i - j]``, times one scale. The two
tables are laid out by the difference i - j, so that a product of a block of queries with a slice of a table holds
all the scores of that block, shifted by one column from row to row. Read with a stride one short of the row's
length, that product *is* the block of scores: nothing is gathered, and nothing scattered on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK = {"cpu": 64, "cuda": 256}
"""Rows of one product with a table: few waste little on differences that no row needs, many start few kernels."""
_ELEMENTS = 1 << 21
"""Scores that a processor's cache holds well; texts go through attention in groups of about as many."""
_SPARE = 1 << 19
"""Scores of padding that cost a processor less than the calls for one more group."""


@dataclass(frozen=True)
class Group:
    """Texts of like length that go through attention together.

    Each gets ``length`` places; those behind its end repeat its last token.
    """

    texts: slice
    rows: slice
    """Where the group's places stand among those of all groups and heads, by head, text and place."""
    length: int
    shortest: int
    """Tokens of the shortest text."""
    real: Tensor | None
    """Which places hold a token, shape (texts, length); None where all do."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch stand once the padding is gone: text behind text, the longest first.

    On a CPU a few *fillers* follow, copies of the first token that nothing reads and that get no gradient: each new
    shape of a product costs time and memory there (oneDNN writes code for it), more than its rows do.
    """

    order: Tensor
    """Which text of the batch stands at each place, shape (texts,)."""
    take: Tensor
    """Which place of the flattened padded batch each token comes from, shape (tokens,)."""
    positions: Tensor
    """The place of each token in its text, shape (tokens,); 0 for a filler."""
    starts: Tensor
    """The first token of each text, shape (texts,)."""
    groups: tuple[Group, ...]
    heads: int
    tokens: int
    """Tokens before the fillers."""
    spread: Tensor
    """For each of the groups' places its row among those of (token, head)."""
    gather: Tensor
    """For each row of (token, head) its place; any for a filler's."""

    @property
    def length(self) -> int:
        """Places of the longest text."""
        return self.groups[0].length


def make_layout(lengths: Sequence[int], width: int, *, heads: int, device: torch.device) -> Layout:
    """Lay out texts of these lengths (each at least 1), padded on the right to ``width`` tokens."""
    ordered = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    order = torch.tensor(ordered)
    counts = torch.tensor(lengths)[order]
    starts = counts.cumsum(0) - counts
    tokens = int(counts.sum())
    positions = torch.arange(tokens) - starts.repeat_interleave(counts)
    take = order.repeat_interleave(counts) * width + positions
    fillers = _few_sizes(tokens) - tokens if device.type == "cpu" else 0
    take, positions = F.pad(take, (0, fillers)), F.pad(positions, (0, fillers))
    groups = _groups([lengths[i] for i in ordered], heads=heads, device=device)
    spread, gather = _places(groups, counts, starts, heads)
    gather = F.pad(gather, (0, fillers * heads))
    order, take, positions, starts, spread, gather = (
        x.to(device, non_blocking=True) for x in (order, take, positions, starts, spread, gather)
    )
    return Layout(order, take, positions, starts, groups, heads, tokens, spread, gather)


def count_tokens(attention_mask: Tensor) -> list[int]:
    """Count the tokens of texts, (texts, width). Raises ValueError for texts that are not padded on the right alone."""
    counts = attention_mask.sum(dim=1)
    places = torch.arange(attention_mask.shape[1], device=counts.device)
    if not torch.equal(attention_mask.bool(), places < counts[:, None]) or not counts.all():
        raise ValueError(
            "the fast forward reads texts that are padded on the right; pad there, or load with fast=False"
        )
    lengths: list[int] = counts.tolist()
    return lengths


def _few_sizes(size: int) -> int:
    """Round up by at most a sixteenth, to one of sixteen sizes between each power of two and the next."""
    step = 1 << max(size.bit_length() - 5, 0)
    return -(-size // step) * step


def _groups(lengths: list[int], *, heads: int, device: torch.device) -> tuple[Group, ...]:
    """Cut texts, longest first, where a group would grow past the cache or its padding cost more than a group."""
    on_cpu = device.type == "cpu"
    groups, begin, row = [], 0, 0
    while begin < len(lengths):
        length, end = lengths[begin], begin + 1
        room = max(_ELEMENTS // (heads * length * length), 1) if on_cpu else len(lengths)
        least, spare = length - length // 16 if on_cpu else 0, _SPARE
        while end < len(lengths) and end - begin < room:
            spare -= heads * (length**2 - lengths[end] ** 2)
            if lengths[end] < least and spare < 0:
                break
            end += 1
        length = _few_sizes(length) if on_cpu else length
        rows = slice(row, row + heads * (end - begin) * length)
        shortest, real = lengths[end - 1], None
        if shortest < length:
            real = torch.arange(length)[None] < torch.tensor(lengths[begin:end])[:, None]
            real = real.to(device, non_blocking=True)
        groups.append(Group(slice(begin, end), rows, length, shortest, real))
        begin, row = end, rows.stop
    return tuple(groups)


def _places(groups: Sequence[Group], counts: Tensor, starts: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Return `Layout.spread` and, without fillers, `Layout.gather`."""
    spread, gather, head = [], [], torch.arange(heads)
    for group in groups:
        own, start = counts[group.texts], starts[group.texts]
        place = torch.arange(group.length)
        tokens = start[:, None] + torch.minimum(place, own[:, None] - 1)
        spread.append((tokens * heads + head[:, None, None]).flatten())
        places = (torch.arange(len(own))[:, None] * group.length + place)[place < own[:, None]]
        gather.append((group.rows.start + places[:, None] + head * len(own) * group.length).flatten())
    return torch.cat(spread), torch.cat(gather)


def disentangled_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    position_keys: Tensor | None,
    position_queries: Tensor | None,
    layout: Layout,
    *,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Attend within each text; softmax over its own tokens alone.

    ``keys`` and ``values`` are (tokens, heads, size), ``queries`` the same or (texts, heads, size): those of the first
    tokens. Row m of ``position_keys``, shape (2 * layout.length - 1, heads, size), belongs to the difference
    query - key = layout.length - 1 - m; row m of ``position_queries`` to m - (layout.length - 1). Returns one row per
    query, (queries, heads, size).
    """
    context: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        queries, keys, values, position_keys, position_queries, layout, scale, dropout
    )
    return context


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        position_keys: Tensor | None,
        position_queries: Tensor | None,
        layout: Layout,
        scale: float,
        dropout: float,
    ) -> Tensor:
        # By head, (heads, size, 2 * longest - 1), as products read it fastest. Scaled queries scale two of the three
        # terms; the third has its scale in the table.
        by_key = None if position_keys is None else position_keys.permute(1, 2, 0).contiguous()
        by_query = None if position_queries is None else position_queries.permute(1, 2, 0).contiguous() * scale
        q, k, v = (spread_out(rows, layout) for rows in (queries, keys, values))
        q *= scale
        context = torch.empty_like(q)
        kept: list[Tensor | None] = []
        for group, q_, k_, v_, seen in zip(layout.groups, *(views(x, layout) for x in (q, k, v, context)), strict=True):
            scores = _scores(q_, k_, by_key, by_query)
            _blank(scores, group, -torch.inf)
            weights = scores.softmax(-1, dtype=scores.dtype)
            # What dropout leaves of each weight: nothing, or more than all of it.
            left = torch.empty_like(weights).bernoulli_(1 - dropout).div_(1 - dropout) if dropout else None
            _bmm(weights if left is None else weights * left, v_, out=seen)
            kept += weights, left
        ctx.layout, ctx.scale = layout, scale
        ctx.save_for_backward(position_keys, position_queries, q, k, v, *kept)
        return gathered(context, layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        position_keys, position_queries, q, k, v, *kept = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        by_key = None if position_keys is None else position_keys.transpose(0, 1).contiguous()
        by_query = None if position_queries is None else position_queries.transpose(0, 1).contiguous() * scale
        d_by_key, d_by_query = (
            None if x is None else torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
            for x in (by_key, by_query)
        )
        g = spread_out(grad, layout)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        parts = (views(x, layout) for x in (q, k, v, g, dq, dk, dv))
        for i, (group, q_, k_, v_, g_, dq_, dk_, dv_) in enumerate(zip(layout.groups, *parts, strict=True)):
            weights, left = kept[2 * i : 2 * i + 2]
            if g_.shape[2] > 1:  # what stands behind a text's end is nobody's query
                _blank(g_.transpose(-1, -2), group, 0)
            _bmm((weights if left is None else weights * left).transpose(-1, -2), g_, out=dv_)
            slope = _bmm(g_, v_.transpose(-1, -2))
            slope = slope if left is None else slope.mul_(left)
            slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype)
            _bmm(slope, k_, out=dq_)
            _bmm(slope.transpose(-1, -2), q_, out=dk_)
            _add_relative(dq_, slope, q_, by_key, d_by_key)
            _add_relative(dk_, slope.transpose(-1, -2), k_, by_query, d_by_query)
        d_queries, d_keys, d_values = (gathered(x, layout) for x in (dq.mul_(scale), dk, dv))
        d_position_keys = None if d_by_key is None else d_by_key.transpose(0, 1).to(grad.dtype)
        d_position_queries = None if d_by_query is None else d_by_query.mul_(scale).transpose(0, 1).to(grad.dtype)
        return d_queries, d_keys, d_values, d_position_keys, d_position_queries, None, None, None


def spread_out(rows: Tensor, layout: Layout) -> Tensor:
    """Copy rows of tokens (or of first tokens alone), (rows, heads, size), to the groups' places, (places, size)."""
    if len(rows) == len(layout.take):
        return rows.reshape(-1, rows.shape[2]).index_select(0, layout.spread)
    return torch.cat([rows[group.texts].transpose(0, 1).flatten(0, 1) for group in layout.groups])


def gathered(places: Tensor, layout: Layout) -> Tensor:
    """Copy what stands at the groups' places back to rows of tokens, the inverse of `spread_out`; 0 for fillers."""
    if len(places) == len(layout.spread):
        rows = places.index_select(0, layout.gather).view(-1, layout.heads, places.shape[1])
        if len(rows) > layout.tokens:
            rows[layout.tokens :] = 0
        return rows
    return torch.cat([part[:, :, 0].transpose(0, 1) for part in views(places, layout)])


def views(places: Tensor, layout: Layout) -> list[Tensor]:
    """View what `spread_out` returns group by group, as (heads, texts, length or 1, size)."""
    size, every = places.shape[1], len(places) == len(layout.spread)
    found = []
    for group in layout.groups:
        texts = group.texts.stop - group.texts.start
        first = slice(group.texts.start * layout.heads, group.texts.stop * layout.heads)
        part = places[group.rows if every else first]
        found.append(part.view(layout.heads, texts, group.length if every else 1, size))
    return found


def _blank(scores: Tensor, group: Group, value: float) -> None:
    """Fill the last dimension of (heads, texts, rows, length) behind the end of each text."""
    if group.real is not None:
        # Up to the end of the shortest there is nothing to fill.
        scores[..., group.shortest :].masked_fill_(~group.real[:, None, group.shortest :], value)


def _scores(q: Tensor, k: Tensor, by_key: Tensor | None, by_query: Tensor | None) -> Tensor:
    """Return the scores of (heads, texts, queries, size) and (heads, texts, length, size) before the softmax."""
    scores = q.new_empty(*q.shape[:3], k.shape[2])
    if by_query is not None:
        for rows in _blocks(k):
            scores[..., rows] = _relative(k[:, :, rows], by_query, rows.start, q.shape[2]).transpose(-1, -2)
    if by_key is not None:
        for rows in _blocks(q):
            part = _relative(q[:, :, rows], by_key, rows.start, k.shape[2])
            if by_query is None:
                scores[:, :, rows] = part
            else:
                scores[:, :, rows] += part
    known = by_key is not None or by_query is not None
    flat = scores.flatten(0, 1)
    flat.baddbmm_(q.flatten(0, 1), k.flatten(0, 1).transpose(-1, -2), beta=1 if known else 0)
    return scores


def _blocks(x: Tensor) -> list[slice]:
    rows = x.shape[2]
    step = _BLOCK.get(x.device.type, 64)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _relative(x: Tensor, table: Tensor, start: int, columns: int) -> Tensor:
    """Multiply row ``start + r`` of x with the entry of (heads, size, 2 * longest - 1) for the difference to column c.

    Returns a view of shape (heads, texts, rows, columns).
    """
    heads, texts, rows, size = x.shape
    part = table[:, :, _differences(table.shape[2], start, rows, columns)]
    return _skew(torch.bmm(x.reshape(heads, texts * rows, size), part), texts, rows, columns)


def _add_relative(dx: Tensor, grad: Tensor, x: Tensor, table: Tensor | None, d_table: Tensor | None) -> None:
    """Add the gradients of all blocks of ``_relative`` to ``dx`` and ``d_table``, (heads, 2 * longest - 1, size)."""
    if table is None or d_table is None:
        return
    heads, texts, _, size = x.shape
    columns = grad.shape[-1]
    full: Tensor | None = None
    for block in _blocks(x):
        rows = block.stop - block.start
        part = _differences(table.shape[1], block.start, rows, columns)
        if full is None or full.shape[1] != texts * rows:  # else what is not written again is still zero
            full = grad.new_zeros(heads, texts * rows, columns + rows - 1)
        _skew(full, texts, rows, columns).copy_(grad[:, :, block])
        d_table[:, part].add_(torch.bmm(full.transpose(1, 2), x[:, :, block].reshape(heads, texts * rows, size)))
        dx[:, :, block] += torch.bmm(full, table[:, part]).view(heads, texts, rows, size)


def _differences(entries: int, start: int, rows: int, columns: int) -> slice:
    """Find the entries of all differences between rows ``start`` to ``start + rows`` and the columns."""
    first = (entries + 1) // 2 - (start + rows)
    return slice(first, first + columns + rows - 1)


def _skew(full: Tensor, texts: int, rows: int, columns: int) -> Tensor:
    """View (heads, texts * rows, columns + rows - 1) as (heads, texts, rows, columns), row r from rows - 1 - r on."""
    width = columns + rows - 1
    strides = (texts * rows * width, rows * width, width - 1, 1)
    return full.as_strided((len(full), texts, rows, columns), strides, full.storage_offset() + rows - 1)


def _bmm(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Multiply (heads, texts, ...) matrices."""
    flat = None if out is None else out.flatten(0, 1)
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1), out=flat).view(*a.shape[:-1], b.shape[-1])
