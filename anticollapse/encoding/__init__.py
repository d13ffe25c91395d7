"""Sentence encoders: load, encode in token-budget batches, token vectors, embedding cache, checkpoints."""

from __future__ import annotations

from anticollapse.encoding.cache import EmbeddingCache
from anticollapse.encoding.checkpoints import EncoderInfo, checkpoint_root, list_encoders, resolve_encoder
from anticollapse.encoding.encoder import Embeddings, Encoder
from anticollapse.encoding.loading import load_encoder
from anticollapse.encoding.precision import Precision, bfloat16_supported
from anticollapse.encoding.tokens import TokenEmbeddings

__all__ = [
    "EmbeddingCache",
    "Embeddings",
    "Encoder",
    "EncoderInfo",
    "Precision",
    "TokenEmbeddings",
    "bfloat16_supported",
    "checkpoint_root",
    "list_encoders",
    "load_encoder",
    "resolve_encoder",
]
