"""The network: BERT for masked-language modelling over packed rows, and the values it starts with."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM

from anticollapse.pretraining.masking import IGNORED
from anticollapse.pretraining.options import (
    MAX_TOKENS,
    REFERENCE_STD,
    REFERENCE_WIDTH,
    PretrainingOptions,
    parse_size,
)
from anticollapse.pretraining.vocabulary import PAD

SLOWEST = 1024.0
"""Wavelength of the slowest sinusoid, in tokens: no position up to 256 has the vector of another."""
FASTEST = 3.0
"""Wavelength of the fastest one: neighbours must differ clearly for a head to tell them apart."""
OFFSETS = (-1, 1, -2, 2)
SHARPNESS = 2.0
"""Attention logits of an offset head in units of the plain product of the sinusoids it compares."""
SAVED_DROPOUT = 0.1
"""Dropout that the encoder is saved with: fine-tuning by dropout views needs some."""


class MaskedLanguageModel(nn.Module):
    """BERT that predicts masked tokens only, over rows in which several sequences are packed.

    Args:
        bert: The network of transformers.
    """

    def __init__(self, bert: BertForMaskedLM) -> None:
        super().__init__()
        self.bert = bert

    def logits(self, ids: Tensor, segments: Tensor, positions: Tensor, places: Tensor) -> Tensor:
        """Logits at the places.

        Args:
            ids: Token numbers, shape (R, L).
            segments: Sequence of each token in its row, 0 = padding; shape (R, L).
            positions: Place in its sequence; shape (R, L), int64.
            places: Which of the R × L tokens, shape (K,).

        Returns:
            Shape (K, vocabulary).
        """
        # A sequence attends to itself only; padding to padding, so that no row of the mask is empty.
        mask = (segments[:, :, None] == segments[:, None, :])[:, None]  # (R, 1, L, L)
        hidden = self.bert.bert(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
        return self.bert.cls(hidden.flatten(0, 1).index_select(0, places))  # type: ignore[no-any-return]

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy at the places; arguments as for :meth:`logits`, ``labels`` of shape (K,)."""
        logits = self.logits(ids, segments, positions, places)
        loss = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
        # A batch of nothing but unknown tokens has no labels: its mean would be no number, and end the run.
        return loss / (labels != IGNORED).sum().clamp(min=1)


def build_model(options: PretrainingOptions, vocabulary: int) -> BertForMaskedLM:
    """A BERT with its starting values; torch's own random state stays as it is.

    Args:
        options: Size, seed and how it starts.
        vocabulary: Entries.
    """
    size = parse_size(options.size)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.dropout,
        initializer_range=options.initial_std or REFERENCE_STD * math.sqrt(REFERENCE_WIDTH / size.width),
        pad_token_id=PAD,
        architectures=["BertForMaskedLM"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = BertForMaskedLM(config)
    with torch.no_grad():
        if options.sinusoids:
            start_as_sinusoids(model, options.position_ratio)
            if options.offset_heads:
                point_heads(model)
    return model


def wavelengths(width: int) -> Tensor:
    """Wavelengths of the sinusoids in tokens, the fastest first; shape (width / 2,)."""
    return FASTEST * (SLOWEST / FASTEST) ** torch.linspace(0, 1, width // 2)


def start_as_sinusoids(model: BertForMaskedLM, ratio: float) -> None:
    """Fill the position table with sinusoids: even columns sine, odd columns cosine.

    Args:
        model: Changed in place.
        ratio: Length of a position vector in units of the length of a word vector.
    """
    table = model.bert.embeddings.position_embeddings.weight
    n, width = table.shape
    angle = torch.arange(n)[:, None] * (2 * math.pi / wavelengths(width))  # (n, width / 2)
    # A sinusoid pair has length 1; a word vector std × √width: scaled to `ratio` times that.
    scale = ratio * model.config.initializer_range * math.sqrt(2)
    table[:, 0::2] = scale * angle.sin()
    table[:, 1::2] = scale * angle.cos()


def point_heads(model: BertForMaskedLM) -> None:
    """Let the first layer's heads start by looking at the offsets −1, +1, −2, +2, one each.

    The query picks sinusoid pairs, the key the same ones turned by the offset: q(p)·k(j) = Σ cos(ω (p − j + offset)),
    which is greatest at j = p + offset. Further heads keep their random values.

    Args:
        model: Changed in place; its position table holds sinusoids.
    """
    attention: Any = model.bert.encoder.layer[0].attention
    attention = attention.self
    width = model.config.hidden_size
    head = width // model.config.num_attention_heads
    pairs = head // 2
    # The fast half of the pairs tells near places apart; a slow sinusoid is the same at both.
    fast = torch.linspace(0, width // 4 - 1, pairs).round().long() if width > head else torch.arange(pairs)
    omega = 2 * math.pi / wavelengths(width)[fast]
    gain = math.sqrt(SHARPNESS)
    for number, offset in enumerate(OFFSETS[: model.config.num_attention_heads]):
        rows = slice(number * head, (number + 1) * head)
        query, key = attention.query.weight[rows], attention.key.weight[rows]
        query.zero_()
        key.zero_()
        sine, cosine = torch.arange(0, head, 2), torch.arange(1, head, 2)
        query[sine, 2 * fast] = gain
        query[cosine, 2 * fast + 1] = gain
        turn = omega * offset
        # sin(a − t) = sin a cos t − cos a sin t;  cos(a − t) = cos a cos t + sin a sin t
        key[sine, 2 * fast], key[sine, 2 * fast + 1] = gain * turn.cos(), -gain * turn.sin()
        key[cosine, 2 * fast + 1], key[cosine, 2 * fast] = gain * turn.cos(), gain * turn.sin()


def flops_per_token(config: BertConfig, row: int, mask_rate: float) -> float:
    """Floating-point operations a token of a step, forward and backward: matrix products only.

    Args:
        config: Of the network.
        row: Places of a row: attention is computed over all of them.
        mask_rate: Share of the tokens that the output layer sees.
    """
    d, inner = config.hidden_size, config.intermediate_size
    layer = 2 * (4 * d * d + 2 * d * inner) + 4 * row * d
    head = 2 * (d * d + d * config.vocab_size)
    return 3.0 * (config.num_hidden_layers * layer + mask_rate * head)
