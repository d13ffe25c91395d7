"""NT-Xent: contrast of all 2N views, the loss of SimCLR and ConSERT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import positive, same_shape, square_mask, unit_negatives, without


def nt_xent(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float = 0.05,
    negatives: Tensor | None = None,
    exclude: Tensor | None = None,
    exclude_negatives: Tensor | None = None,
) -> Tensor:
    r"""Normalised-temperature cross-entropy: each of 2N views against its other view and the 2N - 2 remaining ones.

    Args:
        first: First views, shape (N, d).
        second: Second views of the same N items, shape (N, d).
        temperature: :math:`\tau`, above 0.
        negatives: Further negatives for every view, shape (Q, d), Q may be 0.
        exclude: Shape (N, N), true where item j is no negative of item i; it holds for both views of both. The
            diagonal is ignored.
        exclude_negatives: The same for ``negatives``, shape (N, Q).

    Returns:
        The loss, a scalar. With one item and no negatives it is 0.

    Raises:
        ValueError: If shapes do not fit or the temperature is not above 0.

    References:
        Chen et al. 2020 (SimCLR), https://arxiv.org/abs/2002.05709; Yan et al. 2021 (ConSERT),
        https://arxiv.org/abs/2105.11741

    Example:
        >>> import torch
        >>> x = torch.eye(2)
        >>> round(float(nt_xent(x, x, temperature=1.0)), 4)  # log(1 + 2/e)
        0.5514
    """
    first, second = same_shape(("first", "second"), first, second)
    positive("temperature", temperature)
    n = len(first)
    views = F.normalize(torch.cat([first, second]), dim=1)  # (2N, d)
    itself = torch.eye(2 * n, dtype=torch.bool, device=views.device)
    dropped = itself
    if exclude is not None:
        same_item = torch.eye(n, dtype=torch.bool, device=views.device)
        dropped = dropped | (square_mask(exclude, n) & ~same_item).repeat(2, 2)
    extra = unit_negatives(negatives, views)
    extra_dropped = None if exclude_negatives is None else exclude_negatives.repeat(2, 1)
    logits = torch.cat(
        [
            without(views @ views.T / temperature, dropped, "exclude"),
            without(views @ extra.T / temperature, extra_dropped, "exclude_negatives"),
        ],
        dim=1,
    )
    targets = torch.arange(2 * n, device=views.device).roll(n)  # the other view of the same item
    return F.cross_entropy(logits, targets)
