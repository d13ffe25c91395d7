"""Faster training of transformers models, with the same mathematics; and what is done when memory runs out.

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
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from anticollapse.errors import TrainingError

logger = logging.getLogger(__name__)

ATTENTION = "anticollapse_cpu"
MASKED_ATTENTION = "anticollapse_masked"
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


def always_masked(*arguments: Any, **options: Any) -> Tensor | None:  # noqa: ANN401  transformers' interface
    """A mask for torch's fused attention that is made whether a batch needs it or not.

    transformers looks whether anything is padding, and that look makes the host wait for the GPU in every forward pass.
    """
    options["allow_is_bidirectional_skip"] = False
    return sdpa_mask(*arguments, **options)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
AttentionInterface.register(MASKED_ATTENTION, sdpa_attention_forward)
AttentionMaskInterface.register(MASKED_ATTENTION, always_masked)


@contextmanager
def faster(model: Any) -> Iterator[None]:  # noqa: ANN401  a transformers model; its methods are dynamic
    """Train a transformers model faster.

    On a CPU it gets the fast dropout and, where its attention is known to be plain, the fast attention; elsewhere the
    attention whose mask does not make the host wait.

    Args:
        model: Changed inside the block and restored after it; its weights are not touched.
    """
    parameter = next(model.parameters(), None)
    if parameter is None:
        yield
        return
    on_cpu = parameter.device.type == "cpu"
    swapped = _swap(model, nn.Dropout, FastDropout) if on_cpu else []
    before = getattr(model.config, "_attn_implementation", None)
    replaced = {"sdpa", "eager"} if on_cpu else {"sdpa"}
    plain = getattr(model.config, "model_type", "") in PLAIN_ATTENTION and before in replaced
    if plain:
        model.set_attn_implementation(ATTENTION if on_cpu else MASKED_ATTENTION)
    try:
        yield
    finally:
        for owner, name, original in swapped:
            current = getattr(owner, name)
            original.p = current.p
            setattr(owner, name, original.train(current.training))
        if plain:
            model.set_attn_implementation(before)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Running out of memory is something that the user can mend.

    Raises:
        TrainingError: If memory ran out in the block.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory() from error
    except RuntimeError as error:
        # torch's CPU allocator has no error class of its own.
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise _out_of_memory() from error
        raise


def _out_of_memory() -> TrainingError:
    return TrainingError(
        "memory ran out",
        remedy="Start anew in another folder with a lower --batch-size, and --accumulation raised in turn",
    )


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
