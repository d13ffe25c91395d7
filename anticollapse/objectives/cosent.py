"""CoSENT: graded pairs in the right order, whatever their cosines are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import labels_of, positive, same_shape


def ordered_logsumexp(similarities: Tensor, labels: Tensor) -> Tensor:
    r""":math:`\log(1 + \sum_{y_i > y_j} \exp(s_j - s_i))`: zero when every pair stands in order by a wide margin.

    Args:
        similarities: Scaled similarities :math:`s_i` of the pairs, shape (N,).
        labels: Grades :math:`y_i`, shape (N,); only their order counts.

    Returns:
        The loss, a scalar. It is 0 when all grades are equal, because then no order is known.
    """
    differences = similarities[None, :] - similarities[:, None]  # (N, N): s_j - s_i
    in_order = labels[:, None] > labels[None, :]  # y_i > y_j
    terms = differences.masked_fill(~in_order, -torch.inf).flatten()
    return torch.logsumexp(torch.cat([terms.new_zeros(1), terms]), dim=0)


def cosent(first: Tensor, second: Tensor, labels: Tensor, *, scale: float = 20.0) -> Tensor:
    r"""Ranking loss on cosines: :math:`\log(1 + \sum_{y_i > y_j} \exp(\lambda (c_j - c_i)))`.

    Args:
        first: Vectors of the first sentences, shape (N, d).
        second: Vectors of the second sentences, shape (N, d).
        labels: Grades, shape (N,); only their order counts.
        scale: The sharpness :math:`\lambda` (1 / temperature).

    Returns:
        The loss, a scalar; 0 when all grades are equal.

    Raises:
        ValueError: If the shapes do not fit or ``scale`` is not above 0.

    References:
        Su 2022, CoSENT (II), https://kexue.fm/archives/8847; Huang et al. 2024,
        https://doi.org/10.1109/TASLP.2024.3402087

    Example:
        >>> import torch
        >>> first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> second = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(float(cosent(first, second, torch.tensor([0.0, 5.0]), scale=1.0)), 4)  # log(1 + e)
        1.3133
    """
    first, second = same_shape(("first", "second"), first, second)
    labels = labels_of(labels, len(first), first)
    positive("scale", scale)
    return ordered_logsumexp(F.cosine_similarity(first, second, dim=1) * scale, labels)
