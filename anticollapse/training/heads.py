"""Heads that exist in training only: late cross-attention between the towers, and an MLP projector."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anticollapse.errors import OptionError
from anticollapse.training.parameters import parameter

AppliesTo = Literal["supervised", "contrast", "both"]
BERT_INITIALISER_RANGE = 0.02


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """A network between the encoder and the losses; it does not become part of the encoder.

    Attributes:
        takes: Whether it works on token vectors of pairs or on sentence vectors.
        applies_to: Which terms get its output; the others get the encoder's vectors.
    """

    takes: ClassVar[Literal["tokens", "vectors"]] = "vectors"

    applies_to: AppliesTo = "both"

    @abstractmethod
    def build(self, dim: int, attention_heads: int, dropout: float) -> nn.Module:
        """The network, with fresh weights.

        Args:
            dim: Length of its input vectors.
            attention_heads: Attention heads of the backbone.
            dropout: Dropout rate of the backbone.

        Raises:
            OptionError: If the parameters do not fit the backbone.
        """


@dataclass(frozen=True, kw_only=True)
class CrossAttention(Head):
    """One BERT attention block from each sentence to the other."""

    takes: ClassVar[Literal["tokens", "vectors"]] = "tokens"

    attention_heads: int = parameter(
        0, "attention heads of the block (0 = as many as the backbone)", minimum=0, maximum=64
    )

    def build(self, dim: int, attention_heads: int, dropout: float) -> CrossAttentionBlock:  # noqa: D102
        heads = self.attention_heads or attention_heads
        if dim % heads:
            raise OptionError(
                f"{heads} attention heads do not divide the backbone's {dim} dimensions",
                remedy="Choose --head-attention-heads so that they do",
            )
        return CrossAttentionBlock(dim, heads, dropout)


@dataclass(frozen=True, kw_only=True)
class Projector(Head):
    """An MLP on sentence vectors, as in SimCLR, SimCSE, BYOL, Barlow Twins and VICReg."""

    layers: int = parameter(2, "linear layers of the MLP", minimum=1, maximum=8)
    hidden_ratio: float = parameter(1.0, "width of the hidden layers", minimum=0.1, maximum=16, unit="× the vectors")
    output_ratio: float = parameter(1.0, "length of the output", minimum=0.01, maximum=16, unit="× the vectors")
    activation: str = parameter("relu", "activation between the layers", choices=("relu", "tanh"))
    activate_output: bool = parameter(default=False, description="whether the output passes the activation too")
    batch_norm: bool = parameter(default=False, description="whether hidden layers are normalised over the batch")

    def build(self, dim: int, attention_heads: int, dropout: float) -> nn.Module:  # noqa: D102
        del attention_heads, dropout
        hidden, out = max(1, round(self.hidden_ratio * dim)), max(1, round(self.output_ratio * dim))
        widths = [dim, *[hidden] * (self.layers - 1), out]
        activation = nn.Tanh if self.activation == "tanh" else nn.ReLU
        return mlp(widths, batch_norm=self.batch_norm, activation=activation, activate_output=self.activate_output)


def mlp(
    widths: Sequence[int],
    *,
    batch_norm: bool,
    activation: type[nn.Module] = nn.ReLU,
    activate_output: bool = False,
) -> nn.Sequential:
    """Linear layers with an activation between them.

    Args:
        widths: Lengths of input, hidden and output vectors.
        batch_norm: Normalise hidden vectors over the batch. Always with the batch's own statistics: a head that is
            thrown away after training needs no running ones, and the momentum copy must not lag behind in them.
        activation: Between the layers.
        activate_output: After the last layer too.
    """
    modules: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        modules.append(nn.Linear(width_in, width_out, bias=last or not batch_norm))
        if batch_norm and not last:
            modules.append(nn.BatchNorm1d(width_out, track_running_stats=False))
        if not last or activate_output:
            modules.append(activation())
    return nn.Sequential(*modules)


class CrossAttentionBlock(nn.Module):
    """Multi-head attention from one sentence to the other, residual and LayerNorm; shared by both directions.

    Args:
        dim: Length d of the token vectors.
        heads: Attention heads; they divide ``dim``.
        dropout: Rate, on the attention weights and on the output.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout_rate = dropout
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.output = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.normal_(layer.weight, std=BERT_INITIALISER_RANGE)
            nn.init.zeros_(layer.bias)

    def forward(self, own: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
        """Attend from ``own`` to ``other``.

        Args:
            own: Token vectors that ask, shape (B, L, d).
            other: Token vectors of the other sentence, shape (B, M, d).
            other_mask: Its padding mask, shape (B, M), 1 for a token.

        Returns:
            Shape (B, L, d).
        """
        rate = self.dropout_rate if self.training else 0.0
        attended = F.scaled_dot_product_attention(
            self._split(self.query(own)),
            self._split(self.key(other)),
            self._split(self.value(other)),
            attn_mask=other_mask.bool()[:, None, None, :],  # (B, 1, 1, M)
            dropout_p=rate,
        )
        merged = attended.transpose(1, 2).flatten(2)  # (B, L, d)
        mixed: Tensor = self.norm(own + self.dropout(self.output(merged)))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, L, d / heads)

    def pair_vectors(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sentence vectors of pairs after looking at each other.

        Args:
            tokens: Token vectors, the B first sentences above the B second ones, shape (2B, L, d).
            mask: Padding mask, shape (2B, L).

        Returns:
            Vectors of the first and of the second sentences, (B, d) each: mean over the sentence's own tokens.
        """
        half = len(tokens) // 2
        other, other_mask = tokens.roll(half, dims=0), mask.roll(half, dims=0)
        mixed = self(tokens, other, other_mask)
        weights = mask.unsqueeze(2).to(mixed.dtype)
        pooled = (mixed * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
        first, second = torch.split(pooled, half)
        return first, second
