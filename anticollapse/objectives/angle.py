"""AnglE: the same ranking, on angles in complex space where the cosine's gradient has vanished."""

from __future__ import annotations

from torch import Tensor

from anticollapse.objectives._common import labels_of, positive, same_shape
from anticollapse.objectives.cosent import ordered_logsumexp

TINY = 1e-12
"""Keeps the quotient of two complex numbers defined for a zero vector."""


def angle_difference(first: Tensor, second: Tensor) -> Tensor:
    r"""Normalised angle difference of each pair in complex space.

    A vector's first half is read as real parts, its second half as imaginary parts. The quotient of the two complex
    vectors, each divided by its length, has the angle difference as its phase; the absolute sum of its parts is what
    AnglE calls :math:`\Delta\theta`. It grows with the similarity of the phases, so it can be ranked like a cosine.

    Args:
        first: Vectors, shape (N, d), d even.
        second: Vectors, shape (N, d).

    Returns:
        One value a pair, shape (N,).

    Raises:
        ValueError: If the shapes do not fit or d is odd.
    """
    first, second = same_shape(("first", "second"), first, second)
    if first.shape[1] % 2:
        msg = f"angle needs an even number of dimensions to split into real and imaginary parts, got {first.shape[1]}"
        raise ValueError(msg)
    a, b = first.chunk(2, dim=1)
    c, d = second.chunk(2, dim=1)
    squared = (c.square() + d.square()).sum(dim=1, keepdim=True).clamp_min(TINY)  # |w|^2
    length = (a.square() + b.square()).sum(dim=1, keepdim=True).clamp_min(TINY).sqrt()  # |z|
    ratio = length / squared.sqrt()  # |z| / |w|: divides the modulus out of z / w
    real = (a * c + b * d) / squared / ratio
    imaginary = (b * c - a * d) / squared / ratio
    return (real + imaginary).sum(dim=1).abs()


def angle(first: Tensor, second: Tensor, labels: Tensor, *, scale: float = 20.0) -> Tensor:
    r"""Ranking loss on angle differences: :math:`\log(1 + \sum_{y_i > y_j} \exp(\lambda (\Delta_j - \Delta_i)))`.

    Args:
        first: Vectors of the first sentences, shape (N, d), d even.
        second: Vectors of the second sentences, shape (N, d).
        labels: Grades, shape (N,); only their order counts.
        scale: The sharpness :math:`\lambda` (1 / temperature).

    Returns:
        The loss, a scalar; 0 when all grades are equal.

    Raises:
        ValueError: If the shapes do not fit, d is odd, or ``scale`` is not above 0.

    References:
        Li and Li 2024, AnglE-optimized text embeddings, https://arxiv.org/abs/2309.12871

    Example:
        >>> import torch
        >>> first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> second = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> round(float(angle(first, second, torch.tensor([5.0, 0.0]), scale=1.0)), 4)  # equal Δ: log(1 + 1)
        0.6931
    """
    first, second = same_shape(("first", "second"), first, second)
    labels = labels_of(labels, len(first), first)
    positive("scale", scale)
    return ordered_logsumexp(angle_difference(first, second) * scale, labels)
