"""Faster training of transformers models on CPUs, with the same mathematics.

Profiled on a small BERT, half of a training step on a CPU is not matrix products. Two parts can be had for less:

* torch draws one Bernoulli number an element for dropout, about 4 ns each. Four 16-bit draws from each 64-bit random
number
  cost a quarter of that, and the mask is kept as one byte an element instead of a float.
* torch's fused CPU attention has no dropout, so training falls to a generic path that also guards against rows without
any
  key. Written out, the same attention needs half the operations.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

logger = logging.getLogger(__name__)

ATTENTION = "anticollapse_cpu"
PLAIN_ATTENTION = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Architectures whose self-attention is softmax(QK/√d + mask)V and nothing else."""


class _Dropout(torch.autograd.Function):
    """Dropout whose mask comes from 16-bit pieces of 64-bit random numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:  # noqa: ANN401  torch's context has no public type
        n = x.numel()
        bits = torch.empty((n + 3) // 4, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        # The rate is rounded to a multiple of 2^-16; the scale makes up for exactly the rounded one.
        dropped = min(max(round(rate * 65536), 0), 65535)
        kept = bits.view(torch.int16)[:n].view(x.shape) >= dropped - 32768
        scale = 65536 / (65536 - dropped)
        ctx.save_for_backward(kept)
        ctx.scale = scale
        dropped_out: Tensor = torch.ops.aten.native_dropout_backward(x, kept, scale)
        return dropped_out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (kept,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(gradients[0], kept, ctx.scale), None


def fast_dropout(x: Tensor, rate: float) -> Tensor:
    """Inverted dropout.

    Args:
        x: Any shape.
        rate: Share of the elements that become 0, in [0, 1); a multiple of 2⁻¹⁶ is exact.

    Returns:
        The shape of ``x``; what stays is scaled so that the expectation is ``x``.
    """
    return _Dropout.apply(x.contiguous(), rate) if rate > 0 else x  # type: ignore[no-untyped-call]


class FastDropout(nn.Dropout):
    """``nn.Dropout`` through :func:`fast_dropout`."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return fast_dropout(x, self.p) if self.training else x


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Softmax attention in transformers' interface.

    Args:
        module: The attention layer.
        query: Shape (B, heads, L, d).
        key: Shape (B, heads, M, d).
        value: Shape (B, heads, M, d).
        attention_mask: Added to the scores, shape (B, 1, L, M), or None.
        scaling: Factor of the scores; default 1/√d.
        dropout: Rate on the attention weights.

    Returns:
        Shape (B, L, heads, d), and None for the weights.
    """
    scores = torch.matmul(query * (scaling or query.shape[-1] ** -0.5), key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    if dropout > 0 and module.training:
        weights = fast_dropout(weights, dropout)
    return torch.matmul(weights.to(value.dtype), value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)


@contextmanager
def faster(model: Any) -> Iterator[None]:  # noqa: ANN401  a transformers model; its methods are dynamic
    """Give a transformers model on a CPU the fast dropout and, where it is known to be plain, the fast attention.

    Args:
        model: Changed inside the block and restored after it; its weights are not touched.
    """
    parameter = next(model.parameters(), None)
    if parameter is None or parameter.device.type != "cpu":
        yield
        return
    swapped = _swap(model, nn.Dropout, FastDropout)
    before = getattr(model.config, "_attn_implementation", None)
    plain = getattr(model.config, "model_type", "") in PLAIN_ATTENTION and before in {"sdpa", "eager"}
    if plain:
        model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        for owner, name, original in swapped:
            current = getattr(owner, name)
            original.p = current.p
            setattr(owner, name, original.train(current.training))
        if plain:
            model.set_attn_implementation(before)


def release_memory() -> None:
    """Give freed memory back to the system where the C library can (glibc).

    It keeps the freed blocks of an evaluation, whose sizes no training step asks for, so they would add to the peak.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def _swap(model: nn.Module, old: type[nn.Dropout], new: type[nn.Dropout]) -> list[tuple[nn.Module, str, nn.Dropout]]:
    found = [
        (owner, name, child)
        for owner in model.modules()
        for name, child in owner.named_children()
        if type(child) is old
    ]
    for owner, name, child in found:
        setattr(owner, name, new(child.p).train(child.training))
    return found
