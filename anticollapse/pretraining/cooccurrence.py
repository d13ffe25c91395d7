"""Starting values that the whole text gives before the first step: word vectors and the frequency of each token.

A small token budget is spent mostly on learning which words are alike. Counting neighbours says much of that, over all
of the text, in the time of a few hundred steps.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from transformers import BertForMaskedLM

from anticollapse.errors import OptionError
from anticollapse.pretraining.corpus import Corpus, IdArray
from anticollapse.pretraining.options import MOST_ENTRIES
from anticollapse.pretraining.vocabulary import SEP, SPECIAL

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]

WINDOW = 5
"""Tokens to each side that count as neighbours; one at distance d counts 1/d, as in GloVe."""
SMOOTHING = 0.75
"""Exponent of the neighbours' frequencies: without it rare neighbours have too much weight (Levy et al. 2015)."""


def count_neighbours(ids: IdArray, vocabulary: int, window: int = WINDOW) -> FloatArray:
    """How often tokens stand near each other in a line, both ways, a pair at distance d counting 1/d.

    Args:
        ids: Lines, each ended by [SEP].
        vocabulary: Entries V.
        window: Greatest distance.

    Returns:
        Symmetric, shape (V, V); 0 for special and unknown tokens.
    """
    ends = ids == SEP
    line = np.cumsum(ends, dtype=np.int64) - ends
    counts = np.zeros(vocabulary * vocabulary, np.float32)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        together = line[:-distance] == line[distance:]
        codes = ids[:-distance][together].astype(np.int64) * vocabulary + ids[distance:][together]
        counts += np.bincount(codes, minlength=len(counts)).astype(np.float32) / distance
    table = counts.reshape(vocabulary, vocabulary)
    table[: len(SPECIAL)] = 0
    table[:, : len(SPECIAL)] = 0
    return table + table.T


def positive_pmi(counts: FloatArray, smoothing: float = SMOOTHING) -> FloatArray:
    """Positive pointwise mutual information max(0, log p(a, b) / (p(a) p′(b))), p′ with smoothed frequencies.

    Paper: https://aclanthology.org/Q15-1016/ (Levy, Goldberg & Dagan 2015)

    Args:
        counts: Shape (V, V).
        smoothing: Exponent of the neighbours' frequencies.
    """
    rows = counts.sum(axis=1, dtype=np.float64)
    columns = counts.sum(axis=0, dtype=np.float64) ** smoothing
    total = float(columns.sum())
    if not total:
        return np.zeros_like(counts)
    scale = np.outer(1 / np.where(rows > 0, rows, 1), total / np.where(columns > 0, columns, 1)).astype(np.float32)
    with np.errstate(divide="ignore"):
        found: FloatArray = np.maximum(np.log(counts * scale), 0)
    return found


def word_vectors(corpus: Corpus, width: int, *, seed: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Vectors of length 1: singular vectors of the neighbours' information times √ singular value, centred.

    Args:
        corpus: The text.
        width: Length of a vector.
        seed: Of the randomised decomposition (Halko et al. 2011, https://arxiv.org/abs/0909.4061).

    Returns:
        Vectors, shape (V, width), and which tokens have one, shape (V,): not special ones, nor those without
        neighbours.

    Raises:
        OptionError: If the vocabulary is too large for all its pairs.
    """
    entries = corpus.vocabulary_size
    if entries > MOST_ENTRIES:
        raise OptionError(
            f"word vectors from neighbours need a vocabulary of at most {MOST_ENTRIES:,} entries, this one has "
            f"{entries:,}",
            remedy="Leave --word-start at random",
        )
    information = positive_pmi(count_neighbours(corpus.ids, entries))
    rank = min(width, entries - 1)
    left, singular, _ = randomized_svd(information, n_components=rank, n_iter=4, random_state=seed)
    vectors = np.zeros((entries, width), np.float32)
    vectors[:, :rank] = left * np.sqrt(singular)
    known = information.any(axis=1)
    if known.any():
        # The first singular vector has one sign: left in, all words would start in a cone, and this encoder must not
        # collapse because of how it started.
        vectors[known] -= vectors[known].mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1)
    known &= lengths > 1e-6 * lengths.max(initial=0.0)
    vectors[known] /= lengths[known, None]
    vectors[~known] = 0
    logger.info("word vectors from neighbours for %d of %d entries", int(known.sum()), entries)
    return vectors, known


def start_words(model: BertForMaskedLM, corpus: Corpus, *, seed: int) -> None:
    """Let the word table start from the text's neighbours, each row as long as a random one would be.

    Args:
        model: Changed in place; input and output share the table. Tokens without neighbours keep their random rows.
        corpus: The text.
        seed: Of the decomposition.
    """
    table = model.bert.embeddings.word_embeddings.weight
    vectors, known = word_vectors(corpus, table.shape[1], seed=seed)
    # The axes of singular vectors are sorted by size; position table and heads know nothing of such an order.
    random = np.random.default_rng([seed, 3])
    turned = vectors @ np.linalg.qr(random.normal(size=(table.shape[1],) * 2))[0].astype(np.float32)
    length = model.config.initializer_range * math.sqrt(table.shape[1])
    with torch.no_grad():
        mask = torch.from_numpy(known)
        table[mask] = length * torch.from_numpy(turned)[mask]


def start_bias(model: BertForMaskedLM, corpus: Corpus) -> None:
    """Let the output's bias start at the log frequencies: the first loss is then about the entropy of single tokens.

    Args:
        model: Changed in place.
        corpus: The text; a token that it does not hold counts half an occurrence.
    """
    counts = np.bincount(corpus.ids, minlength=corpus.vocabulary_size).astype(np.float64)
    counts[: len(SPECIAL)] = 0  # never predicted
    shares = np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum()
    with torch.no_grad():
        bias = model.cls.predictions.bias
        bias.copy_(torch.from_numpy(np.log(shares)).to(bias.dtype))
