"""Sentence encoders: load, encode in token-budget batches, token vectors, embedding cache, checkpoints."""

from __future__ import annotations

from anticollapse.encoding.cache import EmbeddingCache
from anticollapse.encoding.checkpoints import EncoderInfo, checkpoint_root, list_encoders, resolve_encoder
from anticollapse.encoding.encoder import Embeddings, Encoder
from anticollapse.encoding.frequencies import TokenCounts, count_tokens, read_counts
from anticollapse.encoding.loading import is_downloaded, load_encoder
from anticollapse.encoding.parts import TokenParts, exact_obstacle, iter_token_parts, token_parts
from anticollapse.encoding.path import SentencePath
from anticollapse.encoding.precision import Precision, bfloat16_supported, device_name
from anticollapse.encoding.provenance import is_trained, origin, training_note
from anticollapse.encoding.readable import TokenStyle, readable, token_style
from anticollapse.encoding.tokens import TokenEmbeddings

__all__ = [
    "EmbeddingCache",
    "Embeddings",
    "Encoder",
    "EncoderInfo",
    "Precision",
    "SentencePath",
    "TokenCounts",
    "TokenEmbeddings",
    "TokenParts",
    "TokenStyle",
    "bfloat16_supported",
    "checkpoint_root",
    "count_tokens",
    "device_name",
    "exact_obstacle",
    "is_downloaded",
    "is_trained",
    "iter_token_parts",
    "list_encoders",
    "load_encoder",
    "origin",
    "read_counts",
    "readable",
    "resolve_encoder",
    "token_parts",
    "token_style",
    "training_note",
]
