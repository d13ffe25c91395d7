"""Augmentations: how the two views of a sentence come to differ.

Those on tokens (shuffle, repetition) work on padded id matrices before the forward pass; those on embeddings (cut-offs,
adversarial) act through a hook after the embedding layer; dropout is the encoder's own.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from anticollapse.training.batch import TokenRows
from anticollapse.training.parameters import parameter

Stage = Literal["encoder", "tokens", "embeddings", "gradient"]
Generator = torch.Generator | None


def view_parameter(default: int) -> int:
    """The field that says which view is changed."""
    chosen: int = parameter(default, "which view it changes (0 = both)", choices=(0, 1, 2))
    return chosen


@dataclass(frozen=True, kw_only=True)
class Augmentation(ABC):
    """One way of changing a view.

    Attributes:
        key: Prefix of its parameters.
        stage: Where it acts.
    """

    key: ClassVar[str]
    stage: ClassVar[Stage]


@dataclass(frozen=True, kw_only=True)
class ViewAugmentation(Augmentation):
    """Changes one view or both.

    Attributes:
        view: 1 or 2 for one of the two views, 0 for both.
    """

    view: int = view_parameter(0)

    def changes(self, view: int) -> bool:
        """Whether it acts on view 1 or 2."""
        return self.view in {0, view}


@dataclass(frozen=True, kw_only=True)
class TokenAugmentation(ViewAugmentation):
    """Changes token ids."""

    stage: ClassVar[Stage] = "tokens"

    def apply(self, rows: TokenRows, generator: Generator = None) -> TokenRows:
        """The changed rows.

        Args:
            rows: N sentences.
            generator: Source of randomness; default: torch's own.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EmbeddingAugmentation(ViewAugmentation):
    """Multiplies the embeddings by a mask."""

    stage: ClassVar[Stage] = "embeddings"

    def mask(self, special: Tensor, dim: int) -> Tensor:
        """Shape (N, L, 1) or (N, 1, d): 0 where something is cut, 1 elsewhere.

        Args:
            special: Shape (N, L), true for special tokens and padding.
            dim: Length of the token vectors.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Dropout(Augmentation):
    """The encoder's own dropout: each view gets its own mask."""

    key: ClassVar[str] = "dropout"
    stage: ClassVar[Stage] = "encoder"

    rate: float = parameter(0.1, "dropout rate of the encoder while it trains", minimum=0, maximum=0.9)


@dataclass(frozen=True, kw_only=True)
class TokenShuffle(TokenAugmentation):
    """All tokens between the special ones change places (ConSERT)."""

    key: ClassVar[str] = "token_shuffle"

    share: float = parameter(1.0, "share of the sentences that are shuffled", minimum=0, maximum=1)

    def apply(self, rows: TokenRows, generator: Generator = None) -> TokenRows:
        """A uniformly random order of the tokens that are not special, for each chosen row."""
        n, length = rows.ids.shape
        keys = torch.rand(n, length, generator=generator)
        chosen = torch.rand(n, 1, generator=generator) < self.share
        free = ~rows.special & chosen
        place = torch.arange(length).expand(n, length)
        # Sorting the free tokens by a random key, and their places by position, pairs each place with a random token.
        by_key = torch.where(free, keys, torch.inf).argsort(dim=1, stable=True)
        by_place = torch.where(free, place, length).argsort(dim=1, stable=True)
        index = place.clone()
        count = free.sum(dim=1, keepdim=True)
        moved = place < count
        rank_row = torch.arange(n)[:, None].expand(n, length)
        index[rank_row[moved], by_place[moved]] = by_key[moved]
        return rows.take(index, rows.mask)


@dataclass(frozen=True, kw_only=True)
class WordRepetition(TokenAugmentation):
    """Some tokens are said twice, so that length no longer gives a positive pair away (ESimCSE)."""

    key: ClassVar[str] = "word_repetition"

    view: int = view_parameter(2)
    rate: float = parameter(0.32, "largest share of the tokens that is repeated", minimum=0, maximum=1)

    def apply(self, rows: TokenRows, generator: Generator = None) -> TokenRows:
        """Repeat k tokens of each row, k uniform from 0 to max(2, rate × length), as far as the encoder reads."""
        n, length = rows.ids.shape
        free = ~rows.special
        count = free.sum(dim=1, keepdim=True)  # (N, 1)
        if self.rate == 0:
            return rows
        most = (count * self.rate).long().clamp_min(2).minimum(count)
        if rows.limit is not None:
            most = most.minimum((rows.limit - rows.mask.sum(dim=1, keepdim=True)).clamp_min(0))
        k = (torch.rand(n, 1, generator=generator) * (most + 1)).long().minimum(most)
        keys = torch.where(free, torch.rand(n, length, generator=generator), torch.inf)
        rank = keys.argsort(dim=1).argsort(dim=1)
        twice = (rank < k) & free  # exactly k free tokens of each row
        ends = (rows.mask.long() + twice.long()).cumsum(dim=1)  # (N, L): where each token's last copy ends
        total = ends[:, -1:]
        width = int(total.max())
        place = torch.arange(width).expand(n, width).contiguous()
        index = torch.searchsorted(ends, place, right=True).clamp_max(length - 1)
        return rows.take(index, place < total)


@dataclass(frozen=True, kw_only=True)
class TokenCutoff(EmbeddingAugmentation):
    """The embeddings of some tokens become zero (ConSERT)."""

    key: ClassVar[str] = "token_cutoff"

    view: int = view_parameter(2)
    rate: float = parameter(0.15, "share of the tokens whose embedding is cut", minimum=0, maximum=0.9)

    def mask(self, special: Tensor, dim: int) -> Tensor:  # noqa: D102
        del dim
        kept = torch.rand(special.shape, device=special.device) >= self.rate
        return (kept | special).unsqueeze(2).float()


@dataclass(frozen=True, kw_only=True)
class FeatureCutoff(EmbeddingAugmentation):
    """Some dimensions of the embeddings become zero, the same ones for all tokens of a sentence (ConSERT)."""

    key: ClassVar[str] = "feature_cutoff"

    view: int = view_parameter(2)
    rate: float = parameter(0.2, "share of the embedding dimensions that is cut", minimum=0, maximum=0.9)

    def mask(self, special: Tensor, dim: int) -> Tensor:  # noqa: D102
        return (torch.rand(len(special), 1, dim, device=special.device) >= self.rate).float()


@dataclass(frozen=True, kw_only=True)
class Adversarial(ViewAugmentation):
    """A step along the gradient of the contrast makes a view as hard as it can be (costs a second pass)."""

    key: ClassVar[str] = "adversarial"
    stage: ClassVar[Stage] = "gradient"

    view: int = view_parameter(1)
    epsilon: float = parameter(0.0, "length of the step (0 = off)", minimum=0, maximum=100, unit="× mean token norm")

    def step(self, gradient: Tensor, embeddings: Tensor) -> Tensor:
        """The perturbation: the sentence's gradient at the length asked for.

        Args:
            gradient: Of the contrast with respect to the embeddings, shape (N, L, d).
            embeddings: Shape (N, L, d).

        Returns:
            Shape (N, L, d); zero for a sentence without gradient.
        """
        gradient = gradient.float()
        norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
        length = self.epsilon * embeddings.float().norm(dim=2).mean(dim=1)[:, None, None]
        perturbation: Tensor = length * gradient / norm
        return perturbation


class EmbeddingHook:
    """Changes the output of the embedding layer during the online forward pass.

    Args:
        model: A transformers model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.change: Callable[[Tensor], Tensor] | None = None
        layer = getattr(model, "embeddings", None)
        if not isinstance(layer, nn.Module):
            layer = model.get_input_embeddings()  # type: ignore[operator]
        self.handle = layer.register_forward_hook(self._apply)

    def _apply(self, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output if self.change is None else self.change(output)

    def remove(self) -> None:
        """Take the hook off the model."""
        self.handle.remove()
