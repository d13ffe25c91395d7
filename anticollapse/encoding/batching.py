"""Tokenised sentences in flat arrays, and batches of them by a budget of tokens.

A batch of a fixed number of sentences wastes time twice: short sentences make batches too small to fill the processor,
and one long sentence makes the whole batch as wide as itself. Sorting by token count and cutting by a budget of tokens
avoids both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

TOKEN_BUDGET = 4096
"""Tokens a batch, padding included. On 2 CPU cores 2,048 to 8,192 were equally fast, smaller ones slower."""

CUDA_TOKEN_BUDGET = 65_536
"""Tokens a batch on a GPU: enough work for one launch to be worth it."""


@dataclass(frozen=True)
class TokenisedSentences:
    """Token ids of N sentences without padding.

    Attributes:
        ids: ``(T,)`` token ids of all sentences, one after the other.
        offsets: ``(N + 1,)`` sentence ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
        types: ``(T,)`` token type ids, or None where the tokenizer has none.
        truncated: ``(N,)`` whether the sentence was longer than the encoder reads.
        prompt_length: Tokens of the encoder's own prompt before each sentence, or None.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int32] | None
    truncated: NDArray[np.bool_]
    prompt_length: int | None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(N,)`` tokens of each sentence."""
        return np.diff(self.offsets)


def tokenise(
    sentences: Sequence[str],
    preprocess: Callable[[list[str]], Mapping[str, object]],
    full_lengths: Callable[[list[str]], list[int]],
    max_tokens: int | None,
    chunk: int = 1024,
) -> TokenisedSentences:
    """Tokenise with the encoder's own preprocessing, once, and drop the padding.

    Args:
        sentences: N sentences.
        preprocess: The first module's ``preprocess``: strings to padded tensors. It is used instead of the bare
            tokenizer so that prompts, lower-casing and truncation are exactly the encoder's.
        full_lengths: Token counts without truncation; asked only for sentences that fill the window.
        max_tokens: The encoder's window, or None when it has none.
        chunk: Sentences a call of ``preprocess``.
    """
    # By length in characters, so that a chunk is padded little.
    order = np.argsort([len(s) for s in sentences], kind="stable")
    ids: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(sentences)
    types: list[NDArray[np.int32]] | None = None
    prompt_length: int | None = None
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        features = preprocess([sentences[i] for i in part])
        mask = _array(features["attention_mask"]).astype(bool)
        input_ids = _array(features["input_ids"]).astype(np.int32)
        kinds = features.get("token_type_ids")
        kind_rows = None if kinds is None else _array(kinds).astype(np.int32)
        if kind_rows is not None and types is None:
            types = [np.empty(0, np.int32)] * len(sentences)
        length = features.get("prompt_length")
        prompt_length = int(length) if isinstance(length, int) else prompt_length
        for row, i in enumerate(part):
            ids[i] = input_ids[row, mask[row]]
            if kind_rows is not None and types is not None:
                types[i] = kind_rows[row, mask[row]]
    lengths = np.fromiter((len(row) for row in ids), np.int64, len(ids))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    truncated = np.zeros(len(ids), bool)
    full = np.flatnonzero(lengths >= max_tokens) if max_tokens else np.empty(0, np.int64)
    if max_tokens and len(full):
        whole = full_lengths([sentences[int(i)] for i in full])
        truncated[full] = np.asarray(whole, np.int64) > max_tokens
    flat = np.concatenate(ids) if ids else np.empty(0, np.int32)
    flat_types = np.concatenate(types) if types else None
    if flat_types is not None and not flat_types.any():
        flat_types = None  # all zeros is what a model assumes anyway
    return TokenisedSentences(flat, offsets, flat_types, truncated, prompt_length)


def batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Cut sentences into batches of similar length.

    Args:
        lengths: ``(N,)`` token counts.
        budget: Most tokens a batch, padding included; a single longer sentence is a batch of its own.

    Yields:
        Indices of the sentences of each batch, longest batches first: memory runs out at once or never, and the time
        left can be estimated from the start.
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    start = 0
    while start < len(order):
        width = max(int(lengths[order[start]]), 1)
        stop = min(start + max(budget // width, 1), len(order))
        yield order[start:stop]
        start = stop


def padded(
    tokens: TokenisedSentences, batch: NDArray[np.int64], pad_id: int, *, left: bool, device: torch.device
) -> dict[str, torch.Tensor]:
    """The features of one batch.

    Args:
        tokens: All sentences.
        batch: ``(B,)`` indices of the sentences of this batch.
        pad_id: Id that fills the unused places.
        left: Whether the padding goes before the tokens.
        device: Where the tensors go.

    Returns:
        ``input_ids`` and ``attention_mask`` of shape ``(B, longest)``, and ``token_type_ids`` where they matter.
    """
    lengths = tokens.lengths[batch]
    width = int(lengths.max())
    place = np.arange(width)[None, :]  # (1, W)
    mask = place >= width - lengths[:, None] if left else place < lengths[:, None]  # (B, W)
    source = np.concatenate([np.arange(tokens.offsets[i], tokens.offsets[i + 1]) for i in batch])
    input_ids = np.full(mask.shape, pad_id, np.int64)
    input_ids[mask] = tokens.ids[source]
    features = {"input_ids": input_ids, "attention_mask": mask.astype(np.int64)}
    if tokens.types is not None:
        types = np.zeros(mask.shape, np.int64)
        types[mask] = tokens.types[source]
        features["token_type_ids"] = types
    return {key: torch.from_numpy(value).to(device, non_blocking=True) for key, value in features.items()}


def _array(value: object) -> NDArray[np.int64]:
    array: NDArray[np.int64] = torch.as_tensor(value).cpu().numpy()
    return array
