"""Work that an optimiser step of several micro-batches needs once, and would otherwise do for each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowGradients:
    """Adds the gradient of a token table straight to the rows that were read.

    A table of 128,000 tokens is 400 MB, which each backward pass would fill with zeros and add up; a micro-batch
    reads some hundred rows of it. The same sums. On a CPU, in one process: what processes exchange goes through
    autograd, and so does a table that is also read as a matrix, as an output layer does.
    """

    def __init__(self, model: Any) -> None:
        table = model.get_input_embeddings()
        if type(table) is not nn.Embedding or "forward" in vars(table) or table.weight.device.type != "cpu":
            return
        users = [m for m in model.modules() if any(p is table.weight for p in m.parameters(recurse=False))]
        plain = table.max_norm is None and not table.scale_grad_by_freq and not table.sparse
        if plain and len(users) == 1 and table.weight.requires_grad:
            self._zeros: Tensor | None = None
            table.forward = MethodType(self._read, table)  # type: ignore[method-assign]

    def _read(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return F.embedding(ids, table.weight)
        rows: Tensor = _Rows.apply(ids, table.weight, table.padding_idx, self)  # type: ignore[no-untyped-call]
        return rows

    def add(self, weight: Tensor, ids: Tensor, gradient: Tensor, padding: int | None) -> None:
        """Add the gradient of these rows to that of their table."""
        if weight.grad is None:
            # Kept from step to step: new memory costs more than zeros.
            if self._zeros is None:
                self._zeros = torch.zeros_like(weight)
            weight.grad = self._zeros.zero_()
        weight.grad.index_add_(0, ids.reshape(-1), gradient.reshape(-1, weight.shape[1]).to(weight.dtype))
        if padding is not None:
            weight.grad[padding] = 0


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding: int | None, gradients: RowGradients) -> Tensor:
        ctx.save_for_backward(ids, weight)
        ctx.rest = padding, gradients
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, None]:
        ids, weight = ctx.saved_tensors
        padding, gradients = ctx.rest
        gradients.add(weight, ids, gradient, padding)
        return None, None, None, None


@contextlib.contextmanager
def casts_kept() -> Iterator[None]:
    """Let autocast keep its half-precision weights from one micro-batch to the next; they change with the step."""
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
