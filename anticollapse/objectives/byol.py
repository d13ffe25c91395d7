"""BYOL: a prediction of the target network's vector, with no negatives."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from anticollapse.objectives._common import same_shape


def byol(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean of :math:`2 - 2\cos(p_i, t_i)`; the target is a constant (stop-gradient).

    Args:
        prediction: Output of the online network's predictor, shape (N, d).
        target: Output of the momentum network, shape (N, d).

    Returns:
        The loss, a scalar from 0 (same direction) to 4 (opposite).

    Raises:
        ValueError: If shapes do not fit.

    References:
        Grill et al. 2020, https://arxiv.org/abs/2006.07733

    Example:
        >>> import torch
        >>> float(byol(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])))
        2.0
    """
    prediction, target = same_shape(("prediction", "target"), prediction, target)
    return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1).mean()
