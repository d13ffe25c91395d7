"""Cures that map a sentence vector linearly: one ``Dense`` layer behind the encoder."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Dense

from anticollapse.cures.cure import Values
from anticollapse.cures.moments import Moments
from anticollapse.errors import OptionError


def centring(moments: Moments, values: Values) -> Dense:  # noqa: ARG001  every cure has one signature
    """Subtract the mean sentence vector: x → x − μ.

    What all sentences share tells none of them apart, yet it enters every cosine.

    Args:
        moments: Of the sentence vectors of unlabelled text.
        values: None.

    Raises:
        OptionError: Fewer than two sentences.
    """
    _check(moments)
    return dense(np.eye(moments.dim), -moments.mean)


def standardising(moments: Moments, values: Values) -> Dense:  # noqa: ARG001
    """Give every dimension mean 0 and variance 1: x → (x − μ) / σ.

    Timkey & van Schijndel 2021, https://aclanthology.org/2021.emnlp-main.372: a few rogue dimensions with large mean or
    variance decide every cosine.

    Args:
        moments: Of the sentence vectors of unlabelled text.
        values: None.

    Returns:
        The layer; a dimension that is constant becomes 0.

    Raises:
        OptionError: Fewer than two sentences.
    """
    _check(moments)
    std = np.sqrt(moments.variances)
    varies = std > 1e-7 * np.sqrt(moments.mean @ moments.mean / moments.dim)
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=varies)
    return dense(np.diag(scale), -scale * moments.mean)


def whitening(moments: Moments, values: Values) -> Dense:
    """Rotate to the principal directions, give each variance 1, keep the first k: x → Λ^(−1/2) Uᵀ (x − μ).

    Su et al. 2021, https://arxiv.org/abs/2103.15316. Their covariance on the fitting text is the identity.

    Args:
        moments: Of the sentence vectors of unlabelled text.
        values: ``k`` dimensions kept; missing: half of the encoder's.

    Raises:
        OptionError: Fewer than two sentences, or k is more than the directions in which the text varies.
    """
    _check(moments)
    variances, directions = moments.centred
    k = int(values.get("k", min(max(moments.dim // 2, 1), len(variances))))
    _check_directions(k, len(variances), moments)
    weight = (directions[:, :k] / np.sqrt(variances[:k])).T
    return dense(weight, -weight @ moments.mean)


def all_but_the_top(moments: Moments, values: Values) -> Dense:
    """Subtract the mean and project out the first D principal directions: x → (I − U_D U_Dᵀ)(x − μ).

    Mu & Viswanath 2018, https://arxiv.org/abs/1702.01417, for word vectors; here for sentence vectors.

    Args:
        moments: Of the sentence vectors of unlabelled text.
        values: ``d`` directions removed; missing: one for every 100 dimensions, as the paper advises, at least one.

    Raises:
        OptionError: Fewer than two sentences, or no direction would be left.
    """
    _check(moments)
    variances, directions = moments.centred
    d = int(values.get("d", min(max(round(moments.dim / 100), 1), max(len(variances) - 1, 0))))
    _check_directions(d + 1, len(variances), moments)
    top = directions[:, :d]
    weight = np.eye(moments.dim) - top @ top.T
    return dense(weight, -weight @ moments.mean)


def without_common_component(moments: Moments, values: Values) -> Dense | None:
    """Project out the first singular vectors of the (uncentred) sentence vectors: x → (I − U Uᵀ) x.

    The second half of SIF: Arora et al. 2017, https://openreview.net/forum?id=SyK00v5xx, which removes one.

    Args:
        moments: Of the weighted sentence vectors of unlabelled text.
        values: ``components`` removed; 0: None is returned.

    Raises:
        OptionError: Fewer than two sentences, or no direction would be left.
    """
    _check(moments)
    count = int(values.get("components", 1))
    if not count:
        return None
    _, directions = moments.uncentred
    _check_directions(count + 1, directions.shape[1], moments)
    top = directions[:, :count]
    return dense(np.eye(moments.dim) - top @ top.T, np.zeros(moments.dim))


def dense(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Dense:
    """A linear layer with given values.

    Args:
        weight: ``(k, d)``.
        bias: ``(k,)``.

    Returns:
        A layer x → weight x + bias, with no activation.
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


def _check(moments: Moments) -> None:
    if moments.n < 2:
        raise OptionError(
            f"a cure is fitted on at least 2 different sentences, here {'is' if moments.n == 1 else 'are'} {moments.n}",
            remedy="Give more unlabelled text",
        )


def _check_directions(wanted: int, there: int, moments: Moments) -> None:
    if wanted > there:
        raise OptionError(
            f"the cure needs {wanted} directions and the {moments.n:,} sentences it is fitted on vary in {there}",
            remedy="Choose a smaller value, or give more unlabelled text",
        )
