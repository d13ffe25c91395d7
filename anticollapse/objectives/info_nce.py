"""InfoNCE: contrast in one direction, the loss of SimCSE, MoCo and ESimCSE."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import positive, same_shape, square_mask, unit_negatives, without


def info_nce(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float = 0.05,
    negatives: Tensor | None = None,
    exclude: Tensor | None = None,
    exclude_negatives: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy of an anchor's own key among all keys.

    The mean of :math:`-\log \frac{\exp(q_i k_i/\tau)}{\sum_j \exp(q_i k_j/\tau) + \sum_m \exp(q_i n_m/\tau)}`, products
    being cosines.

    Args:
        queries: Anchors, shape (N, d).
        keys: Their positives, shape (N, d); the other rows are an anchor's negatives.
        temperature: :math:`\tau`, above 0.
        negatives: Further negatives for every anchor, for example a queue, shape (Q, d), Q may be 0.
        exclude: Shape (N, N), true where key j is no negative of anchor i (a false negative). The diagonal, the
            positive, is never taken out.
        exclude_negatives: The same for ``negatives``, shape (N, Q).

    Returns:
        The loss, a scalar. With one row and no negatives it is 0.

    Raises:
        ValueError: If shapes do not fit or the temperature is not above 0.

    References:
        van den Oord et al. 2018, https://arxiv.org/abs/1807.03748; He et al. 2020 (MoCo),
        https://arxiv.org/abs/1911.05722; Gao et al. 2021 (SimCSE), https://arxiv.org/abs/2104.08821; Wu et al. 2022
        (ESimCSE), https://arxiv.org/abs/2109.04380

    Example:
        >>> import torch
        >>> x = torch.eye(2)
        >>> round(float(info_nce(x, x, temperature=1.0)), 4)  # log(1 + 1/e)
        0.3133
        >>> round(float(info_nce(x, x, temperature=1.0, negatives=-x)), 4)
        0.6265
    """
    queries, keys = same_shape(("queries", "keys"), queries, keys)
    positive("temperature", temperature)
    queries, keys = F.normalize(queries, dim=1), F.normalize(keys, dim=1)
    targets = torch.arange(len(queries), device=queries.device)
    if exclude is not None:
        exclude = square_mask(exclude, len(queries)) & (targets[:, None] != targets[None, :])
    logits = [without(queries @ keys.T / temperature, exclude, "exclude")]  # (N, N)
    extra = unit_negatives(negatives, queries)
    logits.append(without(queries @ extra.T / temperature, exclude_negatives, "exclude_negatives"))  # (N, Q)
    return F.cross_entropy(torch.cat(logits, dim=1), targets)
