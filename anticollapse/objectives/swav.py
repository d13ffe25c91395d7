"""SwAV: swapped prediction of balanced cluster assignments, and Sinkhorn-Knopp as a function of its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import matrix, positive, same_shape


def sinkhorn_knopp(
    scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3, weights: Tensor | None = None
) -> Tensor:
    r"""Soft assignment of N rows to K clusters that fills all clusters evenly.

    The matrix :math:`\exp(S/\varepsilon)` is scaled by turns until its columns (clusters) sum to N/K and its rows to
    1. The arithmetic is in logarithms, so a small :math:`\varepsilon` cannot overflow.

    Args:
        scores: Similarity of each row to each prototype, shape (N, K).
        epsilon: Entropy weight, above 0; smaller is harder.
        iterations: Rounds, 1 or more; rows are scaled last.
        weights: How much each row counts for the balance of the clusters, shape (N,), 0 or more; all rows count alike
            when it is missing. A row of weight 0 is assigned but takes no room.

    Returns:
        Shape (N, K), rows sum to 1; no gradient flows through it.

    Raises:
        ValueError: If a shape or a parameter does not fit.

    References:
        Cuturi 2013, https://arxiv.org/abs/1306.0895; Caron et al. 2020 (SwAV), https://arxiv.org/abs/2006.09882

    Example:
        >>> import torch
        >>> codes = sinkhorn_knopp(torch.tensor([[0.9, 0.8], [0.9, 0.1]]), epsilon=0.01, iterations=50)
        >>> codes.argmax(dim=1).tolist()  # both prefer cluster 0, but each cluster gets one
        [1, 0]
    """
    scores = matrix("scores", scores).detach()
    positive("epsilon", epsilon)
    positive("iterations", iterations)
    n, k = scores.shape
    if weights is None:
        weights = scores.new_ones(n)
    if weights.shape != (n,):
        msg = f"weights must have shape ({n},), got {tuple(weights.shape)}"
        raise ValueError(msg)
    log_weights = weights.to(scores.dtype).log()[:, None]  # −inf for a row that takes no room
    share = torch.logsumexp(log_weights, dim=0) - math.log(k)  # room of one cluster
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - torch.logsumexp(log_q + log_weights, dim=0, keepdim=True) + share
        log_q = log_q - torch.logsumexp(log_q, dim=1, keepdim=True)
    return log_q.exp()


def swav(
    first_scores: Tensor, second_scores: Tensor, *, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3
) -> Tensor:
    r"""Each view's balanced assignment is predicted from the other view's scores.

    Args:
        first_scores: Cosine of the first views to the prototypes, shape (N, K).
        second_scores: The same for the second views, shape (N, K).
        temperature: Of the prediction, above 0.
        epsilon: Entropy weight of :func:`sinkhorn_knopp`.
        iterations: Rounds of :func:`sinkhorn_knopp`.

    Returns:
        The mean of both cross-entropies, a scalar between 0 and about log K for an even prediction.

    Raises:
        ValueError: If shapes or parameters do not fit.

    References:
        Caron et al. 2020 (SwAV), https://arxiv.org/abs/2006.09882

    Example:
        >>> import torch
        >>> scores = torch.zeros(4, 2)
        >>> round(float(swav(scores, scores)), 4)  # log 2
        0.6931
    """
    first_scores, second_scores = same_shape(("first_scores", "second_scores"), first_scores, second_scores)
    positive("temperature", temperature)
    first_codes = sinkhorn_knopp(first_scores, epsilon=epsilon, iterations=iterations)
    second_codes = sinkhorn_knopp(second_scores, epsilon=epsilon, iterations=iterations)
    first_loss = -(second_codes * F.log_softmax(first_scores / temperature, dim=1)).sum(dim=1).mean()
    second_loss = -(first_codes * F.log_softmax(second_scores / temperature, dim=1)).sum(dim=1).mean()
    return (first_loss + second_loss) / 2
