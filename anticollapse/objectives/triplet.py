"""Triplet margin: the positive nearer than the negative, by a margin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import not_negative, same_shape


def triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float = 0.2, weights: Tensor | None = None
) -> Tensor:
    r"""Mean of :math:`\max(0, \cos(a_i, n_i) - \cos(a_i, p_i) + m)` over the triplets.

    Args:
        anchor: Shape (N, d).
        positive: Shape (N, d).
        negative: Shape (N, d).
        margin: :math:`m` in units of cosine, 0 or more.
        weights: Shape (N,), 0 for a row that is no triplet and 1 for one that is; the mean is over the weights. All
            rows count when it is missing.

    Returns:
        The loss, a scalar; 0 when no row counts.

    Raises:
        ValueError: If shapes do not fit or the margin is below 0.

    References:
        Schroff et al. 2015, https://arxiv.org/abs/1503.03832; Reimers and Gurevych 2019,
        https://arxiv.org/abs/1908.10084

    Example:
        >>> import torch
        >>> anchor, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> float(triplet(anchor, other, anchor, margin=0.5))
        1.5
    """
    anchor, positive = same_shape(("anchor", "positive"), anchor, positive)
    anchor, negative = same_shape(("anchor", "negative"), anchor, negative)
    not_negative("margin", margin)
    near, far = F.cosine_similarity(anchor, positive, dim=1), F.cosine_similarity(anchor, negative, dim=1)
    violation = F.relu(far - near + margin)
    if weights is None:
        return violation.mean()
    if weights.shape != violation.shape:
        msg = f"weights must have shape {tuple(violation.shape)}, got {tuple(weights.shape)}"
        raise ValueError(msg)
    weights = weights.to(violation.dtype)
    return (violation * weights).sum() / weights.sum().clamp_min(1.0)


def hardest_negatives(anchor: Tensor, candidates: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The allowed candidate nearest to each anchor, by cosine.

    Args:
        anchor: Shape (N, d).
        candidates: Shape (M, d).
        allowed: Shape (N, M), true where a candidate may serve as a negative.

    Returns:
        The row of the candidate for each anchor, shape (N,), and whether any was allowed, shape (N,).
    """
    with torch.no_grad():
        cosines = F.normalize(anchor.float(), dim=1) @ F.normalize(candidates.float(), dim=1).T  # (N, M)
        rows = cosines.masked_fill(~allowed, -torch.inf).argmax(dim=1)
        return rows, allowed.any(dim=1)
