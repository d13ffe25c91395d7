"""Masked-language-model pre-training of small encoders from text."""

from __future__ import annotations

from anticollapse.pretraining.base import Base, adapting, open_base
from anticollapse.pretraining.corpus import Corpus, is_corpus, load_corpus, prepare_corpus, save_corpus
from anticollapse.pretraining.evaluation import Evaluation
from anticollapse.pretraining.options import SIZES, PretrainingOptions
from anticollapse.pretraining.position import PretrainingResult
from anticollapse.pretraining.run import pretrain

__all__ = [
    "SIZES",
    "Base",
    "Corpus",
    "Evaluation",
    "PretrainingOptions",
    "PretrainingResult",
    "adapting",
    "is_corpus",
    "load_corpus",
    "open_base",
    "prepare_corpus",
    "pretrain",
    "save_corpus",
]
