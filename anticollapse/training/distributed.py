"""Vectors of all processes, with gradients.

Every process computes the loss of the whole batch from all vectors. As that loss is the same everywhere, a process
needs the gradient of its own rows only, times the number of processes, because data-parallel training averages
gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _gather(x: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Rows of all processes, which may hold different numbers of them."""
    most = max(counts)
    padded = x.new_zeros(most, *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:count] for part, count in zip(parts, counts, strict=True)]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Sequence[int]) -> Tensor:  # noqa: ANN401
        start = sum(counts[: dist.get_rank()])
        ctx.own, ctx.processes = slice(start, start + len(x)), len(counts)
        return torch.cat(_gather(x, counts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return gradients[0][ctx.own] * ctx.processes, None


def gather_rows(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows of all processes one after the other; the gradient of the common loss comes back to the own rows.

    Args:
        x: Rows of this process, shape (counts[rank], d).
        counts: Rows of each process.

    Returns:
        Shape (sum(counts), d).
    """
    if len(counts) == 1:
        return x
    return _GatherRows.apply(x, counts)  # type: ignore[no-any-return, no-untyped-call]


def gather_towers(x: Tensor, counts: Sequence[int], towers: int) -> Tensor:
    """Like :func:`gather_rows` for rows in several blocks (towers); the blocks stay blocks.

    Args:
        x: Shape (counts[rank] × towers, d).
        counts: Items of each process.
        towers: Blocks.

    Returns:
        Shape (sum(counts) × towers, d): the first block of all processes, then the second, …
    """
    if len(counts) == 1:
        return x
    own = x.view(towers, -1, x.shape[1]).transpose(0, 1).flatten(1)  # (items, towers × d)
    return gather_rows(own, counts).view(-1, towers, x.shape[1]).transpose(0, 1).flatten(0, 1)
