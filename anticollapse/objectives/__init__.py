"""Losses: one file each, pure functions of embeddings. They never see an encoder, a queue or a training loop."""

from __future__ import annotations

from anticollapse.objectives.angle import angle, angle_difference
from anticollapse.objectives.barlow_twins import barlow_twins, cross_correlation
from anticollapse.objectives.byol import byol
from anticollapse.objectives.cosent import cosent, ordered_logsumexp
from anticollapse.objectives.cosine_mse import cosine_mse
from anticollapse.objectives.info_nce import info_nce
from anticollapse.objectives.nt_xent import nt_xent
from anticollapse.objectives.pairwise import pairwise
from anticollapse.objectives.swav import sinkhorn_knopp, swav
from anticollapse.objectives.triplet import hardest_negatives, triplet
from anticollapse.objectives.vicreg import covariance_penalty, variance_hinge, vicreg

__all__ = [
    "angle",
    "angle_difference",
    "barlow_twins",
    "byol",
    "cosent",
    "cosine_mse",
    "covariance_penalty",
    "cross_correlation",
    "hardest_negatives",
    "info_nce",
    "nt_xent",
    "ordered_logsumexp",
    "pairwise",
    "sinkhorn_knopp",
    "swav",
    "triplet",
    "variance_hinge",
    "vicreg",
]
