"""Attention over packed texts: a trunk sees itself, a branch sees its trunk and itself.

On CUDA one FlexAttention call with a block mask; elsewhere, as FlexAttention has no gradients there, one
``scaled_dot_product_attention`` per trunk and per branch. Neither makes a (T, T) mask. Registered with transformers
under names of ours, they get the layout of the batch as the keyword argument ``packing`` of the model's ``forward``;
called without it they are the attention that the model had before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from dissensus.reward.fast.packing import PackingPlan

PREFIX = "dissensus_packed_"
"""Before the name of an attention, the name of ours in its place, in transformers' registry."""
REPLACED = ("sdpa", "eager")
"""Attention implementations that ours can stand in for."""


class Packing:
    """The layout of one packed batch, as the model's layers need it; masks are made once and shared by the layers.

    Not a dataclass and no tensor, so that wrappers of the model (DDP, FSDP, accelerate) pass it on as it is.
    """

    def __init__(self, plan: PackingPlan) -> None:
        self.groups = plan.groups
        self.last = torch.from_numpy(plan.last)
        """Where the reward of each text is read, shape (texts,)."""
        self.sizes = [length for trunk, branches in plan.groups for length in (trunk, *branches)]
        self.windows: set[int | None] = set()
        """Sliding windows that the layers have asked for; None is a layer that sees everything."""
        self._causal: dict[tuple[int, int, int, torch.device], Tensor] = {}
        self._blocks: dict[tuple[int | None, torch.device], Any] = {}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Move the positions to a device; accelerate calls this for each batch."""
        self.last = self.last.to(device, non_blocking=non_blocking)
        return self

    def causal_mask(self, queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
        """Return who sees whom where the queries are the last of the keys, bool of shape (queries, keys).

        None where plain causal attention says the same: as many keys as queries, or a single query.
        """
        if window is None or window >= keys:
            window = keys
            if queries in (1, keys):
                return None
        key = (queries, keys, window, device)
        if key not in self._causal:
            back = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
            self._causal[key] = (back >= 0) & (back < window)
        return self._causal[key]

    def block_mask(self, window: int | None, device: torch.device) -> Any:
        """Make FlexAttention's block mask of the whole row."""
        from torch.nn.attention.flex_attention import create_block_mask

        key = (window, device)
        if key not in self._blocks:
            tokens = sum(self.sizes)
            sees = self.visibility(window, device)
            self._blocks[key] = create_block_mask(sees, None, None, tokens, tokens, device=device, _compile=True)
        return self._blocks[key]

    def visibility(self, window: int | None, device: torch.device | str) -> Callable[..., Tensor]:
        """Return FlexAttention's ``mask_mod``: whether a query sees a key, given their indices in the row."""
        pieces, start = [], 0
        for trunk, branches in self.groups:
            own = start
            for length in (trunk, *branches):
                # Tokens of the piece, start and end of its trunk, its own start, and index minus position.
                pieces.append((length, start, start + trunk, own, own - (trunk if own > start else 0)))
                own += length
            start = own
        lengths, *columns = torch.tensor(pieces).T
        trunk_start, trunk_end, own_start, offset = (
            column.repeat_interleave(lengths).to(device, non_blocking=True) for column in columns
        )

        def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            inside = (key >= trunk_start[query]) & ((key < trunk_end[query]) | (key >= own_start[query]))
            seen: Tensor = (key <= query) & inside
            if window is None:
                return seen
            near: Tensor = (query - offset[query]) - (key - offset[key]) < window
            return seen & near

        return sees


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    unpacked: Callable[..., tuple[Tensor, Tensor | None]],
    packing: Packing | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend as transformers asks for it: (1, heads, T, dim) to (1, T, heads, dim) where there is a packing."""
    if packing is None:
        return unpacked(module, query, key, value, attention_mask, **kwargs)
    device = query.device
    if torch.is_autocast_enabled(device.type):
        # Rotary embeddings leave queries and keys in float32.
        query, key, value = (x.to(torch.get_autocast_dtype(device.type)) for x in (query, key, value))
    window, dropout, softcap = kwargs.get("sliding_window"), kwargs.get("dropout") or 0.0, kwargs.get("softcap")
    scaling = query.shape[-1] ** -0.5 if kwargs.get("scaling") is None else kwargs["scaling"]
    packing.windows.add(window)
    if device.type == "cuda" and not dropout:
        mask = packing.block_mask(window, device)
        flex: tuple[Tensor, Tensor | None] = flex_attention_forward(
            module, query, key, value, mask, scaling=scaling, softcap=softcap
        )
        return flex
    attend = partial(_capped, softcap=softcap) if softcap else _plain
    return _by_piece(query, key, value, packing, window, partial(attend, scaling=scaling, dropout=dropout)), None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # other lengths in every batch: compiling never ends
def _by_piece(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, window: int | None, attend: Callable[..., Tensor]
) -> Tensor:
    """Attend trunk by trunk and branch by branch; (1, heads, T, dim) to (1, T, heads, dim)."""
    # The gradient of a split is one concatenation; that of a slice would be a row of zeros for each piece.
    queries, keys, values = (iter(torch.split(x, packing.sizes, dim=2)) for x in (query, key, value))
    seen: list[Tensor] = []
    for trunk, branches in packing.groups:
        q, trunk_k, trunk_v = next(queries), next(keys), next(values)
        if trunk:
            seen.append(attend(q, trunk_k, trunk_v, packing.causal_mask(trunk, trunk, window, q.device)))
        for branch in branches:
            q, k, v = next(queries), next(keys), next(values)
            if trunk:
                k, v = torch.cat([trunk_k, k], dim=2), torch.cat([trunk_v, v], dim=2)
            seen.append(attend(q, k, v, packing.causal_mask(branch, trunk + branch, window, q.device)))
    return torch.cat([x.transpose(1, 2) for x in seen], dim=1)


def _plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, dropout: float) -> Tensor:
    """Attend under a mask, without one causally, one query to all; (1, heads, queries, dim) to the same."""
    causal = mask is None and query.shape[2] > 1
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, mask, dropout, is_causal=causal, scale=scaling, enable_gqa=grouped
    )


def _capped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, dropout: float, softcap: float
) -> Tensor:
    """Attend with scores bounded to (-softcap, softcap) before the mask (Gemma 2), which SDPA cannot do."""
    n, groups = query.shape[2], query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * (scaling / softcap))
    if mask is None and n > 1:
        mask = torch.ones(n, n, dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return F.dropout(scores.float().softmax(-1).to(query.dtype), dropout) @ value


def _eager(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """Call the plain attention of the module's own architecture, which transformers does not register."""
    attention = sys.modules[type(module).__module__].eager_attention_forward
    attended: tuple[Tensor, Tensor] = attention(module, *args, **kwargs)
    return attended


for _name, _function, _mask in (("sdpa", sdpa_attention_forward, sdpa_mask), ("eager", _eager, eager_mask)):
    AttentionInterface.register(PREFIX + _name, partial(_attention, unpacked=_function))
    AttentionMaskInterface.register(PREFIX + _name, _mask)
