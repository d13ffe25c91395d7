"""Token vectors of many sentences in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Pooling


@dataclass(frozen=True)
class TokenEmbeddings:
    """The vectors that a mean pooling averages, before it does.

    Attributes:
        vectors: ``(T, d)`` float32, or ``(L, T, d)`` when layers were asked for; padding is left out.
        offsets: ``(N + 1,)`` tokens of sentence ``i`` are ``offsets[i]:offsets[i + 1]``.
        ids: ``(T,)`` token ids.
        special: ``(T,)`` whether the token is one of the tokenizer's own ([CLS], [SEP], …; see :func:`special_ids`).
        truncated: ``(N,)`` whether the sentence was longer than the encoder reads.
        layers: The layers of the first axis of ``vectors``; empty when only the last one was asked for.
        vocabulary: Token strings by id, for the ids that occur.
        prompt_length: Tokens of the encoder's own prompt before each sentence, or None.
    """

    vectors: NDArray[np.float32]
    offsets: NDArray[np.int64]
    ids: NDArray[np.int32]
    special: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    layers: tuple[int, ...]
    vocabulary: dict[int, str]
    prompt_length: int | None = None

    @property
    def n_sentences(self) -> int:
        """Number of sentences, N."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(N,)`` tokens of each sentence."""
        return np.diff(self.offsets)

    def select(self, sentences: NDArray[np.int64]) -> TokenEmbeddings:
        """The tokens of some sentences.

        Args:
            sentences: ``(n,)`` numbers of sentences, in the order wanted.
        """
        lengths = self.lengths[sentences]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        # Row j of the result is row (start of its sentence) + (its place in it) of this.
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][sentences] - offsets[:-1], lengths)
        return replace(
            self,
            vectors=self.vectors[..., rows, :],
            offsets=offsets,
            ids=self.ids[rows],
            special=self.special[rows],
            truncated=self.truncated[sentences],
        )

    def text(self, token_id: int) -> str:
        """The token as its tokenizer writes it, for example ``##ing`` or ``▁the``."""
        return self.vocabulary[int(token_id)]

    def sentence(self, index: int) -> NDArray[np.float32]:
        """``(n, d)`` (or ``(L, n, d)``) token vectors of one sentence."""
        return self.vectors[..., self.offsets[index] : self.offsets[index + 1], :]


def special_ids(tokenizer: Any) -> list[int]:  # noqa: ANN401  tokenizers share no base that can be named
    """Ids that a tokenizer adds to every text, such as [CLS] and [SEP].

    What stands for a piece of the text ([UNK] for a word that is not in the vocabulary, [MASK] where somebody wrote it)
    is a token like any other, unless the same id also opens, ends or pads a text, as in GPT-2.

    Args:
        tokenizer: A transformers tokenizer.
    """
    framing = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "cls", "sep", "pad")}
    stands_in = {getattr(tokenizer, f"{role}_token_id", None) for role in ("unk", "mask")} - framing
    return sorted({int(i) for i in tokenizer.all_special_ids} - {int(i) for i in stands_in if i is not None})


def unpooled_start(pooling: Pooling | None, prompt_length: int | None) -> int:
    """How many tokens at the start of each sentence are a prompt that the pooling leaves out.

    Args:
        pooling: The encoder's pooling.
        prompt_length: Tokens of its prompt (with what stands before it), or None.
    """
    return 0 if pooling is None or pooling.include_prompt else prompt_length or 0
