"""Cures that map a sentence vector linearly: one ``Dense`` layer behind the encoder."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Dense

from anticollapse.errors import OptionError


def centring(vectors: NDArray[np.float32]) -> Dense:
    """Subtract the mean sentence vector.

    What all sentences share tells none of them apart, yet it enters every cosine.

    Args:
        vectors: ``(N, d)`` sentence vectors of unlabelled text, N >= 2.

    Returns:
        A layer x -> x - mean.

    Raises:
        OptionError: Fewer than two sentences.
    """
    _check(vectors, 2)
    mean = vectors.astype(np.float64).mean(axis=0)
    return dense(np.eye(vectors.shape[1]), -mean)


def dense(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Dense:
    """A linear layer with given values.

    Args:
        weight: ``(k, d)``.
        bias: ``(k,)``.

    Returns:
        A layer x -> weight x + bias, with no activation.
    """
    layer = Dense(
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        bias=True,
        activation_function=torch.nn.Identity(),
        init_weight=torch.tensor(weight, dtype=torch.float32),
        init_bias=torch.tensor(bias, dtype=torch.float32),
    )
    layer.requires_grad_(requires_grad=False)
    return layer


def _check(vectors: NDArray[np.float32], least: int) -> None:
    if len(vectors) < least:
        raise OptionError(
            f"a cure is fitted on at least {least} different sentences, here are {len(vectors)}",
            remedy="Give more unlabelled text",
        )
