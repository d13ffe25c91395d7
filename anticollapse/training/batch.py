"""Padded sentences, and what one process needs for one step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenRows:
    """Padded sentences.

    Attributes:
        ids: Token ids, shape (N, L), padding on the right.
        mask: Shape (N, L), true for a token.
        special: Shape (N, L), true for special tokens and padding: they are never moved, cut or repeated.
        types: Token types, shape (N, L), or None.
        limit: Most tokens the encoder reads, or None.
    """

    ids: Tensor
    mask: Tensor
    special: Tensor
    types: Tensor | None = None
    limit: int | None = None

    def take(self, index: Tensor, mask: Tensor) -> TokenRows:
        """Rows with other columns: ``index`` (N, M) says which; ``mask`` (N, M) which of them are tokens."""
        special = self.special.gather(1, index) | ~mask
        types = None if self.types is None else self.types.gather(1, index) * mask
        return TokenRows(self.ids.gather(1, index), mask, special, types, self.limit)

    def slice(self, part: slice) -> TokenRows:
        """Some of the rows."""
        types = None if self.types is None else self.types[part]
        return TokenRows(self.ids[part], self.mask[part], self.special[part], types, self.limit)

    def features(self) -> dict[str, Tensor]:
        """The input of a sentence-transformers module."""
        features = {"input_ids": self.ids, "attention_mask": self.mask.long()}
        if self.types is not None:
            features["token_type_ids"] = self.types
        return features

    def to(self, device: torch.device) -> TokenRows:
        """A copy on ``device``."""
        types = None if self.types is None else _move(self.types, device)
        ids, mask, special = (_move(x, device) for x in (self.ids, self.mask, self.special))
        return TokenRows(ids, mask, special, types, self.limit)


@dataclass(frozen=True)
class Batch:
    """What one process needs for one step.

    Attributes:
        rows: Padded sentences of all views, one view above the other; within a view all first sentences, then all
            second.
        original: The sentences as they are, for the momentum encoder, where the first view is changed; else None.
        views: 1 or 2.
        towers: Sentences an item.
        counts: Items of each process.
        labels: Grades of the items of all processes, shape (B,), or None.
        ids: Sentences of all processes in the order in which gathered vectors come, shape (B × towers,).
    """

    rows: TokenRows
    original: TokenRows | None
    views: int
    towers: int
    counts: tuple[int, ...]
    labels: Tensor | None
    ids: Tensor

    @property
    def n_rows(self) -> int:
        """Rows of one view on this process."""
        return len(self.rows.ids) // self.views

    def to(self, device: torch.device) -> Batch:
        """A copy on ``device``, copied without waiting."""
        if device.type == "cpu":
            return self
        return dataclasses.replace(
            self,
            rows=self.rows.to(device),
            original=None if self.original is None else self.original.to(device),
            labels=None if self.labels is None else _move(self.labels, device),
            ids=_move(self.ids, device),
        )


def _move(x: Tensor, device: torch.device) -> Tensor:
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
