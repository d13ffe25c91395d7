"""VICReg: views agree, dimensions vary, dimensions do not correlate."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import not_negative, same_shape


def variance_hinge(x: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    r"""The term that forbids collapse: mean of :math:`\max(0, 1 - \sqrt{\mathrm{Var}(x_j) + \epsilon})`.

    Args:
        x: Shape (N, d), N >= 2.
        epsilon: Keeps the gradient of the root finite at no variance.

    Returns:
        A scalar: 0 when every dimension has unit spread, about 1 for a constant batch.
    """
    return F.relu(1 - (x.var(dim=0) + epsilon).sqrt()).mean()


def covariance_penalty(x: Tensor) -> Tensor:
    r""":math:`\frac{1}{d}\sum_{i \ne j} \mathrm{Cov}(x)_{ij}^2`.

    Args:
        x: Shape (N, d), N >= 2.

    Returns:
        A scalar: 0 when no two dimensions covary.
    """
    centred = x - x.mean(dim=0)
    covariance = centred.T @ centred / (len(x) - 1)  # (d, d)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]


def vicreg(
    first: Tensor,
    second: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Tensor:
    r"""Invariance (mean squared distance of the views) + variance + covariance, each with its weight.

    Variance and covariance are added over the two views, the variance halved, as in the authors' code.

    Args:
        first: First views, shape (N, d), N >= 2.
        second: Second views, shape (N, d).
        invariance_weight: 0 or more.
        variance_weight: 0 or more.
        covariance_weight: 0 or more.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes do not fit, there is one row only, or a weight is below 0.

    References:
        Bardes et al. 2022, https://arxiv.org/abs/2105.04906

    Example:
        >>> import torch
        >>> x = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]])
        >>> float(vicreg(x, x))  # spread above 1 and no covariance
        0.0
    """
    first, second = same_shape(("first", "second"), first, second)
    if len(first) < 2:
        msg = "a variance over the batch needs at least 2 rows, got 1"
        raise ValueError(msg)
    for name, weight in (
        ("invariance", invariance_weight),
        ("variance", variance_weight),
        ("covariance", covariance_weight),
    ):
        not_negative(f"{name}_weight", weight)
    variance = (variance_hinge(first) + variance_hinge(second)) / 2
    covariance = covariance_penalty(first) + covariance_penalty(second)
    return invariance_weight * F.mse_loss(first, second) + variance_weight * variance + covariance_weight * covariance
