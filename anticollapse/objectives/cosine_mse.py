"""Cosine regression: the loss of Sentence-BERT for graded pairs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import labels_of, positive, same_shape


def cosine_mse(first: Tensor, second: Tensor, labels: Tensor, *, label_range: float = 5.0) -> Tensor:
    r"""Mean of :math:`(\cos(u_i, v_i) - y_i / r)^2` over the pairs.

    Args:
        first: Vectors of the first sentences, shape (N, d).
        second: Vectors of the second sentences, shape (N, d).
        labels: Grades from 0 to ``label_range``, shape (N,).
        label_range: The grade :math:`r` that stands for a cosine of 1.

    Returns:
        The loss, a scalar of the embeddings' precision (float32 at least).

    Raises:
        ValueError: If the shapes do not fit or ``label_range`` is not above 0.

    References:
        Reimers and Gurevych 2019, Sentence-BERT, https://arxiv.org/abs/1908.10084

    Example:
        >>> import torch
        >>> first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> float(cosine_mse(first, second, torch.tensor([5.0])))
        1.0
    """
    first, second = same_shape(("first", "second"), first, second)
    labels = labels_of(labels, len(first), first)
    positive("label_range", label_range)
    return F.mse_loss(F.cosine_similarity(first, second, dim=1), labels / label_range)
