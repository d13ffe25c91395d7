"""Training: variants composed of parts, one registry, one loop.

``docs/training.md`` explains the parts, the checkpoints and how to add a variant.
"""

from __future__ import annotations

from anticollapse.training.augmentations import (
    Adversarial,
    Dropout,
    FeatureCutoff,
    TokenCutoff,
    TokenShuffle,
    WordRepetition,
)
from anticollapse.training.heads import CrossAttention, Head, Projector
from anticollapse.training.negatives import ClusterFilter, Momentum, Queue
from anticollapse.training.options import TrainingOptions
from anticollapse.training.parameters import Parameter, parameter
from anticollapse.training.position import TrainingResult
from anticollapse.training.registry import get_variant, load_variant_file, register, variants
from anticollapse.training.scorer import PairScorer, load_pair_scorer
from anticollapse.training.telemetry import Event
from anticollapse.training.terms import (
    BYOL,
    AnglE,
    BarlowTwins,
    ContrastTerm,
    CoSENT,
    CosineMSE,
    InfoNCE,
    NTXent,
    Pairwise,
    SupervisedTerm,
    Triplet,
    VICReg,
    Views,
)
from anticollapse.training.trainer import train
from anticollapse.training.variant import Defaults, Variant

__all__ = [
    "BYOL",
    "Adversarial",
    "AnglE",
    "BarlowTwins",
    "ClusterFilter",
    "CoSENT",
    "ContrastTerm",
    "CosineMSE",
    "CrossAttention",
    "Defaults",
    "Dropout",
    "Event",
    "FeatureCutoff",
    "Head",
    "InfoNCE",
    "Momentum",
    "NTXent",
    "PairScorer",
    "Pairwise",
    "Parameter",
    "Projector",
    "Queue",
    "SupervisedTerm",
    "TokenCutoff",
    "TokenShuffle",
    "TrainingOptions",
    "TrainingResult",
    "Triplet",
    "VICReg",
    "Variant",
    "Views",
    "WordRepetition",
    "get_variant",
    "load_pair_scorer",
    "load_variant_file",
    "parameter",
    "register",
    "train",
    "variants",
]
