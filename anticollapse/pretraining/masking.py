"""Which tokens are predicted, and what the network sees in their place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anticollapse.pretraining.vocabulary import MASK, SPECIAL

MASKED, REPLACED = 0.8, 0.1
"""Shares of the predicted tokens that become [MASK], and that become a random token; the others stay as they are."""
IGNORED = -100


@dataclass(frozen=True)
class Masked:
    """Batches with masks; N batches of T places, K of them predicted at most.

    Attributes:
        ids: What the network sees, shape (N, T).
        places: Places of each batch that are predicted, shape (N, K).
        labels: The tokens there, shape (N, K); ``IGNORED`` where a batch has fewer than K.
    """

    ids: Tensor
    places: Tensor
    labels: Tensor


def mask_tokens(ids: Tensor, *, rate: float, vocabulary: int, generator: torch.Generator) -> Masked:
    """Choose tokens to predict, 80 % of them masked, 10 % replaced, 10 % kept (Devlin et al. 2019).

    Special and unknown tokens are never chosen. The number of places is the same for each batch, so that shapes are
    static; the share of the *maskable* tokens that is predicted is ``rate`` to the nearest token.

    Paper: https://arxiv.org/abs/1810.04805; 30 % and more for small networks: https://arxiv.org/abs/2202.08005

    Args:
        ids: Token numbers, shape (N, T), int64.
        rate: Share of the maskable tokens.
        vocabulary: Entries of the vocabulary.
        generator: On the device of ``ids``.
    """
    n, t = ids.shape
    maskable = ids >= len(SPECIAL)
    score = torch.rand(n, t, generator=generator, device=ids.device).masked_fill_(~maskable, 2.0)
    k = max(1, round(rate * t))
    places = score.topk(k, dim=1, largest=False, sorted=True).indices
    wanted = (rate * maskable.sum(1, keepdim=True)).round().long()
    used = torch.arange(k, device=ids.device) < wanted
    original = ids.gather(1, places)
    action = torch.rand(n, k, generator=generator, device=ids.device)
    other = torch.randint(len(SPECIAL), vocabulary, (n, k), generator=generator, device=ids.device)
    seen = torch.where(action < MASKED, MASK, torch.where(action < MASKED + REPLACED, other, original))
    out = ids.scatter(1, places, torch.where(used, seen, original))
    return Masked(out, places, torch.where(used, original, IGNORED))
