"""Sentence vectors as exact sums with one part for each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anticollapse.encoding.encoder import Cancelled, Encoder, Progress
from anticollapse.encoding.path import segment_sums
from anticollapse.encoding.readable import TokenStyle, readable_sentence, token_style
from anticollapse.encoding.tokens import TokenEmbeddings, unpooled_start
from anticollapse.errors import CancelledError, EncoderError

CHUNK_SENTENCES = 1000
"""Sentences whose token parts are in memory at once (about 50 MB for 256 dimensions in float64)."""


@dataclass(frozen=True)
class TokenParts:
    """What each token adds to its sentence vector.

    Attributes:
        parts: ``(T, d)`` float64; they sum to the sentence vector.
        offsets: ``(N + 1,)`` tokens of sentence ``i`` are ``offsets[i]:offsets[i + 1]``.
        ids: ``(T,)`` token ids.
        special: ``(T,)`` whether the token is one of the tokenizer's own.
        coefficients: ``(T,)`` factor of the token's vector in the pooling (1/n in a plain mean).
        norms: ``(T,)`` length of the token's vector as it enters the pooling.
        truncated: ``(N,)`` whether the sentence was longer than the encoder reads.
        vocabulary: Token strings by id, for the ids that occur.
        style: How the tokenizer marks words.
        unpooled: Tokens at the start of each sentence that are a prompt and not pooled: their parts are 0.
    """

    parts: NDArray[np.float64]
    offsets: NDArray[np.int64]
    ids: NDArray[np.int32]
    special: NDArray[np.bool_]
    coefficients: NDArray[np.float64]
    norms: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    vocabulary: dict[int, str]
    style: TokenStyle
    unpooled: int = 0

    @property
    def n_sentences(self) -> int:
        """Number of sentences, N."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(N,)`` tokens of each sentence."""
        return np.diff(self.offsets)

    @property
    def vectors(self) -> NDArray[np.float64]:
        """``(N, d)`` sentence vectors: the sums of the parts."""
        return segment_sums(self.parts, self.offsets)

    def of(self, index: int) -> NDArray[np.float64]:
        """``(n, d)`` parts of one sentence."""
        return self.parts[self.offsets[index] : self.offsets[index + 1]]

    def labels(self, index: int) -> list[str]:
        """The tokens of one sentence as people read them."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        tokens = [self.vocabulary[int(i)] for i in self.ids[rows]]
        return readable_sentence(tokens, self.special[rows].tolist(), self.style)


def exact_obstacle(encoder: Encoder) -> str:
    """Why an encoder's sentence vector is no exact sum over its tokens; empty when it is.

    Args:
        encoder: Any encoder.
    """
    if encoder.transformer is None or encoder.transformer.tokenizer is None:
        return f"{encoder.name} has no token vectors: its first module is no transformer"
    return encoder.path.obstacle or encoder.path.head_obstacle


def token_parts(
    encoder: Encoder,
    sentences: Sequence[str],
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> TokenParts:
    """The parts of sentence vectors, all in memory; for long lists see :func:`iter_token_parts`.

    Exact for mean pooling (plain, ``mean_sqrt_len_tokens``, position-weighted or with ``WordWeights``), followed by any
    ``Dense`` layers without activation and by normalisation. A bias is shared among the tokens of the sentence in the
    proportion of their coefficients (see :meth:`~anticollapse.encoding.path.SentencePath.map_parts`).

    Args:
        encoder: The encoder.
        sentences: N sentences.
        progress: Called with (sentences done, N).
        cancelled: Asked between batches.

    Raises:
        EncoderError: The sentence vector is no sum over tokens (another pooling, a module that is not linear).
        CancelledError: ``cancelled`` said so.
    """
    obstacle = exact_obstacle(encoder)
    if obstacle:
        raise EncoderError(obstacle, remedy="Token contributions are exact for mean pooling and linear modules only")
    tokens = encoder.encode_tokens(sentences, progress=progress, cancelled=cancelled)
    return split_into_parts(encoder, tokens)


def split_into_parts(encoder: Encoder, tokens: TokenEmbeddings) -> TokenParts:
    """The parts, from token vectors that are there already.

    Args:
        encoder: The encoder that gave ``tokens``.
        tokens: Of :meth:`Encoder.encode_tokens` with ``layers=None``.

    Raises:
        EncoderError: The sentence vector is no sum over tokens.
    """
    path = encoder.path
    coefficients = path.coefficients(tokens.ids, tokens.offsets, tokens.prompt_length)
    pooled = coefficients[:, None] * tokens.vectors
    transformer = encoder.transformer
    return TokenParts(
        parts=path.map_parts(pooled, coefficients, tokens.offsets),
        offsets=tokens.offsets,
        ids=tokens.ids,
        special=tokens.special,
        coefficients=coefficients,
        norms=np.linalg.norm(tokens.vectors, axis=1).astype(np.float64),
        truncated=tokens.truncated,
        vocabulary=tokens.vocabulary,
        style=token_style(transformer.tokenizer) if transformer is not None else "plain",
        unpooled=unpooled_start(path.pooling, tokens.prompt_length),
    )


def iter_token_parts(
    encoder: Encoder,
    sentences: Sequence[str],
    *,
    chunk: int = CHUNK_SENTENCES,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[TokenParts]:
    """Token parts of a long list, some sentences at a time, so that memory does not grow with the list.

    Args:
        encoder: The encoder.
        sentences: N sentences.
        chunk: Sentences a part.
        progress: Called with (sentences done, N).
        cancelled: Asked between parts.

    Raises:
        EncoderError: The sentence vector is no sum over tokens.
        CancelledError: ``cancelled`` said so.
    """
    for start in range(0, len(sentences), chunk):
        if cancelled is not None and cancelled():
            raise CancelledError("the token analysis was stopped")
        part = sentences[start : start + chunk]
        yield token_parts(encoder, part, cancelled=cancelled)
        if progress is not None:
            progress(start + len(part), len(sentences))
