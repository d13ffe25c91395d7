"""Pairwise margin ranking: of two graded pairs the better graded has the higher cosine, by a margin."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import labels_of, not_negative, same_shape


def pairwise(first: Tensor, second: Tensor, labels: Tensor, *, margin: float = 0.1) -> Tensor:
    r"""Mean of :math:`\max(0, c_j - c_i + m)` over all (i, j) with :math:`y_i > y_j`.

    Args:
        first: Vectors of the first sentences, shape (N, d).
        second: Vectors of the second sentences, shape (N, d).
        labels: Grades, shape (N,); only their order counts.
        margin: :math:`m` in units of cosine, 0 or more.

    Returns:
        The loss, a scalar; 0 when all grades are equal.

    Raises:
        ValueError: If shapes do not fit or the margin is below 0.

    References:
        Burges et al. 2005, Learning to rank using gradient descent, https://doi.org/10.1145/1102351.1102363; Joachims
        2002, https://doi.org/10.1145/775047.775067

    Example:
        >>> import torch
        >>> first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> second = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> float(pairwise(first, second, torch.tensor([4.0, 1.0]), margin=0.5))
        1.5
    """
    first, second = same_shape(("first", "second"), first, second)
    labels = labels_of(labels, len(first), first)
    not_negative("margin", margin)
    cosines = F.cosine_similarity(first, second, dim=1)
    better = (labels[:, None] > labels[None, :]).to(cosines.dtype)  # (N, N): y_i > y_j
    violation = F.relu(cosines[None, :] - cosines[:, None] + margin)
    return (violation * better).sum() / better.sum().clamp_min(1.0)
