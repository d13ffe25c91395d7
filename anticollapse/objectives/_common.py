"""What every loss needs: shapes checked with a message that names the bad value, arithmetic in float32 or better."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32, float64 stays: a log-sum over a batch has no room for an 8-bit mantissa."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def matrix(name: str, x: Tensor) -> Tensor:
    """Check that ``x`` is a matrix with at least one row and widen it.

    Raises:
        ValueError: If ``x`` is not a floating-point matrix with one row or more.
    """
    if x.dim() != 2 or x.shape[0] == 0 or not x.is_floating_point():
        msg = f"{name} must be a floating-point matrix (N, d) with N >= 1, got {tuple(x.shape)} of {x.dtype}"
        raise ValueError(msg)
    return at_least_float32(x)


def same_shape(names: tuple[str, str], first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Check two matrices of one shape and widen both.

    Raises:
        ValueError: If one is not a matrix or their shapes differ.
    """
    first, second = matrix(names[0], first), matrix(names[1], second)
    if first.shape != second.shape:
        msg = f"{names[0]} and {names[1]} must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        raise ValueError(msg)
    return first, second


def labels_of(labels: Tensor, n: int, like: Tensor) -> Tensor:
    """Check one label for each row and give it the type of the embeddings.

    Raises:
        ValueError: If ``labels`` is not a vector of ``n`` values.
    """
    if labels.shape != (n,):
        msg = f"labels must have shape ({n},), one for each pair, got {tuple(labels.shape)}"
        raise ValueError(msg)
    return labels.to(like.dtype)


def positive(name: str, value: float) -> None:
    """Check a parameter that must be above zero.

    Raises:
        ValueError: If it is not.
    """
    if not value > 0:
        msg = f"{name} must be above 0, got {value}"
        raise ValueError(msg)


def not_negative(name: str, value: float) -> None:
    """Check a parameter that must not be below zero.

    Raises:
        ValueError: If it is.
    """
    if not value >= 0:
        msg = f"{name} must not be below 0, got {value}"
        raise ValueError(msg)


def unit_negatives(negatives: Tensor | None, like: Tensor) -> Tensor:
    """Unit vectors of the extra negatives, shape (Q, d); Q is 0 when there are none."""
    if negatives is None or len(negatives) == 0:
        return like.new_empty(0, like.shape[1])
    negatives = matrix("negatives", negatives)
    if negatives.shape[1] != like.shape[1]:
        msg = f"negatives must have {like.shape[1]} dimensions like the queries, got {negatives.shape[1]}"
        raise ValueError(msg)
    return F.normalize(negatives, dim=1).to(like.dtype)


def square_mask(exclude: Tensor, n: int) -> Tensor:
    """Check a mask of items against items.

    Raises:
        ValueError: If its shape is not (n, n).
    """
    if exclude.shape != (n, n):
        msg = f"exclude must have shape ({n}, {n}), got {tuple(exclude.shape)}"
        raise ValueError(msg)
    return exclude


def without(logits: Tensor, exclude: Tensor | None, name: str) -> Tensor:
    """Take the marked negatives out of the denominator."""
    if exclude is None:
        return logits
    if exclude.shape != logits.shape:
        msg = f"{name} must have shape {tuple(logits.shape)}, got {tuple(exclude.shape)}"
        raise ValueError(msg)
    return logits.masked_fill(exclude, -torch.inf)
