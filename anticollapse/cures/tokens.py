"""Cures that weigh tokens in the mean: one ``WordWeights`` module between the transformer and the pooling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import WordWeights

from anticollapse.cures.cure import Values
from anticollapse.encoding import TokenCounts

LEFT_OUT = 1e-7
"""Weight of a token that is left out.

Not 0: a sentence of nothing but such tokens ("Is it?") would have no vector at all. With equal tiny weights it keeps
its plain mean, and in every other sentence the tokens left out add about 1e-6 of the vector.
"""


def sif(counts: TokenCounts, values: Values) -> NDArray[np.float64]:
    """Smooth inverse frequency: a / (a + p(token)).

    Arora et al. 2017, https://openreview.net/forum?id=SyK00v5xx. Special tokens are tokens too: they occur in every
    sentence, so their weight is small. A token that the text never shows has weight 1. Counts without special tokens
    need their share first (:meth:`~anticollapse.encoding.TokenCounts.with_special_share`).

    Args:
        counts: Token counts of unlabelled text.
        values: ``a``, 0.001 in the paper.

    Returns:
        ``(V,)`` weights in (0, 1].
    """
    a = values["a"]
    return a / (a + counts.probabilities())


def drop_frequent(counts: TokenCounts, values: Values) -> NDArray[np.float64]:
    """Leave the k most frequent tokens out of the mean.

    Yan et al. 2021 (ConSERT, §2.1), https://aclanthology.org/2021.acl-long.393.

    Args:
        counts: Token counts of unlabelled text, or a reference count.
        values: ``k`` tokens left out; ``specials`` = 1 leaves out [CLS], [SEP] and the like as well (they do not count
            among the k).

    Returns:
        ``(V,)`` weights: 1, and :data:`LEFT_OUT` for what is left out.
    """
    weights = np.ones(len(counts.counts))
    weights[counts.ranking[: int(values["k"])]] = LEFT_OUT
    if values["specials"]:
        weights[counts.special] = LEFT_OUT
    return weights


def word_weights(vocabulary: tuple[str, ...], weights: NDArray[np.float64]) -> WordWeights:
    """The module.

    Args:
        vocabulary: Token strings by id.
        weights: ``(V,)``.
    """
    # An entry for every token: without one, "The" would silently get the weight of "the".
    table = {token: float(weight) for token, weight in zip(vocabulary, weights.astype(np.float32), strict=True)}
    module = WordWeights(list(vocabulary), table)
    module.requires_grad_(requires_grad=False)
    return module
