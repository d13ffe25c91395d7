"""Barlow Twins: the cross-correlation of two views becomes the identity."""

from __future__ import annotations

from torch import Tensor

from anticollapse.objectives._common import not_negative, same_shape

TINY = 1e-12
"""Keeps a dimension that is constant over the batch from dividing by zero; it then correlates with nothing."""


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation of every dimension of one view with every dimension of the other.

    Args:
        first: Shape (N, d), N >= 2.
        second: Shape (N, d).

    Returns:
        Shape (d, d), entries in [-1, 1]; 0 for a dimension that is constant over the batch.

    Raises:
        ValueError: If shapes do not fit or there is one row only.
    """
    first, second = same_shape(("first", "second"), first, second)
    if len(first) < 2:
        msg = "a correlation over the batch needs at least 2 rows, got 1"
        raise ValueError(msg)
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    first = first / (first.square().mean(dim=0) + TINY).sqrt()
    second = second / (second.square().mean(dim=0) + TINY).sqrt()
    return first.T @ second / len(first)


def barlow_twins(first: Tensor, second: Tensor, *, off_diagonal_weight: float = 5e-3) -> Tensor:
    r"""Distance of the views' cross-correlation from the identity.

    The sum :math:`\sum_i (1 - C_{ii})^2 + \lambda \sum_{i \ne j} C_{ij}^2` with the cross-correlation :math:`C`.

    Args:
        first: First views, shape (N, d), N >= 2.
        second: Second views, shape (N, d).
        off_diagonal_weight: :math:`\lambda`, 0 or more.

    Returns:
        The loss, a scalar (a sum over dimensions, as in the paper).

    Raises:
        ValueError: If shapes do not fit, there is one row only, or the weight is below 0.

    References:
        Zbontar et al. 2021, https://arxiv.org/abs/2103.03230

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(float(barlow_twins(x, x)), 6)
        0.0
        >>> round(float(barlow_twins(x, -x)), 4)  # (1 + 1)^2 for each of two dimensions
        8.0
    """
    not_negative("off_diagonal_weight", off_diagonal_weight)
    correlation = cross_correlation(first, second)  # (d, d)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal_weight * off_diagonal
