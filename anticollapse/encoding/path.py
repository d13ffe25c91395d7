"""The way from token vectors to the sentence vector, read from an encoder's modules.

Where that way is linear in the token vectors once the sentence is given (a mean, weighted or not, followed by ``Dense``
layers without activation and by normalisation), the sentence vector is an exact sum with one part for each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Normalize, Pooling, WordWeights
from torch import nn

from anticollapse.errors import EncoderError

LinearMode = Literal["mean", "mean_sqrt_len_tokens", "weightedmean"]
LINEAR_MODES = ("mean", "mean_sqrt_len_tokens", "weightedmean")
MODE_NAMES = {"cls": "the first token alone", "max": "the maximum over tokens", "lasttoken": "the last token alone"}

_SMALLEST_SUM = 1e-9  # what sentence-transformers divides by at least


@dataclass(frozen=True)
class SentencePath:
    """What lies between token vectors and the sentence vector.

    Attributes:
        before: Modules after the transformer that change token vectors (for example ``WeightedLayerPooling``).
        weights: ``(V,)`` weight of each token id (``WordWeights``), or None.
        pooling: The pooling, or None where there is none.
        head: Modules after the pooling, which map sentence vectors.
        obstacle: Why the sentence vector is no weighted mean of token vectors; empty when it is one.
        head_obstacle: Why the head is not linear; empty when it is.
    """

    before: tuple[nn.Module, ...] = ()
    weights: NDArray[np.float64] | None = None
    pooling: Pooling | None = None
    head: tuple[nn.Module, ...] = ()
    obstacle: str = ""
    head_obstacle: str = ""
    _modes: tuple[str, ...] = field(default=(), repr=False)

    def coefficients(
        self, ids: NDArray[np.int32], offsets: NDArray[np.int64], prompt_length: int | None = None
    ) -> NDArray[np.float64]:
        """The factor of each token in the pooled vector: pooled = Σ coefficient × token vector.

        Args:
            ids: ``(T,)`` token ids.
            offsets: ``(N + 1,)`` tokens of sentence ``i`` are ``offsets[i]:offsets[i + 1]``.
            prompt_length: Tokens of the encoder's prompt before each sentence, or None.

        Returns:
            ``(T,)``; for a mean they sum to 1 in each sentence.

        Raises:
            EncoderError: The pooling is no mean.
        """
        factors, below = self.token_factors(ids, offsets, prompt_length)
        return factors / np.repeat(self._divisors(segment_sums(below, offsets)), np.diff(offsets))

    def token_factors(
        self, ids: NDArray[np.int32], offsets: NDArray[np.int64], prompt_length: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each token adds above and below the fraction bar of a mean: Σ above × vector / Σ below.

        Args:
            ids: ``(T,)`` token ids.
            offsets: ``(N + 1,)``.
            prompt_length: Tokens of the encoder's prompt before each sentence, or None.

        Returns:
            ``(T,)`` above and ``(T,)`` below; both all ones in a plain mean.

        Raises:
            EncoderError: The pooling is no mean.
        """
        if self.obstacle:
            raise EncoderError(self.obstacle, remedy="Choose an encoder with mean pooling")
        place = np.arange(len(ids)) - np.repeat(offsets[:-1], np.diff(offsets))
        position = place + 1.0 if self._modes[0] == "weightedmean" else np.ones(len(ids))
        weights = np.ones(len(ids)) if self.weights is None else self.weights[ids]
        above = weights * position
        if prompt_length and self.pooling is not None and not self.pooling.include_prompt:
            above = np.where(place < prompt_length, 0.0, above)
        # With word weights, sentence-transformers divides by their sum, whatever else weighs the tokens.
        return above, above if self.weights is None else weights

    def pool(self, sums: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pooled vectors of sums.

        Args:
            sums: ``(N, d)`` sums of ``above`` × token vector.
            below: ``(N,)`` sums of ``below``.
        """
        return sums / self._divisors(below)[:, None]

    def _divisors(self, below: NDArray[np.float64]) -> NDArray[np.float64]:
        divisors = np.maximum(below, _SMALLEST_SUM)
        return np.sqrt(divisors) if self._modes[0] == "mean_sqrt_len_tokens" else divisors

    def apply_head(self, pooled: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sentence vectors ``(N, d')`` of pooled vectors ``(N, d)``; in float64 where the head is linear."""
        if not self.head:
            return np.asarray(pooled, np.float64)
        if not self.head_obstacle:
            offsets = np.arange(len(pooled) + 1)
            return self.map_parts(np.asarray(pooled, np.float64), np.ones(len(pooled)), offsets)
        device = next((p.device for module in self.head for p in module.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            features = {"sentence_embedding": torch.tensor(pooled, dtype=torch.float32, device=device)}
            for module in self.head:
                features = module(features)
            return np.asarray(features["sentence_embedding"].cpu().numpy(), np.float64)

    def map_parts(
        self, parts: NDArray[np.float64], coefficients: NDArray[np.float64], offsets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Carry each token's part of the pooled vector through the head, so that the parts sum to the sentence vector.

        A linear layer maps the sum of parts as the sum of mapped parts, but its bias enters once a sentence. Each token
        gets the share of it that it has in the mean: Wx̄ + b = Σ αₜ (W xₜ + b) for Σ αₜ = 1. So every token is treated
        as a sentence of its own would be: under centring its part is xₜ − μ, not xₜ with −μ left over.

        Args:
            parts: ``(T, d)`` coefficient × token vector.
            coefficients: ``(T,)``.
            offsets: ``(N + 1,)``.

        Returns:
            ``(T, d')`` whose sum over each sentence is its vector.

        Raises:
            EncoderError: A module of the head is not linear.
        """
        if self.head_obstacle:
            raise EncoderError(self.head_obstacle, remedy="Choose an encoder whose added modules are linear")
        total = segment_sums(coefficients, offsets)
        lengths = np.diff(offsets)
        # A sentence whose coefficients are all zero still gets the bias: evenly then.
        empty = np.repeat(total == 0, lengths)
        share = np.where(
            empty, 1 / np.repeat(np.maximum(lengths, 1), lengths), coefficients / _nonzero(np.repeat(total, lengths))
        )
        for module in self.head:
            if isinstance(module, Dense):
                parts = _through_dense(module, parts, share)
            elif isinstance(module, Normalize):
                norms = np.linalg.norm(segment_sums(parts, offsets), axis=1)
                parts = parts / np.repeat(np.maximum(norms, 1e-12), lengths)[:, None]
        return parts


def read_path(modules: Sequence[nn.Module], name: str) -> SentencePath:
    """Read the way from token vectors to the sentence vector.

    Args:
        modules: An encoder's modules.
        name: The encoder's name, for the obstacle's sentence.
    """
    where = next((i for i, module in enumerate(modules) if isinstance(module, Pooling)), None)
    if where is None:
        return SentencePath(obstacle=f"{name} has no pooling of token vectors")
    pooling = cast("Pooling", modules[where])
    between, head = list(modules[1:where]), tuple(modules[where + 1 :])
    weighing = [module for module in between if isinstance(module, WordWeights)]
    weights = None
    if weighing:
        weights = weighing[-1].emb_layer.weight.detach().cpu().numpy().astype(np.float64)[:, 0]
    before = tuple(module for module in between if not isinstance(module, WordWeights))
    modes = (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else tuple(pooling.pooling_mode)
    obstacle = _pooling_obstacle(modes, name)
    if not obstacle and weighing and (len(weighing) > 1 or between[-1] is not weighing[0]):
        obstacle = f"{name} weighs its tokens before other modules change them"
    return SentencePath(before, weights, pooling, head, obstacle, _head_obstacle(head, name), modes)


def segment_sums(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over each sentence.

    Args:
        values: ``(T,)`` or ``(T, d)``.
        offsets: ``(N + 1,)``.

    Returns:
        ``(N,)`` or ``(N, d)`` float64; zero for a sentence without tokens.
    """
    out = np.zeros((len(offsets) - 1, *values.shape[1:]))
    filled = np.flatnonzero(np.diff(offsets) > 0)
    if len(filled):
        out[filled] = np.add.reduceat(values, offsets[filled], axis=0, dtype=np.float64)
    return out


def _through_dense(layer: Dense, parts: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = layer.linear.weight.detach().cpu().numpy().astype(np.float64)
    mapped = parts @ weight.T
    if layer.linear.bias is not None:
        mapped += share[:, None] * layer.linear.bias.detach().cpu().numpy().astype(np.float64)
    if getattr(layer, "use_residual", False):
        residual = getattr(layer, "residual", None)
        kept = parts if residual is None else parts @ residual.weight.detach().cpu().numpy().astype(np.float64).T
        mapped += kept
    return mapped


def _pooling_obstacle(modes: tuple[str, ...], name: str) -> str:
    if len(modes) > 1:
        return f"{name} joins several poolings ({', '.join(modes)}), so its vector is no mean of token vectors"
    if modes[0] not in LINEAR_MODES:
        way = MODE_NAMES.get(modes[0], modes[0])
        return f"{name} takes {way} as the sentence vector, so it is no mean of token vectors"
    return ""


def _head_obstacle(head: tuple[nn.Module, ...], name: str) -> str:
    for module in head:
        kind = type(module).__name__
        if isinstance(module, Dense):
            plain = _input(module) == getattr(module, "module_output_name", _input(module)) == "sentence_embedding"
            if not isinstance(module.activation_function, nn.Identity) or not plain:
                activation = type(module.activation_function).__name__
                return (
                    f"{name} has a Dense module that is not linear ({activation}), so its vector is no sum over tokens"
                )
        elif not isinstance(module, Normalize | Dropout) or _input(module) != "sentence_embedding":
            return f"{name} has a {kind} module after its pooling, which is not linear: no sum over tokens is exact"
    return ""


def _input(module: nn.Module) -> str:
    return str(getattr(module, "module_input_name", "sentence_embedding"))


def _nonzero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values == 0, 1.0, values)
